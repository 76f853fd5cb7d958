"""Classical multi-dimensional scaling: from ideal distances or points to an embedding."""

import numpy as np
import torch
from torch import Tensor

# Two eigenvalues count as tied if they differ by at most this fraction of the largest, and one
# counts as zero if it is at most that. This is an order of magnitude above the error of a
# double-precision eigendecomposition of a few thousand samples.
TIE = 1e-11

# Below this size a full eigendecomposition is as fast as the leading eigenvectors alone.
_SMALL = 256


def embed_points(points: Tensor, n_components: int) -> tuple[Tensor, bool]:
    """Classical MDS of the Euclidean distances between points, as the PCA of the points.

    Parameters
    ----------
    points
        ``(n, p)`` float64.
    n_components
        Number of components kept; columns beyond p are zero.

    Returns
    -------
    Y : Tensor
        ``(n, n_components)``, centred, columns by descending eigenvalue.
    determined : bool
        False if eigenvalues are tied at the cut, so that the embedding is not unique.
    """
    centred = points - points.mean(0)
    # The SVD of the points does not square the condition number, as their scatter would.
    U, S, _ = torch.linalg.svd(centred, full_matrices=False)
    return _cut(U * S, S.square(), n_components)


def classical_mds(D: Tensor, n_components: int, y: np.ndarray | None = None) -> tuple[Tensor, bool]:
    """Classical MDS of a distance matrix ``(n, n)``; returns as :func:`embed_points`.

    Counterpart of ``ComputedSMDSParametrization._classical_mds`` in smds. Negative (undefined)
    distances are squared like all others, as in smds.

    Parameters
    ----------
    D, n_components
        Ideal distances, and the number of components kept.
    y
        Labels. Samples of equal labels are merged into one weighted point where D allows it.
    """
    D, weights, members = _merge(D, y)
    # B = −½ JD²J, where J subtracts the weighted mean, scaled by the roots of the weights. For each
    # eigenvector v of B, v/√w repeated over the members is an eigenvector of the full matrix.
    share, root = weights / weights.sum(), weights.sqrt()
    B = D.square()
    row = B @ share
    B -= row[:, None]
    B -= row - share @ row
    B *= -0.5
    if members is not None:
        B *= root[:, None]
        B *= root
    values, vectors = _leading(B, n_components + 1)
    Y = vectors * values.clamp(min=0).sqrt() / root[:, None]
    return _cut(Y if members is None else Y[members], values, n_components, len(B))


def _merge(D: Tensor, y: np.ndarray | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Distances ``(u, u)`` and weights ``(u,)`` of distinct labels, and samples' indices ``(n,)``.

    The index is None if nothing is merged. Samples of equal labels need not have equal distances
    (in a neighbour graph they do not), so that is checked.
    """
    n = len(D)
    if y is not None:
        _, members, counts = np.unique(y, axis=0, return_inverse=True, return_counts=True)
        if len(counts) < 0.9 * n:
            index = torch.from_numpy(members.reshape(-1)).to(D.device)
            first = torch.empty(len(counts), dtype=torch.int64, device=D.device)
            first[index] = torch.arange(n, device=D.device)
            merged = D[first][:, first]  # any member serves, if their rows are equal
            if bool((merged[index][:, index] == D).all()):
                return merged, torch.from_numpy(counts).to(D), index
    return D, D.new_ones(n), None


def _leading(B: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Largest eigenvalues ``(c,)``, descending, and eigenvectors ``(n, c)`` of symmetric B.

    c is ``count``, or n if that is smaller. A small matrix is decomposed in full, a larger one by
    block Krylov iteration (Golub & Underwood 1977), which is as accurate as a full decomposition
    and an order of magnitude faster. Its blocks are wider than ``count``, so that repeated
    eigenvalues are not missed.
    """
    n = len(B)
    width = count + 6
    if n > max(_SMALL, 20 * width):
        generator = torch.Generator().manual_seed(0)
        block = torch.randn(n, width, generator=generator, dtype=B.dtype).to(B.device)
        basis, images = B.new_empty(n, 0), B.new_empty(n, 0)
        for _ in range(16):
            for _ in range(2):  # twice is enough (Kahan, Parlett)
                block = block - basis @ (basis.mT @ block)
                block, triangle = torch.linalg.qr(block)
            size = triangle.diagonal().abs()
            block = block[:, size > 1e-8 * size.max()]
            basis = torch.cat((basis, block), dim=1)
            image = B @ block
            images = torch.cat((images, image), dim=1)
            values, vectors = torch.linalg.eigh(basis.mT @ images)
            values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
            residual = images @ vectors - (basis @ vectors) * values
            largest = torch.linalg.vector_norm(values, torch.inf)
            # A backward stable full decomposition leaves n·eps; this bound is lower.
            if len(values) == count and bool(
                torch.linalg.vector_norm(residual, dim=0).max() <= 2e-14 * largest
            ):
                return values, basis @ vectors
            block = image
    values, vectors = torch.linalg.eigh(B)
    return values.flip(0)[:count], vectors.flip(1)[:, :count]


def _cut(Y: Tensor, eigenvalues: Tensor, k: int, rank: int | None = None) -> tuple[Tensor, bool]:
    tie = TIE * max(float(eigenvalues[0]), 0.0)
    # If the distances have fewer than k dimensions, further columns are rounding noise: set to 0.
    Y = Y * (eigenvalues > tie)
    if k >= (Y.shape[1] if rank is None else rank):
        return torch.nn.functional.pad(Y[:, :k], (0, max(0, k - Y.shape[1]))), True
    last, next_ = float(eigenvalues[k - 1]), float(eigenvalues[k])
    return Y[:, :k].contiguous(), last <= tie or last - next_ > tie
