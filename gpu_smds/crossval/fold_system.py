"""One fold of a block of sites, as solvers see it, and what all folds of the block share.

A Gram or scatter matrix is computed once per site for all folds. The smaller one of the primal
(features × features) and dual (samples × samples) systems is solved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gpu_smds._memory import check_fits
from gpu_smds.crossval.folds import Fold, Folds
from gpu_smds.crossval.ideals import Ideals
from gpu_smds.kernels.linalg import gram, scatter
from gpu_smds.kernels.workspace import workspace
from gpu_smds.sites.array import Sites
from gpu_smds.sites.centred import CentredStates
from gpu_smds.sites.centred_by_passes import is_streamed
from gpu_smds.sites.rows import Rows, runs
from gpu_smds.solvers.fold_solver import FoldSize, Labels
from gpu_smds.solvers.ridge_systems import primal, signs
from gpu_smds.solvers.spec import SolverSpec

# A block of more stretches than this is gathered entry by entry.
_MOST_STRETCHES = 64


def in_features(folds: Folds, d: int) -> bool:
    """Whether all folds solve the features × features system, whose parts they share."""
    return primal(max(fold.n_train for fold in folds.folds), d)


@dataclass(frozen=True)
class FoldPlan:
    """The data of the folds that all sites share, on the device.

    Attributes
    ----------
    folds, solver
        How samples are held out, and the solver.
    ideals
        Embeddings to fit to and ideal distances to score against.
    reducer
        ``(n, F, K + 3)``: one product with it gives, for every fold, XᵀY, the means of the
        training and of the test rows, and a probe of the test rows.
    """

    folds: Folds
    solver: SolverSpec
    ideals: Ideals
    reducer: Tensor

    @classmethod
    def of(cls, folds: Folds, solver: SolverSpec, ideals: Ideals, sites: Sites) -> FoldPlan:
        """Build the reducer.

        Raises
        ------
        ValueError
            The reducer does not fit the memory, or the solver does not take the states.
        """
        n, K = sites.n, ideals.width
        solver.check(sites.d)
        check_fits(
            8 * n * len(folds) * (K + 3),
            f"cv of {len(folds):,} folds with {K:,} components",
            "what all sites share",
            ideals.stacked[0].device,
        )
        reducer = ideals.stacked[0].new_zeros(n, len(folds), K + 3)
        every = torch.arange(n, device=reducer.device)
        for f, (fold, Y) in enumerate(zip(folds.folds, ideals.stacked, strict=True)):
            train, test = every[fold.train], every[fold.test]
            # index_add_ is used, since a bootstrap repeats rows.
            reducer[:, f, :K].index_add_(0, train, Y)
            for column, rows in ((K, train), (K + 1, test)):
                share = reducer.new_full((len(rows),), 1 / max(len(rows), 1))
                reducer[:, f, column].index_add_(0, rows, share)
            reducer[:, f, K + 2].index_add_(0, test, signs(len(test), reducer))
        return cls(folds, solver, ideals, reducer)

    def size(self, sites: Sites) -> FoldSize:
        """Sizes of the folds."""
        return size_of(sites, self.folds, self.ideals.width)


def size_of(sites: Sites, folds: Folds, columns: int) -> FoldSize:
    """Sizes of the folds, for embeddings with this number of columns."""
    n_train = max((fold.n_train for fold in folds.folds), default=0)
    n_test = max((fold.n_test for fold in folds.folds), default=0)
    return FoldSize(sites.n, sites.d, n_train, n_test, columns, primal(n_train, sites.d))


def bytes_per_site(
    sites: Sites,
    folds: Folds,
    solver: SolverSpec,
    size: FoldSize,
    written: bool,
    device: torch.device,
) -> int:
    """Peak bytes of a site's states and of its folds, including those of the solver.

    ``written`` tells that the centred states are written even if the solver does not need them.
    """
    d, columns = size.d, size.columns
    written = written or solver.kind.reads_rows or not is_streamed(device)
    thin = len(folds) * (columns + 3) * d + 4 * columns * (size.n + d)
    rows = size.n_train * d if written else 0
    matrices = 0
    if solver.kind.matrix_dtype is not None and size.in_features:
        matrices = ((len(folds) if folds.partition else 0) + 1) * d * d
    elif solver.kind.matrix_dtype is not None:
        matrices = size.n**2 + size.n_train**2
    own = solver.kind.bytes_per_site(size)
    return sites.bytes_per_site(written) + 8 * (thin + rows + matrices) + own


@dataclass(frozen=True)
class FoldSystem:
    """One fold of a block of b sites: a :class:`gpu_smds.solvers.fold_solver.FoldView`.

    Attributes
    ----------
    number, plan, states
        Index of the fold, the plan of all folds, and the states of the block.
    shift
        ``(b, d)`` mean of the training rows.
    scale
        ``(b, d)`` by which the states must still be divided; None if they need no scaling.
    products
        XᵀY ``(b, d, K)`` of the training rows, scaled.
    probe
        ``(b, d)`` a combination of the test rows by :func:`gpu_smds.solvers.ridge_systems.signs`,
        scaled.
    constant
        ``(b,)`` bool, where training or test rows do not vary.
    shared
        Matrices that all folds share, see :func:`shared_gram`.
    """

    number: int
    plan: FoldPlan
    states: CentredStates
    shift: Tensor
    scale: Tensor | None
    products: Tensor
    probe: Tensor
    constant: Tensor
    shared: list[Tensor] | None

    # A shared Gram matrix is centred by all rows and not by the training rows of this fold.
    centred = False

    @property
    def rows(self) -> Fold:
        """Training and test rows."""
        return self.plan.folds.folds[self.number]

    @property
    def n_train(self) -> int:
        """Training rows."""
        return self.rows.n_train

    @property
    def n_test(self) -> int:
        """Test rows."""
        return self.rows.n_test

    @property
    def labels(self) -> Labels:
        """Embeddings of the training labels."""
        return Labels(self.plan.ideals.stacked[self.number], lambda: self.products)

    @property
    def in_features(self) -> bool:
        """Whether the system is features × features."""
        return in_features(self.plan.folds, self.products.shape[-2])

    @property
    def shares(self) -> bool:
        """Whether its matrix is part of one that all folds share."""
        return self.shared is not None

    @property
    def cancelled(self) -> Tensor | None:
        """``(b, d)`` that centring subtracted from the diagonal of a shared primal system."""
        if self.shared is None:
            return None
        lost = self.n_train * self.shift.square()
        return lost if self.scale is None else lost / self.scale.square()

    def train(self) -> Tensor:
        """Training rows ``(b, n_train, d)``, centred and scaled; copied when first asked for."""
        return self._train

    @cached_property
    def _train(self) -> Tensor:
        # If there is a scale, the shift and the states are in the units of the raw states.
        train = self.states.x[:, self.rows.train] - self.shift[:, None]
        return train if self.scale is None else train.div_(self.scale[:, None])

    def test(self) -> Tensor:
        """Test rows ``(b, n_test, d)``, scaled."""
        test = self.states.x[:, self.rows.test]
        return test if self.scale is None else test / self.scale[:, None]

    def project(self, Wt: Tensor) -> Tensor:
        """Test rows projected by maps ``(b, d, k)`` of scaled states."""
        W = Wt if self.scale is None else Wt / self.scale[..., None]
        return self.states.project(W, self.rows.test)

    def matrix(self) -> Tensor:
        """Scatter or Gram matrix of the training rows, as the solver needs it.

        A part of the shared Gram matrix is not centred by the training rows. The solution is
        centred instead, which is equivalent.
        """
        if self.shared is None:
            own = self.train().to(self.plan.solver.kind.matrix_dtype)
            return scatter(own) if self.in_features else gram(own)
        rows = self.rows.train
        if not self.in_features:
            return _sub_block(self.shared[0], rows, rows, "gram")
        C = _train_scatter(self.shared, self.number, self.shift, self.n_train)
        if self.scale is not None:
            C /= self.scale[:, :, None]
            C /= self.scale[:, None, :]
        return C

    def test_gram(self) -> Tensor:
        """Products ``(b, n_test, n_train)`` of the test rows with the training rows."""
        if self.shared is None:
            return self.project(self.train().mT)
        return _sub_block(self.shared[0], self.rows.test, self.rows.train, "gram beside")


def fold_systems(states: CentredStates, plan: FoldPlan) -> Iterator[FoldSystem]:
    """Every fold of a block of sites.

    The states are standardised in place if ``solver.standardize == "all"`` and the solver reads
    rows. A solver that does not read rows needs only products with the states.
    """
    folds, solver = plan.folds, plan.solver
    in_place = solver.kind.reads_rows
    if in_place:
        states.materialise()
    reduced = states.reduce(plan.reducer.flatten(1)).unflatten(2, plan.reducer.shape[1:])
    shifts, probes = reduced[..., -3].movedim(2, 0), reduced[..., -1].movedim(2, 0)
    products = reduced[..., :-3].movedim(2, 0)
    constant = [
        _constant(states, fold, shifts[f], reduced[:, :, f, -2])
        for f, fold in enumerate(folds.folds)
    ]
    scale = None
    if solver.scaling == "all":
        shift, variance = states.moments()
        scale = states.scale(variance, shift)
        if in_place:
            states.x /= scale[:, None]
            shifts, products, probes = shifts / scale, products / scale[..., None], probes / scale
            scale = None
    shared = shared_gram(states, folds, solver) if in_place else None
    for f, fold in enumerate(folds.folds):
        if solver.scaling == "train":
            scale = states.scale(states.moments(fold.train)[1], shifts[f])
        M, probe = products[f], probes[f]
        if scale is not None:
            M, probe = M / scale[..., None], probe / scale
        yield FoldSystem(f, plan, states, shifts[f], scale, M, probe, constant[f], shared)


def _constant(states: CentredStates, fold: Fold, train_shift: Tensor, test_shift: Tensor) -> Tensor:
    """Sites ``(b,)`` whose training or test rows, with these means ``(b, d)``, do not vary."""
    of_train = states.variation(fold.train, fold.n_train, train_shift)
    of_test = states.variation(fold.test, fold.n_test, test_shift)
    return states.constant(of_train, train_shift, fold.n_train, fold.train) | states.constant(
        of_test, test_shift, fold.n_test, fold.test
    )


def shared_gram(states: CentredStates, folds: Folds, solver: SolverSpec) -> list[Tensor] | None:
    """Matrices that all folds share: the scatter of each test part, or the Gram matrix of all rows.

    None if the folds share nothing: if no matrix is needed; in the dual form, for z-scores of the
    training rows, which change every inner product; in the primal form, for index pairs whose
    training part is not the rest.
    """
    dtype = solver.kind.matrix_dtype
    if dtype is None:
        return None
    x = states.x.to(dtype)
    if in_features(folds, x.shape[2]):
        if not folds.partition:
            return None
        return [scatter(x[:, f.test], f"part {i}") for i, f in enumerate(folds.folds)]
    if solver.scaling == "train":
        return None
    return [gram(x, "all rows")]


def _train_scatter(parts: list[Tensor], f: int, shift: Tensor, n_train: int) -> Tensor:
    """Scatter ``(b, d, d)`` of the centred training rows from the test parts' ``(b, d, d)``.

    It is the *sum* over the other parts: subtracting the held-out part from the total would lose
    digits if the held-out part has the outliers.
    """
    others = [g for g in range(len(parts)) if g != f]
    shift = shift.to(parts[0].dtype)
    C = workspace("gram", parts[0].shape, parts[0])
    torch.addcmul(parts[others[0]], shift[:, :, None], shift[:, None, :], value=-n_train, out=C)
    for g in others[1:]:
        C += parts[g]
    return C


def _sub_block(K: Tensor, rows: Rows, columns: Rows, name: str) -> Tensor:
    """Copy of ``K[:, rows][:, :, columns]`` in a workspace, by stretches of consecutive rows."""
    row_runs, column_runs = runs(rows), runs(columns)
    if len(row_runs) * len(column_runs) > _MOST_STRETCHES:
        every = torch.arange(K.shape[1], device=K.device)
        return K[:, every[rows][:, None], every[columns]]
    shape = [sum(run.stop - run.start for run in of) for of in (row_runs, column_runs)]
    block = workspace(name, (len(K), *shape), K)
    top = 0
    for down in row_runs:
        bottom, left = top + down.stop - down.start, 0
        for across in column_runs:
            right = left + across.stop - across.start
            block[:, top:bottom, left:right] = K[:, down, across]
            left = right
        top = bottom
    return block
