"""Is it the same subspace at every position? Cosines between fitted maps."""

from __future__ import annotations

import numpy as np
import torch

from gpu_smds.fitted import FittedMap


def similarity_map(fitted: FittedMap) -> np.ndarray:
    """Absolute cosine of every pair of maps along the last site axis.

    The maps are flattened, as in the study. That cosine does not change with the rotation of the
    shared embedding or with the scale of either map, but it depends on the scale of the features:
    standardise where their units differ between positions. It also depends on the basis of the
    embedding, and compares row with row: two maps that read the same subspace, one of
    them turned or with other weights of its rows, have a cosine below 1.
    :func:`gpu_smds.principal_angles` compares the subspaces alone.

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
