"""One block of hidden states, centred and checked, with the products that solvers need."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from gpu_smds.kernels.linalg import multiply
from gpu_smds.sites.rows import Rows, is_all


class CentredStates:
    """States of b sites, centred by their mean over all samples.

    Attributes
    ----------
    n
        Number of samples.
    x
        ``(b, n, d)`` float64; zero at sites that hold NaN or inf.
    mean
        ``(b, d)`` mean over all samples.
    non_finite
        ``(b,)`` bool, sites that hold NaN or inf, or squares that overflow.
    eps
        Machine epsilon of the dtype in which the states were stored (of float32 for float8, see
        :func:`gpu_smds.sites.given.without_float8`): the thresholds for constant states depend on
        it.
    """

    n: int
    x: Tensor
    mean: Tensor
    non_finite: Tensor
    eps: float

    def __init__(self, raw: Tensor, eps: float) -> None:
        """Centre raw states ``(b, n, d)`` float64, which are overwritten."""
        self.n, self.eps = raw.shape[1], eps
        mean = raw.mean(1)
        raw -= mean[:, None]
        # One reduction finds every NaN and inf, and squares that overflow.
        self.non_finite = ~torch.linalg.vector_norm(raw, dim=(1, 2)).square().isfinite()
        if bool(self.non_finite.any()):
            raw[self.non_finite] = 0
            mean = mean.masked_fill(self.non_finite[:, None], 0)
        self.x, self.mean = raw, mean

    def __len__(self) -> int:
        return len(self.mean)

    @cached_property
    def energy(self) -> Tensor:
        """Squared norms ``(b, n)`` of the centred rows."""
        energy: Tensor = torch.linalg.vector_norm(self.x, dim=2).square()
        return energy

    def materialise(self) -> None:
        """Write the centred states to memory, for a caller that reads them many times."""

    def reduce(self, weights: Tensor) -> Tensor:
        """Weighted sums ``(b, d, m)`` of the centred rows, with weights ``(n, m)``."""
        return multiply(weights.mT, self.x).mT

    def project(self, Wt: Tensor, rows: Rows) -> Tensor:
        """Products ``(b, n_rows, k)`` of some centred rows with maps ``(b, d, k)``."""
        return multiply(self.x[:, rows], Wt)

    def moments(self, rows: Rows | None = None) -> tuple[Tensor, Tensor]:
        """Mean and variance of some of the centred rows, each ``(b, d)``.

        If ``rows`` is None, all samples are used and the mean is zero.
        """
        if rows is None or is_all(rows, self.n):
            variance = torch.linalg.vector_norm(self.x, dim=1).square() / self.n
            return torch.zeros_like(variance), variance
        part = self.x[:, rows]
        shift = part.mean(1)
        return shift, (part - shift[:, None]).square().mean(1)

    def variation(self, rows: Rows, n_rows: int, shift: Tensor) -> Tensor:
        """Σ‖x − shift‖² ``(b,)`` over some rows, whose mean ``shift (b, d)`` is known."""
        total = self.energy[:, rows].sum(1)
        variation = total - n_rows * shift.square().sum(1)
        # Where the difference is this small, it has lost digits: subtract first instead.
        square = variation + n_rows * (self.mean + shift).square().sum(1)
        unsure = (variation <= 1e-9 * square) & (n_rows > 1)
        if bool(unsure.any()):
            _, variance = self.moments(rows)
            variation = torch.where(unsure, n_rows * variance.sum(1), variation)
        return variation

    def constant(self, variation: Tensor, shift: Tensor, n_rows: int, rows: Rows) -> Tensor:
        """Sites ``(b,)`` whose states do not vary over some rows.

        A site is constant if its variance over the rows is at most (8·eps)² times its mean square,
        both summed over features: rounding can cause that much. But a few massive features that
        hardly vary can make up almost the whole mean square. In bfloat16, where 8·eps is a
        sixteenth, they often do. A site is therefore not constant if many features vary by more
        than 8·eps of their own size.

        Parameters
        ----------
        variation
            ``(b,)`` Σ‖x − shift‖² over the rows.
        shift
            ``(b, d)`` mean of those centred rows.
        n_rows
            Number of rows; a single row is never constant.
        rows
            The rows themselves.
        """
        if n_rows < 2:
            return torch.zeros_like(self.non_finite)
        square = variation + n_rows * (self.mean + shift).square().sum(1)
        constant = variation <= (8 * self.eps) ** 2 * square
        if bool(constant.any()):
            constant &= ~self._many_vary(rows)
        return constant

    def constant_rows(self, rows: Rows, n_rows: int) -> Tensor:
        """Sites ``(b,)`` whose states do not vary over some rows; see :meth:`constant`."""
        shift, variance = self.moments(rows)
        return self.constant(n_rows * variance.sum(1), shift, n_rows, rows)

    def _many_vary(self, rows: Rows) -> Tensor:
        """Sites ``(b,)`` where over a tenth of the features vary by more than 8·eps of their size.

        They must also vary by more than a thousandth of it: the noise of a forward pass is spread
        over all features and may be large relative to a small one. For the same reason, the median
        mean square of the features is added to that of each feature.
        """
        shift, variance = self.moments(rows)
        square = variance + (self.mean + shift).square()
        size = square + square.median(1, keepdim=True).values
        varies = variance > max(8 * self.eps, 1e-3) ** 2 * size
        return varies.double().mean(1) > 0.1

    def scale(self, variance: Tensor, shift: Tensor) -> Tensor:
        """Standard deviations ``(b, d)``; 1 for features that do not vary, as in scikit-learn.

        A feature does not vary if its standard deviation is at most 8·eps of its size, or one eps
        for a coarse dtype. A larger threshold would leave massive features unscaled, and these
        would dominate all others.

        Parameters
        ----------
        variance
            ``(b, d)`` over the rows that the z-score is fitted on.
        shift
            ``(b, d)`` mean of those centred rows.
        """
        square = variance + (self.mean + shift).square()
        rounding = 8 * self.eps if self.eps < 1e-4 else self.eps
        varies = variance > rounding**2 * square
        return torch.where(varies, variance.clamp(min=0).sqrt(), 1.0)
