"""The pair term on the CPU, compiled for each number of components."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from gpu_smds.kernels._numba import REORDERED, compiled


@cache
def cross_points(k: int, p: int) -> Any:
    """Kernel for projections of k components and ideal points of p coordinates.

    The kernel ``(Zt (b, k, n), points (p, n), cross (b,))`` writes Σ ‖pᵢ − pⱼ‖‖zᵢ − zⱼ‖ over
    pairs i < j of each site into ``cross``, with one square root per pair. k and p are constants of
    the compiled code, so that the loops over them are unrolled.
    """

    @compiled(**REORDERED)
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
    """As :func:`cross_points`, with ideal distances ``(n, n)`` in place of points."""

    @compiled(**REORDERED)
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
