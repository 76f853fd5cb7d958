"""Periods: how far apart two labels lie that mean the same."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

#: Periods with a name, for labels in days. The year is the mean one of the calendar: dates of many
#: years stay in step with it, and days of one year are at most a quarter of a day off.
NAMED_PERIODS = {"day": 1.0, "week": 7.0, "year": 365.2425}


def as_period(period: Any) -> float:
    """A period as a number: positive and finite, or the name of one.

    Raises
    ------
    ValueError
        Anything else.
    """
    if isinstance(period, str) and period.strip().lower() in NAMED_PERIODS:
        return NAMED_PERIODS[period.strip().lower()]
    if isinstance(period, np.ndarray) and period.ndim == 0:
        period = period.item()
    number = np.nan
    if not isinstance(period, bool | np.bool_) and isinstance(period, Real):
        try:
            number = float(period)
        except OverflowError:
            number = np.inf
    if not (np.isfinite(number) and number > 0):
        from gpu_smds._arguments import shown  # which imports torch

        raise ValueError(
            f"period must be a positive number, in the units of the labels, or for labels in days "
            f"{', '.join(map(repr, NAMED_PERIODS))}; got {shown(period)}"
        )
    return number


def as_periods(period: Any) -> tuple[float, ...]:
    """One period of all labels, or one for each of two columns.

    Raises
    ------
    ValueError
        As :func:`as_period`; a list of another length.
    """
    if not isinstance(period, list | tuple) and not (
        isinstance(period, np.ndarray) and period.ndim
    ):
        return (as_period(period),)
    if len(period) != 2:
        from gpu_smds._arguments import shown

        raise ValueError(
            f"period must be a number, or one for each of two columns; got {shown(period)}"
        )
    return as_period(period[0]), as_period(period[1])


def phase(y: np.ndarray, period: float) -> np.ndarray:
    """Labels as fractions of a turn in [0, 1]; labels that lie periods apart are equal."""
    # The remainder has no rounding error, unlike that of a quotient.
    turns: np.ndarray = np.mod(y, period) / period
    return turns
