"""Fit and project one block of sites for every fold, manifold and alpha.

Scores are invariant to shifts of the projection, so test states are never centred by the training
mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import repeat

import torch
from torch import Tensor

from gpu_smds.crossval.fold_system import (
    FoldPlan,
    FoldSystem,
    bytes_per_site,
    fold_systems,
    size_of,
)
from gpu_smds.crossval.folds import Folds
from gpu_smds.crossval.ideals import Ideals
from gpu_smds.geometry.embedding import Embedding
from gpu_smds.sites.array import Sites
from gpu_smds.sites.centred import CentredStates
from gpu_smds.sites.rows import Rows, is_all
from gpu_smds.sites.status import Status
from gpu_smds.solvers.distance_fit import bytes_of_distance_fit, fit_distances
from gpu_smds.solvers.fold_solver import Labels
from gpu_smds.solvers.own_rows import OwnRows
from gpu_smds.solvers.spec import SolverSpec


@dataclass(frozen=True)
class FoldFit:
    """One fold with one alpha, fitted on a block of b sites.

    Attributes
    ----------
    fold, alpha
        Their indices.
    Z
        ``(b, n_test, Σ width)`` projected test rows of all manifolds, up to a shift.
    undetermined, unconverged
        ``(T, b)`` bool, per manifold.
    constant, non_finite
        ``(b,)`` bool.
    """

    fold: int
    alpha: int
    Z: Tensor
    undetermined: Tensor
    unconverged: Tensor
    constant: Tensor
    non_finite: Tensor

    def causes(self, target: int) -> dict[Status, Tensor]:
        """Statuses that may apply to the sites, and where they apply, for one manifold."""
        return {
            Status.UNDETERMINED: self.undetermined[target],
            Status.NOT_CONVERGED: self.unconverged[target],
            Status.CONSTANT: self.constant,
            Status.NON_FINITE: self.non_finite,
        }


def bytes_of_fits(
    sites: Sites, folds: Folds, solver: SolverSpec, ideals: Ideals, device: torch.device
) -> int:
    """Peak bytes per site of :func:`fit_folds`."""
    incomplete = any(ideals.incomplete)
    size = size_of(sites, folds, ideals.width)
    total = bytes_per_site(sites, folds, solver, size, incomplete, device)
    if incomplete:
        total += bytes_of_distance_fit(size.n_train, size.d, size.columns)
    return total


def fit_folds(states: CentredStates, plan: FoldPlan) -> Iterator[FoldFit]:
    """Fit every fold and alpha on a block of sites and project the test rows.

    The states may be standardised in place.
    """
    for fold in fold_systems(states, plan):
        yield from _fit_fold(fold)


def _fit_fold(fold: FoldSystem) -> Iterator[FoldFit]:
    plan = fold.plan
    to_distances = [
        (incomplete, fit_distances(fold.train(), incomplete.pairs, incomplete.n_components))
        for incomplete in plan.ideals.incomplete[fold.number]
    ]
    shape = (len(plan.ideals), len(fold.states))
    unconverged = torch.zeros(shape, dtype=torch.bool, device=fold.constant.device)
    placed = [(incomplete, fold.project(fit.Wt)) for incomplete, fit in to_distances]
    for incomplete, fit in to_distances:
        unconverged[incomplete.target] = ~fit.converged
    solver = plan.solver
    fits = solver.kind.projections(fold, fold.labels, plan.ideals.columns)
    if not solver.kind.penalised:
        fits = repeat(next(fits), len(solver.alphas))
    for a, (Z, undetermined) in enumerate(fits):
        for incomplete, projected in placed:
            Z[..., incomplete.projected] = projected
            undetermined[incomplete.target] = False
        yield FoldFit(
            fold.number,
            a,
            Z,
            undetermined,
            unconverged,
            fold.constant,
            fold.states.non_finite,
        )


@dataclass(frozen=True)
class RowsFit:
    """One map per site of a block, fitted on some rows.

    Attributes
    ----------
    Wt
        ``(b, d, k)``, applies to states centred by ``mean`` and divided by ``scale``.
    mean, scale
        ``(b, d)`` in the units of the raw states; the scale is 1 without standardisation.
    causes
        Statuses that may apply to the sites, and where they apply.
    """

    Wt: Tensor
    mean: Tensor
    scale: Tensor
    causes: dict[Status, Tensor]


def fit_rows(
    states: CentredStates, rows: Rows, n_rows: int, embedding: Embedding, solver: SolverSpec
) -> RowsFit:
    """Fit one map per site of a block on some rows, with the first of the solver's alphas.

    ``embedding`` is that of the labels of those rows. The states may be standardised in place.
    """
    shift, variance = states.moments(rows)
    constant = states.constant(n_rows * variance.sum(1), shift, n_rows, rows)
    x = states.x[:, rows]
    if not is_all(rows, states.n):
        x = x - shift[:, None]
    scale = torch.ones_like(shift)
    if solver.scaling == "train":
        scale = states.scale(variance, shift)
    elif solver.scaling == "all":
        shift_of_all, variance_of_all = states.moments()
        scale = states.scale(variance_of_all, shift_of_all)
    if solver.scaling:
        x /= scale[:, None]
    Y = embedding.Y - embedding.Y.mean(0)
    undetermined = unconverged = torch.zeros_like(constant)
    if embedding.incomplete is not None:
        fit = fit_distances(x, embedding.pairs, Y.shape[1])
        Wt, unconverged = fit.Wt, ~fit.converged
    else:
        labels = Labels(Y, partial(torch.matmul, x.mT, Y))
        Wt, undetermined = solver.kind.fit(OwnRows(x, solver.kind.matrix_dtype), labels)
    causes = {
        Status.UNDETERMINED: undetermined,
        Status.NOT_CONVERGED: unconverged,
        Status.CONSTANT: constant,
        Status.NON_FINITE: states.non_finite,
    }
    return RowsFit(Wt, states.mean + shift, scale, causes)


def bytes_of_rows_fit(
    sites: Sites, rows: Folds, solver: SolverSpec, embedding: Embedding, device: torch.device
) -> int:
    """Peak bytes per site of :func:`fit_rows`, with the rows as the only fold."""
    size = size_of(sites, rows, embedding.Y.shape[1])
    total = bytes_per_site(sites, rows, solver, size, True, device)
    if embedding.incomplete is not None:
        total += bytes_of_distance_fit(size.n_train, size.d, size.columns)
    return total
