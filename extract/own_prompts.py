"""Sentences of the user's own, from a CSV or JSONL file."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from extract.cells import COLUMN, as_written
from extract.errors import UsageError
from extract.prompts import Prompts

_WORD = re.compile(r"'\w+|\w+|[^\w\s]")
_LABEL = re.compile(r"label(_\d+)?")

Row = tuple[str, str, list[Any], dict[str, str]]  # where, text, labels, slots
Unit = tuple[str, bool, int, int]  # name, is a slot, start, end


def read_prompts(path: str | Path, align: bool = True) -> Prompts:
    """Read sentences with labels and optional slots.

    A CSV file has columns ``text`` and ``label`` (or ``label_0``, ``label_1``, …); every other
    column is a slot, whose value is found in the text. A JSONL file has one object a line with
    ``text``, ``label`` (a number or a list) and slots under ``slots`` or as further keys.
    The ``prompts.csv`` of a run gives the sentences of that run: its last column ``neutralised``,
    if there is one, names the cells of a row that got an apostrophe in front, which is taken away.

    Words are aligned across sentences: the texts must be the same but for their slots. Words
    that differ without being declared become slots ``word_<k>`` where all sentences have equally
    many words.

    Parameters
    ----------
    path
        A ``.csv`` or ``.jsonl`` file.
    align
        False skips the alignment, for raw token positions: the prompts then have no words.

    Raises
    ------
    UsageError
        The file cannot be used; the message names the line.
    """
    path = Path(path)
    rows = list(_read(path))
    if not rows:
        raise UsageError(f"{path} holds no sentences")
    labels = _labels(path, rows)
    names = list(rows[0][3])
    for where, _, _, slots in rows:
        if slots.keys() != set(names):
            raise UsageError(f"{where}: has slots {list(slots)}, the first sentence {names}")
    texts = tuple(text for _, text, _, _ in rows)
    values = {name: tuple(slots[name] for _, _, _, slots in rows) for name in names}
    if not align:
        return Prompts(texts, labels, (), (), np.zeros((len(rows), 0, 2), dtype=np.int64), values)
    # In the order of the first sentence, which decides between slots of equal length.
    units = [
        _units(where, text, {name: slots[name] for name in names}) for where, text, _, slots in rows
    ]
    kinds = _common_units(rows, units)
    spans = np.array([[(start, end) for _, _, start, end in u] for u in units], dtype=np.int64)
    for j, (name, is_slot) in enumerate(kinds):
        if is_slot and name not in values:
            values[name] = tuple(
                text[a:b] for text, (a, b) in zip(texts, spans[:, j].tolist(), strict=True)
            )
    return Prompts(
        texts,
        labels,
        tuple(name for name, _ in kinds),
        tuple(is_slot for _, is_slot in kinds),
        spans,
        values,
    )


def _read(path: Path) -> Iterator[Row]:
    if not path.is_file():
        if path.exists():
            raise UsageError(f"{path} is not a regular file: --prompts takes a CSV or JSONL file")
        raise UsageError(f"no such file: {path}")
    if path.suffix not in (".csv", ".jsonl"):
        raise UsageError(f"{path}: prompts must be a .csv or a .jsonl file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except (UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    return _read_csv(path, text) if path.suffix == ".csv" else _read_jsonl(path, text)


def _lines(text: str) -> io.StringIO:
    """Lines as files have them: str.splitlines also breaks at U+2028, form feeds and the like."""
    return io.StringIO(text, newline="")


def _read_csv(path: Path, text: str) -> Iterator[Row]:
    # Strict, or a quote that is never closed silently joins the rows that follow.
    reader = csv.reader(_lines(text), strict=True)
    header = next(_records(path, reader), ("", []))[1]
    noted = header[-1:] == [COLUMN]
    if COLUMN in header[:-1]:
        raise UsageError(f"{path}: rename the column {COLUMN!r}, which has a meaning of its own")
    if noted:
        header = [*map(as_written, header[:-1]), COLUMN]
    fields = [field for field in header if field and not (noted and field == COLUMN)]
    label_fields = [field for field in fields if _LABEL.fullmatch(field)]
    for field in fields:
        if fields.count(field) > 1:
            raise UsageError(f"{path}: has two columns {field!r}: rename or remove one")
    for needed, found in (("text", "text" in fields), ("label", bool(label_fields))):
        if not found:
            raise UsageError(f"{path}: no column '{needed}'; it has {', '.join(fields) or 'none'}")
    for where, record in _records(path, reader):
        if len(record) != len(header):
            raise UsageError(f"{where}: has another number of cells than the header")
        cells = dict(zip(header, record, strict=True))
        if noted:
            cells |= _apostrophes_removed(where, cells, cells.pop(COLUMN))
        slots = {f: cells[f] for f in fields if f != "text" and f not in label_fields}
        yield where, cells["text"], [cells[field] for field in label_fields], slots


def _apostrophes_removed(where: str, cells: dict[str, str], listed: str) -> dict[str, str]:
    """Cells of a row that got an apostrophe, as its column ``neutralised`` lists them."""
    try:
        names = json.loads(listed) if listed else []
        return {name: as_written(cells[name]) for name in names}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{where}: the column {COLUMN!r} must be a JSON list of columns: rename it, if it is a "
            "slot"
        ) from error


def _records(path: Path, reader: Any) -> Iterator[tuple[str, list[str]]]:
    """Rows that are not blank, each with the line it begins at: a quoted cell may hold newlines."""
    while True:
        where = f"{path} line {reader.line_num + 1}"
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise UsageError(f"{where}: is not CSV ({error}), is a quote missing?") from error
        if record is None:
            return
        if record:
            yield where, record


def _read_jsonl(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(_lines(text), start=1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            record = json.loads(line)
        except ValueError as error:  # not only JSONDecodeError: numbers can have too many digits
            raise UsageError(f"{where}: is not JSON ({error})") from error
        if not isinstance(record, dict):
            raise UsageError(f"{where}: is not a JSON object")
        for needed in ("text", "label"):
            if needed not in record:
                raise UsageError(f"{where}: has no '{needed}'")
        label = record.pop("label")
        sentence = record.pop("text")
        slots = record.pop("slots", {})
        if not isinstance(slots, dict) or not isinstance(sentence, str):
            raise UsageError(f"{where}: 'text' must be a string and 'slots' an object")
        try:
            sentence.encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"{where}: 'text' holds half of a character (\\ud800 to \\udfff)"
            ) from error
        slots = {str(k): str(v) for k, v in (record | slots).items()}
        if COLUMN in slots:
            raise UsageError(f"{where}: rename the slot {COLUMN!r}, which has a meaning of its own")
        yield where, sentence, label if isinstance(label, list) else [label], slots


def _labels(path: Path, rows: list[Row]) -> np.ndarray:
    labels = []
    for where, text, cells, _ in rows:
        if not text.strip():
            raise UsageError(f"{where}: the sentence is empty")
        if len(cells) != len(rows[0][2]):
            raise UsageError(f"{where}: has {len(cells)} labels, others {len(rows[0][2])}")
        try:
            values = [float(cell) for cell in cells]
        except (TypeError, ValueError, OverflowError) as error:
            raise UsageError(f"{where}: label {cells} is not a number") from error
        if not np.isfinite(values).all():
            raise UsageError(f"{where}: label {cells} is missing or not finite")
        labels.append(values)
    array = np.array(labels, dtype=np.float64)
    if len(array) > 1 and (array == array[0]).all():
        raise UsageError(f"{path}: all labels are equal, there is no geometry to find")
    return array[:, 0] if array.shape[1] == 1 else array


def _units(where: str, text: str, slots: dict[str, str]) -> list[Unit]:
    """Split a sentence into slots, words, contractions and punctuation marks."""
    taken: list[Unit] = []
    # Longer values first, so that "New York" is not cut by another slot's "York".
    for name, cell in sorted(slots.items(), key=lambda item: -len(item[1])):
        # A space after a value belongs to the next word's token.
        value = cell.strip()
        if not value:
            raise UsageError(f"{where}: slot '{name}' is empty")
        before = r"(?<!\w)" if re.match(r"\w", value) else ""
        after = r"(?!\w)" if re.search(r"\w$", value) else ""
        found = [
            (name, True, match.start(), match.end())
            for match in re.finditer(f"{before}{re.escape(value)}{after}", text)
            if not any(match.start() < end and start < match.end() for _, _, start, end in taken)
        ]
        if not found and value in (earlier := {text[a:b]: other for other, _, a, b in taken}):
            raise UsageError(
                f"{where}: the value {value!r} of slot '{name}' stands only where slot "
                f"'{earlier[value]}' does: leave out these slots, words that differ become slots "
                "by themselves"
            )
        if not found:
            raise UsageError(f"{where}: the value {value!r} of slot '{name}' is not in its text")
        taken += found
    units = sorted(taken, key=lambda unit: unit[2])
    words, position = [], 0
    for unit in [*units, ("", True, len(text), len(text))]:
        gap = text[position : unit[2]]
        words += [
            (m[0], False, position + m.start(), position + m.end()) for m in _WORD.finditer(gap)
        ]
        if unit[0]:
            words.append(unit)
        position = unit[3]
    return words


def _common_units(rows: list[Row], units: list[list[Unit]]) -> list[tuple[str, bool]]:
    """Names of the words that all sentences share, differing words as slots."""
    first = units[0]
    common = []
    for (where, text, _, _), sentence in zip(rows, units, strict=True):
        if len(sentence) != len(first):
            raise UsageError(
                f"{where}: has {len(sentence)} words where the first sentence has {len(first)} "
                f"({_short(text)}): declare what varies as slots, or use --positions raw"
            )
    for j, (name, is_slot, _, _) in enumerate(first):
        differs = False
        for (where, text, _, _), sentence in zip(rows, units, strict=True):
            if sentence[j][1] != is_slot or (is_slot and sentence[j][0] != name):
                raise UsageError(
                    f"{where}: word {j + 1} is {sentence[j][0]!r} where the first sentence has "
                    f"{name!r} ({_short(text)}): slots must stand at the same place"
                )
            differs |= sentence[j][0] != name
        common.append((f"word_{j + 1}", True) if differs else (name, is_slot))
    return common


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")
