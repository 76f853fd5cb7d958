"""Fit and project one block of sites for every fold, manifold and alpha.

A Gram or scatter matrix is formed once per site and serves all folds; the smaller of the primal
(features × features) and dual (samples × samples) systems is solved; every manifold is one more
set of right-hand sides. Scores are invariant to shifts of the projection, so test states are
never centred by the training mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_smds.folds import Fold, Folds, Rows
from gpu_smds.incomplete import solve_incomplete
from gpu_smds.manifolds import Embedding
from gpu_smds.solve import procrustes, ridge, ridge_svd, signs
from gpu_smds.states import CentredStates
from gpu_smds.targets import Targets

STANDARDIZE = (None, "train", "all")


@dataclass(frozen=True)
class Solver:
    """How a map is fitted.

    Attributes
    ----------
    alphas
        Ridge penalties; 0 is minimum-norm least squares. Ignored where ``orthonormal``.
    orthonormal
        Procrustes instead of ridge.
    standardize
        None, "train" (z-score fitted on the training rows) or "all" (on all rows).
    """

    alphas: tuple[float, ...]
    orthonormal: bool
    standardize: str | None

    @property
    def needs_gram(self) -> bool:
        """True where some alpha is a ridge penalty."""
        return not self.orthonormal and any(self.alphas)


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


def primal(n_train: int, d: int) -> bool:
    """Whether the features × features system is the smaller one."""
    return d <= n_train


def bytes_per_site(
    n: int, d: int, folds: Folds, solver: Solver, itemsize: int, incomplete: bool = False
) -> int:
    """Peak bytes that :func:`fit_folds` allocates per site, the block of states included."""
    n_train = max(fold.n_train for fold in folds.folds)
    states = n * d * (8 + 2 * itemsize) + n_train * d * 8
    small = min(n_train, d)
    work = 0
    if solver.needs_gram and primal(n_train, d):
        work = ((len(folds) if folds.partition else 0) + 4) * d * d
    elif solver.needs_gram:
        work = n * n + 4 * n_train * n_train
    if not solver.orthonormal and 0.0 in solver.alphas:
        work = max(work, 3 * small * (n_train + d) + 4 * small * small)
    if incomplete:
        work += 8 * n_train * n_train + 2 * n_train * d + 4 * small * small
    return states + 8 * work


@dataclass(frozen=True)
class Plan:
    """Everything about the folds that no site changes, on the device.

    Attributes
    ----------
    targets
        Per fold the ideal embeddings of the training rows, several manifolds side by side.
    reducer
        ``(n, F, K + 3)``: one product with it gives, for every fold, XᵀY, the means of the
        training and of the test rows, and a probe of the test rows.
    """

    folds: Folds
    solver: Solver
    targets: Targets
    reducer: Tensor

    @classmethod
    def of(cls, folds: Folds, solver: Solver, targets: Targets, n: int) -> Plan:
        """Build the reducer for ``n`` rows."""
        K = targets.stacked[0].shape[1]
        reducer = targets.stacked[0].new_zeros(n, len(folds), K + 3)
        every = torch.arange(n, device=reducer.device)
        for f, (fold, Y) in enumerate(zip(folds.folds, targets.stacked, strict=True)):
            train, test = every[fold.train], every[fold.test]
            # index_add, since a bootstrap repeats rows.
            reducer[:, f, :K].index_add_(0, train, Y)
            weights = reducer.new_ones(n)
            reducer[:, f, K].index_add_(0, train, weights[: len(train)] / max(len(train), 1))
            reducer[:, f, K + 1].index_add_(0, test, weights[: len(test)] / max(len(test), 1))
            reducer[:, f, K + 2].index_add_(0, test, signs(len(test), weights))
        return cls(folds, solver, targets, reducer)


def fit_folds(states: CentredStates, plan: Plan) -> Iterator[FoldFit]:
    """Fit every fold and alpha on a block of sites and project the test rows.

    The states are standardised in place where ``solver.standardize == "all"``.
    """
    x, folds, solver = states.x, plan.folds, plan.solver
    energy = states.row_energy()
    reduced = x.mT @ plan.reducer.flatten(1)
    reduced = reduced.unflatten(2, plan.reducer.shape[1:])
    shifts, probes = reduced[..., -3].movedim(2, 0), reduced[..., -1].movedim(2, 0)
    constant = [
        states.constant(fold.train, fold.n_train, energy, reduced[:, :, f, -3])
        | states.constant(fold.test, fold.n_test, energy, reduced[:, :, f, -2])
        for f, fold in enumerate(folds.folds)
    ]
    products = reduced[..., :-3].movedim(2, 0)
    if solver.standardize == "all":
        scale = states.scale_of()
        x /= scale[:, None]
        shifts, products, probes = shifts / scale, products / scale[..., None], probes / scale
    gram = _shared_gram(x, folds, solver)
    for f in range(len(folds)):
        fold = _FoldStates.of(states, plan, f, shifts[f])
        iterative = [
            (i, solve_incomplete(fold.train(), i.pairs, i.columns.stop - i.columns.start))
            for i in plan.targets.incomplete[f]
        ]
        unconverged = torch.zeros(len(plan.targets), len(x), dtype=torch.bool, device=x.device)
        for incomplete, fit in iterative:
            unconverged[incomplete.target] = ~fit.converged
        fits = _fit_fold(fold, plan, f, products[f], probes[f], gram)
        for a, (Z, undetermined) in enumerate(fits):
            for incomplete, fit in iterative:
                Z[..., incomplete.columns] = fold.project(fit.Wt)
                undetermined[incomplete.target] = False
            yield FoldFit(f, a, Z, undetermined, unconverged, constant[f])


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

    ``embedding`` is that of the labels of those rows.
    """
    x = states.x[:, rows]
    shift = x.mean(1)
    constant = states.constant(rows, n_rows, states.row_energy(), shift)
    x = x - shift[:, None]
    scale = torch.ones_like(shift)
    if solver.standardize:
        scale = states.scale_of(rows, shift) if solver.standardize == "train" else states.scale_of()
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
    else:
        Wt = _ridge(x, Y, alpha)
    return RowsFit(Wt, states.mean + shift, scale, undetermined, unconverged, constant)


def _ridge(x: Tensor, Y: Tensor, alpha: float) -> Tensor:
    """Ridge maps ``(b, d, k)`` of centred states ``(b, n, d)`` in the smaller of the two forms."""
    signed = signs(x.shape[1], x)
    if primal(*x.shape[1:]):
        fit = ridge(x.mT @ x, x.mT @ Y, x.mT @ signed, alpha)
        Wt = fit.solution
    else:
        K = x @ x.mT
        fit = ridge(K, Y, K @ signed, alpha)
        Wt = x.mT @ fit.solution
    doubtful = fit.doubtful(x @ Wt, [slice(None)])
    if bool(doubtful.any()):
        Wt[doubtful] = ridge_svd(x[doubtful], Y, alpha)
    return Wt


def _shared_gram(x: Tensor, folds: Folds, solver: Solver) -> list[Tensor] | None:
    """What all folds share: per test part the scatter, or the Gram matrix of all rows.

    None where folds share nothing: no ridge, training z-scores in the dual form (they change
    every inner product), or index pairs whose training part is not the rest in the primal form.
    """
    if not solver.needs_gram:
        return None
    if primal(min(fold.n_train for fold in folds.folds), x.shape[2]):
        if not folds.partition:
            return None
        return [x[:, f.test].mT @ x[:, f.test] for f in folds.folds]
    if solver.standardize == "train":
        return None
    return [x @ x.mT]


@dataclass(frozen=True)
class _FoldStates:
    """Training and test rows of one fold; ``scale`` is None without training z-scores."""

    x: Tensor
    rows: Fold
    shift: Tensor
    scale: Tensor | None

    @classmethod
    def of(cls, states: CentredStates, plan: Plan, f: int, shift: Tensor) -> _FoldStates:
        rows = plan.folds.folds[f]
        z_scored = plan.solver.standardize == "train"
        scale = states.scale_of(rows.train, shift) if z_scored else None
        return cls(states.x, rows, shift, scale)

    def train(self) -> Tensor:
        """Training rows ``(b, n_train, d)``, centred and scaled."""
        train = self.x[:, self.rows.train] - self.shift[:, None]
        return train if self.scale is None else train.div_(self.scale[:, None])

    def project(self, Wt: Tensor) -> Tensor:
        """Test rows projected by maps ``(b, d, k)`` of scaled states."""
        return self.x[:, self.rows.test] @ (
            Wt if self.scale is None else Wt / self.scale[..., None]
        )


def _fit_fold(
    fold: _FoldStates, plan: Plan, f: int, M: Tensor, probe: Tensor, gram: list[Tensor] | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Projections ``(b, n_test, K)`` of fold f and what is undetermined ``(T, b)``, per alpha.

    ``M`` is XᵀY ``(b, d, K)`` and ``probe`` ``(b, d)`` a combination of the test rows.
    """
    x, rows, solver, columns = fold.x, fold.rows, plan.solver, plan.targets.columns
    Y = plan.targets.stacked[f]
    if fold.scale is not None:
        M, probe = M / fold.scale[..., None], probe / fold.scale

    if solver.orthonormal:
        fits = [procrustes(M[..., span]) for span in columns]
        Wt = torch.cat([fit[0] for fit in fits], dim=-1)
        undetermined = torch.stack([fit[1] for fit in fits])
        for _ in solver.alphas:  # without effect on an orthonormal map
            yield fold.project(Wt), undetermined
        return

    determined = torch.zeros(len(columns), len(x), dtype=torch.bool, device=x.device)
    C = K = T = K_test = None
    if solver.needs_gram and primal(min(g.n_train for g in plan.folds.folds), x.shape[2]):
        if gram is None:
            train = fold.train()
            C = train.mT @ train
        else:
            C = _train_scatter(gram, f, fold.shift, rows.n_train)
            if fold.scale is not None:
                C = C / (fold.scale[:, :, None] * fold.scale[:, None, :])
    elif solver.needs_gram and gram is None:
        T = fold.train()
        K, probe = T @ T.mT, (T @ probe[..., None])[..., 0]
    elif solver.needs_gram:
        assert gram is not None
        # The dual system: the training rows' Gram matrix and its products with the test rows.
        K = _sub_block(gram[0], rows.train, rows.train)
        K = K - K.mean(1, keepdim=True) - K.mean(2, keepdim=True) + K.mean((1, 2), True)
        K_test = _sub_block(gram[0], rows.test, rows.train)
        probe = K_test.mT @ signs(rows.n_test, x)
        probe = probe - probe.mean(1, keepdim=True)

    for alpha in solver.alphas:
        if alpha == 0:
            yield fold.project(ridge_svd(fold.train(), Y, 0.0)), determined
            continue
        if C is not None:
            fit = ridge(C, M, probe, alpha)
            Z = fold.project(fit.solution)
        else:
            assert K is not None
            fit = ridge(K, Y, probe, alpha)
            A = fit.solution - fit.solution.mean(1, keepdim=True)
            if T is not None:
                Z = fold.project(T.mT @ A)
            else:
                assert K_test is not None
                Z = K_test @ A
        doubtful = fit.doubtful(Z, columns)
        if bool(doubtful.any()):
            Wt = torch.zeros_like(M)
            Wt[doubtful] = ridge_svd(fold.train()[doubtful], Y, alpha)
            Z[doubtful] = fold.project(Wt)[doubtful]
        yield Z, determined


def _train_scatter(parts: list[Tensor], f: int, shift: Tensor, n_train: int) -> Tensor:
    """Scatter ``(b, d, d)`` of the centred training rows from the test parts' ``(b, d, d)``.

    It is the *sum* of the others' parts: subtracting the held-out part from the total would
    lose digits whenever the outlier is the part held out.
    """
    others = [g for g in range(len(parts)) if g != f]
    C = parts[others[0]].baddbmm(shift[:, :, None], shift[:, None, :], alpha=-n_train)
    for g in others[1:]:
        C += parts[g]
    return C


def _sub_block(K: Tensor, rows: Rows, columns: Rows) -> Tensor:
    """``K[:, rows][:, :, columns]`` in one gather where both are index tensors."""
    if isinstance(rows, slice) or isinstance(columns, slice):
        return K[:, rows][:, :, columns]
    return K[:, rows[:, None], columns[None, :]]
