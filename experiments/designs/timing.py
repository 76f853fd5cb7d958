"""How long work on all sites takes, from a trial on a few."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from experiments.designs.setting import Setting


def seconds_of(work: Callable[[slice], object], setting: Setting, sites: int) -> float:
    """Estimate of the time that work on so many sites takes, from a few of a setting's positions.

    ``work`` is called with the positions to work on.
    """
    n_positions = setting.states.shape[2]

    def seconds(positions: int) -> float:
        started = perf_counter()
        work(slice(n_positions - positions, n_positions))  # the last ones, which have seen the rest
        return perf_counter() - started

    few = min(max(1, n_positions // 4), 4)
    more = min(4 * few, n_positions)
    seconds(few)  # sets up libraries
    # What all sites share, such as the labels' part, counts once.
    shared = seconds(few)
    per_site = max(0.0, seconds(more) - shared) / (more - few) if more > few else shared / few
    return float(shared + per_site * sites)


def seconds_for(seconds: Callable[[int], float], count: int, few: int, more: int) -> float:
    """Time for a count: as it is found for one that is not large, else from two that are not."""
    if count <= more:
        return seconds(count)
    of_few, of_more = seconds(few), seconds(more)
    return of_more + max(0.0, of_more - of_few) / (more - few) * (count - more)


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
