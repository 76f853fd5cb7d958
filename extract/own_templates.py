"""Sentences of the user's own, from a template and a table of what fills its slots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from extract.columns import Columns, choose_columns, is_label, labels_of, said_of
from extract.errors import UsageError
from extract.label_column import Labels
from extract.prompts import TEMPLATE_COLUMN, Prompts, fill
from extract.slots import read_value
from extract.table_file import Table, read_table
from extract.templates import Template, parse_template


def fill_template(
    template: str,
    path: str | Path,
    *,
    label: Sequence[str] = (),
    ignore: Sequence[str] = (),
    say: Callable[[str], None] | None = None,
) -> Prompts:
    """Make a sentence of each row of a table: where the slots stand is known, and not searched.

    The slots of ``"{Name} was born in {Month}."`` are columns of the table, whatever their case;
    ``{{`` and ``}}`` are braces of the text. A column may be label and slot. Other columns are
    ignored.

    Parameters
    ----------
    template
        The sentence.
    path, label, ignore, say
        As in :func:`extract.read_prompts`.

    Raises
    ------
    UsageError
        The template or the table cannot be used; the message names the slot or the line.
    """
    parsed = parse_template(template)
    if not parsed.slots:
        raise UsageError(
            f"the template has no slot: write columns of the table in braces, as in {{Name}}: "
            f"{template!r}"
        )
    table = read_table(Path(path))
    columns = choose_columns(table, label=label, ignore=ignore, templated=True)
    if not table.rows:
        raise UsageError(f"{path} holds no rows")
    of_slots = _columns_of_slots(parsed, table, columns.ignored)
    values = {slot: _values(table, slot, column) for slot, column in of_slots.items()}
    labels = labels_of(table, columns)
    if say is not None:
        for line in said_of(table, labels):
            say(line)
        used = {*of_slots.values(), *columns.labels, *columns.ignored}
        unused = [column for column in table.columns if column not in used]
        if unused:
            say(f"{table.path.name}: not in the template, so ignored: {', '.join(unused)}")
    filled = fill(parsed, values, labels.values)
    return replace(filled, label_names=labels.names, template=template)


def filled_again(table: Table, columns: Columns, labels: Labels) -> Prompts | None:
    """Sentences of the ``prompts.csv`` of a run that was given a template; None for other tables.

    It has a column ``template``, in all rows the same, whose slots are columns.

    Raises
    ------
    UsageError
        The text of a row is not what the template gives.
    """
    written = {row.cells.get(TEMPLATE_COLUMN) for row in table.rows}
    template = written.pop() if len(written) == 1 else None
    if TEMPLATE_COLUMN not in columns.others or not isinstance(template, str):
        return None
    try:
        parsed = parse_template(template)
    except UsageError:
        return None
    if not parsed.slots or not {*parsed.slots} <= {*columns.others}:
        return None
    values = {slot: _values(table, slot, slot) for slot in parsed.slots}
    prompts = fill(parsed, values, labels.values)
    for row, text in zip(table.rows, prompts.texts, strict=True):
        if row.cells[columns.text or ""] != text:
            raise UsageError(
                f"{row.where}: its text is not what its template gives, {text!r}: change either, "
                f"or remove the column {TEMPLATE_COLUMN!r}"
            )
    return replace(prompts, label_names=labels.names, template=template)


def _columns_of_slots(template: Template, table: Table, ignored: Sequence[str]) -> dict[str, str]:
    """Column of every slot.

    Raises
    ------
    UsageError
        A slot that is no column, or one that is ignored.
    """
    found = {}
    for slot in template.slots:
        column = table.column(slot)
        if column is None:
            listed = table.instead_of(slot, "{{{}}}".format)
            raise UsageError(
                f"the template has {{{slot}}}, and {table.path} no such column: {listed}"
            )
        if column in (TEMPLATE_COLUMN, "text") or is_label(column):
            raise UsageError(
                f"{table.path}: rename the column {column!r}, which has a meaning of its own in "
                "the prompts.csv of a run"
            )
        if column in ignored:
            raise UsageError(f"--ignore {column}: the template has {{{slot}}}")
        found[slot] = column
    return found


def _values(table: Table, slot: str, column: str) -> tuple[str, ...]:
    values = []
    for row in table.rows:
        # A blank after a value belongs to the next word's token.
        cell = row.cells.get(column)
        value = "" if cell is None else read_value(str(cell))
        if not value:
            raise UsageError(f"{row.where}: slot '{slot}' is empty")
        values.append(value)
    return tuple(values)
