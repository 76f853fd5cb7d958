"""Cross-validation folds, and the row order that makes them cheap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_smds._arguments import one_line, refuse_masked, refuse_special, shown
from gpu_smds._memory import check_fits
from gpu_smds.sites.rows import Rows, as_rows, take

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Fold:
    """Rows to fit and rows to score, as slices if they are contiguous."""

    train: Rows
    test: Rows
    n_train: int
    n_test: int

    @classmethod
    def of(cls, train: np.ndarray, test: np.ndarray) -> Fold:
        """A fold from row numbers."""
        return cls(as_rows(train), as_rows(test), len(train), len(test))


@dataclass(frozen=True)
class Folds:
    """All folds of one cross-validation.

    Attributes
    ----------
    order
        ``(n,)`` order in which rows are to be read; the folds index the reordered rows. Labels are
        brought into it by :meth:`gpu_smds.crossval.question.Question.in_order`.
    partition
        True if the test parts are disjoint, cover all rows, and each training part is all
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
    def tests(self) -> list[np.ndarray]:
        """Numbers of the test rows of every fold, in the order of the samples."""
        return [take(self.order, fold.test) for fold in self.folds]

    def keeping(self, rows: np.ndarray) -> Folds:
        """The folds of some of the samples, whose numbers are ``rows``, numbered anew."""
        number = np.full(len(self.order), -1)
        number[rows] = np.arange(len(rows))
        pairs = []
        for fold in self.folds:
            train, test = (number[take(self.order, of)] for of in (fold.train, fold.test))
            pairs.append((train[train >= 0], test[test >= 0]))
        return _folds_of(pairs, len(rows))

    @property
    def sizes(self) -> np.ndarray:
        """Numbers ``(folds, 2)`` of training and test rows."""
        return np.array([(fold.n_train, fold.n_test) for fold in self.folds])


def resolve_folds(cv: Any, y: np.ndarray, groups: Any = None) -> Folds:
    """Folds from an int, a scikit-learn splitter, index pairs, or None (fit and score on all).

    Raises
    ------
    TypeError, ValueError
        As :func:`split_rows`.
    """
    n = len(y)
    everything = np.arange(n)
    if groups is not None:
        check_groups(groups, n)
    if cv is None:
        return Folds([Fold.of(everything, everything)], everything, partition=False)
    return _folds_of(split_rows(cv, y, groups), n)


def _folds_of(pairs: list[tuple[np.ndarray, np.ndarray]], n: int) -> Folds:
    """Folds of n rows from pairs of row numbers."""
    everything = np.arange(n)
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


def split_rows(
    cv: Any, y: np.ndarray, groups: Any = None, name: str = "cv"
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Row numbers of the training and test part of every fold; see :func:`resolve_folds`.

    Raises
    ------
    TypeError, ValueError
        ``cv`` cannot split; fewer samples than folds; indices that are not row numbers; no folds;
        more folds than fit the memory.
    """
    from sklearn.model_selection import check_cv

    n = len(y)
    if isinstance(cv, bool | np.bool_ | str | bytes) or not (
        isinstance(cv, Integral | Iterable) or hasattr(cv, "split")
    ):
        raise TypeError(
            f"{name} must be a number of folds, a scikit-learn splitter or a list of (train, test) "
            f"row numbers, got {shown(cv)}"
        )
    if isinstance(cv, Integral) and cv < 2:
        raise ValueError(f"{name} must be at least 2 folds, got {shown(int(cv))}")
    count = 0
    if isinstance(cv, Integral) or (hasattr(cv, "split") and not isinstance(cv, Tensor)):
        splitter = check_cv(cv, y, classifier=False)
        X = np.zeros((n, 1))
        # A splitter of the user need not know the number of folds.
        if type(splitter).__module__.startswith("sklearn."):
            count = int(splitter.get_n_splits(X, y, groups))
        given = splitter.split(X, y, groups)
    else:
        refuse_special(cv, name)
        refuse_masked(cv, name)
        given = cv
    pairs = []
    for pair in given:
        try:
            train, test = pair
        except (TypeError, ValueError):
            raise ValueError(
                f"{name} must give pairs (train, test) of row numbers, got {shown(pair)}"
            ) from None
        pairs.append((_checked(train, n, name), _checked(test, n, name)))
        if len(pairs) == 1:
            # All folds have about the same size.
            rows = sum(part.nbytes for part in pairs[0])
            check_fits(count * rows, f"{name} of {count:,} folds", "their row numbers", _CPU)
    if not pairs:
        raise ValueError(f"{name} gives no folds")
    return pairs


def counts_folds(cv: Any) -> bool:
    """Whether ``cv`` is a number of folds, which are then stretches of consecutive rows."""
    return not isinstance(cv, bool | np.bool_) and isinstance(cv, Integral) and int(cv) > 1


def check_groups(groups: Any, n: int) -> None:
    """Raise ValueError unless there is one group name per sample, and none is masked."""
    refuse_special(groups, "groups")
    refuse_masked(groups, "groups")
    if isinstance(groups, str | bytes) or np.ndim(groups) == 0 or len(groups) != n:
        shape = np.shape(groups)
        raise ValueError(f"groups must be one per sample, {n} in all, got shape {shape}")


def _checked(indices: Any, n: int, name: str) -> np.ndarray:
    """Row numbers as int64, from row numbers or from a mask of all rows."""
    refuse_special(indices, name)
    refuse_masked(indices, name)
    if isinstance(indices, Tensor):
        indices = indices.detach().cpu()
    try:
        indices = np.asarray(indices)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must give row numbers: {one_line(error)}") from error
    if indices.ndim != 1:
        raise ValueError(
            f"{name} must give one axis of row numbers per part, got shape {indices.shape}"
        )
    if indices.dtype == bool:
        if len(indices) != n:
            raise ValueError(f"{name} gives a mask of {len(indices)} rows, but X has {n} samples")
        indices = np.flatnonzero(indices)
    # An empty list becomes an array of floats.
    if indices.size and indices.dtype.kind not in "iu":
        raise TypeError(f"{name} must give integers as row numbers, got {indices.dtype}")
    if indices.size and (indices.min() < 0 or indices.max() >= n):
        raise ValueError(f"{name} gives row indices outside 0..{n - 1}")
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
