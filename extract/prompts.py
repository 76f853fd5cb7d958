"""Sentences with labels, and where their words stand: the study's own."""

from __future__ import annotations

import calendar
import hashlib
import json
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from extract.cells import COLUMN, csv_text, neutralised
from extract.templates import Template, parse_template
from gpu_smds._files import File

#: Name of the task whose sentences are the study's.
STUDY_TASK = "date"
#: Column of a run's ``prompts.csv`` with the template that the slots are filled into.
TEMPLATE_COLUMN = "template"
TEMPLATE = (
    "{Name} was born on the {Day_Ordinal} of {Month}. {Name} plays volleyball. "
    "{Name}'s favourite color is green. {Name} lives in Berlin. "
    "{Name} had a party on her birthday."
)
NAMES = ("Anna", "Mary", "John", "Paul", "Mark", "Lisa")
MONTHS = tuple(calendar.month_name[1:])
YEAR = 2023
DAYS_OF_YEAR = 365


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
    label_names
        Per column of the labels the names of the categories 0, 1, …, none where it holds numbers;
        empty where all do.
    template
        The user's template with which the slots were filled; empty where they were found in texts.
    frame
        Characters of a chat template before and after every sentence (:mod:`extract.chat`).
    """

    texts: tuple[str, ...]
    labels: np.ndarray
    units: tuple[str, ...]
    is_slot: tuple[bool, ...]
    spans: np.ndarray
    slots: dict[str, tuple[str, ...]]
    label_names: tuple[tuple[str, ...], ...] = ()
    template: str = ""
    frame: tuple[int, int] = (0, 0)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def in_chat(self) -> bool:
        """Whether a chat template is around the sentences."""
        return self.frame != (0, 0)

    @property
    def hash(self) -> str:
        """SHA-256 of texts, labels and words: two runs with the same hash read the same."""
        content = [self.texts, self.labels.tolist(), self.units, self.is_slot, self.spans.tolist()]
        if self.label_names:
            content.append(self.label_names)
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def to_csv(self, path: str | Path | File, *, as_is: bool = False) -> None:
        """Write ``text,label`` (or ``label_0,label_1,…``) and the slots, atomically.

        Labels that are categories are written by their names; where the sentences are of a
        template, a column ``template`` holds it, and with it where every slot stands.
        What a spreadsheet would take for a formula gets an apostrophe in front
        (:mod:`extract.cells`), and a last column ``neutralised`` then says where, so that
        :func:`extract.read_prompts` gives back the same sentences; ``as_is`` leaves that out.
        """
        columns = self.labels.reshape(len(self), -1)
        names = (
            ["label"] if columns.shape[1] == 1 else [f"label_{i}" for i in range(columns.shape[1])]
        )
        templates = [[self.template] * len(self)] if self.template else []
        header = ["text", *names, *self.slots, *([TEMPLATE_COLUMN] if templates else [])]
        of_labels = [self._label_cells(k, column) for k, column in enumerate(columns.T)]
        columns_of_text = [self.texts, *of_labels, *self.slots.values(), *templates]
        rows = list(zip(*columns_of_text, strict=True))
        # Negative numbers are no formulas; a spreadsheet computes only what is text otherwise.
        numbers = {
            name for k, name in enumerate(names) if not (self.label_names and self.label_names[k])
        }
        noted = [] if as_is else _neutralised_names(header, rows, numbers)
        shown = [str if name in numbers or not noted else neutralised for name in header]
        table = [[*map(neutralised if noted else str, header), *([COLUMN] if noted else [])]]
        for i, row in enumerate(rows):
            cells = [cell(text) for cell, text in zip(shown, row, strict=True)]
            table.append([*cells, *noted[i : i + 1]])
        # A file that has the name already may be the very one that the sentences are from.
        File.of(path).write(csv_text(table).encode())

    def _label_cells(self, k: int, values: np.ndarray) -> list[str]:
        """Cells of a column of labels."""
        named = self.label_names[k] if self.label_names else ()
        return [named[int(value)] if named else repr(float(value)) for value in values]


def _neutralised_names(
    names: Sequence[str], rows: Sequence[Sequence[str]], numbers: Set[str]
) -> list[str]:
    """JSON lists of the cells of each row that get an apostrophe; no lists where none does."""
    found = []
    for row in rows:
        cells = zip(names, row, strict=True)
        found.append([n for n, cell in cells if n not in numbers and neutralised(cell) != cell])
    if not any(found) and all(neutralised(name) == name for name in names):
        return []
    return [json.dumps(row, ensure_ascii=False) if row else "" for row in found]


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


def fill(
    template: str | Template, slots: dict[str, tuple[str, ...]], labels: np.ndarray
) -> Prompts:
    """Fill a template's ``{slots}`` and note where every word comes to stand."""
    parsed = parse_template(template) if isinstance(template, str) else template
    texts, spans = [], np.zeros((len(labels), len(parsed.words), 2), dtype=np.int64)
    for i in range(len(labels)):
        text, spans[i] = parsed.filled({name: slots[name][i] for name in parsed.slots})
        texts.append(text)
    units, is_slot = zip(*parsed.words, strict=True)
    return Prompts(tuple(texts), labels, units, is_slot, spans, slots)


def _label(month: int, day: int) -> float:
    return (date(YEAR, month, day).timetuple().tm_yday - 1) / DAYS_OF_YEAR
