"""The loop over blocks of sites that fits and scores every manifold, alpha and fold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gpu_smds._progress import Progress, report
from gpu_smds.budget import sites_per_block
from gpu_smds.fitting import Plan, Solver, bytes_per_site, fit_folds
from gpu_smds.folds import Folds
from gpu_smds.sites import Sites
from gpu_smds.states import CentredStates
from gpu_smds.status import Status
from gpu_smds.targets import Target, Targets


def score_targets(
    sites: Sites,
    folds: Folds,
    solver: Solver,
    targets: Sequence[Target],
    metrics: Sequence[str],
    device: torch.device,
    budget: int,
    progress: Progress,
) -> tuple[np.ndarray, np.ndarray]:
    """Score every target on every site.

    Returns
    -------
    scores : ndarray
        ``(targets, metrics, alphas, folds, S)`` float64, NaN where undefined.
    status : ndarray
        ``(targets, alphas, folds, S)`` int8.
    """
    together = Targets(targets, metrics, folds, device)
    plan = Plan.of(folds, solver, together, sites.n)
    per_site = bytes_per_site(
        sites.n, sites.d, folds, solver, sites.dtype.itemsize, any(together.incomplete)
    )
    size = sites_per_block(budget, per_site, device)
    shape = (len(targets), len(metrics), len(solver.alphas), len(folds), len(sites))
    scores = torch.full(shape, torch.nan, dtype=torch.float64, device=device)
    status = torch.zeros((shape[0], *shape[2:]), dtype=torch.int8, device=device)
    for block in report(sites.blocks(size), progress, len(sites), "scoring"):
        raw = sites.read(block, folds.order, device)
        states = CentredStates.of(raw, torch.finfo(sites.dtype).eps)
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
    return scores.cpu().numpy(), status.cpu().numpy()
