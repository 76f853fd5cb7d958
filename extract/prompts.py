"""Sentences with labels, and where their words stand: the study's own."""

from __future__ import annotations

import calendar
import csv
import hashlib
import io
import json
import os
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

TEMPLATE = (
    "{Name} was born on the {Day_Ordinal} of {Month}. {Name} plays volleyball. "
    "{Name}'s favourite color is green. {Name} lives in Berlin. "
    "{Name} had a party on her birthday."
)
NAMES = ("Anna", "Mary", "John", "Paul", "Mark", "Lisa")
MONTHS = tuple(calendar.month_name[1:])
YEAR = 2023
DAYS_OF_YEAR = 365

#: A slot of a template, a word, a contraction such as 's, or one punctuation mark.
_PIECE = re.compile(r"\{(?P<slot>\w+)\}|(?P<word>'\w+|\w+|[^\w\s])")


@dataclass(frozen=True)
class Prompts:
    """Sentences, their labels and the character spans of their words.

    Attributes
    ----------
    texts
        n sentences.
    labels
        ``(n,)`` or ``(n, k)`` float64.
    units
        Name of every word: its text where that is the same in all sentences, else its slot.
    is_slot
        Per word, whether it is a slot.
    spans
        ``(n, len(units), 2)`` character spans, end excluded.
    slots
        Values per sentence of every slot.
    """

    texts: tuple[str, ...]
    labels: np.ndarray
    units: tuple[str, ...]
    is_slot: tuple[bool, ...]
    spans: np.ndarray
    slots: dict[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def hash(self) -> str:
        """SHA-256 of texts, labels and words: two runs with the same hash read the same."""
        content = [self.texts, self.labels.tolist(), self.units, self.is_slot, self.spans.tolist()]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def to_csv(self, path: Path) -> None:
        """Write ``text,label`` (or ``label_0,label_1,…``) and the slots, atomically."""
        columns = self.labels.reshape(len(self), -1)
        names = (
            ["label"] if columns.shape[1] == 1 else [f"label_{i}" for i in range(columns.shape[1])]
        )
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["text", *names, *self.slots])
        for i, sentence in enumerate(self.texts):
            values = [repr(float(value)) for value in columns[i]]
            writer.writerow([sentence, *values, *(slot[i] for slot in self.slots.values())])
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            partial.write_text(text.getvalue(), encoding="utf-8", newline="")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def ordinal(day: int) -> str:
    """Write a day as 1st, 2nd, 3rd, 4th, 11th, 12th, 13th, 21st."""
    suffix = "th" if 11 <= day % 100 <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{suffix}"


def month_starts() -> list[float]:
    """Label at which each month begins."""
    return [_label(month, 1) for month in range(1, 13)]


def study_prompts(n_samples: int = 1000, seed: int = 42) -> Prompts:
    """Draw the study's sentences: month uniform, then day uniform over its days.

    The label is the day of the year in 2023, from 0, divided by 365.
    """
    rng = np.random.default_rng(seed)
    slots: dict[str, list[str]] = {"Name": [], "Day_Ordinal": [], "Month": []}
    labels = []
    for _ in range(n_samples):
        month = int(rng.integers(1, 13))
        day = int(rng.integers(1, calendar.monthrange(YEAR, month)[1] + 1))
        slots["Name"].append(NAMES[int(rng.integers(len(NAMES)))])
        slots["Day_Ordinal"].append(ordinal(day))
        slots["Month"].append(MONTHS[month - 1])
        labels.append(_label(month, day))
    return fill(TEMPLATE, {name: tuple(v) for name, v in slots.items()}, np.array(labels))


def fill(template: str, slots: dict[str, tuple[str, ...]], labels: np.ndarray) -> Prompts:
    """Fill a template's ``{slots}`` and note where every word comes to stand."""
    pieces = list(_PIECE.finditer(template))
    texts, spans = [], np.zeros((len(labels), len(pieces), 2), dtype=np.int64)
    for i in range(len(labels)):
        text, copied = "", 0
        for j, piece in enumerate(pieces):
            text += template[copied : piece.start()]
            copied = piece.end()
            slot = piece["slot"]
            start = len(text)
            text += slots[slot][i] if slot else piece["word"]
            spans[i, j] = start, len(text)
        texts.append(text + template[copied:])
    units = tuple(piece["slot"] or piece["word"] for piece in pieces)
    is_slot = tuple(piece["slot"] is not None for piece in pieces)
    return Prompts(tuple(texts), labels, units, is_slot, spans, slots)


def _label(month: int, day: int) -> float:
    return (date(YEAR, month, day).timetuple().tm_yday - 1) / DAYS_OF_YEAR
