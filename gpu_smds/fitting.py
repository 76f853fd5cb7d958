"""Fit and project one block of sites for every fold, manifold and alpha.

Every manifold is one more set of right-hand sides of a fold's system (:mod:`gpu_smds.systems`).
Scores are invariant to shifts of the projection, so test states are never centred by the training
mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_smds.blas import gram, multiply, scatter
from gpu_smds.folds import Folds, Rows, is_all
from gpu_smds.incomplete import solve_incomplete
from gpu_smds.manifolds import Embedding
from gpu_smds.refine import refine
from gpu_smds.sites import Sites
from gpu_smds.solve import RidgeSolution, procrustes, ridge_, ridge_path, ridge_svd, signs
from gpu_smds.states import CentredStates
from gpu_smds.streamed import is_streamed
from gpu_smds.systems import FoldSystem, Plan, Solver, fold_systems, in_features, primal

# So many penalties cost as much by a Cholesky factor each as by one eigendecomposition (measured
# on the CPU for 576 to 1024 features: 12 to 16 factors).
_PATH = 16


@dataclass(frozen=True)
class FoldFit:
    """One fold of one alpha, fitted on a block of b sites.

    Attributes
    ----------
    Z
        ``(b, n_test, K)`` projected test rows of all manifolds, up to a shift.
    undetermined, unconverged
        ``(T, b)`` bool, per manifold.
    constant
        ``(b,)`` bool.
    """

    fold: int
    alpha: int
    Z: Tensor
    undetermined: Tensor
    unconverged: Tensor
    constant: Tensor


def bytes_per_site(
    sites: Sites,
    folds: Folds,
    solver: Solver,
    columns: int,
    device: torch.device,
    incomplete: bool = False,
    written: bool = False,
) -> int:
    """Peak bytes that :func:`fit_folds` or :func:`fit_rows` allocates per site.

    ``columns`` are those of all embeddings together; ``written`` says that the centred states are
    in any case.
    """
    n, d = sites.n, sites.d
    n_train = max((fold.n_train for fold in folds.folds), default=0)
    small = min(n_train, d)
    thin = len(folds) * (columns + 3) * d + 4 * columns * (n + d)
    written = written or incomplete or not solver.orthonormal or not is_streamed(device)
    work = n_train * d if written else 0
    if solver.needs_gram and in_features(folds, d):
        work += ((len(folds) if folds.partition else 0) + 4) * d * d
    elif solver.needs_gram:
        work += n * n + 3 * n_train * n_train
    if len(solver.alphas) >= _PATH:
        work += 4 * (d if in_features(folds, d) else n_train) ** 2
    if solver.needs_gram and solver.dtype == torch.float32:
        work += n * d // 2
    if not solver.orthonormal and 0.0 in solver.alphas:
        work += 3 * small * (n_train + d) + 4 * small * small
    if incomplete:
        work += 8 * n_train * n_train + 2 * n_train * d + 4 * small * small
    return sites.bytes_per_site(written) + 8 * (work + thin)


def fit_folds(states: CentredStates, plan: Plan) -> Iterator[FoldFit]:
    """Fit every fold and alpha on a block of sites and project the test rows.

    The states may be standardised in place.
    """
    for fold in fold_systems(states, plan):
        iterative = [
            (i, solve_incomplete(fold.train(), i.pairs, i.columns.stop - i.columns.start))
            for i in plan.targets.incomplete[fold.number]
        ]
        shape = (len(plan.targets), len(states))
        unconverged = torch.zeros(shape, dtype=torch.bool, device=states.mean.device)
        for incomplete, fit in iterative:
            unconverged[incomplete.target] = ~fit.converged
        for a, (Z, undetermined) in enumerate(_fit_fold(fold)):
            for incomplete, fit in iterative:
                Z[..., incomplete.columns] = fold.project(fit.Wt)
                undetermined[incomplete.target] = False
            yield FoldFit(fold.number, a, Z, undetermined, unconverged, fold.constant)


@dataclass(frozen=True)
class RowsFit:
    """One map per site of a block, fitted on some rows.

    Attributes
    ----------
    Wt
        ``(b, d, k)``, applies to states centred by ``mean`` and divided by ``scale``.
    mean, scale
        ``(b, d)`` in the units of the raw states; the scale is 1 without standardisation.
    undetermined, unconverged, constant
        ``(b,)`` bool.
    """

    Wt: Tensor
    mean: Tensor
    scale: Tensor
    undetermined: Tensor
    unconverged: Tensor
    constant: Tensor


def fit_rows(
    states: CentredStates, rows: Rows, n_rows: int, embedding: Embedding, solver: Solver
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
    if solver.standardize:
        if solver.standardize == "train":
            scale = states.scale(variance, shift)
        else:
            shift_of_all, variance_of_all = states.moments()
            scale = states.scale(variance_of_all, shift_of_all)
        x /= scale[:, None]
    alpha = solver.alphas[0]
    Y = embedding.Y - embedding.Y.mean(0)
    undetermined = unconverged = torch.zeros_like(constant)
    if embedding.incomplete is not None:
        fit = solve_incomplete(x, embedding.pairs, Y.shape[1])
        Wt, unconverged = fit.Wt, ~fit.converged
    elif solver.orthonormal:
        Wt, undetermined = procrustes(x.mT @ Y)
    elif alpha == 0:
        Wt = ridge_svd(x, Y, 0.0)
    elif solver.dtype == torch.float32:
        Wt = _refined(x, Y, alpha, primal(*x.shape[1:]))
    else:
        Wt = _ridge(x, Y, alpha)
    return RowsFit(Wt, states.mean + shift, scale, undetermined, unconverged, constant)


def _ridge(x: Tensor, Y: Tensor, alpha: float) -> Tensor:
    """Ridge maps ``(b, d, k)`` of centred states ``(b, n, d)`` in the smaller of the two forms."""
    signed = signs(x.shape[1], x)
    if primal(*x.shape[1:]):
        fit = ridge_(scatter(x), x.mT @ Y, x.mT @ signed, alpha)
        Wt = fit.solution
    else:
        K = gram(x)
        fit = ridge_(K, Y, K @ signed, alpha)
        Wt = x.mT @ fit.solution
    doubtful = fit.doubtful(x @ Wt, [slice(None)])
    if bool(doubtful.any()):
        Wt[doubtful] = ridge_svd(x[doubtful], Y, alpha)
    return Wt


def _refined(
    x: Tensor, Y: Tensor, alpha: float, in_features: bool, system: Tensor | None = None
) -> Tensor:
    """As :func:`_ridge`, from a float32 system and float64 products with the centred states.

    ``system`` may be that of states which differ by a constant, and is lost. Sites that float32
    does not solve are left to float64.
    """
    if in_features:
        Wt, unsolved = refine(
            scatter(x.float()) if system is None else system,
            lambda V: multiply(x.mT, multiply(x, V)) + alpha * V,
            multiply(x.mT, Y),
            alpha,
            intercept=False,
        )
    else:
        A, unsolved = refine(
            gram(x.float()) if system is None else system,
            lambda V: multiply(x, multiply(x.mT, V)) + alpha * V,
            Y,
            alpha,
            intercept=True,
        )
        Wt = multiply(x.mT, A)
    if bool(unsolved.any()):
        Wt[unsolved] = _ridge(x[unsolved], Y, alpha)
    return Wt


def _fit_fold(fold: FoldSystem) -> Iterator[tuple[Tensor, Tensor]]:
    """Projections ``(b, n_test, K)`` of a fold and what is undetermined ``(T, b)``, per alpha."""
    solver, columns = fold.plan.solver, fold.plan.targets.columns
    M, Y, probe = fold.products, fold.embedding, fold.probe
    if solver.orthonormal:
        fits = [procrustes(M[..., span]) for span in columns]
        Wt = torch.cat([fit[0] for fit in fits], dim=-1)
        undetermined = torch.stack([fit[1] for fit in fits])
        for _ in solver.alphas:  # without effect on an orthonormal map
            yield fold.project(Wt), undetermined
        return

    determined = torch.zeros(len(columns), len(M), dtype=torch.bool, device=M.device)
    refined = solver.dtype == torch.float32
    T = fold.train() if solver.needs_gram and (refined or fold.shared is None) else None
    system = fold.matrix(T) if solver.needs_gram else None
    K_test = None
    if system is not None and not fold.in_features and not refined:
        if T is not None:
            probe = (T @ probe[..., None])[..., 0]
        else:
            K_test = fold.test_gram(T)
            probe = multiply(K_test.mT, signs(fold.rows.n_test, M)[:, None])[..., 0]

    penalties = [alpha for alpha in solver.alphas if alpha]
    path: Iterator[RidgeSolution] | None = None
    if system is not None and len(penalties) >= _PATH and not refined:
        right = M if fold.in_features else Y
        cancelled = fold.cancelled if fold.in_features else None
        path = ridge_path(system, right, probe, penalties, not fold.in_features, cancelled)
    last = max((i for i, alpha in enumerate(solver.alphas) if alpha), default=0)
    for i, alpha in enumerate(solver.alphas):
        if alpha == 0:
            yield fold.project(ridge_svd(fold.train(), Y, 0.0)), determined
            continue
        assert system is not None
        own = system if i == last or path is not None else system.clone()
        if refined:
            assert T is not None
            Wt = _refined(T, Y, alpha, fold.in_features, own)
            yield fold.project(Wt), determined
            continue
        if fold.in_features:
            fit = next(path) if path else ridge_(own, M, probe, alpha, cancelled=fold.cancelled)
            Z = fold.project(fit.solution)
        else:
            fit = next(path) if path else ridge_(own, Y, probe, alpha, intercept=True)
            if K_test is not None:
                Z = multiply(K_test, fit.solution)
            else:
                assert T is not None
                Z = fold.project(multiply(T.mT, fit.solution))
        doubtful = fit.doubtful(Z, columns)
        if bool(doubtful.any()):
            Wt = torch.zeros_like(M)
            Wt[doubtful] = ridge_svd(fold.train()[doubtful], Y, alpha)
            Z[doubtful] = fold.project(Wt)[doubtful]
        yield Z, determined
