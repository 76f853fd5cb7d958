"""Where a slot's value stands in its sentence.

Equal are characters whose form NFC is; what prints nothing is passed over, and places are those of
the text as it was given. A value begins and ends

- with whole characters: a letter is not parted from its marks, nor an emoji from its parts;
- outside of a number, or where it does (:mod:`extract.numerals`);
- at the boundary of a word (:mod:`extract.words`), or beside a number, or beside a letter of a
  script without spaces between words, or of one that attaches prefixes or particles to them.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache

import regex

from extract.numerals import Span, numbers
from extract.words import boundaries, characters, composed, prints, split_words

_WITHIN_WORDS = regex.compile(
    # written without spaces between words
    r"[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{scx=Bopomofo}\p{scx=Yi}"
    r"\p{scx=Thai}\p{scx=Lao}\p{scx=Khmer}\p{scx=Myanmar}\p{scx=Tibetan}\p{scx=Javanese}"
    r"\p{scx=Balinese}\p{scx=Tai_Le}\p{scx=New_Tai_Lue}\p{scx=Tai_Tham}\p{scx=Tai_Viet}"
    # prefixes and particles are part of the word
    r"\p{scx=Hangul}\p{scx=Hebrew}\p{scx=Arabic}\p{scx=Syriac}\p{scx=Ethiopic}]"
)
# An emoji of text and one in colour, and a letter with and without a joiner behind it, are equal.
_TRAILING = regex.compile(r"[\ufe00-\ufe0f\u200c\u200d\u034f]+$")


def read_value(cell: str) -> str:
    """A slot's value as it is compared: in form NFC, without blanks around it."""
    shown = [span for span in characters(cell) if prints(cell[slice(*span)])]
    return composed(cell[shown[0][0] : shown[-1][1]]) if shown else ""


def find_slot(text: str, value: str) -> list[Span]:
    """Spans of a value in a text, one behind the other."""
    return Sentence(text).find(value)


@dataclass(frozen=True)
class Sentence:
    """A text in which values of several slots are looked for."""

    text: str
    _characters: list[Span] = field(init=False, repr=False)
    _keys: list[str] = field(init=False, repr=False)
    _boundaries: set[int] = field(init=False, repr=False)
    _within_numbers: set[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shown, keys = _printed(self.text)
        spans = numbers(self.text)
        for name, found in (
            ("_characters", shown),
            ("_keys", keys),
            ("_boundaries", boundaries(self.text).union(*spans)),
            ("_within_numbers", {i for start, end in spans for i in range(start + 1, end)}),
        ):
            object.__setattr__(self, name, found)

    def find(self, value: str) -> list[Span]:
        """Spans ``(start, end)`` of the value, one behind the other, none within another."""
        found: list[Span] = []
        for first, last in self._places(value):
            start, end = self._characters[first][0], self._characters[last][1]
            if (
                (not found or start >= found[-1][1])
                and self._begins(first)
                and self._begins(last + 1)
            ):
                found.append((start, end))
        return found

    def inside(self, value: str) -> str | None:
        """Where a value that is not found stands: "inside the number '1.5'", say."""
        kinds = (("number", numbers(self.text)), ("word", split_words(self.text)))
        for first, last in self._places(value):
            start, end = self._characters[first][0], self._characters[last][1]
            for kind, spans in kinds:
                for a, b in spans:
                    if a < start < b or a < end < b:
                        where = "inside" if a <= start and end <= b else "where it parts"
                        return f"{where} the {kind} {self.text[a:b]!r}"
        if value and unicodedata.normalize("NFD", value) in unicodedata.normalize("NFD", self.text):
            return "where it parts a letter from its marks, or an emoji"
        return None

    def _places(self, value: str) -> list[tuple[int, int]]:
        """First and last character of all places with the characters of a value."""
        _, wanted = _printed(value)
        count = len(wanted)
        return [
            (i, i + count - 1)
            for i, key in enumerate(self._keys)
            if count and key == wanted[0] and self._keys[i : i + count] == wanted
        ]

    def _begins(self, index: int) -> bool:
        """Whether a value may end before this character, and begin with it."""
        if index in (0, len(self._keys)):
            return True
        earlier, later = self._characters[index - 1], self._characters[index]
        places = range(earlier[1], later[0] + 1)
        if not self._within_numbers.isdisjoint(places):
            return False
        return (
            not self._boundaries.isdisjoint(places)
            or _WITHIN_WORDS.match(self.text, earlier[0]) is not None
            or _WITHIN_WORDS.match(self.text, later[0]) is not None
        )


def _printed(text: str) -> tuple[list[Span], list[str]]:
    """The characters of a text that print something: their spans, and what makes them equal."""
    found = [(span, key) for span in characters(text) if (key := _key(text[span[0] : span[1]]))]
    return [span for span, _ in found], [key for _, key in found]


@lru_cache(maxsize=4096)
def _key(character: str) -> str:
    """What equal characters have in common; nothing where it prints nothing."""
    if not prints(character):
        return character if character.isspace() else ""
    return _TRAILING.sub("", composed(character)) or character
