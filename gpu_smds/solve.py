"""Batched linear solvers: ridge in primal and dual form, minimum norm, Procrustes.

All take float64 tensors with leading batch axes and use the convention of one column per
component: the map is returned transposed, ``Wt`` of shape ``(*batch, d, k)``, smds' ``W`` is
``Wt.mT``.
"""

import torch
from torch import Tensor

# Procrustes from the k × k matrix MᵀM squares the condition of M; below this ratio of
# eigenvalues the squared error would show in the ninth digit and an SVD of M takes over.
_SQUARED_CONDITION = 1e-6


def ridge_primal(C: Tensor, M: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Solve (C + αI) Wt = M by Cholesky.

    Parameters
    ----------
    C
        Scatter XᵀX of the centred training states ``(*batch, d, d)``.
    M
        XᵀY ``(*batch, d, k)``.
    alpha
        Ridge penalty, > 0.

    Returns
    -------
    Wt : Tensor
        ``(*batch, d, k)``.
    failed : Tensor
        ``(*batch,)`` bool, where C + αI is not positive definite in floating point.
    """
    return _regularised_solve(C, M, alpha)


def ridge_dual(K: Tensor, Y: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Solve (K + αI) A = Y; the map is ``Wt = XᵀA``. Arguments as :func:`ridge_primal`.

    ``K`` is the Gram matrix XXᵀ ``(*batch, n, n)`` of the centred training states,
    ``Y`` the centred embedding ``(n, k)``.
    """
    return _regularised_solve(K, Y.expand(*K.shape[:-2], *Y.shape[-2:]), alpha)


def _regularised_solve(A: Tensor, B: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    # The diagonal is changed and put back rather than the matrix copied: it serves more alphas.
    diagonal = A.diagonal(dim1=-2, dim2=-1)
    original = diagonal.clone()
    diagonal += alpha
    factor, info = torch.linalg.cholesky_ex(A)
    diagonal.copy_(original)
    half = torch.linalg.solve_triangular(factor, B, upper=False)
    return torch.linalg.solve_triangular(factor.mT, half, upper=True), info != 0


def ridge_svd(X: Tensor, Y: Tensor, alpha: float) -> Tensor:
    """Ridge or, for alpha = 0, minimum-norm least squares from the SVD of X.

    Slower than the Gram forms and without their squared condition.

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
    U, S, Vt = torch.linalg.svd(X, full_matrices=False)
    if alpha:
        gain = S / (S.square() + alpha)
    else:
        cut = max(X.shape[-2:]) * torch.finfo(S.dtype).eps * S[..., :1]
        gain = torch.where(cut < S, 1 / S, 0)
    Wt: Tensor = Vt.mT @ (gain[..., None] * (U.mT @ Y))
    return Wt


def procrustes(M: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal map closest to M: the polar factor UVᵀ of its SVD.

    Parameters
    ----------
    M
        XᵀY ``(*batch, d, k)``.

    Returns
    -------
    Wt : Tensor
        ``(*batch, d, k)`` with orthonormal columns (rows where d < k).
    undetermined : Tensor
        ``(*batch,)`` bool, where M has fewer than min(d, k) directions and any completion fits.
    """
    d, k = M.shape[-2:]
    if d < k:
        transposed, undetermined = procrustes(M.mT)
        return transposed.mT, undetermined
    values, vectors = torch.linalg.eigh(M.mT @ M)
    largest = values[..., -1:]
    hard = values[..., 0] <= _SQUARED_CONDITION * largest[..., 0]
    root = values.clamp(min=torch.finfo(values.dtype).tiny).rsqrt()
    Wt = M @ (vectors * root[..., None, :]) @ vectors.mT
    undetermined = torch.zeros_like(hard)
    if bool(hard.any()):
        U, S, Vt = torch.linalg.svd(M[hard], full_matrices=False)
        Wt[hard] = U @ Vt
        undetermined[hard] = S[..., -1] <= d * torch.finfo(S.dtype).eps * S[..., 0]
    return Wt, undetermined
