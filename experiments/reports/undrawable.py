"""What is said of words that figures cannot write."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

from experiments.console import Screen
from experiments.figures import undrawable_words

# So many words are named.
_NAMED = 6
_EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "HALFWIDTH")


@contextmanager
def saying_what_is_undrawable(screen: Screen) -> Iterator[None]:
    """Warn at the end, once, of words that figures show as boxes, and say what to install."""
    with undrawable_words() as words:
        yield
    if not words:
        return
    named = ", ".join(list(words)[:_NAMED])
    if len(words) > _NAMED:
        named += f" and {len(words) - _NAMED} more"
    packages = dict.fromkeys(_package(c) for lacking in words.values() for c in lacking)
    screen.warn(
        f"no installed font can draw {named}: the figures have boxes there. Install "
        f"{' and '.join(packages)} (Debian, Ubuntu), elsewhere a Noto font of the script, and "
        "draw them again: gpu-smds figures, with the same options"
    )


def _package(character: str) -> str:
    """Package of a font that has a character."""
    if unicodedata.name(character, "").startswith(_EAST_ASIAN):
        return "fonts-noto-cjk"
    return "fonts-symbola" if unicodedata.category(character)[0] == "S" else "fonts-noto-core"
