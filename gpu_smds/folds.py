"""Cross-validation folds, and the row order that makes them cheap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Rows = slice | Tensor


@dataclass(frozen=True)
class Fold:
    """Rows to fit and rows to score, as slices where they are contiguous."""

    train: Rows
    test: Rows
    n_train: int
    n_test: int

    @classmethod
    def of(cls, train: np.ndarray, test: np.ndarray) -> Fold:
        """Of row numbers."""
        return cls(_rows(train), _rows(test), len(train), len(test))


@dataclass(frozen=True)
class Folds:
    """All folds of one cross-validation.

    Attributes
    ----------
    order
        ``(n,)`` order in which rows are to be read; the folds index the reordered rows.
    partition
        True where the test parts are disjoint, cover all rows, and each training part is all
        rows but the test part. Test parts are then contiguous, and the scatter of a training
        part is the sum of the other test parts' scatters.
    """

    folds: list[Fold]
    order: np.ndarray
    partition: bool

    def __len__(self) -> int:
        return len(self.folds)

    @property
    def parts(self) -> list[Rows]:
        """Training and test rows of every fold, one after the other."""
        return [rows for fold in self.folds for rows in (fold.train, fold.test)]

    @property
    def sizes(self) -> np.ndarray:
        """Numbers ``(folds, 2)`` of training and test rows."""
        return np.array([(fold.n_train, fold.n_test) for fold in self.folds])


def is_all(rows: Rows, n: int) -> bool:
    """Whether rows are all n, in their order."""
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


def resolve_folds(cv: Any, y: np.ndarray, groups: Any = None) -> Folds:
    """Folds from an int, a scikit-learn splitter, index pairs, or None (fit and score on all).

    Raises
    ------
    ValueError
        Fewer samples than folds, indices out of range, or no fold at all.
    """
    n = len(y)
    everything = np.arange(n)
    if cv is None:
        return Folds([Fold.of(everything, everything)], everything, partition=False)
    from sklearn.model_selection import check_cv

    splitter = check_cv(cv, y, classifier=False)
    pairs = [
        (_checked(train, n), _checked(test, n))
        for train, test in splitter.split(np.zeros((n, 1)), y, groups)
    ]
    if not pairs:
        raise ValueError("cv gives no folds")
    if _is_partition(pairs, n):
        order = np.concatenate([test for _, test in pairs])
        stops = np.cumsum([len(test) for _, test in pairs])
        folds = []
        for (_, test), stop in zip(pairs, stops, strict=True):
            start = int(stop) - len(test)
            rest = np.concatenate([everything[:start], everything[stop:]])
            folds.append(Fold.of(rest, everything[start:stop]))
        return Folds(folds, order, partition=True)
    return Folds([Fold.of(train, test) for train, test in pairs], everything, partition=False)


def _checked(indices: Any, n: int) -> np.ndarray:
    indices = np.asarray(indices)
    if indices.dtype == bool:
        indices = np.flatnonzero(indices)
    if indices.size and (indices.min() < 0 or indices.max() >= n):
        raise ValueError(f"cv gives row indices outside 0..{n - 1}")
    rows: np.ndarray = indices.astype(np.int64)
    return rows


def _is_partition(pairs: list[tuple[np.ndarray, np.ndarray]], n: int) -> bool:
    if len(pairs) < 2:
        return False
    if not np.array_equal(np.sort(np.concatenate([test for _, test in pairs])), np.arange(n)):
        return False
    for train, test in pairs:
        rest = np.ones(n, dtype=bool)
        rest[test] = False
        if not np.array_equal(np.sort(train), np.flatnonzero(rest)):
            return False
    return True


def _rows(indices: np.ndarray) -> Rows:
    if len(indices) and np.array_equal(indices, np.arange(indices[0], indices[0] + len(indices))):
        return slice(int(indices[0]), int(indices[0]) + len(indices))
    return torch.from_numpy(indices)
