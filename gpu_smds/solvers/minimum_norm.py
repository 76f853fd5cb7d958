"""Least squares from the SVD of the states: minimum norm, and ridge if systems lose digits."""

from __future__ import annotations

import torch
from torch import Tensor


def ridge_svd(X: Tensor, Y: Tensor, alpha: float) -> Tensor:
    """Ridge or, for alpha = 0, minimum-norm least squares from the SVD of X.

    This is slower than the systems of :mod:`gpu_smds.solvers.ridge_systems`, but does not square
    the condition number.

    Parameters
    ----------
    X
        Centred training states ``(*batch, n, d)``.
    Y
        Centred embedding ``(n, k)``.
    alpha
        Ridge penalty, ≥ 0. With 0, singular values up to max(n, d)·eps of the largest count as
        zero. smds cuts at 1e-15 of the largest instead, which keeps the direction that
        centring has removed when d ≥ n; its result is then rounding noise in that direction.

    Returns
    -------
    Wt : Tensor
        ``(*batch, d, k)``.
    """
    U, gain, Vt = ridge_factors(X, alpha)
    Wt: Tensor = Vt.mT @ (gain[..., None] * (U.mT @ Y))
    return Wt


def ridge_factors(X: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """U ``(*batch, n, m)``, gain ``(*batch, m)`` and Vᵀ ``(*batch, m, d)`` of :func:`ridge_svd`.

    The map of an embedding Y is V · gain · Uᵀ Y.
    """
    U, S, Vt = torch.linalg.svd(X, full_matrices=False)
    if alpha:
        return U, S / (S.square() + alpha), Vt
    cut = max(X.shape[-2:]) * torch.finfo(S.dtype).eps * S[..., :1]
    return U, torch.where(cut < S, 1 / S, 0), Vt
