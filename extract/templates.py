"""Templates of sentences: text with slots, such as ``{Name} was born in {Month}.``"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from extract.errors import UsageError
from extract.units import Unit, with_words
from extract.words import characters

_BRACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True)
class Template:
    """A template in parts.

    Attributes
    ----------
    written
        As it was given.
    parts
        Text as it stands in the sentence, or the name of a slot; with which of them it is.
    """

    written: str
    parts: tuple[tuple[str, bool], ...]

    @cached_property
    def slots(self) -> tuple[str, ...]:
        """Names of the slots in order, as often as they stand there."""
        return tuple(text for text, is_slot in self.parts if is_slot)

    @cached_property
    def words(self) -> tuple[tuple[str, bool], ...]:
        """Slots and words in order, each with whether it is a slot."""
        return tuple((name, is_slot) for part in self._units for name, is_slot, _, _ in part)

    @cached_property
    def _units(self) -> list[list[Unit]]:
        """Units of every part; where a word stands in its part."""
        return [
            [(text, True, 0, 0)] if is_slot else with_words(" " * marks + text[marks:], ())
            for (text, is_slot), marks in zip(self.parts, self._marks, strict=True)
        ]

    @cached_property
    def _marks(self) -> list[int]:
        """Length of the marks of every part that belong to the letter before it, in a slot."""
        before = ["", *("x" if is_slot else "" for _, is_slot in self.parts)]
        return [
            characters(letter + text)[0][1] - 1 if letter and not is_slot else 0
            for letter, (text, is_slot) in zip(before, self.parts, strict=False)
        ]

    def filled(self, values: Mapping[str, str]) -> tuple[str, list[tuple[int, int]]]:
        """A sentence, and the span of each of :attr:`words` in it."""
        sentence = ""
        spans: list[tuple[int, int]] = []
        for (part, is_slot), units, marks in zip(self.parts, self._units, self._marks, strict=True):
            start = len(sentence)
            sentence += values[part] if is_slot else part
            if marks:
                spans[-1] = (spans[-1][0], start + marks)
            if is_slot:
                spans.append((start, len(sentence)))
            else:
                spans += [(start + a, start + b) for _, _, a, b in units]
        return sentence, spans


def parse_template(written: str) -> Template:
    """Take a template apart; ``{{`` and ``}}`` are braces of the text.

    Raises
    ------
    UsageError
        A brace that is not closed, or a slot without a name.
    """
    parts: list[tuple[str, bool]] = []
    literal, position = "", 0
    for brace in _BRACE.finditer(written):
        literal += written[position : brace.start()]
        position = brace.end()
        if brace[0] in ("{{", "}}"):
            literal += brace[0][0]
            continue
        if brace[1] is None:
            raise UsageError(
                f"the template has a lone {brace[0]!r} at character {brace.start() + 1}: slots are "
                f"written as {{Name}}, and a brace of the text as {brace[0] * 2}"
            )
        if not brace[1].strip():
            raise UsageError("the template has a slot without a name: write a column, as in {Name}")
        parts += [(literal, False), (brace[1].strip(), True)]
        literal = ""
    parts.append((literal + written[position:], False))
    return Template(written, tuple(part for part in parts if part[0]))
