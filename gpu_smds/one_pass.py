"""Several maps of the same states from one pass over them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpu_smds._progress import Meter, Progress
from gpu_smds._validation import resolve_device
from gpu_smds.budget import resolve_budget
from gpu_smds.checkpoint import Checkpoint, kept
from gpu_smds.fitted import FittedMap
from gpu_smds.maps import plan_scores
from gpu_smds.results import ScoreMap
from gpu_smds.sites import Sites
from gpu_smds.sweep import Job, sweep
from gpu_smds.transfer import plan_transfer


class OnePass:
    """Several maps of the same states, which are read once for all of them.

    It pays where reading costs: states in files that do not fit the memory, or on another device.

    Parameters
    ----------
    X, device, memory_budget
        As in :func:`gpu_smds.score_map`.

    Attributes
    ----------
    shares
        After the run: what part of its time each map took, in the order in which they were planned.

    Examples
    --------
    >>> once = OnePass(X)
    >>> ridge = once.score_map(y)
    >>> rigid = once.score_map(y, orthonormal=True, standardize="all")
    >>> once.run(progress=True)
    >>> ridge().mean - rigid().mean
    """

    def __init__(self, X: Any, device: Any = None, memory_budget: int | None = None) -> None:
        self._sites = Sites(X)
        self._device = resolve_device(device, self._sites.device)
        self._budget = resolve_budget(memory_budget, self._device)
        self._jobs: list[Job] = []
        self._done = False
        self.shares: list[float] = []

    def score_map(self, y: Any, *arguments: Any, **named: Any) -> Callable[[], ScoreMap]:
        """Plan a :func:`gpu_smds.score_map`; call what is returned for its result after the run.

        Takes its arguments from ``y`` to ``dtype`` but for the device.
        """
        return self._add(
            *plan_scores(self._sites, self._device, self._budget, y, *arguments, **named)
        )

    def transfer_map(
        self, fitted: FittedMap, y: Any, *arguments: Any, **named: Any
    ) -> Callable[[], ScoreMap]:
        """Plan a :func:`gpu_smds.transfer_map`, as :meth:`score_map`."""
        return self._add(
            *plan_transfer(self._sites, self._device, self._budget, fitted, y, *arguments, **named)
        )

    def run(
        self, progress: Progress = False, checkpoint: str | Path | Checkpoint | None = None
    ) -> None:
        """Go through the states once; arguments as in :func:`gpu_smds.score_map`."""
        meter = Meter(progress, len(self._sites), "scoring")
        with kept(checkpoint) as done:
            self.shares = sweep(self._sites, self._jobs, self._device, self._budget, meter, done)
        self._done = True

    def _add(self, job: Job, result: Callable[[], ScoreMap]) -> Callable[[], ScoreMap]:
        if self._done:
            raise ValueError("this pass has run: make another OnePass")
        self._jobs.append(job)

        def finished() -> ScoreMap:
            if not self._done:
                raise ValueError("the pass has not run yet: call run() first")
            return result()

        return finished
