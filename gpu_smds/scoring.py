"""The loop over blocks of sites that fits and scores every manifold, alpha and fold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gpu_smds._progress import Meter, Progress
from gpu_smds.budget import split_sites
from gpu_smds.fitting import Plan, Solver, bytes_per_site, fit_folds, most_sites
from gpu_smds.folds import Folds
from gpu_smds.sites import Block, Sites
from gpu_smds.states import CentredStates
from gpu_smds.status import Status
from gpu_smds.sweep import sweep
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
    incomplete = any(together.incomplete)
    per_site = bytes_per_site(sites, folds, solver, together.stacked[0].shape[1], incomplete)
    split = split_sites(len(sites), budget, per_site, device, most_sites(solver))
    shape = (len(targets), len(metrics), len(solver.alphas), len(folds), len(sites))
    scores = torch.full(shape, torch.nan, dtype=torch.float64, device=device)
    status = torch.zeros((shape[0], *shape[2:]), dtype=torch.int8, device=device)

    def score_block(block: Block, states: CentredStates) -> None:
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

    meter = Meter(progress, len(sites), "scoring")
    sweep(sites, split, folds.order, device, score_block, meter)
    return scores.cpu().numpy(), status.cpu().numpy()
