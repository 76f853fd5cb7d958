"""Which columns of a table are the text, labels and slots, and which are ignored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from extract.errors import UsageError
from extract.label_column import Cell, Labels, read_labels
from extract.table_file import Row, Table

_LABEL = re.compile(r"label(_\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Columns:
    """Columns by what they are.

    Attributes
    ----------
    text
        The sentences; None where a template makes them.
    labels
        One or more.
    others
        All that are neither, nor ignored.
    ignored
        Those that the user named.
    """

    text: str | None
    labels: tuple[str, ...]
    others: tuple[str, ...]
    ignored: tuple[str, ...] = ()


def choose_columns(
    table: Table,
    text: str | None = None,
    label: Sequence[str] = (),
    ignore: Sequence[str] = (),
    *,
    templated: bool = False,
) -> Columns:
    """Find the columns that are asked for, or those that are called ``text`` and ``label``.

    Labels that are not named are ``label``, or ``label_0``, ``label_1``, …. Where other columns are
    named, those and ``text`` are ignored. Case counts only where two names differ in nothing else.

    Parameters
    ----------
    table
        With the columns.
    text, label, ignore
        Their names; one of ``label`` and ``ignore`` may list several, separated by commas.
    templated
        Whether a template makes the text.

    Raises
    ------
    UsageError
        There is no such column, or one is asked to be two things.
    """
    by_name = [name for name in table.columns if is_label(name)]
    ignored = _all(table, "--ignore", ignore)
    labels = _all(table, "--label", label) or [name for name in by_name if name not in ignored]
    sentence = None if templated else table.column(text or "text")
    if sentence is None and not templated:
        raise UsageError(table.lacks("text") if text is None else _unknown(table, "--text", text))
    if not labels:
        raise UsageError(table.lacks("label") + _advice(table))
    for name in (sentence, *labels):
        if name in ignored:
            raise UsageError(f"--ignore {name}: the column is the text or a label")
    if sentence in labels:
        raise UsageError(f"--label {sentence}: the column is the text")
    used = {sentence, *labels, *by_name, *ignored, "text"}
    others = tuple(column for column in table.columns if column not in used)
    return Columns(sentence, tuple(labels), others, tuple(ignored))


def is_label(column: str) -> bool:
    """Whether a column is one of labels by its name."""
    return _LABEL.fullmatch(column) is not None


def check_keys(table: Table, columns: Columns, row: Row) -> None:
    """Refuse a row of a JSONL file that lacks what the first one has, or has more.

    Raises
    ------
    UsageError
        It names the row.
    """
    if columns.text is not None and columns.text not in row.cells:
        raise UsageError(f"{row.where}: has no '{columns.text}'")
    first, found = (
        [name for name in of.cells if name in columns.others] for of in (table.rows[0], row)
    )
    if {*found} != {*first}:
        raise UsageError(f"{row.where}: has slots {found}, the first sentence {first}")


def labels_of(table: Table, columns: Columns) -> Labels:
    """The labels of all rows: of several columns, or of lists in a JSONL file.

    Raises
    ------
    UsageError
        A label is missing, or cannot be used; it names the row.
    """
    found: list[tuple[str, list[Cell]]] = []
    for name in columns.labels:
        for row in table.rows:
            if name not in row.cells:
                raise UsageError(f"{row.where}: has no '{name}'")
        cells = [(row.where, row.cells[name]) for row in table.rows]
        lists = [value if isinstance(value, list) else [value] for _, value in cells]
        for (where, _), values in zip(cells, lists, strict=True):
            if not values:
                raise UsageError(f"{where}: '{name}' is an empty list")
            if len(values) != len(lists[0]):
                raise UsageError(f"{where}: has {len(values)} labels, others {len(lists[0])}")
        for k in range(len(lists[0])):
            column = [(where, v[k]) for (where, _), v in zip(cells, lists, strict=True)]
            found.append((name, column))
    return read_labels(found, str(table.path), table.commas)


def said_of(table: Table, labels: Labels) -> list[str]:
    """What is said of a table: how it was read, and how its labels were."""
    file = [*table.said[:1], *labels.dialect, *table.said[1:]]
    return [*([f"{table.path.name}: {', '.join(file)}"] if file else []), *labels.said]


def _advice(table: Table) -> str:
    return ": name the one that is the label with --label" if len(table.columns) > 1 else ""


def _all(table: Table, option: str, names: Sequence[str]) -> list[str]:
    """Columns of the names, each once."""
    found: dict[str, None] = {}
    for given in names:
        whole = table.column(given)
        for name in [given] if whole is not None else given.split(","):
            column = table.column(name)
            if column is None:
                raise UsageError(_unknown(table, option, name.strip()))
            found[column] = None
    return list(found)


def _unknown(table: Table, option: str, name: str) -> str:
    return f"{option} {name}: {table.path} has no such column: {table.instead_of(name)}"
