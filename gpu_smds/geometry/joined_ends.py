"""Whether a shape that was told no period makes two different labels one point."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gpu_smds._labels import Labels
from gpu_smds.geometry.manifold import shape_of
from gpu_smds.geometry.shapes import PeriodicShape

# The warning names the line of the user that called the library.
_LIBRARY = str(Path(__file__).parents[1])


class PeriodWarning(UserWarning):
    """Labels that look as if they had a period lie on a shape that was told none."""


def joined_ends(source: Any, labels: Labels) -> tuple[float, float, tuple[float, ...]] | None:
    """The smallest and the largest label, where both become one point, and periods of the columns.

    None unless labels are whole numbers, which are steps, such as weekdays, rather than fractions
    of a turn, or dates, in as many columns as may have a period. ``source`` is that of a manifold.
    """
    shape = shape_of(source)
    if not isinstance(shape, PeriodicShape) or not shape.joins_ends or shape.period is not None:
        return None
    values = np.unique(labels.values)
    whole = labels.dates or bool((values == np.round(values)).all())
    if labels.categories or not shape.normalize_labels or len(values) < 2 or not whole:
        return None
    columns = labels.values.reshape(len(labels.values), -1).T
    if len(columns) != (1 if shape.accepts(1) else 2):
        return None
    return float(values[0]), float(values[-1]), tuple(map(_period, columns))


def _period(column: np.ndarray) -> float:
    """The period of steps that begin again one step after the last; 1 where all are equal."""
    values = np.unique(column)
    return float(np.ptp(values) + min(np.diff(values), default=1))


def warn_of_joined_ends(sources: Iterable[Any], labels: Labels) -> None:
    """Warn of the first source of a manifold that joins the ends of the labels."""
    for source in sources:
        ends = joined_ends(source, labels)
        if ends is None:
            continue
        *both, periods = ends
        low, high = (f"{number:.15g}" for number in both)
        period = ", ".join(f"{number:.15g}" for number in periods)
        if labels.dates:
            period = "'year'"
        elif len(periods) > 1:
            period = f"({period})"
        name = type(shape_of(source)).__name__
        warnings.warn(
            f"labels {low} and {high} become the same point of the shape {name}, which has no "
            f"period: give the period of the labels, such as {name}(period={period})",
            PeriodWarning,
            skip_file_prefixes=(_LIBRARY,),
        )
        return
