"""Tables as people have them: a CSV, TSV or JSONL file as rows, each with its place in the file."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from extract.cells import COLUMN, as_written
from extract.encodings import decoded
from extract.errors import UsageError
from extract.words import folded

_CSV, _JSONL = (".csv", ".tsv", ".tab", ".txt"), (".jsonl", ".ndjson")
_WORKBOOKS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".numbers")
#: What may stand between the cells of a row, by its name.
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
#: The line by which Excel is told a delimiter.
_SEP = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """A row of a table: where it begins, for errors, and its cells by column.

    Cells of a CSV file are text, those of a JSONL file whatever JSON has.
    """

    where: str
    cells: dict[str, Any]


@dataclass(frozen=True)
class Table:
    """Rows of a file.

    Attributes
    ----------
    path
        The file.
    columns
        Names of its columns; of a JSONL file, the keys of all rows.
    rows
        Those that are not blank.
    said
        What is unusual about the file, for people: delimiter, encoding, columns without a name.
    commas
        Whether a comma between digits is surely a decimal one: the cells are separated by
        semicolons because of it.
    keyed
        Whether it is JSONL, each of whose rows has its own keys.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    said: tuple[str, ...] = ()
    commas: bool = False
    keyed: bool = False

    def column(self, name: str) -> str | None:
        """The one column of a name, whatever its case and form of accents; None: there is none."""
        name = name.strip()
        if name in self.columns:
            return name
        alike = [column for column in self.columns if folded(column) == folded(name)]
        return alike[0] if len(alike) == 1 else None

    def instead_of(self, name: str, shown: Callable[[str], str] = repr) -> str:
        """The column that a name may have meant, as ``shown``, or all that there are."""
        close = get_close_matches(name, self.columns, n=1)
        return f"did you mean {shown(close[0])}?" if close else f"it has {', '.join(self.columns)}"

    def lacks(self, column: str) -> str:
        """Sentence that says that a column is not there."""
        if self.keyed and self.rows:
            return f"{self.rows[0].where}: has no '{column}'"
        listed = ", ".join(self.columns) or "none"
        return f"{self.path}: no column '{column}'; it has {listed}"


def read_table(path: Path) -> Table:
    """Read a file.

    The delimiter is the one that stands in the header: a comma, semicolon, tab or bar. Encodings
    are :mod:`extract.encodings`. Columns and rows at the end that are empty, as Excel leaves them,
    are left out, and blanks around the names of columns; the quoting is taken strictly.

    Raises
    ------
    UsageError
        The file cannot be read; the message names the line.
    """
    if not path.is_file():
        if path.exists():
            raise UsageError(f"{path} is not a regular file: a CSV or JSONL file is needed")
        raise UsageError(f"no such file: {path}")
    kind = path.suffix.casefold()
    if kind in _WORKBOOKS:
        raise UsageError(f"{path} is a workbook: save its sheet as CSV (UTF-8), and give that file")
    if kind not in _CSV + _JSONL:
        raise UsageError(f"{path}: must be a .csv, .tsv, .txt or a .jsonl file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error
    text, encoding = decoded(path, data)
    if kind in _JSONL:
        return _of_json_lines(path, text, encoding)
    return _of_csv(path, text, encoding)


def _lines(text: str) -> io.StringIO:
    """Lines as files have them: str.splitlines also breaks at U+2028, form feeds and the like."""
    return io.StringIO(text, newline="")


def _of_csv(path: Path, text: str, encoding: str) -> Table:
    skipped, told = 0, _SEP.match(text)
    if told is not None:
        text, skipped = text[told.end() :], 1
    delimiter = told[1] if told is not None else _delimiter(path, text)
    records = list(_records(path, text, delimiter, skipped))
    header = [name.strip() for name in records[0][1]] if records else []
    # Excel writes as many cells as any row ever had.
    while header and not header[-1] and not any(_cell(r, len(header) - 1) for _, r in records[1:]):
        header.pop()
    noted = header[-1:] == [COLUMN]
    if COLUMN in header[:-1]:
        raise UsageError(f"{path}: rename the column {COLUMN!r}, which has a meaning of its own")
    if noted:
        header = [*map(as_written, header[:-1]), COLUMN]
    fields = [name for name in header if name and not (noted and name == COLUMN)]
    for field in fields:
        if fields.count(field) > 1:
            raise UsageError(f"{path}: has two columns {field!r}: rename or remove one")
    rows = tuple(
        Row(where, _cells(where, header, record, noted))
        for where, record in records[1:]
        if any(cell.strip() for cell in record)
    )
    said = [] if delimiter == "," else [_DELIMITERS.get(delimiter, f"{delimiter!r} between cells")]
    said += [encoding] if encoding else []
    unnamed = [str(number) for number, name in enumerate(header, 1) if not name]
    said += [f"column {', '.join(unnamed)} without a name is ignored"] if unnamed else []
    return Table(path, tuple(fields), rows, tuple(said), commas=delimiter == ";")


def _delimiter(path: Path, text: str) -> str:
    """What stands between the cells of the header, where one thing does.

    Where the names of columns hold others of them, it is the one by which all rows have as many
    cells as the header.
    """
    found = [delimiter for delimiter in _DELIMITERS if len(_header(text, delimiter)) > 1]
    if len(found) > 1:
        found = [delimiter for delimiter in found if _is_even(text, delimiter)] or found
    if len(found) > 1:
        listed = " or ".join(_DELIMITERS[delimiter] for delimiter in found)
        raise UsageError(
            f"{path}: its cells may be separated by {listed}: put names that hold one of them in "
            'quotes ("), or write sep=, (or sep=;) in the first line'
        )
    return found[0] if found else ","


def _header(text: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader(_lines(text), delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []


def _is_even(text: str, delimiter: str) -> bool:
    """Whether all rows have as many cells."""
    try:
        rows = csv.reader(_lines(text), delimiter=delimiter, strict=True)
        return len({len(row) for row in rows if row}) == 1
    except csv.Error:
        return False


def _records(
    path: Path, text: str, delimiter: str, skipped: int
) -> Iterator[tuple[str, list[str]]]:
    """Rows that are not blank, each with the line it begins at: a quoted cell may hold newlines."""
    # Strict, or a quote that is never closed silently joins the rows that follow.
    reader = csv.reader(_lines(text), delimiter=delimiter, strict=True)
    while True:
        where = f"{path} line {reader.line_num + 1 + skipped}"
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise UsageError(f"{where}: is not CSV ({error}), is a quote missing?") from error
        if record is None:
            return
        if record:
            yield where, record


def _cell(record: Sequence[str], index: int) -> str:
    return record[index].strip() if index < len(record) else ""


def _cells(where: str, header: Sequence[str], record: list[str], noted: bool) -> dict[str, str]:
    """Cells of a row by column."""
    surplus = record[len(header) :]
    if len(record) < len(header) or any(cell.strip() for cell in surplus):
        raise UsageError(
            f"{where}: has another number of cells than the header ({len(record)}, not "
            f"{len(header)}): put a text that holds what stands between cells in quotes"
        )
    cells = dict(zip(header, record, strict=False))
    if noted:
        cells |= _apostrophes_removed(where, cells, cells.pop(COLUMN))
    return {name: cell for name, cell in cells.items() if name}


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


def _of_json_lines(path: Path, text: str, encoding: str) -> Table:
    rows = []
    for number, line in enumerate(_lines(text), start=1):
        if line.strip():
            where = f"{path} line {number}"
            rows.append(Row(where, _object(where, line)))
    columns = tuple(dict.fromkeys(key for row in rows for key in row.cells))
    return Table(path, columns, tuple(rows), (encoding,) if encoding else (), keyed=True)


def _object(where: str, line: str) -> dict[str, Any]:
    """Values of a line by their keys; those under ``slots`` beside the others."""
    try:
        record = json.loads(line)
    except ValueError as error:  # not only JSONDecodeError: numbers can have too many digits
        raise UsageError(f"{where}: is not JSON ({error})") from error
    if not isinstance(record, dict):
        raise UsageError(f"{where}: is not a JSON object")
    slots = record.pop("slots", {})
    if not isinstance(slots, dict):
        raise UsageError(f"{where}: 'slots' must be an object")
    for key in slots:
        if key in record:
            raise UsageError(f"{where}: has {key!r} twice, once under 'slots': rename one")
    found: dict[str, Any] = record | slots
    for key, value in found.items():
        try:
            str(value).encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"{where}: {key!r} holds half of a character (\\ud800 to \\udfff)"
            ) from error
    if COLUMN in found:
        raise UsageError(f"{where}: rename the slot {COLUMN!r}, which has a meaning of its own")
    return found
