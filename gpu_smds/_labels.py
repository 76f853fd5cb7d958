"""Labels of every kind as numbers: dates are days since 1970-01-01, categories are numbered."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gpu_smds._arguments import as_real, one_line, refuse_masked, refuse_special, shown

# Larger labels have squares that overflow.
_LARGEST = 1e150
_DAY = np.timedelta64(1, "D")
_EPOCH = np.datetime64("1970-01-01", "D")
#: What the kinds of values are called in messages.
_CALLED = {"text": "text", "date": "dates", "number": "numbers"}


@dataclass(frozen=True)
class Labels:
    """Labels as numbers.

    Attributes
    ----------
    values
        ``(n,)`` or ``(n, k)`` float64.
    categories
        Whether a column held text, so that its numbers have no meaning but being equal or not.
    dates
        Whether a column held dates.
    """

    values: np.ndarray
    categories: bool = False
    dates: bool = False


def as_labels(y: Any, n: int, constant: bool = False) -> Labels:
    """Labels of n samples.

    Parameters
    ----------
    y
        Numbers, dates or categories ``(n,)`` or ``(n, k)``, each column of one kind: anything that
        numpy reads, a torch tensor of any real dtype, a list of either, or what pandas holds them
        in. Dates (``datetime64``, ``datetime.date``, ``datetime.datetime``) become days since
        1970-01-01, in UTC where they have a time zone. Text becomes the places of the categories
        in their sorted order.
    n
        Number of samples.
    constant
        Whether all labels may be equal.

    Raises
    ------
    TypeError, ValueError
        Labels of another kind, or of several in one column, with the wrong length or shape,
        missing (NaN, NaT, None, NA), infinite, with squares that overflow, or all equal.
    """
    labels = label_numbers(y)
    values = labels.values
    if values.ndim not in (1, 2) or values.shape[1:] == (0,):
        raise ValueError(f"labels must be (n,) or (n, k), got shape {values.shape}")
    if len(values) != n:
        raise ValueError(f"X has {n} samples but y has {len(values)} labels")
    if not np.isfinite(values).all():
        bad = (~np.isfinite(values)).reshape(n, -1)
        row = int(bad.any(1).argmax())
        what = "missing" if np.isnan(values[row]).any() else "infinite"
        raise ValueError(
            f"label of row {row} is {what}, counted from 0 ({int(bad.any(1).sum())} of {n} labels "
            "are NaN or infinite): remove those samples"
        )
    if n and (largest := float(np.abs(values).max())) > _LARGEST:
        raise ValueError(
            f"labels of up to {largest:g} have squares that overflow: scale them, say to [0, 1]"
        )
    if not constant and (values == values[0]).all():
        raise ValueError("all labels are equal: there is no geometry to find")
    return labels


def label_numbers(y: Any) -> Labels:
    """Labels of any number as float64; what is missing is NaN.

    Raises
    ------
    TypeError, ValueError
        Labels of another kind than :func:`as_labels` takes.
    """
    # Most calls return here: their labels have been read before.
    if type(y) is np.ndarray and y.dtype == np.float64:
        return Labels(y)
    if isinstance(y, list | tuple) and y and all(isinstance(part, torch.Tensor) for part in y):
        y = _stacked(y)
    if isinstance(y, torch.Tensor):
        return Labels(as_real(y, "labels"))
    refuse_special(y, "labels")
    refuse_masked(y, "labels")
    try:
        array = np.asarray(y)
        if array.dtype.kind in "SUT":  # numpy makes text of numbers that stand beside text
            array = np.asarray(y, dtype=object)
    except (TypeError, ValueError) as error:
        raise ValueError(f"labels must be numbers: {one_line(error)}") from error
    if array.ndim == 0 or array.dtype.kind not in "MO":
        return Labels(as_real(array, "labels"))
    columns = [_column(column) for column in array.reshape(len(array), -1).T]
    values = np.stack([column.values for column in columns], axis=1) if columns else array
    return Labels(
        np.asarray(values, dtype=np.float64).reshape(array.shape),
        any(column.categories for column in columns),
        any(column.dates for column in columns),
    )


def _stacked(parts: Iterable[torch.Tensor]) -> torch.Tensor:
    """Tensors as one, of dtypes that numpy lacks, too."""
    for part in parts:
        refuse_special(part, "labels")
    try:
        return torch.stack([part.detach().cpu() for part in parts])
    except RuntimeError as error:
        raise ValueError(f"labels must be numbers: {one_line(error)}") from error


def _column(values: np.ndarray) -> Labels:
    """Labels ``(n,)`` of dates or Python objects."""
    if values.dtype.kind == "M":
        return Labels(_days(values), dates=True)
    kinds = [_kind(value) for value in values]
    found = list(dict.fromkeys(kind for kind in kinds if kind != "missing"))
    if len(found) > 1:
        row = kinds.index(found[1])
        raise ValueError(
            f"labels mix {_CALLED[found[0]]} and {_CALLED[found[1]]} ({shown(values[row])} in row "
            f"{row}): give all of them as one kind"
        )
    there = np.array([kind != "missing" for kind in kinds], dtype=bool)
    numbers = np.full(len(values), np.nan)
    kind = found[0] if found else "number"
    if kind == "text":
        _, numbers[there] = np.unique([_text(v) for v in values[there]], return_inverse=True)
    elif kind == "date":
        numbers[there] = [_day(value) for value in values[there]]
    else:
        numbers[there] = as_real(values[there], "labels")
    return Labels(numbers, categories=kind == "text", dates=kind == "date")


def _kind(value: Any) -> str:
    # pandas' values that are missing are recognised by name, since pandas may not be there. Its NaT
    # counts as a datetime.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return "missing"
    if isinstance(value, str | bytes):
        return "text"
    if isinstance(value, np.datetime64):
        return "missing" if np.isnat(value) else "date"
    if isinstance(value, datetime.date):
        return "date"
    return "missing" if isinstance(value, float | np.floating) and value != value else "number"


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")


def _days(dates: np.ndarray) -> np.ndarray:
    """Dates as days since 1970-01-01; NaT is NaN."""
    if np.datetime_data(dates.dtype)[0] == "generic":  # which only NaT can be
        return np.full(dates.shape, np.nan)
    days: np.ndarray = (dates - _EPOCH) / _DAY
    return days


def _day(value: Any) -> float:
    if isinstance(value, np.datetime64):
        return float(_days(np.asarray(value)))
    if not isinstance(value, datetime.datetime):
        return float(value.toordinal() - datetime.date(1970, 1, 1).toordinal())
    if value.tzinfo is not None:
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    seconds: float = (value - datetime.datetime(1970, 1, 1)).total_seconds()
    return seconds / 86400
