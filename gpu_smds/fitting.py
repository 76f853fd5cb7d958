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

from gpu_smds.blas import gram, multiply, scatter
from gpu_smds.folds import Fold, Folds, Rows, is_all, runs
from gpu_smds.incomplete import solve_incomplete
from gpu_smds.manifolds import Embedding
from gpu_smds.refine import refine
from gpu_smds.scratch import scratch
from gpu_smds.sites import Sites
from gpu_smds.solve import procrustes, ridge_, ridge_svd, signs
from gpu_smds.states import CentredStates
from gpu_smds.streamed import is_streamed
from gpu_smds.targets import Targets

# A block in more pieces than that is gathered entry by entry.
_MOST_STRETCHES = 64

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
    dtype
        Of the ridge's large matrices. With float32 its solutions are refined in float64.
    """

    alphas: tuple[float, ...]
    orthonormal: bool
    standardize: str | None
    dtype: torch.dtype = torch.float64

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
    """Whether to solve the features × features system.

    Where that is the smaller one, or hardly the larger: there heavy features, of which language
    models have some, do not blur the others.
    """
    return 5 * d <= 6 * n_train


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
    if solver.needs_gram and _in_features(folds, d):
        work += ((len(folds) if folds.partition else 0) + 4) * d * d
    elif solver.needs_gram:
        work += n * n + 3 * n_train * n_train
    if solver.needs_gram and solver.dtype == torch.float32:
        work += n * d // 2
    if not solver.orthonormal and 0.0 in solver.alphas:
        work += 3 * small * (n_train + d) + 4 * small * small
    if incomplete:
        work += 8 * n_train * n_train + 2 * n_train * d + 4 * small * small
    return sites.bytes_per_site(written) + 8 * (work + thin)


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

    The states are standardised in place where ``solver.standardize == "all"`` and the fit is not
    orthonormal, which needs only products with them.
    """
    folds, solver = plan.folds, plan.solver
    if not solver.orthonormal:
        states.materialise()
    reduced = states.reduce(plan.reducer.flatten(1)).unflatten(2, plan.reducer.shape[1:])
    shifts, probes = reduced[..., -3].movedim(2, 0), reduced[..., -1].movedim(2, 0)
    products = reduced[..., :-3].movedim(2, 0)
    constant = []
    for f, fold in enumerate(folds.folds):
        of_train = states.variation(fold.train, fold.n_train, shifts[f])
        test_shift = reduced[:, :, f, -2]
        of_test = states.variation(fold.test, fold.n_test, test_shift)
        constant.append(
            states.constant(of_train, shifts[f], fold.n_train, fold.train)
            | states.constant(of_test, test_shift, fold.n_test, fold.test)
        )
    scale = None
    if solver.standardize == "all":
        shift, variance = states.moments()
        scale = states.scale(variance, shift)
        if not solver.orthonormal:
            states.x /= scale[:, None]
            shifts, products, probes = shifts / scale, products / scale[..., None], probes / scale
            scale = None
    shared = None if solver.orthonormal else _shared_gram(states.x, folds, solver)
    for f in range(len(folds)):
        part = _FoldStates.of(states, plan, f, shifts[f], scale)
        iterative = [
            (i, solve_incomplete(part.train(), i.pairs, i.columns.stop - i.columns.start))
            for i in plan.targets.incomplete[f]
        ]
        shape = (len(plan.targets), len(states))
        unconverged = torch.zeros(shape, dtype=torch.bool, device=states.mean.device)
        for incomplete, fit in iterative:
            unconverged[incomplete.target] = ~fit.converged
        fits = _fit_fold(part, plan, f, products[f], probes[f], shared)
        for a, (Z, undetermined) in enumerate(fits):
            for incomplete, fit in iterative:
                Z[..., incomplete.columns] = part.project(fit.Wt)
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


def _shared_gram(x: Tensor, folds: Folds, solver: Solver) -> list[Tensor] | None:
    """What all folds share: per test part the scatter, or the Gram matrix of all rows.

    None where folds share nothing: no ridge, training z-scores in the dual form (they change
    every inner product), or index pairs whose training part is not the rest in the primal form.
    """
    if not solver.needs_gram:
        return None
    x = x.to(solver.dtype)
    if _in_features(folds, x.shape[2]):
        if not folds.partition:
            return None
        return [scatter(x[:, f.test], f"part {i}") for i, f in enumerate(folds.folds)]
    if solver.standardize == "train":
        return None
    return [gram(x, "all rows")]


@dataclass(frozen=True)
class _FoldStates:
    """Training and test rows of one fold; ``scale`` is None where the states are as they are."""

    states: CentredStates
    rows: Fold
    shift: Tensor
    scale: Tensor | None

    @classmethod
    def of(
        cls, states: CentredStates, plan: Plan, f: int, shift: Tensor, scale: Tensor | None
    ) -> _FoldStates:
        rows = plan.folds.folds[f]
        if plan.solver.standardize == "train":
            scale = states.scale(states.moments(rows.train)[1], shift)
        return cls(states, rows, shift, scale)

    def train(self) -> Tensor:
        """Training rows ``(b, n_train, d)``, centred and scaled."""
        # The shift is in the units of the raw states, and so are they where there is a scale.
        train = self.states.x[:, self.rows.train] - self.shift[:, None]
        return train if self.scale is None else train.div_(self.scale[:, None])

    def project(self, Wt: Tensor) -> Tensor:
        """Test rows projected by maps ``(b, d, k)`` of scaled states."""
        W = Wt if self.scale is None else Wt / self.scale[..., None]
        return self.states.project(W, self.rows.test)


def _fit_fold(
    fold: _FoldStates, plan: Plan, f: int, M: Tensor, probe: Tensor, shared: list[Tensor] | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Projections ``(b, n_test, K)`` of fold f and what is undetermined ``(T, b)``, per alpha.

    ``M`` is XᵀY ``(b, d, K)`` and ``probe`` ``(b, d)`` a combination of the test rows.
    """
    rows, solver, columns = fold.rows, plan.solver, plan.targets.columns
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

    determined = torch.zeros(len(columns), len(M), dtype=torch.bool, device=M.device)
    in_features = _in_features(plan.folds, M.shape[-2])
    refined = solver.dtype == torch.float32
    T = fold.train() if solver.needs_gram and (refined or shared is None) else None
    system = _system(fold, f, T, shared, in_features, solver) if solver.needs_gram else None
    K_test = None
    if system is not None and not in_features and not refined:
        if T is not None:
            probe = (T @ probe[..., None])[..., 0]
        else:
            assert shared is not None
            K_test = _sub_block(shared[0], rows.test, rows.train, "gram beside")
            probe = multiply(K_test.mT, signs(rows.n_test, M)[:, None])[..., 0]

    last = max((i for i, alpha in enumerate(solver.alphas) if alpha), default=0)
    for i, alpha in enumerate(solver.alphas):
        if alpha == 0:
            yield fold.project(ridge_svd(fold.train(), Y, 0.0)), determined
            continue
        assert system is not None
        own = system if i == last else system.clone()
        if refined:
            assert T is not None
            Wt = _refined(T, Y, alpha, in_features, own)
            yield fold.project(Wt), determined
            continue
        if in_features:
            cancelled = None if shared is None else rows.n_train * fold.shift.square()
            if cancelled is not None and fold.scale is not None:
                cancelled = cancelled / fold.scale.square()
            fit = ridge_(own, M, probe, alpha, cancelled=cancelled)
            Z = fold.project(fit.solution)
        else:
            fit = ridge_(own, Y, probe, alpha, intercept=True)
            A = fit.solution
            if T is not None:
                Z = fold.project(multiply(T.mT, A))
            else:
                assert K_test is not None
                Z = multiply(K_test, A)
        doubtful = fit.doubtful(Z, columns)
        if bool(doubtful.any()):
            Wt = torch.zeros_like(M)
            Wt[doubtful] = ridge_svd(fold.train()[doubtful], Y, alpha)
            Z[doubtful] = fold.project(Wt)[doubtful]
        yield Z, determined


def _in_features(folds: Folds, d: int) -> bool:
    """Whether all folds solve the features × features system: they share its parts."""
    return primal(max(fold.n_train for fold in folds.folds), d)


def _system(
    fold: _FoldStates,
    f: int,
    T: Tensor | None,
    shared: list[Tensor] | None,
    in_features: bool,
    solver: Solver,
) -> Tensor:
    """Scatter or Gram matrix of the training rows, T where nothing is shared.

    A Gram matrix from the shared one is not centred by the training rows: the solution is, which
    comes to the same.
    """
    if shared is None:
        assert T is not None
        own = T.to(solver.dtype)
        return scatter(own) if in_features else gram(own)
    if not in_features:
        return _sub_block(shared[0], fold.rows.train, fold.rows.train, "gram")
    C = _train_scatter(shared, f, fold.shift, fold.rows.n_train)
    if fold.scale is not None:
        C /= fold.scale[:, :, None]
        C /= fold.scale[:, None, :]
    return C


def _train_scatter(parts: list[Tensor], f: int, shift: Tensor, n_train: int) -> Tensor:
    """Scatter ``(b, d, d)`` of the centred training rows from the test parts' ``(b, d, d)``.

    It is the *sum* of the others' parts: subtracting the held-out part from the total would
    lose digits whenever the outlier is the part held out.
    """
    others = [g for g in range(len(parts)) if g != f]
    shift = shift.to(parts[0].dtype)
    C = scratch("gram", parts[0].shape, parts[0])
    torch.addcmul(parts[others[0]], shift[:, :, None], shift[:, None, :], value=-n_train, out=C)
    for g in others[1:]:
        C += parts[g]
    return C


def _sub_block(K: Tensor, rows: Rows, columns: Rows, name: str) -> Tensor:
    """Copy of ``K[:, rows][:, :, columns]`` in scratch, by stretches of consecutive rows."""
    row_runs, column_runs = runs(rows), runs(columns)
    if len(row_runs) * len(column_runs) > _MOST_STRETCHES:
        every = torch.arange(K.shape[1], device=K.device)
        return K[:, every[rows][:, None], every[columns]]
    shape = [sum(run.stop - run.start for run in of) for of in (row_runs, column_runs)]
    block = scratch(name, (len(K), *shape), K)
    top = 0
    for down in row_runs:
        bottom, left = top + down.stop - down.start, 0
        for across in column_runs:
            right = left + across.stop - across.start
            block[:, top:bottom, left:right] = K[:, down, across]
            left = right
        top = bottom
    return block
