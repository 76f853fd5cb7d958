"""Loops that torch has no good form of, compiled for the CPU. Imported only where needed.

Every kernel runs on the thread that calls it and lets go of Python's lock; sites run side by side
on several threads. Inner loops go over slices from zero: an index that might be negative, as
far as the compiler can see, keeps it from using vector instructions, a factor of ten.

Raw states come as one flat array and the place in it where each row starts, so that neither
strided sites nor reordered rows are copied.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np

# Sums may be taken in another order, which is what lets them run in parallel lanes.
_REORDERED = {"fastmath": {"reassoc", "contract", "nsz"}}


def _compiled(**options: Any) -> Callable[[Callable[..., None]], Any]:
    def compile_(function: Callable[..., None]) -> Any:
        try:
            return numba.njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:  # no folder to keep the compiled code in
            return numba.njit(nogil=True, **options)(function)

    return compile_


@cache
def cross_points(k: int, p: int) -> Any:
    """Kernel for projections of k components and ideal points of p coordinates.

    The kernel ``(Zt (b, k, n), points (p, n), cross (b,))`` writes Σ ‖pᵢ − pⱼ‖‖zᵢ − zⱼ‖ over
    pairs i < j of each site into ``cross``, one square root a pair. k and p are constants of the
    compiled code, so that the loops over them are unrolled.
    """

    @_compiled(**_REORDERED)
    def kernel(Zt: np.ndarray, points: np.ndarray, cross: np.ndarray) -> None:
        sites, _, n = Zt.shape
        for b in range(sites):
            total = 0.0
            for i in range(n - 1):
                row = 0.0
                for j in range(n - 1 - i):
                    projected = 0.0
                    for c in range(k):
                        difference = Zt[b, c, i + 1 + j] - Zt[b, c, i]
                        projected += difference * difference
                    ideal = 0.0
                    for c in range(p):
                        difference = points[c, i + 1 + j] - points[c, i]
                        ideal += difference * difference
                    row += np.sqrt(projected * ideal)
                total += row
            cross[b] = total

    return kernel


@cache
def cross_distances(k: int) -> Any:
    """As :func:`cross_points`, ideal distances ``(n, n)`` in place of points."""

    @_compiled(**_REORDERED)
    def kernel(Zt: np.ndarray, D: np.ndarray, cross: np.ndarray) -> None:
        sites, _, n = Zt.shape
        for b in range(sites):
            total = 0.0
            for i in range(n - 1):
                ideal = D[i, i + 1 :]
                row = 0.0
                for j in range(n - 1 - i):
                    projected = 0.0
                    for c in range(k):
                        difference = Zt[b, c, i + 1 + j] - Zt[b, c, i]
                        projected += difference * difference
                    row += ideal[j] * np.sqrt(projected)
                total += row
            cross[b] = total

    return kernel


@_compiled(**_REORDERED)
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


@_compiled(**_REORDERED)
def reduce_rows(
    flat: np.ndarray,
    starts: np.ndarray,
    mean: np.ndarray,
    weights: np.ndarray,
    reduced: np.ndarray,
    energy: np.ndarray,
) -> None:
    """Weighted sums of the centred rows ``(m, d)``, weights ``(n, m)``, and squared norms ``(n,)``.

    Weights of zero cost nothing: each row is part of a few of the sums.
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


@_compiled(**_REORDERED)
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


@_compiled(**_REORDERED)
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


@_compiled()
def pool(values: np.ndarray, weights: np.ndarray, levels: np.ndarray) -> None:
    """Write the isotonic regression of each row of values ``(b, U)`` into ``levels``."""
    rows, length = values.shape
    mean = np.empty(length)
    weight = np.empty(length)
    size = np.empty(length, dtype=np.int64)
    for row in range(rows):
        top = -1
        for i in range(length):
            top += 1
            mean[top], weight[top], size[top] = values[row, i], weights[i], 1
            while top > 0 and mean[top - 1] >= mean[top]:
                joint = weight[top - 1] + weight[top]
                mean[top - 1] = (mean[top - 1] * weight[top - 1] + mean[top] * weight[top]) / joint
                weight[top - 1] = joint
                size[top - 1] += size[top]
                top -= 1
        end = 0
        for block in range(top + 1):
            for _ in range(size[block]):
                levels[row, end] = mean[block]
                end += 1
