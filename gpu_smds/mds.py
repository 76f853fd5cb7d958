"""Classical multi-dimensional scaling: ideal distances or points to an embedding."""

import torch
from torch import Tensor

# Two eigenvalues count as tied, or one as zero, below this fraction of the largest: an order of
# magnitude above the error of a double-precision eigendecomposition of a few thousand samples.
TIE = 1e-11


def embed_points(points: Tensor, n_components: int) -> tuple[Tensor, bool]:
    """Classical MDS of the Euclidean distances between points, as the PCA of the points.

    Parameters
    ----------
    points
        ``(n, p)`` float64.
    n_components
        Components kept; beyond p the embedding is filled with zeros.

    Returns
    -------
    Y : Tensor
        ``(n, n_components)``, centred, columns by falling eigenvalue.
    determined : bool
        False where an eigenvalue tie at the cut makes the embedding arbitrary.
    """
    centred = points - points.mean(0)
    # The SVD of the points rather than the eigenvectors of their scatter: no squared condition.
    U, S, _ = torch.linalg.svd(centred, full_matrices=False)
    return _cut(U * S, S.square(), n_components)


def classical_mds(D: Tensor, n_components: int) -> tuple[Tensor, bool]:
    """Classical MDS of a full distance matrix ``(n, n)``; returns as :func:`embed_points`.

    Counterpart of ``ComputedSMDSParametrization._classical_mds`` in smds.

    Raises
    ------
    ValueError
        Negative distances, which smds reads as undefined.
    """
    if bool((D < 0).any()):
        raise ValueError(
            "the manifold leaves some distances undefined (negative); only complete distance "
            "matrices can be fitted"
        )
    squared = D.square()
    B = -0.5 * (squared - squared.mean(0) - squared.mean(1, keepdim=True) + squared.mean())
    values, vectors = torch.linalg.eigh(B)
    values, vectors = values.flip(0), vectors.flip(1)
    return _cut(vectors * values.clamp(min=0).sqrt(), values, n_components)


def _cut(Y: Tensor, eigenvalues: Tensor, k: int) -> tuple[Tensor, bool]:
    if k >= Y.shape[1]:
        return torch.nn.functional.pad(Y, (0, k - Y.shape[1])), True
    last, next_ = float(eigenvalues[k - 1]), float(eigenvalues[k])
    tie = TIE * max(float(eigenvalues[0]), 0.0)
    determined = last <= tie or last - next_ > tie
    return Y[:, :k].contiguous(), determined
