"""Ridge regression, with minimum norm for a penalty of 0.

A fold is solved by a linear system in the smaller of two forms
(:mod:`gpu_smds.solvers.ridge_forms`). If the system loses too many digits, the site is fitted from
the SVD of its states.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Self

import torch
from torch import Tensor

from gpu_smds.solvers.fold_solver import FoldSize, FoldSolver, FoldView, Labels, PermutedProjections
from gpu_smds.solvers.hat_matrix import apply_hat, hat_factors
from gpu_smds.solvers.minimum_norm import ridge_svd
from gpu_smds.solvers.own_rows import OwnRows
from gpu_smds.solvers.ridge_forms import Form, form_of, in_factors
from gpu_smds.solvers.ridge_systems import RidgeSolution

# For this number of penalties, one Cholesky factor each takes as long as one eigendecomposition
# (measured on the CPU for 576 to 1024 features: 12 to 16 factors).
_PATH = 16


@dataclass(frozen=True)
class Ridge(FoldSolver):
    """Least squares with a penalty α‖W‖², one map for each α.

    Counterpart of ``SupervisedMDS(alpha=...)`` in smds, which inverts XᵀX + αI.

    Attributes
    ----------
    alphas
        Penalties; 0 is minimum-norm least squares.
    dtype
        Dtype of the large matrices. With float32, the solutions are refined in float64.
    """

    name: ClassVar[str] = "ridge"
    penalised: ClassVar[bool] = True
    refits: ClassVar[bool] = False

    alphas: tuple[float, ...] = (1.0,)
    dtype: torch.dtype = torch.float64

    @classmethod
    def asked(cls, alphas: tuple[float, ...], dtype: torch.dtype) -> Self:
        """As :meth:`FoldSolver.asked`."""
        return cls(alphas, dtype)

    @property
    def matrix_dtype(self) -> torch.dtype | None:
        """As :attr:`FoldSolver.matrix_dtype`; minimum norm needs no matrix."""
        return self.dtype if any(self.alphas) else None

    @property
    def _decomposes(self) -> bool:
        """Whether all penalties share one eigendecomposition."""
        return not self._refines and sum(alpha > 0 for alpha in self.alphas) >= _PATH

    @property
    def _refines(self) -> bool:
        return self.dtype == torch.float32

    def bytes_per_site(self, size: FoldSize) -> int:
        """As :meth:`FoldSolver.bytes_per_site`."""
        m = size.d if size.in_features else size.n_train
        small = min(size.n_train, size.d)
        work = 0
        if any(self.alphas):
            work += (3 if size.in_features else 2) * m**2
            if self._refines:
                work += size.n * size.d // 2
        if self._decomposes:
            work += 4 * m**2
        if 0.0 in self.alphas:
            work += 3 * small * (size.n_train + size.d) + 4 * small**2
        return 8 * work

    def fit(self, fold: FoldView, labels: Labels) -> tuple[Tensor, Tensor]:
        """As :meth:`FoldSolver.fit`, with the first penalty."""
        alpha = self.alphas[0]
        form = form_of(fold)
        if alpha == 0:
            Wt = ridge_svd(form.train, labels.Y, 0.0)
        elif self._refines:
            Wt = _refined(form, form.matrix, labels.Y, alpha)
        else:
            solved = form.solve(form.matrix, form.right(labels), alpha)
            Wt = form.map(solved.solution)
            doubtful = solved.doubtful(fold.project(Wt), [slice(None)])
            if bool(doubtful.any()):
                Wt[doubtful] = ridge_svd(form.train[doubtful], labels.Y, alpha)
        return Wt, torch.zeros(len(Wt), dtype=torch.bool, device=Wt.device)

    def projections(
        self, fold: FoldView, labels: Labels, columns: Sequence[slice]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """As :meth:`FoldSolver.projections`, for each penalty."""
        probe = fold.probe
        none = torch.zeros(len(columns), len(probe), dtype=torch.bool, device=probe.device)
        penalised = self._penalised(fold, labels, columns)
        for alpha in self.alphas:
            if alpha == 0:
                yield fold.project(ridge_svd(fold.train(), labels.Y, 0.0)), none
            else:
                yield next(penalised), none

    def _penalised(
        self, fold: FoldView, labels: Labels, columns: Sequence[slice]
    ) -> Iterator[Tensor]:
        """Projections for each penalty above 0."""
        penalties = [alpha for alpha in self.alphas if alpha]
        form = form_of(fold)
        if self._refines:
            for alpha, matrix in _each(penalties, form.matrix):
                yield fold.project(_refined(form, matrix, labels.Y, alpha))
            return
        right = form.right(labels)
        solutions: Iterator[RidgeSolution]
        if self._decomposes:
            solutions = form.path(right, penalties)
        else:
            each = _each(penalties, form.matrix)
            solutions = (form.solve(matrix, right, alpha) for alpha, matrix in each)
        for alpha, solved in zip(penalties, solutions, strict=True):
            Z = form.project(solved.solution)
            doubtful = solved.doubtful(Z, columns)
            if bool(doubtful.any()):
                T = fold.train()
                Wt = Z.new_zeros(len(Z), T.shape[2], Z.shape[2])
                Wt[doubtful] = ridge_svd(T[doubtful], labels.Y, alpha)
                Z[doubtful] = fold.project(Wt)[doubtful]
            yield Z

    def permuted(self, fold: FoldView, trials: Tensor, count: int) -> PermutedProjections:
        """As :meth:`FoldSolver.permuted`: one hat matrix serves all label sets."""
        factors = hat_factors(fold, self.alphas[0], trials)
        none = torch.zeros(1, 1, dtype=torch.bool, device=trials.device)

        def linear(Y: Tensor) -> tuple[Tensor, Tensor]:
            Z = apply_hat(Y.flatten(0, 1), factors)
            return Z.unflatten(1, Y.shape[:2]), none

        return linear

    def bytes_of_permutations(self, size: FoldSize, trials: int) -> tuple[int, int]:
        """As :meth:`FoldSolver.bytes_of_permutations`."""
        n_train, n_test, d = size.n_train, size.n_test, size.d
        thin = in_factors(n_train, n_test, d)
        hat = d * (n_train + n_test) if thin else n_test * n_train
        right = 2 * (n_test + trials * size.columns) * max(min(n_train, d), 1)
        every = n_train**2 if 0.0 in self.alphas else 0
        return 8 * (2 * hat + n_train * d + right + every), 0


def _each(alphas: Sequence[float], matrix: Tensor) -> Iterator[tuple[float, Tensor]]:
    """Every penalty with a matrix that may be overwritten: all but the last get a copy."""
    for i, alpha in enumerate(alphas):
        yield alpha, matrix if i == len(alphas) - 1 else matrix.clone()


def _refined(form: Form, matrix: Tensor, Y: Tensor, alpha: float) -> Tensor:
    """Maps from a float32 matrix, which is overwritten; unsolved sites are fitted in float64."""
    Wt, unsolved = form.refined(matrix, Y, alpha)
    if bool(unsolved.any()):
        rows = form.train[unsolved]
        labels = Labels(Y, partial(torch.matmul, rows.mT, Y))
        Wt[unsolved], _ = Ridge((alpha,)).fit(OwnRows(rows), labels)
    return Wt
