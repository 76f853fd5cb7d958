"""One block of hidden states, centred and checked, ready for the solvers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_smds.folds import Rows


@dataclass
class CentredStates:
    """States of b sites, centred by their mean over all samples.

    Attributes
    ----------
    x
        ``(b, n, d)`` float64; zero at sites that hold NaN or inf.
    mean
        ``(b, d)`` mean over all samples.
    non_finite
        ``(b,)`` bool.
    eps
        Machine epsilon of the dtype the states were stored in: what counts as constant depends
        on how finely they were rounded.
    """

    x: Tensor
    mean: Tensor
    non_finite: Tensor
    eps: float

    @classmethod
    def of(cls, raw: Tensor, eps: float) -> CentredStates:
        """Centre raw states ``(b, n, d)``, which are overwritten."""
        mean = raw.mean(1)
        raw -= mean[:, None]
        # One reduction finds every NaN and inf, and squares that overflow.
        non_finite = ~torch.linalg.vector_norm(raw, dim=(1, 2)).square().isfinite()
        if bool(non_finite.any()):
            raw[non_finite] = 0
            mean = mean.masked_fill(non_finite[:, None], 0)
        return cls(raw, mean, non_finite, eps)

    def row_energy(self) -> Tensor:
        """Squared norms ``(b, n)`` of the centred rows."""
        energy: Tensor = torch.linalg.vector_norm(self.x, dim=2).square()
        return energy

    def constant(self, rows: Rows, n_rows: int, energy: Tensor, shift: Tensor) -> Tensor:
        """Sites ``(b,)`` whose states do not vary over some rows.

        Constant = variance over the rows at most (8·eps)² times the mean square, both summed
        over features.

        Parameters
        ----------
        rows, n_rows
            The rows and their number.
        energy
            From :meth:`row_energy`.
        shift
            ``(b, d)`` mean of the centred rows.
        """
        if n_rows < 2:
            return torch.zeros_like(self.non_finite)
        total = energy[:, rows].sum(1)
        variation = total - n_rows * shift.square().sum(1)
        square = total + n_rows * (self.mean * (2 * shift + self.mean)).sum(1)
        # The difference above has lost digits where it is this small: subtract first instead.
        unsure = variation <= 1e-9 * square
        if bool(unsure.any()):
            part = self.x[unsure][:, rows]
            part = part - part.mean(1, keepdim=True)
            variation = variation.index_put((unsure,), part.square().sum((1, 2)))
        return variation <= (8 * self.eps) ** 2 * square

    def scale(self, variance: Tensor, shift: Tensor) -> Tensor:
        """Standard deviations ``(b, d)``; 1 for features that do not vary, as in scikit-learn.

        Parameters
        ----------
        variance
            ``(b, d)`` over the rows that the z-score is fitted on.
        shift
            ``(b, d)`` mean of those centred rows.
        """
        square = variance + (self.mean + shift).square()
        varies = variance > (8 * self.eps) ** 2 * square
        return torch.where(varies, variance.clamp(min=0).sqrt(), 1.0)

    def scale_of(self, rows: Rows | None = None, shift: Tensor | None = None) -> Tensor:
        """Standard deviations ``(b, d)`` over some rows with centred mean ``shift``, or all."""
        if rows is None or shift is None:
            variance = torch.linalg.vector_norm(self.x, dim=1).square() / self.x.shape[1]
            return self.scale(variance, torch.zeros_like(variance))
        return self.scale((self.x[:, rows] - shift[:, None]).square().mean(1), shift)
