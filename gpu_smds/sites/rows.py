"""Some of the rows of an array: a slice if they are consecutive, else their numbers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

Rows = slice | Tensor


def as_rows(indices: np.ndarray) -> Rows:
    """Row numbers, as a slice if they are consecutive."""
    if len(indices) and np.array_equal(indices, np.arange(indices[0], indices[0] + len(indices))):
        return slice(int(indices[0]), int(indices[0]) + len(indices))
    return torch.from_numpy(indices)


def is_all(rows: Rows, n: int) -> bool:
    """Whether ``rows`` is all n rows in their order."""
    return isinstance(rows, slice) and rows == slice(0, n)


def runs(rows: Rows) -> list[slice]:
    """Stretches of consecutive rows, in order."""
    if isinstance(rows, slice):
        return [rows]
    numbers = rows.numpy()
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    parts = np.split(numbers, breaks)
    return [slice(int(part[0]), int(part[-1]) + 1) for part in parts if len(part)]


def take(values: np.ndarray, rows: Rows) -> np.ndarray:
    """Rows of an array, such as labels."""
    return values[rows.numpy() if isinstance(rows, Tensor) else rows]
