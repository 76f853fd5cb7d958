"""The two forms of ridge regression: features × features (primal) and samples × samples (dual).

The primal form is used up to 1.2 times as many features as training rows, see
:func:`gpu_smds.solvers.ridge_systems.primal`.

Both turn labels into right-hand sides, solutions into maps, and solutions into projections.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property

from torch import Tensor

from gpu_smds.kernels.linalg import multiply
from gpu_smds.solvers.fold_solver import FoldView, Labels
from gpu_smds.solvers.mixed_precision import refine
from gpu_smds.solvers.ridge_systems import RidgeSolution, ridge_, ridge_path, signs


class Form(ABC):
    """The system (C + αI) S = B of one fold.

    Parameters
    ----------
    fold
        The fold of b sites.
    """

    def __init__(self, fold: FoldView) -> None:
        self.fold = fold

    @property
    def train(self) -> Tensor:
        """Training rows ``(b, n_train, d)``."""
        return self.fold.train()

    @cached_property
    def matrix(self) -> Tensor:
        """C ``(b, m, m)``, which solving overwrites."""
        return self.fold.matrix()

    def solve(self, matrix: Tensor, right: Tensor, alpha: float) -> RidgeSolution:
        """Solutions for right-hand sides ``(b, m, k)``; the matrix is overwritten."""
        return ridge_(matrix, right, self.probe, alpha, self.intercept, self.cancelled)

    def path(self, right: Tensor, alphas: Sequence[float]) -> Iterator[RidgeSolution]:
        """Solutions for many penalties."""
        return ridge_path(self.matrix, right, self.probe, alphas, self.intercept, self.cancelled)

    @property
    @abstractmethod
    def probe(self) -> Tensor:
        """Right-hand side ``(b, m)`` by which the loss of digits is judged."""

    @property
    @abstractmethod
    def intercept(self) -> bool:
        """Whether the solution must be centred because the matrix is not."""

    @property
    @abstractmethod
    def cancelled(self) -> Tensor | None:
        """Amount that centring subtracted from the diagonal of the matrix ``(b, m)``."""

    @abstractmethod
    def right(self, labels: Labels) -> Tensor:
        """Right-hand sides of embeddings."""

    @abstractmethod
    def right_of(self, Y: Tensor) -> Tensor:
        """Right-hand sides ``(b, m, c)`` of embeddings ``(c, n_train)``, one per row."""

    @abstractmethod
    def map(self, solution: Tensor) -> Tensor:
        """Maps ``(b, d, k)`` of solutions ``(b, m, k)``."""

    @abstractmethod
    def project(self, solution: Tensor) -> Tensor:
        """Projected test rows ``(b, n_test, k)`` of solutions."""

    @abstractmethod
    def right_of_hat(self) -> Tensor:
        """Right-hand sides ``(b, m, n_test)`` whose solutions give the hat matrix."""

    @abstractmethod
    def hat(self, solution: Tensor) -> list[Tensor]:
        """Factors of Hᵀ ``(b, n_train, n_test)`` from those solutions."""

    @abstractmethod
    def refined(self, matrix: Tensor, Y: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
        """Maps from a float32 matrix, which is overwritten, and where they fail ``(b,)``."""


class Primal(Form):
    """(XᵀX + αI) W = XᵀY."""

    intercept = False

    @property
    def probe(self) -> Tensor:
        """As :attr:`Form.probe`."""
        return self.fold.probe

    @property
    def cancelled(self) -> Tensor | None:
        """As :attr:`Form.cancelled`."""
        return self.fold.cancelled

    def right(self, labels: Labels) -> Tensor:
        """As :meth:`Form.right`."""
        return labels.products

    def right_of(self, Y: Tensor) -> Tensor:
        """As :meth:`Form.right_of`."""
        return multiply(self.train.mT, Y.mT)

    def map(self, solution: Tensor) -> Tensor:
        """As :meth:`Form.map`."""
        return solution

    def project(self, solution: Tensor) -> Tensor:
        """As :meth:`Form.project`."""
        return self.fold.project(solution)

    def right_of_hat(self) -> Tensor:
        """As :meth:`Form.right_of_hat`: the test rows."""
        return self.fold.test().mT

    def hat(self, solution: Tensor) -> list[Tensor]:
        """As :meth:`Form.hat`."""
        if in_factors(self.fold.n_train, self.fold.n_test, solution.shape[1]):
            return [self.train, solution]
        return [multiply(self.train, solution)]

    def refined(self, matrix: Tensor, Y: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
        """As :meth:`Form.refined`."""
        X = self.train
        return refine(
            matrix,
            lambda V: multiply(X.mT, multiply(X, V)) + alpha * V,
            multiply(X.mT, Y),
            alpha,
            intercept=False,
        )


class Dual(Form):
    """(XXᵀ + αI) A = Y with W = XᵀA."""

    cancelled = None

    @property
    def intercept(self) -> bool:
        """As :attr:`Form.intercept`."""
        return not self.fold.centred

    @cached_property
    def test_gram(self) -> Tensor:
        """Products ``(b, n_test, n_train)`` of the test rows with the training rows."""
        return self.fold.test_gram()

    @cached_property
    def probe(self) -> Tensor:
        """As :attr:`Form.probe`: products of the training rows with a combination of test rows."""
        if self.fold.shares:
            signed = signs(self.fold.n_test, self.fold.probe)
            return multiply(self.test_gram.mT, signed[:, None])[..., 0]
        return multiply(self.train, self.fold.probe[..., None])[..., 0]

    def right(self, labels: Labels) -> Tensor:
        """As :meth:`Form.right`."""
        return labels.Y

    def right_of(self, Y: Tensor) -> Tensor:
        """As :meth:`Form.right_of`."""
        return Y.mT.expand(len(self.fold.probe), -1, -1)

    def map(self, solution: Tensor) -> Tensor:
        """As :meth:`Form.map`."""
        return multiply(self.train.mT, solution)

    def project(self, solution: Tensor) -> Tensor:
        """As :meth:`Form.project`: without the maps if the products are available."""
        if self.fold.shares:
            return multiply(self.test_gram, solution)
        return self.fold.project(self.map(solution))

    def right_of_hat(self) -> Tensor:
        """As :meth:`Form.right_of_hat`."""
        return self.test_gram.mT

    def hat(self, solution: Tensor) -> list[Tensor]:
        """As :meth:`Form.hat`."""
        return [solution]

    def refined(self, matrix: Tensor, Y: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
        """As :meth:`Form.refined`."""
        X = self.train
        A, unsolved = refine(
            matrix,
            lambda V: multiply(X, multiply(X.mT, V)) + alpha * V,
            Y,
            alpha,
            intercept=True,
        )
        return self.map(A), unsolved


def form_of(fold: FoldView) -> Form:
    """The system of a fold, in primal or dual form."""
    return Primal(fold) if fold.in_features else Dual(fold)


def in_factors(n_train: int, n_test: int, d: int) -> bool:
    """Whether two factors of the hat matrix hold fewer numbers than the hat matrix itself."""
    return d * (n_train + n_test) < n_train * n_test
