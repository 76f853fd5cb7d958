"""The naive port: smds line by line in torch, one site at a time. What a user would write first."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmarks.smds_study import splits


def ideal_distances(y: Tensor) -> Tensor:
    """Chords of the circle ``(n, n)`` between labels, normalised to a whole turn."""
    y = (y - y.min()) / (y.max() - y.min())
    gap = (y[:, None] - y[None, :]).abs()
    chords: Tensor = 2 * torch.sin(torch.pi * torch.minimum(gap, 1 - gap))
    return chords


def embed(D: Tensor, k: int = 2) -> Tensor:
    """Classical MDS by a full eigendecomposition."""
    n = len(D)
    J = torch.eye(n, dtype=D.dtype, device=D.device) - 1 / n
    values, vectors = torch.linalg.eigh(-0.5 * J @ D**2 @ J)
    Y: Tensor = vectors[:, -k:].flip(1) * values[-k:].flip(0).clamp(min=0).sqrt()
    return Y


def fit(X: Tensor, y: Tensor, orthonormal: bool = False) -> tuple[Tensor, Tensor]:
    """W ``(k, d)`` and the mean of X, by an explicit d × d inverse."""
    mean = X.mean(0)
    X = X - mean
    Y = embed(ideal_distances(y))
    if orthonormal:
        U, _, Vt = torch.linalg.svd(Y.T @ X, full_matrices=False)
        return U @ Vt, mean
    eye = torch.eye(X.shape[1], dtype=X.dtype, device=X.device)
    return Y.T @ X @ torch.linalg.inv(X.T @ X + eye), mean


def score(W: Tensor, mean: Tensor, X: Tensor, y: Tensor) -> float:
    """Scale-normalised score from two distance matrices."""
    Z = (X - mean) @ W.T
    D, found = ideal_distances(y), torch.cdist(Z, Z)
    scale = (D * found).sum() / (found**2).sum()
    return float(1 - (((D - scale * found) ** 2).sum() / (D**2).sum()).sqrt())


def zscore(X: Tensor) -> Tensor:
    """Centre and scale every feature."""
    return (X - X.mean(0)) / X.std(0, correction=0)


def independent(X: Tensor, y: Tensor) -> float:
    """Exp 1 at one site ``(n, d)``."""
    scores = []
    for train, test in splits(len(X)):
        W, mean = fit(X[train], y[train])
        scores.append(score(W, mean, X[test], y[test]))
    return float(np.mean(scores))


def reuse(source: Tensor, X: Tensor, y: Tensor) -> list[float]:
    """Exp 3: the source's map ``(n, d)`` scored on every position of ``(n, T, d)``."""
    W, mean = fit(zscore(source), y)
    scores = (score(W, mean, zscore(X[:, t]), y) for t in range(X.shape[1]))
    return [min(max(value, 0.0), 1.0) for value in scores]


def rigid(X: Tensor, y: Tensor) -> float:
    """Exp 4 at one site."""
    Z, split = zscore(X), int(0.8 * len(X))
    W, mean = fit(Z[:split], y[:split], orthonormal=True)
    return min(max(score(W, mean, Z[split:], y[split:]), 0.0), 1.0)
