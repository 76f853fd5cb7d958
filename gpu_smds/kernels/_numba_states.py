"""Passes over raw states on the CPU: moments, weighted sums, projections, centred rows.

The raw states are given as one flat array and the index in it at which each row starts, so that
neither strided sites nor reordered rows are copied.
"""

from __future__ import annotations

import numpy as np

from gpu_smds.kernels._numba import REORDERED, compiled


@compiled(**REORDERED)
def moments(
    flat: np.ndarray,
    starts: np.ndarray,
    centre: np.ndarray,
    sums: np.ndarray,
    squares: np.ndarray,
) -> None:
    """Σ(x − centre) and Σ(x − centre)² of every feature ``(d,)`` over the rows, in one pass."""
    d = len(centre)
    sums[:] = 0
    squares[:] = 0
    quads = len(starts) // 4 * 4
    for i in range(0, quads, 4):  # four rows share the loads and stores of the sums
        a, b = flat[starts[i] : starts[i] + d], flat[starts[i + 1] : starts[i + 1] + d]
        c, e = flat[starts[i + 2] : starts[i + 2] + d], flat[starts[i + 3] : starts[i + 3] + d]
        for j in range(d):
            m = centre[j]
            p, q, r, s = a[j] - m, b[j] - m, c[j] - m, e[j] - m
            sums[j] += (p + q) + (r + s)
            squares[j] += (p * p + q * q) + (r * r + s * s)
    for i in range(quads, len(starts)):
        a = flat[starts[i] : starts[i] + d]
        for j in range(d):
            p = a[j] - centre[j]
            sums[j] += p
            squares[j] += p * p


@compiled(**REORDERED)
def reduce_rows(
    flat: np.ndarray,
    starts: np.ndarray,
    mean: np.ndarray,
    weights: np.ndarray,
    reduced: np.ndarray,
    energy: np.ndarray,
) -> None:
    """Write weighted sums ``(m, d)`` of the centred rows and the rows' squared norms ``(n,)``.

    ``weights`` is ``(n, m)``. Zero weights are skipped, since each row is part of only a few sums.
    """
    m, d = reduced.shape
    reduced[:] = 0
    row = np.empty(d)
    for i in range(len(starts)):
        raw = flat[starts[i] : starts[i] + d]
        square = 0.0
        for j in range(d):
            centred = raw[j] - mean[j]
            row[j] = centred
            square += centred * centred
        energy[i] = square
        for r in range(m):
            weight = weights[i, r]
            if weight != 0:
                total = reduced[r]
                for j in range(d):
                    total[j] += weight * row[j]


@compiled(**REORDERED)
def project_rows(
    flat: np.ndarray, starts: np.ndarray, mean: np.ndarray, W: np.ndarray, Z: np.ndarray
) -> None:
    """Write the centred rows' products with the rows of W ``(k, d)`` into Z ``(n, k)``."""
    k, d = W.shape
    quads, pairs = len(starts) // 4 * 4, k // 2 * 2
    for i in range(0, quads, 4):  # four rows and two components share their loads
        a, b = flat[starts[i] : starts[i] + d], flat[starts[i + 1] : starts[i + 1] + d]
        c, e = flat[starts[i + 2] : starts[i + 2] + d], flat[starts[i + 3] : starts[i + 3] + d]
        for r in range(0, pairs, 2):
            v, w = W[r], W[r + 1]
            av = aw = bv = bw = cv = cw = ev = ew = 0.0
            for j in range(d):
                m, x, y = mean[j], v[j], w[j]
                p, q, s, t = a[j] - m, b[j] - m, c[j] - m, e[j] - m
                av += p * x
                aw += p * y
                bv += q * x
                bw += q * y
                cv += s * x
                cw += s * y
                ev += t * x
                ew += t * y
            Z[i, r], Z[i, r + 1] = av, aw
            Z[i + 1, r], Z[i + 1, r + 1] = bv, bw
            Z[i + 2, r], Z[i + 2, r + 1] = cv, cw
            Z[i + 3, r], Z[i + 3, r + 1] = ev, ew
    for i in range(len(starts)):
        a = flat[starts[i] : starts[i] + d]
        for r in range(pairs if i < quads else 0, k):
            v = W[r]
            av = 0.0
            for j in range(d):
                av += (a[j] - mean[j]) * v[j]
            Z[i, r] = av


@compiled(**REORDERED)
def centre_rows(
    flat: np.ndarray, starts: np.ndarray, mean: np.ndarray, x: np.ndarray, energy: np.ndarray
) -> None:
    """Write the centred rows ``(n, d)`` and their squared norms ``(n,)``."""
    d = len(mean)
    for i in range(len(starts)):
        raw, row = flat[starts[i] : starts[i] + d], x[i]
        square = 0.0
        for j in range(d):
            centred = raw[j] - mean[j]
            row[j] = centred
            square += centred * centred
        energy[i] = square
