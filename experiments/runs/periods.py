"""The period of the labels: what it is refused for, and where it is missing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from experiments.options import Options, period_of
from extract import Prompts, UsageError
from gpu_smds._labels import Labels
from gpu_smds.geometry.joined_ends import joined_ends
from gpu_smds.geometry.manifold import Manifold, resolve_manifold
from gpu_smds.geometry.shapes import PeriodicShape, periodic_names
from gpu_smds.maps.discovery import DEFAULT_MANIFOLDS

# Whole numbers above this may be dates, as days since 1970.
_DAYS = 10 * 365


def check_period(command: str, options: Options, prompts: Prompts) -> None:
    """Refuse a period that no manifold has, or that makes all labels one point.

    Raises
    ------
    UsageError
        With what to do about it.
    """
    if options.period is None:
        return
    period = period_of(options.period)
    shapes = [
        manifold
        for manifold in _manifolds(command, options, prompts)
        if isinstance(manifold.source, PeriodicShape)
    ]
    if not shapes:
        names = ", ".join(options.manifolds or ()) if command == "discover" else options.manifold
        raise UsageError(
            f"--period is for manifolds that close on themselves, and {names} does not: choose "
            f"among {', '.join(periodic_names())}, or leave --period out"
        )
    for manifold in shapes:
        assert isinstance(manifold.source, PeriodicShape)
        labels = manifold.check(prompts.labels)
        points = manifold.source.with_period(period).prepare(labels)
        if len(np.unique(points, axis=0)) == 1:
            raise UsageError(
                f"--period {period:.15g}: all labels lie whole periods apart, and are one "
                "point: give the period in the units of the labels"
            )


def told_apart(options: Options, labels: np.ndarray) -> np.ndarray:
    """The labels, of which those that lie periods apart, and are one point, are equal."""
    manifold = resolve_manifold(options.manifold)
    if options.period is None or not isinstance(manifold.source, PeriodicShape):
        return labels
    shape = manifold.source.with_period(period_of(options.period))
    points: np.ndarray = shape.prepare(manifold.check(labels))
    return points


def missing_period(command: str, options: Options, prompts: Prompts) -> str | None:
    """What to warn of where whole numbers have no period, and their ends are one point."""
    if options.period is not None:
        return None
    if command != "discover" and options.protocol == "clean" and options.manifold == "circular":
        return None  # which takes them as they are
    for manifold in _manifolds(command, options, prompts):
        ends = joined_ends(manifold.source, Labels(prompts.labels))
        if ends is not None:
            *both, periods = ends
            low, high = (f"{number:.15g}" for number in both)
            said = [f"{number:.15g}" for number in dict.fromkeys(periods)]
            dates = " (or year or week, if they are dates)" if ends[0] > _DAYS else ""
            give = f"give --period {said[0]}{dates} if they begin again after {high}"
            if len(said) > 1:
                give = (
                    f"if they begin again, divide each column by its own period, such as "
                    f"{' and '.join(said)}, and give --period 1"
                )
            return (
                f"labels {low} and {high} become the same point of the manifold {manifold.name}: "
                + give
                + ("" if command == "discover" else ", else another --manifold")
            )
    return None


def _manifolds(command: str, options: Options, prompts: Prompts) -> Iterator[Manifold]:
    """The manifolds that a command looks for, of those that take the labels."""
    asked = (
        (options.manifolds or DEFAULT_MANIFOLDS) if command == "discover" else (options.manifold,)
    )
    return (of for of in map(resolve_manifold, asked) if of.takes(prompts.labels))
