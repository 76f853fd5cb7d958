"""Labels from the cells of a table: numbers, dates or the names of categories.

A cell is a number only where the whole of it is one, in plain notation. A column holds one kind; a
cell of another kind, or an empty one, is an error that names its row.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from extract.errors import UsageError
from extract.slots import read_value

#: What stands for a missing value, in small letters; "None" only in this spelling.
_MISSING = {"", "na", "n/a", "#n/a", "<na>", "nan", "-nan", "nat", "null"}
_NUMBER = re.compile(r"[+\-−]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_COMMA = re.compile(r"[+\-−]?\d+,\d+", re.ASCII)
_THOUSANDS = re.compile(r"[+\-−]?[1-9]\d{0,2}(,\d{3})+", re.ASCII)
#: One number with separators or in digits of another script: "1.234,5", "1 000", "５".
_OTHER_NUMBER = re.compile(r"[+\-−]?(\d{1,3}([.,'’\s]\d{3})+([.,]\d+)?|\d+([.,٫]\d+)?)")
_INFINITE = re.compile(r"[+\-−]?inf(inity)?", re.IGNORECASE)
_DATE = re.compile(
    r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?", re.ASCII
)
_OTHER_DATE = re.compile(
    r"\d{1,2}([./-])\d{1,2}\1(\d{4}|\d{2})|\d{4}([./])\d{1,2}\3\d{1,2}", re.ASCII
)
_EPOCH = datetime(1970, 1, 1)
_DAY = 86400.0
#: Most names of categories that are said.
_FEW = 12

Cell = tuple[str, Any]  # where, value


@dataclass(frozen=True)
class Labels:
    """Labels of all rows.

    Attributes
    ----------
    values
        ``(n,)``, or ``(n, k)`` of several columns; float64.
    names
        Per column the names of the categories 0, 1, …, none where it holds numbers; empty where
        all do.
    said
        What dates and names became, for people.
    dialect
        How numbers are written, where that is not plain.
    """

    values: np.ndarray
    names: tuple[tuple[str, ...], ...] = ()
    said: tuple[str, ...] = ()
    dialect: tuple[str, ...] = ()


def read_labels(
    columns: Sequence[tuple[str, Sequence[Cell]]], of: str, commas: bool = False
) -> Labels:
    """Read one or more columns of labels.

    Parameters
    ----------
    columns
        Name and cells of each, with where they stand.
    of
        The file, for errors.
    commas
        Whether a comma is surely no separator of thousands, as between semicolons.

    Raises
    ------
    UsageError
        A cell is missing or of another kind than the others; all labels are equal.
    """
    found = [_column(name, cells, commas) for name, cells in columns]
    names = tuple(column.names[0] if column.names else () for column in found)
    array = np.stack([column.values for column in found], axis=1)
    if len(array) > 1 and (array == array[0]).all():
        raise UsageError(f"{of}: all labels are equal, there is no geometry to find")
    return Labels(
        array[:, 0] if array.shape[1] == 1 else array,
        names if any(names) else (),
        tuple(dict.fromkeys(line for column in found for line in column.said)),
        tuple(dict.fromkeys(line for column in found for line in column.dialect)),
    )


def _column(name: str, cells: Sequence[Cell], commas: bool) -> Labels:
    for where, value in cells:
        if isinstance(value, list | dict):
            raise UsageError(f"{where}: a label of {name!r} must be a number or a text")
        if _is_missing(value):
            shown = "" if value is None or not str(value).strip() else f" ({value})"
            raise UsageError(
                f"{where}: the label {name!r} is missing{shown}: fill it in, or remove the row"
            )
    texts = [(where, _text(value)) for where, value in cells]
    with_commas = _decimal_commas(name, texts, commas)
    kinds = [_kind(text, with_commas) for _, text in texts]
    kind, count = Counter(kinds).most_common(1)[0]
    if kind == "infinite":
        raise UsageError(f"{texts[0][0]}: label {texts[0][1]!r} is not finite")
    for (where, text), other in zip(texts, kinds, strict=True):
        if other != kind:
            is_else = _A[other] if kind == "name" or other == "infinite" else f"not a {kind}"
            raise UsageError(
                f"{where}: label {text!r} is {is_else}, and {count} of {len(texts)} are {kind}s: "
                "a column of labels has one kind"
            )
    return _READERS[kind](name, texts, with_commas)


def _is_missing(value: Any) -> bool:
    if isinstance(value, float):
        return math.isnan(value)
    if value is None or value == "None":
        return True
    return isinstance(value, str) and read_value(value).casefold() in _MISSING


def _text(value: Any) -> str:
    """A cell as text, without what prints nothing around it; JSON's true and false are names."""
    if isinstance(value, bool):
        return str(value).lower()
    return read_value(str(value))


def _decimal_commas(name: str, texts: Sequence[Cell], surely: bool) -> bool:
    """Whether the commas of a column are those of decimals.

    Raises
    ------
    UsageError
        They may separate thousands as well.
    """
    found = [(where, text) for where, text in texts if _COMMA.fullmatch(text)]
    if not found or any(_NUMBER.fullmatch(text) and "." in text for _, text in texts):
        return False
    if not surely and all(_THOUSANDS.fullmatch(text) for _, text in found):
        where, text = found[0]
        raise UsageError(
            f"{where}: label {text!r} of {name!r} may have a decimal comma or a separator of "
            "thousands: write plain numbers, with a point"
        )
    return True


_A = {"number": "a number", "infinite": "not finite", "date": "a date"}


def _kind(text: str, commas: bool) -> str:
    if _NUMBER.fullmatch(text) or (commas and _COMMA.fullmatch(text)):
        return "number"
    if _INFINITE.fullmatch(text):
        return "infinite"
    return "date" if _DATE.fullmatch(text) else "name"


def _numbers(name: str, texts: Sequence[Cell], commas: bool) -> Labels:
    values = []
    for where, text in texts:
        plain = text.replace("−", "-")
        value = float(plain.replace(",", ".") if commas else plain)
        if not math.isfinite(value):
            raise UsageError(f"{where}: label {text[:40]!r} is too large for a number")
        values.append(value)
    return Labels(np.array(values), dialect=("decimal commas",) if commas else ())


def _dates(name: str, texts: Sequence[Cell], commas: bool) -> Labels:
    """Days since the beginning of 1970, with times as parts of a day."""
    values, zones = [], set()
    for where, text in texts:
        try:
            date = datetime.fromisoformat(text)
        except ValueError as error:
            raise UsageError(f"{where}: label {text!r} is not a date ({error})") from error
        zones.add(date.tzinfo is not None)
        if len(zones) > 1:
            raise UsageError(f"{where}: label {text!r} has a time zone, or lacks the one of others")
        epoch = _EPOCH if date.tzinfo is None else _EPOCH.replace(tzinfo=UTC)
        values.append((date - epoch).total_seconds() / _DAY)
    return Labels(np.array(values), said=(f"dates of {name}: as days since 1970-01-01",))


def _names(name: str, texts: Sequence[Cell], commas: bool) -> Labels:
    """Categories by number, in the order of their names."""
    for where, text in texts:
        if _OTHER_DATE.fullmatch(text):
            raise UsageError(f"{where}: label {text!r}: write dates as 2024-05-03 (year-month-day)")
    if all(_OTHER_NUMBER.fullmatch(text) for _, text in texts):
        where, text = texts[0]
        raise UsageError(
            f"{where}: label {text!r} of {name!r} is a number in a notation of its own: write "
            "plain numbers, such as 1234.5"
        )
    names = sorted({text for _, text in texts})
    number = {text: i for i, text in enumerate(names)}
    listed = ", ".join(f"{i} {text}" for i, text in enumerate(names[:_FEW]))
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return Labels(
        np.array([float(number[text]) for _, text in texts]),
        (tuple(names),),
        (f"categories of {name} by number: {listed}{more}",),
    )


_READERS: dict[str, Callable[[str, Sequence[Cell], bool], Labels]] = {
    "number": _numbers,
    "date": _dates,
    "name": _names,
}
