"""What stands around a circle: where a turn begins and ends, and the names of labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from experiments.designs.setting import Setting
from experiments.options import period_of
from experiments.runs.inquiry import Inquiry
from extract import month_starts
from extract.prompts import MONTHS

# Names around a circle that do not touch each other, and letters of one of them.
_MOST, _LONG, _SHORT = 12, 5, 3
# Larger numbers are written with an exponent.
_ROUND = 1e6


def ends_of_turn(setting: Setting) -> tuple[float, float]:
    """The labels at both ends of a turn."""
    if setting.period is not None:
        return 0.0, setting.period
    if setting.clean:
        return 0.0, 1.0
    return float(setting.labels.min()), float(setting.labels.max())


def names_of_labels(inquiry: Inquiry) -> dict[float, str] | None:
    """Values of the source by the phase of their label; None unless each has one, and few."""
    prompts, period = inquiry.run.prompts, inquiry.options.period
    values = prompts.slots.get(inquiry.options.source)
    if period is None or values is None or prompts.labels.ndim > 1:
        return None
    pairs = {*zip(np.mod(prompts.labels, period_of(period)).tolist(), values, strict=True)}
    found = dict(pairs)
    if not len(found) == len(pairs) == len({*found.values()}) <= _MOST:
        return None
    if max(map(len, found.values())) > _LONG:
        found = {label: value[:_SHORT] for label, value in found.items()}
    return found if len({*found.values()}) == len(found) else None


def ticks(
    low: float,
    high: float,
    study_labels: bool,
    period: float | None,
    names: Mapping[float, str] | None = None,
) -> list[tuple[str, float]]:
    """Names of sectors around the circle, and the part of a turn at which each begins.

    Parameters
    ----------
    low, high
        Labels at both ends of a turn.
    study_labels
        Whether they are days of the study's year, so that the sectors are months.
    period
        That of the labels, each of which is then in the middle of its sector; or None.
    names
        Names of labels between 0 and the period; None for numbers at equal distances.
    """
    if period is not None:
        return _in_sectors(names or _steps(period), period)
    if study_labels:
        starts = [(start - low) / (high - low) for start in month_starts()]
        return [(name[:_SHORT], s) for s, name in zip(starts, MONTHS, strict=True)]
    # As many digits as tell the numbers apart; the ends of a turn meet at the top.
    largest = max(abs(low), abs(high))
    digits = 3 + max(0, int(np.log10(largest / (high - low))))
    if largest < _ROUND:
        digits = max(digits, len(f"{largest:.0f}"))
    values = [f"{low + share * (high - low):.{digits}g}" for share in (0, 0.25, 0.5, 0.75, 1)]
    values[0] = f"{values.pop()} | {values[0]}"
    return [(value, i / 4 - 0.125) for i, value in enumerate(values)]


def _steps(period: float) -> dict[float, str]:
    """Of whole numbers as many as have room, at equal distances; else the quarters."""
    count = next((count for count in range(_MOST, 4, -1) if (period / count).is_integer()), 4)
    digits = max(3, len(f"{period:.0f}")) if period < _ROUND else 3
    return {float(label): f"{label:.{digits}g}" for label in period / count * np.arange(count)}


def _in_sectors(names: Mapping[float, str], period: float) -> list[tuple[str, float]]:
    """Each label in a sector that reaches half the way to its neighbours."""
    labels = np.array(sorted(names))
    before = np.append(labels[-1] - period, labels[:-1])
    starts = (labels + before) / 2 / period
    return [(names[label], float(start)) for label, start in zip(labels, starts, strict=True)]
