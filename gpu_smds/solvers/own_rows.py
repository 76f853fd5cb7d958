"""The fold of a fit without held-out rows: the training rows are also the test rows."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from gpu_smds.kernels.linalg import gram, multiply, scatter
from gpu_smds.solvers.ridge_systems import primal, signs


class OwnRows:
    """A :class:`gpu_smds.solvers.fold_solver.FoldView` whose training and test rows are the same.

    Parameters
    ----------
    rows
        ``(b, n, d)`` centred.
    dtype
        Dtype of their matrix.
    """

    shares = False
    centred = True
    cancelled = None

    def __init__(self, rows: Tensor, dtype: torch.dtype | None = None) -> None:
        self._rows, self._dtype = rows, dtype or rows.dtype
        self.n_train = self.n_test = rows.shape[1]
        self.in_features = primal(*rows.shape[1:])

    @cached_property
    def probe(self) -> Tensor:
        """Combination ``(b, d)`` of the rows with random signs."""
        return self._rows.mT @ signs(self.n_test, self._rows)

    def train(self) -> Tensor:
        """The rows ``(b, n, d)``."""
        return self._rows

    def test(self) -> Tensor:
        """The rows ``(b, n, d)``."""
        return self._rows

    def project(self, Wt: Tensor) -> Tensor:
        """Products ``(b, n, k)`` with maps ``(b, d, k)``."""
        return self._rows @ Wt

    def matrix(self) -> Tensor:
        """Their scatter ``(b, d, d)`` or Gram matrix ``(b, n, n)``."""
        rows = self._rows.to(self._dtype)
        return scatter(rows) if self.in_features else gram(rows)

    def test_gram(self) -> Tensor:
        """Products ``(b, n, n)`` of the rows with each other."""
        return multiply(self._rows, self._rows.mT)
