"""Loops that torch has no good form of, compiled for the CPU. Imported only where needed.

They run on one thread: a second pool of threads beside torch's costs more than it brings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np


def _compiled(**options: Any) -> Callable[[Callable[..., None]], Any]:
    def compile_(function: Callable[..., None]) -> Any:
        try:
            return numba.njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:  # no folder to keep the compiled code in
            return numba.njit(nogil=True, **options)(function)

    return compile_


# Sums may be taken in another order, which is what lets them run in parallel lanes.
@_compiled(fastmath={"reassoc", "contract", "nsz"})
def cross_terms(Zt: np.ndarray, D: np.ndarray, cross: np.ndarray) -> None:
    """Write Σ D‖zᵢ − zⱼ‖ over pairs i < j of each site into ``cross (b,)``; Zt ``(b, k, n)``."""
    sites, k, n = Zt.shape
    squared = np.empty(n)
    for b in range(sites):
        total = 0.0
        for i in range(n - 1):
            for j in range(i + 1, n):
                difference = Zt[b, 0, j] - Zt[b, 0, i]
                squared[j] = difference * difference
            for c in range(1, k):
                for j in range(i + 1, n):
                    difference = Zt[b, c, j] - Zt[b, c, i]
                    squared[j] += difference * difference
            row = 0.0
            for j in range(i + 1, n):
                row += D[i, j] * np.sqrt(squared[j])
            total += row
        cross[b] = total


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
