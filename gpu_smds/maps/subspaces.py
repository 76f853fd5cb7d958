"""Is it the same subspace at every position? Cosines and principal angles between fitted maps."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from gpu_smds.maps.fitted_map import FittedMap


def similarity_map(fitted: FittedMap) -> np.ndarray:
    """Absolute cosine of every pair of maps along the last site axis.

    The maps are flattened, as in the study. The cosine does not change if the shared embedding is
    rotated or if a map is rescaled. But it depends on the scale of the features: standardise if
    their units differ between positions. It also depends on the basis of the embedding, and
    compares row with row: two maps that read the same subspace have a cosine below 1 if one of them
    is rotated or weights its rows differently. :func:`gpu_smds.principal_angles` compares the
    subspaces alone.

    Parameters
    ----------
    fitted
        A map with at least one site axis, of length T.

    Returns
    -------
    similarity : ndarray
        ``(*sites[:-1], T, T)`` float64 in [0, 1]; NaN in the rows and columns of undefined sites.

    Raises
    ------
    ValueError
        The map has no site axis.
    """
    if not fitted.site_shape:
        raise ValueError("the fitted map has no site axis, so there are no positions to compare")
    W = fitted.W.flatten(-2)
    unit = W / torch.linalg.vector_norm(W, dim=-1, keepdim=True)
    cosine: np.ndarray = (unit @ unit.mT).abs().clamp(max=1).cpu().numpy()
    return cosine


def principal_angles(fitted: FittedMap) -> np.ndarray:
    """Angles between the subspaces of the features that the maps of two positions read.

    A map ``W (k, d)`` reads only the part of a state in the row space of W. Two such subspaces of
    dimension k have k principal angles: all 0 if they are equal, all π/2 if they are orthogonal.
    Unlike the cosine of :func:`gpu_smds.similarity_map`, they do not change with the scale of a map
    or the basis of the embedding (any invertible k×k matrix times W). Like it, they depend on the
    units of the features: standardise if those differ between positions. A map of z-scored states
    reads z-scored features.

    Two cautions: random subspaces of few dimensions among many features are almost orthogonal. And
    the subspace that a map reads is not the one in which the labels move the states: among features
    that vary together, a map also reads those that it uses to cancel the rest (Haufe et al. 2014).

    Parameters
    ----------
    fitted
        A map with at least one site axis, of length T.

    Returns
    -------
    angles : ndarray
        ``(*sites[:-1], T, T, k)`` float64 in radians, ascending, in [0, π/2]. The error is about
        1e-15 times the condition number of the maps, for small and for large angles. NaN in the
        rows and columns of undefined sites. A map whose rows are linearly dependent, up to
        rounding, reads a subspace of m < k dimensions. It has m angles with the others: they come
        first, and the last k − m are NaN.

    Raises
    ------
    ValueError
        The map has no site axis.

    Notes
    -----
    The counterpart of ``scipy.linalg.subspace_angles(W_a.T, W_b.T)`` for all pairs. Angles up to
    π/4 are computed from their sines and larger ones from their cosines (Björck & Golub 1973;
    Knyazev & Argentati 2002). scipy sorts them in descending order. If a pair has angles below and
    above π/4, scipy 1.18 takes the cosine of the small ones and the sine of the large ones, which
    has an error of 1e-8. In addition to the result, a few copies of the maps of one layer are held
    in memory.
    """
    if not fitted.site_shape:
        raise ValueError("the fitted map has no site axis, so there are no positions to compare")
    *lead, n_sites, k, d = fitted.W.shape
    angles = torch.full(
        (*lead, n_sites, n_sites, k), torch.nan, dtype=torch.float64, device=fitted.W.device
    )
    n_layers = math.prod(lead)
    maps = fitted.W.reshape(n_layers, n_sites, k, d)
    for of_layer, W in zip(angles.view(n_layers, n_sites, n_sites, k), maps, strict=True):
        bases, ranks = _row_spaces(W)
        for a, m in enumerate(ranks):
            # Group the others by their number of dimensions, which is usually the same.
            for of_others in {rank for rank in ranks[a:] if m and rank}:
                others = [b for b in range(a, n_sites) if ranks[b] == of_others]
                larger, smaller = bases[a, :, :m], bases[others, :, :of_others]
                if m < of_others:
                    larger, smaller = smaller, larger
                found = _angles(larger, smaller)
                of_layer[a, others, : min(m, of_others)] = found
                of_layer[others, a, : min(m, of_others)] = found
    result: np.ndarray = angles.cpu().numpy()
    return result


def _row_spaces(W: Tensor) -> tuple[Tensor, list[int]]:
    """Orthonormal bases ``(b, d, min(k, d))`` of row spaces, and their dimensions.

    The first m columns are the basis of a subspace of m dimensions; m is 0 where W holds NaN.
    """
    W = W.masked_fill(~W.isfinite().all(2).all(1)[:, None, None], 0)
    # Rows are scaled to the same size, so that the rank depends only on their directions.
    largest = W.abs().amax(2, keepdim=True)
    W = W / torch.where(largest > 0, largest, 1)
    Q, R = torch.linalg.qr(W.mT)
    U, S, _ = torch.linalg.svd(R, full_matrices=False)
    rounding = max(W.shape[1:]) * torch.finfo(W.dtype).eps * S.amax(1, keepdim=True)
    return Q @ U, (rounding < S).sum(1).tolist()


def _angles(A: Tensor, B: Tensor) -> Tensor:
    """Ascending angles ``(b, m)`` between orthonormal bases ``(..., d, l)`` and ``(..., d, m)``.

    One of them may lack the batch axis; l is at least m.
    """
    C = A.mT @ B
    cosines = torch.linalg.svdvals(C).clamp(max=1)
    # The part of B that is orthogonal to A: its triangular factor has the same singular values.
    beside = torch.linalg.qr(B - A @ C, mode="r").R
    sines = torch.linalg.svdvals(beside).clamp(max=1).flip(-1)
    return torch.where(cosines.square() > 0.5, sines.arcsin(), cosines.arccos())
