"""What is done with a block of sites: every manifold, alpha and fold fitted and scored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gpu_smds.budget import check_fits, most_sites
from gpu_smds.checkpoint import fingerprint
from gpu_smds.fitting import bytes_per_site, fit_folds
from gpu_smds.folds import Folds
from gpu_smds.sites import Block, Sites
from gpu_smds.states import CentredStates
from gpu_smds.status import Status
from gpu_smds.stress import bytes_of_pairs, needs_whole
from gpu_smds.sweep import Job
from gpu_smds.systems import Plan, Solver
from gpu_smds.targets import Target, Targets


@dataclass(frozen=True)
class Scoring:
    """A job that scores every target on every site.

    Attributes
    ----------
    job
        For :func:`gpu_smds.sweep.sweep`, which fills the rest.
    scores
        ``(targets, metrics, alphas, folds, S)`` float64, NaN where undefined.
    status
        ``(targets, alphas, folds, S)`` int8.
    """

    job: Job
    scores: Tensor
    status: Tensor

    @classmethod
    def of(
        cls,
        sites: Sites,
        folds: Folds,
        solver: Solver,
        targets: Sequence[Target],
        metrics: Sequence[str],
        labels: np.ndarray,
        device: torch.device,
    ) -> Scoring:
        """Plan the fits, which only the labels determine."""
        together = Targets(targets, metrics, folds, device)
        plan = Plan.of(folds, solver, together, sites.n)
        incomplete = any(together.incomplete)
        columns = together.stacked[0].shape[1]
        per_site = bytes_per_site(sites, folds, solver, columns, device, incomplete)
        if needs_whole(metrics) or incomplete:
            per_site += bytes_of_pairs(max(fold.n_test for fold in folds.folds))
        shared = together.bytes
        shape = (len(targets), len(metrics), len(solver.alphas), len(folds), len(sites))
        check_fits(
            9 * math.prod(shape),
            f"a map of {shape[-1]:,} sites, {len(folds):,} folds (cv), {shape[2]:,} penalties "
            f"(alpha) and {shape[0]:,} manifolds",
            "its scores",
            device,
        )
        scores = torch.full(shape, torch.nan, dtype=torch.float64, device=device)
        status = torch.zeros((shape[0], *shape[2:]), dtype=torch.int8, device=device)

        def visit(block: Block, states: CentredStates) -> None:
            span = slice(block.start, block.stop)
            for fit in fit_folds(states, plan):
                for t in range(len(targets)):
                    values, state = together.score(
                        t,
                        fit.fold,
                        fit.Z,
                        {
                            Status.UNDETERMINED: fit.undetermined[t],
                            Status.NOT_CONVERGED: fit.unconverged[t],
                            Status.CONSTANT: fit.constant,
                            Status.NON_FINITE: states.non_finite,
                        },
                    )
                    scores[t, :, fit.alpha, fit.fold, span] = values
                    status[t, fit.alpha, fit.fold, span] = state

        results = (scores.movedim(-1, 0), status.movedim(-1, 0))
        names = [target.manifold.name for target in targets]
        distances = [
            embedding.incomplete
            for target in targets
            for embedding in target.embeddings
            if embedding is not None and embedding.incomplete is not None
        ]
        fitted_to = [*together.stacked, *distances]

        def key() -> str:
            return fingerprint(
                labels, names, metrics, solver, folds.order, *folds.parts, *fitted_to
            )

        most = most_sites(not solver.orthonormal)
        job = Job(visit, folds.order, per_site, most, results, key, shared)
        return cls(job, scores, status)
