"""Templates of sentences: text with slots, such as ``{Name} was born in {Month}.``"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from extract.errors import UsageError
from extract.units import Unit, with_words

_BRACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True)
class Template:
    """A template in parts.

    Attributes
    ----------
    written
        As the user gave it.
    parts
        Text as it stands in the sentence, or the name of a slot; with which of them it is.
    """

    written: str
    parts: tuple[tuple[str, bool], ...]

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the slots in order, each once."""
        return tuple(dict.fromkeys(text for text, is_slot in self.parts if is_slot))

    def filled(self, values: Mapping[str, str]) -> tuple[str, list[Unit]]:
        """A sentence, and the units it consists of: where each slot stands is known."""
        text, slots = "", []
        for part, is_slot in self.parts:
            start = len(text)
            text += values[part] if is_slot else part
            if is_slot:
                slots.append((part, True, start, len(text)))
        return text, with_words(text, slots)


def parse_template(written: str) -> Template:
    """Take a template apart; ``{{`` and ``}}`` are braces of the text.

    Raises
    ------
    UsageError
        A brace that is not closed, a slot without a name, or none at all.
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
    if len(parts) == 1:
        raise UsageError(
            f"the template has no slot: write columns of the table in braces, as in {{Name}}: "
            f"{written!r}"
        )
    return Template(written, tuple(part for part in parts if part[0]))
