"""Permutations of the labels for a test: exchangeable rows, and random draws of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from gpu_smds._arguments import one_line
from gpu_smds._memory import check_fits
from gpu_smds.crossval.folds import Folds, check_groups
from gpu_smds.crossval.question import Question
from gpu_smds.sites.place import Place
from gpu_smds.sites.rows import take

_STREAM = 0x5EED

#: Units that are exchanged: single rows, single rows within their group, or whole groups.
EXCHANGES = ("rows", "within_groups", "whole_groups")


@dataclass(frozen=True)
class Permutations:
    """Random permutations of the labels.

    Attributes
    ----------
    given
        ``(m, n)`` in the order of the samples.
    in_order
        ``(m + 1, n)`` in the folds' order of rows; index 0 is the identity.
    bytes
        Bytes of the permutations and of the scores under them.
    """

    given: np.ndarray
    in_order: Tensor
    bytes: int

    @classmethod
    def of(
        cls,
        question: Question,
        groups: Any,
        exchange: str,
        across: bool,
        count: int,
        seed: int,
        place: Place,
    ) -> Self:
        """Draw ``count`` permutations; ``across`` lets labels move between folds.

        Raises
        ------
        ValueError
            No label can move, all labels that can are equal, or they do not fit the memory.
        """
        folds, n, n_sites = question.folds, place.sites.n, len(place.sites)
        names = None if groups is None else as_groups(groups, n)
        blocks = np.zeros(n, dtype=np.int64) if across else exchange_blocks(folds, n)
        # The permutations, in two orders of rows, and the collected scores under them.
        size = 8 * n * count + 32 * n_sites * (count + 1)
        what, use = f"n_permutations={count:,}", "the permutations and the scores under them"
        check_fits(size, what, use, torch.device("cpu"))
        check_fits(4 * n * count + 8 * n_sites * (count + 1), what, use, place.device)
        if size > place.budget:
            raise ValueError(
                f"memory_budget of {place.budget:,} bytes is too small: {count} permutations and "
                f"the scores under them take {size:,}"
            )
        labels = question.labels
        movable = exchangeable(blocks, names, exchange)
        if all((labels[rows] == labels[rows[:1]]).all() for rows in movable):
            raise ValueError(
                "all labels that may change places are equal, so that permuting them changes "
                'nothing: where groups share one label, exchange="whole_groups"'
            )
        drawn = draw_permutations(blocks, names, exchange, count, seed)
        place_of = np.argsort(folds.order).astype(np.int32)
        as_they_are = np.arange(n, dtype=np.int32)[None]
        in_order = np.concatenate([as_they_are, place_of[drawn[:, folds.order]]])
        return cls(drawn, torch.from_numpy(in_order), size)


def exchange_blocks(folds: Folds, n: int) -> np.ndarray:
    """Numbers ``(n,)`` of the blocks within which labels may move, in the given order of rows.

    Rows of a block are in the same training and test parts, so a permutation within blocks keeps
    the labels of each part. For k-fold the blocks are the test parts, for a hold-out the training
    and the test part, for repeated k-fold the intersections of test parts.
    """
    counts = np.zeros((n, 2 * len(folds)), dtype=np.int64)
    for f, fold in enumerate(folds.folds):
        for side, rows in enumerate((fold.train, fold.test)):
            np.add.at(counts[:, 2 * f + side], take(folds.order, rows), 1)
    return np.unique(counts, axis=0, return_inverse=True)[1].reshape(-1)


def as_groups(groups: Any, n: int) -> np.ndarray:
    """Group numbers ``(n,)`` of group names of any kind.

    Raises
    ------
    ValueError
        Not one name per row, masked names, or names of types that cannot be sorted together.
    """
    check_groups(groups, n)
    names = np.asarray(groups.detach().cpu() if isinstance(groups, Tensor) else groups)
    if names.shape != (n,):
        raise ValueError(f"groups must be one per sample, {n} in all, got shape {names.shape}")
    try:
        return np.unique(names, return_inverse=True)[1].reshape(-1)
    except TypeError as error:
        raise ValueError(f"groups must be names of one kind: {one_line(error)}") from error


def draw_permutations(
    blocks: np.ndarray, groups: np.ndarray | None, exchange: str, count: int, seed: int
) -> np.ndarray:
    """Random permutations ``(count, n)``: under permutation π row i gets the label of row π(i).

    Parameters
    ----------
    blocks
        ``(n,)`` labels never leave their block.
    groups
        ``(n,)`` or None.
    exchange
        One of :data:`EXCHANGES`. Whole groups exchange their labels with groups that have as many
        rows in each block, so that the labels of a group stay together in every fold.
    count, seed
        How many, and the seed of the generator.

    Raises
    ------
    ValueError
        No row can move, or an exchange by groups without groups.
    """
    movable = exchangeable(blocks, groups, exchange)
    # A separate stream, because labels may have been drawn or shuffled with the same seed.
    generator = np.random.default_rng([seed, _STREAM])
    permutations = np.tile(np.arange(len(blocks), dtype=np.int32), (count, 1))
    for permutation in permutations:
        for rows in movable:
            permutation[rows] = rows[generator.permutation(len(rows))]
    return permutations


def exchangeable(blocks: np.ndarray, groups: np.ndarray | None, exchange: str) -> list[np.ndarray]:
    """Rows ``(units, rows of a unit)`` that may change places, for each kind of unit.

    Arguments and errors are those of :func:`draw_permutations`.
    """
    if exchange != "rows" and groups is None:
        raise ValueError(f"exchange={exchange!r} needs groups=, one name per sample")
    unit = np.arange(len(blocks))
    if groups is not None and exchange == "whole_groups":
        unit = groups
    elif groups is not None and exchange == "within_groups":
        both = np.stack([blocks, groups], axis=1)
        blocks = np.unique(both, axis=0, return_inverse=True)[1].reshape(-1)
    # Sort the rows of each unit by block; units are alike if their rows are in the same blocks.
    order = np.lexsort((blocks, unit))
    by_unit = np.split(order, np.flatnonzero(np.diff(unit[order])) + 1)
    alike: dict[bytes, list[np.ndarray]] = {}
    for rows in by_unit:
        alike.setdefault(blocks[rows].tobytes(), []).append(rows)
    movable = [np.stack(rows) for rows in alike.values() if len(rows) > 1]
    if not movable:
        raise ValueError(
            "no labels can be exchanged: every block holds one sample, or no two groups have as "
            "many samples in the same blocks"
        )
    return movable
