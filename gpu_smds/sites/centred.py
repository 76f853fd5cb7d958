"""One block of hidden states, centred and checked, and what the solvers ask of them."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from gpu_smds.kernels.linalg import multiply
from gpu_smds.sites.rows import Rows, is_all


class CentredStates:
    """States of b sites as seen from their mean over all samples.

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
        Machine epsilon of the dtype the states were stored in: what counts as constant depends
        on how finely they were rounded.
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
        """Bring the states into memory, for a caller that reads them more than a few times."""

    def reduce(self, weights: Tensor) -> Tensor:
        """Weighted sums ``(b, d, m)`` of the centred rows, weights ``(n, m)``."""
        return multiply(weights.mT, self.x).mT

    def project(self, Wt: Tensor, rows: Rows) -> Tensor:
        """Products ``(b, n_rows, k)`` of some centred rows with maps ``(b, d, k)``."""
        return multiply(self.x[:, rows], Wt)

    def moments(self, rows: Rows | None = None) -> tuple[Tensor, Tensor]:
        """Mean of some of the centred rows and variance about it, each ``(b, d)``.

        Without rows over all samples, where that mean is zero.
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
        # The difference has lost digits where it is this small: subtract first instead.
        square = variation + n_rows * (self.mean + shift).square().sum(1)
        unsure = (variation <= 1e-9 * square) & (n_rows > 1)
        if bool(unsure.any()):
            _, variance = self.moments(rows)
            variation = torch.where(unsure, n_rows * variance.sum(1), variation)
        return variation

    def constant(self, variation: Tensor, shift: Tensor, n_rows: int, rows: Rows) -> Tensor:
        """Sites ``(b,)`` whose states do not vary over some rows.

        Constant = variance over the rows at most (8·eps)² times the mean square, both summed
        over features: what rounding does. A few massive features that hardly vary can hold all of
        that mean square, and in bfloat16, whose 8·eps is a sixteenth, often do; a site where many
        features vary by more than that of their own size is therefore none of them.

        Parameters
        ----------
        variation
            ``(b,)`` Σ‖x − shift‖² over the rows.
        shift
            ``(b, d)`` mean of those centred rows.
        n_rows
            Their number; a single row is not called constant.
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
        """Sites ``(b,)`` where a tenth of the features vary by more than 8·eps of their size.

        And by more than a thousandth, since the noise of a forward pass is spread over all features
        and may be much for a small one; for the same reason a feature counts as no smaller than
        most.
        """
        shift, variance = self.moments(rows)
        square = variance + (self.mean + shift).square()
        size = square + square.median(1, keepdim=True).values
        varies = variance > max(8 * self.eps, 1e-3) ** 2 * size
        return varies.double().mean(1) > 0.1

    def scale(self, variance: Tensor, shift: Tensor) -> Tensor:
        """Standard deviations ``(b, d)``; 1 for features that do not vary, as in scikit-learn.

        What is rounding is left as it is: 8·eps of a feature's size, or one eps where that is
        coarse. More would leave massive features unscaled, beside which no other counts.

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
