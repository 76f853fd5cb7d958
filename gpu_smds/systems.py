"""The linear system of every fold of a block of sites: what is formed before anything is solved.

A Gram or scatter matrix is formed once per site and serves all folds; the smaller of the primal
(features × features) and dual (samples × samples) systems is the one to solve.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_smds.blas import gram, scatter
from gpu_smds.budget import check_fits
from gpu_smds.folds import Fold, Folds, Rows, runs
from gpu_smds.scratch import scratch
from gpu_smds.solve import signs
from gpu_smds.states import CentredStates
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


def primal(n_train: int, d: int) -> bool:
    """Whether to solve the features × features system.

    Where that is the smaller one, or hardly the larger: there heavy features, of which language
    models have some, do not blur the others.
    """
    return 5 * d <= 6 * n_train


def in_features(folds: Folds, d: int) -> bool:
    """Whether all folds solve the features × features system: they share its parts."""
    return primal(max(fold.n_train for fold in folds.folds), d)


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
        check_fits(
            8 * n * len(folds) * (K + 3),
            f"cv of {len(folds):,} folds with {K:,} components",
            "what all sites share",
            targets.stacked[0].device,
        )
        reducer = targets.stacked[0].new_zeros(n, len(folds), K + 3)
        every = torch.arange(n, device=reducer.device)
        for f, (fold, Y) in enumerate(zip(folds.folds, targets.stacked, strict=True)):
            train, test = every[fold.train], every[fold.test]
            # index_add, since a bootstrap repeats rows.
            reducer[:, f, :K].index_add_(0, train, Y)
            for column, rows in ((K, train), (K + 1, test)):
                share = reducer.new_full((len(rows),), 1 / max(len(rows), 1))
                reducer[:, f, column].index_add_(0, rows, share)
            reducer[:, f, K + 2].index_add_(0, test, signs(len(test), reducer))
        return cls(folds, solver, targets, reducer)


@dataclass(frozen=True)
class FoldSystem:
    """One fold of a block of b sites, before it is solved.

    Attributes
    ----------
    number, plan, states
        Which fold of what.
    shift
        ``(b, d)`` mean of the training rows.
    scale
        ``(b, d)`` by which the states are still to be divided; None where they are as they are.
    products
        XᵀY ``(b, d, K)`` of the training rows, scaled.
    probe
        ``(b, d)`` a combination of the test rows by :func:`gpu_smds.solve.signs`, scaled.
    constant
        ``(b,)`` bool, where training or test rows do not vary.
    shared
        What all folds share, see :func:`shared_gram`.
    """

    number: int
    plan: Plan
    states: CentredStates
    shift: Tensor
    scale: Tensor | None
    products: Tensor
    probe: Tensor
    constant: Tensor
    shared: list[Tensor] | None

    @property
    def rows(self) -> Fold:
        """Training and test rows."""
        return self.plan.folds.folds[self.number]

    @property
    def embedding(self) -> Tensor:
        """Embeddings ``(n_train, K)`` of the training labels."""
        return self.plan.targets.stacked[self.number]

    @property
    def in_features(self) -> bool:
        """Whether the system is features × features."""
        return in_features(self.plan.folds, self.products.shape[-2])

    def train(self) -> Tensor:
        """Training rows ``(b, n_train, d)``, centred and scaled."""
        # The shift is in the units of the raw states, and so are they where there is a scale.
        train = self.states.x[:, self.rows.train] - self.shift[:, None]
        return train if self.scale is None else train.div_(self.scale[:, None])

    def project(self, Wt: Tensor) -> Tensor:
        """Test rows projected by maps ``(b, d, k)`` of scaled states."""
        W = Wt if self.scale is None else Wt / self.scale[..., None]
        return self.states.project(W, self.rows.test)

    @property
    def cancelled(self) -> Tensor | None:
        """What centring took from the diagonal of a shared primal system ``(b, d)``."""
        if self.shared is None:
            return None
        lost = self.rows.n_train * self.shift.square()
        return lost if self.scale is None else lost / self.scale.square()

    def matrix(self, T: Tensor | None) -> Tensor:
        """Scatter or Gram matrix of the training rows, of ``T`` where nothing is shared.

        A Gram matrix from the shared one is not centred by the training rows: the solution is,
        which comes to the same.
        """
        if self.shared is None:
            assert T is not None
            own = T.to(self.plan.solver.dtype)
            return scatter(own) if self.in_features else gram(own)
        train = self.rows.train
        if not self.in_features:
            return _sub_block(self.shared[0], train, train, "gram")
        C = _train_scatter(self.shared, self.number, self.shift, self.rows.n_train)
        if self.scale is not None:
            C /= self.scale[:, :, None]
            C /= self.scale[:, None, :]
        return C

    def test_gram(self, T: Tensor | None) -> Tensor:
        """Products ``(b, n_test, n_train)`` of the test rows with the training rows."""
        if self.shared is None:
            assert T is not None
            return self.project(T.mT)
        return _sub_block(self.shared[0], self.rows.test, self.rows.train, "gram beside")


def fold_systems(states: CentredStates, plan: Plan) -> Iterator[FoldSystem]:
    """Every fold of a block of sites.

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
    shared = None if solver.orthonormal else shared_gram(states.x, folds, solver)
    for f, fold in enumerate(folds.folds):
        if solver.standardize == "train":
            scale = states.scale(states.moments(fold.train)[1], shifts[f])
        M, probe = products[f], probes[f]
        if scale is not None:
            M, probe = M / scale[..., None], probe / scale
        yield FoldSystem(f, plan, states, shifts[f], scale, M, probe, constant[f], shared)


def shared_gram(x: Tensor, folds: Folds, solver: Solver) -> list[Tensor] | None:
    """What all folds share: per test part the scatter, or the Gram matrix of all rows.

    None where folds share nothing: no ridge, training z-scores in the dual form (they change
    every inner product), or index pairs whose training part is not the rest in the primal form.
    """
    if not solver.needs_gram:
        return None
    x = x.to(solver.dtype)
    if in_features(folds, x.shape[2]):
        if not folds.partition:
            return None
        return [scatter(x[:, f.test], f"part {i}") for i, f in enumerate(folds.folds)]
    if solver.standardize == "train":
        return None
    return [gram(x, "all rows")]


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
