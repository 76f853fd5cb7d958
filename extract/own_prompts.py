"""Sentences of the user's own, from a file with a row for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from extract import table_file
from extract.columns import Columns, check_keys, choose_columns, is_label, labels_of, said_of
from extract.errors import UsageError
from extract.label_column import Labels
from extract.own_templates import filled_again
from extract.prompts import Prompts
from extract.slots import Sentence, read_value
from extract.table_file import Table, read_table
from extract.units import Unit, with_words
from extract.words import composed, prints

Row = tuple[str, str, dict[str, str]]  # where, text, slots


def read_prompts(
    path: str | Path,
    align: bool = True,
    *,
    slots_only: bool = False,
    text: str | None = None,
    label: Sequence[str] = (),
    ignore: Sequence[str] = (),
    say: Callable[[str], None] | None = None,
) -> Prompts:
    """Read sentences with labels and optional slots.

    A CSV file has columns ``text`` and ``label`` (or ``label_0``, ``label_1``, …); every other
    column is a slot, whose value is found in the text. A JSONL file has one object a line with
    ``text``, ``label`` (a number or a list) and slots under ``slots`` or as further keys.
    The ``prompts.csv`` of a run gives the sentences of that run: its last column ``neutralised``,
    if there is one, names the cells of a row that got an apostrophe in front, which is taken away;
    a column ``template`` says where slots stand.

    Delimiter and encoding are found out (:mod:`extract.table_file`). Labels are numbers, ISO dates,
    which become days since 1970-01-01, or names of categories, which become 0, 1, … in their order
    (:mod:`extract.label_column`).

    Words are aligned across sentences: the texts must be the same but for their slots. Words
    that differ without being declared become slots ``word_<k>`` where all sentences have equally
    many words.

    Parameters
    ----------
    path
        A ``.csv``, ``.tsv``, ``.txt`` or ``.jsonl`` file.
    align
        False skips the alignment, for raw token positions: the prompts then have no words.
    slots_only
        The texts may differ in whatever they like: their words are the slots alone, each where it
        stands first.
    text, label, ignore
        Columns of the text and of the labels, where they have other names, and those that are no
        slots. A label that is chosen is a slot, too, where its values stand in the texts. An item
        of ``label`` or ``ignore`` may list several, separated by commas.
    say
        Called with how the file was read, where that is not plain.

    Raises
    ------
    UsageError
        The file cannot be used; the message names the line.
    """
    table = read_table(Path(path))
    columns = choose_columns(table, text, label, ignore)
    if not table.rows:
        raise UsageError(f"{path} holds no sentences")
    rows = [_row(table, columns, row) for row in table.rows]
    labels = labels_of(table, columns)
    if say is not None:
        for line in said_of(table, labels):
            say(line)
    known = filled_again(table, columns, labels)
    if known is not None:
        return known
    if not align:
        return _without_words(rows, columns.others, labels)
    also = [name for name in columns.labels if _stands_in_texts(name, rows)]
    if also:
        with suppress(UsageError):
            return _aligned(rows, (*columns.others, *also), labels, slots_only, say)
    return _aligned(rows, columns.others, labels, slots_only, say)


def _without_words(rows: list[Row], names: Sequence[str], labels: Labels) -> Prompts:
    texts = tuple(text for _, text, _ in rows)
    values = {name: tuple(composed(slots[name]) for _, _, slots in rows) for name in names}
    none = np.zeros((len(rows), 0, 2), dtype=np.int64)
    return Prompts(texts, labels.values, (), (), none, values, labels.names)


def _aligned(
    rows: list[Row],
    names: Sequence[str],
    labels: Labels,
    slots_only: bool,
    say: Callable[[str], None] | None,
) -> Prompts:
    """Sentences whose words stand at the same places, or whose slots alone are words."""
    texts = tuple(text for _, text, _ in rows)
    values = {name: tuple(read_value(slots[name]) for _, _, slots in rows) for name in names}
    # In the order of the first sentence, which decides between slots of equal length.
    units = [
        _units(where, text, {name: slots[name] for name in names}) for where, text, slots in rows
    ]
    several = _standing_unlike_often(units) if slots_only else []
    if slots_only:
        units = [_first_slots(sentence, units[0]) for sentence in units]
    kinds = _common_units(rows, units)
    spans = np.array([[(start, end) for _, _, start, end in u] for u in units], dtype=np.int64)
    for j, (name, is_slot) in enumerate(kinds):
        if is_slot and name not in values:
            values[name] = tuple(
                composed(text[a:b])
                for text, (a, b) in zip(texts, spans[:, j].tolist(), strict=True)
            )
    if several and say is not None:
        say(
            f"some sentences hold {', '.join(several)} more often than others: each is taken where "
            "it stands first (--template and --table say where it stands)"
        )
    return Prompts(
        texts,
        labels.values,
        tuple(name for name, _ in kinds),
        tuple(is_slot for _, is_slot in kinds),
        spans,
        values,
        labels.names,
    )


def _stands_in_texts(name: str, rows: list[Row]) -> bool:
    """Whether a label that the user chose may be a slot, too: its values stand in the texts."""
    if is_label(name):
        return False
    return all(
        (value := read_value(slots[name])) and Sentence(text).find(value) for _, text, slots in rows
    )


def _row(table: Table, columns: Columns, row: table_file.Row) -> Row:
    """A row with its text and slots, as far as they are there."""
    assert columns.text is not None
    check_keys(table, columns, row)
    text = row.cells[columns.text]
    if not isinstance(text, str):
        raise UsageError(f"{row.where}: {columns.text!r} must be a string")
    if not prints(text):
        raise UsageError(f"{row.where}: the sentence is empty")
    found = (*columns.others, *columns.labels)
    slots = {name: str(row.cells[name]) for name in found if name in row.cells}
    return row.where, text, slots


def _units(where: str, text: str, slots: dict[str, str]) -> list[Unit]:
    """Split a sentence into slots, words, contractions and punctuation marks."""
    taken: list[Unit] = []
    sentence = Sentence(text)
    values = {name: read_value(cell) for name, cell in slots.items()}
    # Longer values first, so that "New York" is not cut by another slot's "York".
    for name, value in sorted(values.items(), key=lambda item: -len(item[1])):
        if not value:
            raise UsageError(f"{where}: slot '{name}' is empty")
        places = sentence.find(value)
        others = [
            next((other for other, _, a, b in taken if start < b and a < end), None)
            for start, end in places
        ]
        found = [
            (name, True, start, end)
            for (start, end), other in zip(places, others, strict=True)
            if other is None
        ]
        if places and not found:
            raise UsageError(
                f"{where}: the value {value!r} of slot '{name}' stands only where slot "
                f"'{others[0]}' does: say which is where with --template and --table, or leave out "
                "these slots, words that differ become slots by themselves"
            )
        if not found and (longer := sentence.inside(value)):
            raise UsageError(
                f"{where}: the value {value!r} of slot '{name}' stands only {longer}: "
                "write it as it stands in the text, or give --template and --table"
            )
        if not found:
            raise UsageError(
                f"{where}: the value {value!r} of slot '{name}' is not in its text: if the "
                "column is no slot, give --ignore with its name"
            )
        taken += found
    return with_words(text, taken)


def _first_slots(sentence: list[Unit], first: list[Unit]) -> list[Unit]:
    """Each slot where it stands first in a sentence, in the order of the first sentence."""
    found: dict[str, Unit] = {}
    for unit in sentence:
        if unit[1]:
            found.setdefault(unit[0], unit)
    return [found[name] for name in dict.fromkeys(name for name, is_slot, *_ in first if is_slot)]


def _standing_unlike_often(units: list[list[Unit]]) -> list[str]:
    """Slots that stand more often in some sentences: their first place may mean another thing."""
    counts = [Counter(name for name, is_slot, _, _ in of if is_slot) for of in units]
    return [name for name in counts[0] if len({found[name] for found in counts}) > 1]


def _common_units(rows: list[Row], units: list[list[Unit]]) -> list[tuple[str, bool]]:
    """Names of the words that all sentences share, differing words as slots."""
    first = units[0]
    common = []
    for (where, text, _), sentence in zip(rows, units, strict=True):
        if len(sentence) != len(first):
            raise UsageError(
                f"{where}: has {len(sentence)} words where the first sentence has {len(first)} "
                f"({_short(text)}): declare what varies as slots, and use --positions slots where "
                "the wording differs too"
            )
    for j, (name, is_slot, _, _) in enumerate(first):
        differs = False
        for (where, text, _), sentence in zip(rows, units, strict=True):
            if sentence[j][1] != is_slot or (is_slot and sentence[j][0] != name):
                raise UsageError(
                    f"{where}: word {j + 1} is {sentence[j][0]!r} where the first sentence has "
                    f"{name!r} ({_short(text)}): slots must stand at the same place, unless you "
                    "use --positions slots; --template and --table say where a value stands that "
                    "a sentence holds twice"
                )
            differs |= sentence[j][0] != name
        common.append((f"word_{j + 1}", True) if differs else (name, is_slot))
    return common


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")
