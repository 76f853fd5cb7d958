"""Fonts for what figures write: matplotlib's own, and after it installed ones for what it lacks.

matplotlib (from 3.11 on) orders scripts from right to left and joins their letters by itself, and
takes every glyph from the first font of a list that has it. What is left to do is the list, and to
say which words no installed font can draw.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import (
    FontEntry,
    FontPath,
    FontProperties,
    findfont,
    findSystemFonts,
    fontManager,
    get_font,
)
from matplotlib.ft2font import LoadFlags
from matplotlib.text import Text

from experiments.visible import visible

#: Stands for a character that no font has.
BOX = "□"

_WEIGHTS = ("normal", "bold")
# Fonts of boxes and blanks in the place of glyphs.
_NO_FONTS = re.compile("last ?resort|adobe (blank|notdef)", re.IGNORECASE)
# They have everything, in the shapes of a terminal.
_COARSE = re.compile("unifont|bitmap", re.IGNORECASE)
# How Han characters are drawn where a figure holds a script of that country, else as in China.
_COUNTRIES = {"HIRAGANA": "JP", "KATAKANA": "JP", "HANGUL": "KR", "BOPOMOFO": "TC"}

_undrawable: ContextVar[dict[str, str] | None] = ContextVar("undrawable", default=None)


@contextmanager
def undrawable_words() -> Iterator[dict[str, str]]:
    """Gather the words that figures cannot draw: word → its characters that no font has."""
    words: dict[str, str] = {}
    token = _undrawable.set(words)
    try:
        yield words
    finally:
        _undrawable.reset(token)


def drawable(text: str) -> str:
    """Text as a figure can write it: what is not seen as escapes, what no font has as boxes."""
    if text.isascii() and text.isprintable():
        return text
    text = "\n".join(visible(line) for line in text.split("\n"))
    missing = {c for c in text if not _has(c) and not _families_with(c)}
    if not missing:
        return text
    gathered = _undrawable.get()
    for word in re.split(r"[\s|()]+", text) if gathered is not None else ():
        if gathered is not None and (lacking := "".join(c for c in word if c in missing)):
            gathered.setdefault(word, lacking)
    # A letter and its marks are one box.
    return "".join(
        c if c not in missing else "" if unicodedata.category(c)[0] == "M" else BOX for c in text
    )


def left_to_right(text: str) -> str:
    """Keep the parts of a text in their order on the page, where one of them runs the other way."""
    turned = any(unicodedata.bidirectional(c) in ("R", "AL") for c in text)
    return f"\u200e{text}" if turned else text


def use_fonts(figure: Figure) -> None:
    """Give every text of a figure the fonts that it needs, and take none for a formula.

    Texts that matplotlib's own font can draw stay as they are.
    """
    texts = [found for found in figure.findobj(Text) if isinstance(found, Text)]
    for text in texts:
        text.set_parse_math(False)
    lacking = [text for text in texts if not all(map(_has, text.get_text()))]
    if lacking:
        found = families("".join(text.get_text() for text in lacking))
        for text in lacking:
            text.set_fontfamily([*_own_families(), *found])


def families(text: str) -> list[str]:
    """Installed families that have together what matplotlib's own font lacks, as few as can be."""
    wanted = {c for c in text if not _has(c)}
    scripts = {unicodedata.name(c, "").split(" ")[0] for c in wanted}
    country = next((_COUNTRIES[s] for s in _COUNTRIES if s in scripts), "SC")
    chosen: list[str] = []
    while counts := Counter(family for c in wanted for family in _families_with(c)):
        best = min(counts, key=lambda family: (-counts[family], *_rank(family, country)))
        chosen.append(best)
        wanted = {c for c in wanted if best not in _families_with(c)}
    return chosen


def _rank(family: str, country: str) -> tuple[bool, bool, bool, int, str]:
    """Sort key: fonts in the style of the figures first, and of these the plainest."""
    return (
        bool(_COARSE.search(family)),
        "CJK" in family and not family.endswith(country),
        "Sans" not in family,
        len(family),
        family,
    )


def _own_families() -> list[str]:
    return list(FontProperties().get_family())


@cache
def _has(character: str) -> bool:
    """Whether matplotlib's own font has a character, or nothing is drawn for it."""
    if character in "\n\u180e\u200c\u200d\u200e" or _is_selector(character):
        return True
    return any(_drawn_by(family, character) for family in _own_families())


def _is_selector(character: str) -> bool:
    return unicodedata.name(character, "").startswith("VARIATION SELECTOR")


@cache
def _families_with(character: str) -> Collection[str]:
    """Installed families that have a glyph of a character."""
    code = ord(character)
    found = []
    for family, face in _faces().items():
        codes = _codes(face)
        at = int(np.searchsorted(codes, code))
        if at < len(codes) and codes[at] == code and _drawn_by(family, character):
            found.append(family)
    return frozenset(found)


def _drawn_by(family: str, character: str) -> bool:
    """Whether a family draws something for a character, in the weights of the figures."""
    for weight in _WEIGHTS:
        font = get_font(findfont(FontProperties(family=family, weight=weight)))
        index = font.get_char_index(ord(character))
        if index == 0:
            return False
        # Glyphs of coloured pictures have no outline, and would stay blank.
        left, bottom, right, top = font.load_glyph(index, flags=LoadFlags.NO_HINTING).bbox
        if (left >= right or bottom >= top) and not character.isspace():
            return False
    return True


@cache
def _faces() -> dict[str, FontPath]:
    """The plainest face of every installed family, as far as it can be drawn with."""
    logging.getLogger("matplotlib.font_manager").addFilter(_is_not_of_weights)
    # matplotlib remembers its list of fonts: those that were installed since are not in it.
    known = {entry.fname for entry in fontManager.ttflist}
    for path in sorted(set(findSystemFonts()) - known):
        with suppress(OSError, RuntimeError, ValueError):  # damaged, or of pixels
            fontManager.addfont(path)

    def plainness(entry: FontEntry) -> tuple[bool, bool, bool]:
        return (
            entry.style != "normal",
            entry.stretch != "normal",
            entry.weight not in (400, "normal"),
        )

    return {
        entry.name: FontPath(entry.fname, entry.index)
        for entry in sorted(fontManager.ttflist, key=plainness, reverse=True)
        if not _NO_FONTS.search(entry.name)
    }


def _is_not_of_weights(record: logging.LogRecord) -> bool:
    """Whether matplotlib logs something else than that a script has no bold font."""
    return "font weight" not in record.getMessage()


@cache
def _codes(face: FontPath) -> np.ndarray:
    """Code points of a face's characters, sorted; none where it cannot be read."""
    try:
        return np.sort(np.fromiter(get_font(face).get_charmap(), np.uint32))
    except (OSError, RuntimeError):
        return np.empty(0, np.uint32)
