"""A sentence as a row of units: its slots, and the words and punctuation marks between them."""

from __future__ import annotations

from collections.abc import Sequence

from extract.words import composed, split_words

Unit = tuple[str, bool, int, int]  # name, is a slot, start, end


def with_words(text: str, slots: Sequence[Unit]) -> list[Unit]:
    """The slots of a sentence with the words between them, in order."""
    units: list[Unit] = []
    position = 0
    for unit in [*sorted(slots, key=lambda slot: slot[2]), ("", True, len(text), len(text))]:
        gap = text[position : unit[2]]
        units += [
            (composed(gap[a:b]), False, position + a, position + b) for a, b in split_words(gap)
        ]
        if unit[0]:
            units.append(unit)
        position = unit[3]
    return units
