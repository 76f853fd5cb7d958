"""Ridge in extended precision (80 bits), for sites where smds itself has rounding errors."""

import numpy as np


def ridge_projection(X, Y, new, alpha):
    """Projections ``(m, k)`` of new states by the ridge map of X ``(n, d)`` onto Y ``(n, k)``."""
    X, new = X.astype(np.longdouble), new.astype(np.longdouble)
    mean = X.mean(0)
    X, new = X - mean, new - mean
    Y = Y.astype(np.longdouble)
    n, d = X.shape
    if d <= n:
        return (new @ _solve(X.T @ X, X.T @ Y, alpha)).astype(float)
    return (new @ (X.T @ _solve(X @ X.T, Y, alpha))).astype(float)


def score(D, Z):
    """Scale-normalised score by its definition, from distances (n, n) and projections."""
    upper = np.triu_indices(len(D), 1)
    d, e = D[upper], np.linalg.norm(Z[:, None] - Z[None], axis=-1)[upper]
    residual = d - (d @ e) / (e @ e) * e
    return 1 - np.sqrt((residual @ residual) / (d @ d))


def _solve(A, B, alpha):
    """(A + αI)⁻¹B by Cholesky; LAPACK knows no extended precision."""
    k = len(A)
    L = A + np.longdouble(alpha) * np.eye(k, dtype=np.longdouble)
    for j in range(k):
        L[j, j] = np.sqrt(L[j, j])
        L[j + 1 :, j] /= L[j, j]
        L[j + 1 :, j + 1 :] -= np.outer(L[j + 1 :, j], L[j + 1 :, j])
    B = B.copy()
    for j in range(k):
        B[j] /= L[j, j]
        B[j + 1 :] -= np.outer(L[j + 1 :, j], B[j])
    for j in range(k - 1, -1, -1):
        B[j] /= L[j, j]
        B[:j] -= np.outer(L[j, :j], B[j])
    return B
