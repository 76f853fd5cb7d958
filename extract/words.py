"""Words of a text in any script, and where a word may begin or end.

ICU finds the words (UAX #29), with dictionaries for the scripts that are written without spaces:
Han, Kana, Thai, Lao, Khmer, Myanmar. Beyond that punctuation marks are words of their own, a number
is one word (:mod:`extract.numerals`), and what prints nothing is none.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import regex
from icu4py.breakers import BaseBreaker, CharacterBreaker, WordBreaker

from extract.numerals import Span, numbers

# White space, controls, the blank of Braille, and characters without a glyph: zero-width ones,
# marks of direction, byte order marks, selectors of variants.
_NOTHING = regex.compile(r"[\s\p{Cc}\p{Default_Ignorable_Code_Point}\u2800]*")
_LONE_SURROGATE = regex.compile(r"[\ud800-\udfff]")
_SPACE_OR_MARK = regex.compile(r"(?V1)[\s\p{P}\p{S}--\p{Pc}]")
_LETTER = regex.compile(r"\p{L}")
_LETTER_BEFORE = regex.compile(r"(?r)\p{L}\p{M}*$")
_LATIN = regex.compile(r"\p{Latin}")
# As in Anna's, ’tis and '90s; beside scripts without spaces it is a quotation mark.
_CONTRACTION = regex.compile(
    r"(?V1)'(?=[\w--\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])"
    r"|(?<=^|[\p{L}\p{M}])’(?=\p{Latin})"
)


def composed(text: str) -> str:
    """The text in Unicode's form NFC, in which words of the same letters are equal."""
    return unicodedata.normalize("NFC", text)


def folded(text: str) -> str:
    """The text whatever its case, and the form of its accents."""
    return composed(composed(text).casefold())


def prints(text: str) -> bool:
    """Whether anything of a text is to be seen."""
    return not _NOTHING.fullmatch(text)


def characters(text: str) -> list[Span]:
    """Spans of what readers take for one character: a letter with its marks, an emoji."""
    return list(_segments(CharacterBreaker, text))


@lru_cache(maxsize=1024)  # sentences of one template share what stands between their slots
def split_words(text: str) -> tuple[Span, ...]:
    """Spans of words, numbers and punctuation marks, without what prints nothing.

    An apostrophe begins a word with the letters behind it: ``Anna's`` is ``Anna`` and ``'s``.
    """
    joined = {apostrophe.end() for apostrophe in _CONTRACTION.finditer(text)}
    shown = [(a, b) for a, b in characters(text) if prints(text[a:b])]
    starts = [start for start, _ in shown]
    words = []
    for start, end in pairwise(sorted(boundaries(text) - joined)):
        first, last = bisect_left(starts, start), bisect_left(starts, end)
        if first < last:
            words.append((shown[first][0], shown[last - 1][1]))
    return tuple(words)


def boundaries(text: str) -> set[int]:
    """Where a word, a number or a punctuation mark begins or ends.

    These are the boundaries of UAX #29, and those of punctuation marks; none within a number.
    They may part a character where a mark is part of it, as in the emoji #️⃣.
    """
    if not text:
        return set()
    found = {0, len(text)}
    for span in _segments(WordBreaker, text):
        found.update(span)
    for mark in _SPACE_OR_MARK.finditer(text):
        if not _is_letter_like(text, mark.start()):
            found.update(mark.span())
    for start, end in numbers(text):
        found.difference_update(range(start + 1, end))
    return found


def _is_letter_like(text: str, place: int) -> bool:
    """Whether UAX #29 decides if a mark parts a word: п'ять, ג'ון, צה״ל and col·legi are one.

    The apostrophe of Latin letters parts them, as in Anna's and l'été.
    """
    before = None if text[place].isspace() else _LETTER_BEFORE.search(text, 0, place)
    if before is None:
        return False
    if text[place] in "'’\"":
        return not _LATIN.match(before[0])
    return not text[place].isascii() and _LETTER.match(text, place + 1) is not None


def _segments(kind: type[BaseBreaker], text: str) -> Iterator[Span]:
    """Segments in characters of Python; ICU counts units of UTF-16."""
    safe = _LONE_SURROGATE.sub("\ufffd", text)
    spans = kind(safe, "en").segments()
    if safe.isascii() or max(safe) <= "\uffff":
        yield from spans
        return
    place, index = {0: 0}, 0
    for i, character in enumerate(safe, start=1):
        index += 1 if character <= "\uffff" else 2
        place[index] = i
    for start, end in spans:
        yield place[start], place[end]
