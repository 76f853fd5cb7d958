"""Where a map is computed: the states, the device and the memory budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from gpu_smds._arguments import resolve_budget, resolve_device
from gpu_smds._progress import Meter, Progress
from gpu_smds.sites.array import Sites
from gpu_smds.sites.checkpoint import Checkpoint, kept
from gpu_smds.sites.job import Job
from gpu_smds.sites.run_jobs import run_jobs


@dataclass(frozen=True)
class Place:
    """The states, and the device and memory with which they are processed.

    Attributes
    ----------
    sites
        The states.
    device
        Where to compute.
    budget
        Bytes to allocate beyond the input.
    """

    sites: Sites
    device: torch.device
    budget: int

    @classmethod
    def of(
        cls, X: Any, device: Any, memory_budget: Any, default: torch.device | None = None
    ) -> Self:
        """Check the arguments of a public function.

        ``default`` is the device if ``device`` is None; if both are None, it is the device of X.

        Raises
        ------
        TypeError, ValueError
            X is not an array of states, or the device or the budget is not valid.
        """
        sites = Sites(X)
        where = resolve_device(device, default or sites.device)
        return cls(sites, where, resolve_budget(memory_budget, where))

    def run(
        self,
        jobs: Sequence[Job],
        what: str,
        progress: Progress = False,
        checkpoint: str | Path | Checkpoint | None = None,
    ) -> list[float]:
        """Go through all sites once, for all jobs.

        Parameters
        ----------
        jobs
            The jobs to run.
        what
            First word of the progress bar.
        progress, checkpoint
            As in :func:`gpu_smds.score_map`.

        Returns
        -------
        shares : list[float]
            Fraction of the time that each job took.
        """
        meter = Meter(progress, len(self.sites), what)
        with kept(checkpoint) as done:
            return run_jobs(self.sites, jobs, self.device, self.budget, meter, done)
