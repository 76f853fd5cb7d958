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


def joined_ends(source: Any, labels: Labels) -> tuple[float, float, float] | None:
    """The smallest and the largest label, where both become one point, and a period that fits them.

    None unless labels are whole numbers, which are steps, such as weekdays, rather than fractions
    of a turn, or dates. ``source`` is that of a manifold.
    """
    shape = shape_of(source)
    if not isinstance(shape, PeriodicShape) or not shape.joins_ends or shape.period is not None:
        return None
    values = np.unique(labels.values)
    whole = labels.dates or bool((values == np.round(values)).all())
    if labels.categories or not shape.normalize_labels or len(values) < 2 or not whole:
        return None
    low, high = float(values[0]), float(values[-1])
    return low, high, high - low + float(np.diff(values).min())


def warn_of_joined_ends(sources: Iterable[Any], labels: Labels) -> None:
    """Warn of the first source of a manifold that joins the ends of the labels."""
    for source in sources:
        ends = joined_ends(source, labels)
        if ends is None:
            continue
        low, high, period = (f"{number:.15g}" for number in ends)
        if labels.dates:
            period = "'year'"
        name = type(shape_of(source)).__name__
        warnings.warn(
            f"labels {low} and {high} become the same point of the shape {name}, which has no "
            f"period: give the period of the labels, such as {name}(period={period})",
            PeriodWarning,
            skip_file_prefixes=(_LIBRARY,),
        )
        return
