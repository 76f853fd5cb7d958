"""Several maps of the same states from one pass over them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpu_smds._progress import Progress
from gpu_smds.maps.fitted_map import FittedMap
from gpu_smds.maps.score import ScorePlan
from gpu_smds.maps.score_map import ScoreMap
from gpu_smds.maps.transfer import TransferPlan
from gpu_smds.sites.checkpoint import Checkpoint, kept
from gpu_smds.sites.place import Place


class OnePass:
    """Several maps of the same states, which are read once for all of them.

    This saves time if reading is slow: states in files that do not fit the memory, or states on
    another device.

    Parameters
    ----------
    X, device, memory_budget
        As in :func:`gpu_smds.score_map`.

    Attributes
    ----------
    shares
        After the run: fraction of its time that each map took, in the order of planning.

    Examples
    --------
    >>> once = OnePass(X)
    >>> ridge = once.score_map(y)
    >>> rigid = once.score_map(y, orthonormal=True, standardize="all")
    >>> once.run(progress=True)
    >>> ridge().mean - rigid().mean
    """

    def __init__(self, X: Any, device: Any = None, memory_budget: int | None = None) -> None:
        self._place = Place.of(X, device, memory_budget)
        self._plans: list[ScorePlan | TransferPlan] = []
        self._done = False
        self.shares: list[float] = []

    def score_map(self, y: Any, *arguments: Any, **named: Any) -> Callable[[], ScoreMap]:
        """Plan a :func:`gpu_smds.score_map`; the returned function gives its result.

        Takes its arguments from ``y`` on, except those that say where and how to run.
        """
        return self._add(ScorePlan.asked(self._place, y, *arguments, **named))

    def transfer_map(
        self, fitted: FittedMap, y: Any, *arguments: Any, **named: Any
    ) -> Callable[[], ScoreMap]:
        """Plan a :func:`gpu_smds.transfer_map`, as :meth:`score_map`."""
        return self._add(TransferPlan.of(self._place, fitted, y, *arguments, **named))

    def run(
        self, progress: Progress = False, checkpoint: str | Path | Checkpoint | None = None
    ) -> None:
        """Go through the states once; arguments as in :func:`gpu_smds.score_map`."""
        jobs = [plan.job for plan in self._plans]
        with kept(checkpoint) as done:
            self.shares = self._place.run(jobs, "scoring", progress, done)
            for plan in self._plans:
                if isinstance(plan, ScorePlan):
                    plan.finish(progress)
        self._done = True

    def _add(self, plan: ScorePlan | TransferPlan) -> Callable[[], ScoreMap]:
        if self._done:
            raise ValueError("this pass has run: make another OnePass")
        self._plans.append(plan)

        def finished() -> ScoreMap:
            if not self._done:
                raise ValueError("the pass has not run yet: call run() first")
            return plan.result()

        return finished
