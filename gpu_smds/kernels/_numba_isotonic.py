"""Isotonic regression of many rows on the CPU."""

from __future__ import annotations

import numpy as np

from gpu_smds.kernels._numba import compiled


@compiled()
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
