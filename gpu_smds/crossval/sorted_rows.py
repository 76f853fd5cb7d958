"""Are rows sorted by label while folds are stretches of rows? Then a map extrapolates everywhere.

An int as ``cv`` is KFold without shuffling, as in scikit-learn: each test part is a stretch of
consecutive rows. If rows are sorted by label, its labels are those that the training part lacks.
Whoever holds labels out on purpose gives a splitter or index pairs, and is not warned.

A warning needs both of these, along some column of the labels:

- The order is not that of shuffled rows: all orders that count as sorted have together a
  probability of at most one in a million. Labels go up or down all along (from some row on, around
  the end); or equal labels stand together; or there are few runs in the sequence of folds of the
  rows by label. That is the statistic of Wald and Wolfowitz: shuffled rows make every such sequence
  as likely as any other, and those with so few runs can be counted. Fewer than twelve rows have no
  order that is so improbable.
- It does harm: at least half of a test part lies where the training part leaves out a stretch of
  the range, or whole classes, longer than chance would.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpu_smds._labels import Labels

# The probability that rows in random order are warned of is at most this.
_CHANCE = 1e-6
# A stretch counts if one as long occurs in at most this share of random orders.
_LONG = 0.1
# Share of a test part that must lie in such stretches.
_SHARE = 0.5
_PACKAGE = str(Path(__file__).parents[1])


def shuffled(name: str, folds: int) -> str:
    """What to pass instead of a number of folds."""
    return f"{name}=KFold({int(folds)}, shuffle=True, random_state=0)"


def warn_if_sorted(labels: Labels, tests: Sequence[np.ndarray], remedy: str) -> bool:
    """Warn if the training parts leave out what the test parts hold, and say what to do.

    Parameters
    ----------
    labels
        Values ``(n,)`` or ``(n, k)``, and whether they are dates or categories.
    tests
        Row numbers of the test parts, which are disjoint and cover all rows.
    remedy
        What to pass instead.

    Returns
    -------
    warned : bool
        Whether there was anything to say.

    Warns
    -----
    UserWarning
        At the caller's line outside of the library.
    """
    values = labels.values
    fold_of = np.empty(len(values), dtype=np.int64)
    for f, rows in enumerate(tests):
        fold_of[rows] = f
    columns = values.reshape(len(values), -1).T
    for column in columns:
        left_out = _left_out(column, fold_of, _CHANCE / len(columns))
        if left_out is not None:
            fold, low, high = left_out
            warnings.warn(
                f"rows are sorted by label, and the {len(tests)} folds are stretches of rows: the "
                f"training part of fold {fold} leaves out {_named(labels, low, high)}, which its "
                "test part holds. If "
                f"that is not meant, shuffle: {remedy}",
                UserWarning,
                skip_file_prefixes=(_PACKAGE,),
            )
            return True
    return False


def _named(labels: Labels, low: float, high: float) -> str:
    """A stretch of labels, in words."""
    if labels.categories:
        return "categories"
    first, last = f"{low:g}", f"{high:g}"
    if labels.dates:
        first, last = (str(np.datetime64(int(np.floor(day)), "D")) for day in (low, high))
    return f"the label {first}" if low == high else f"labels from {first} to {last}"


def _left_out(
    column: np.ndarray, fold_of: np.ndarray, chance: float
) -> tuple[int, float, float] | None:
    """A fold and the longest stretch of values that its training part lacks, if any does harm."""
    values, inverse = np.unique(column, return_inverse=True)
    # Equal labels are put in random order, by a fixed seed so that a call always says the same.
    ties = np.random.default_rng(0).permutation(len(column))
    along = fold_of[np.lexsort((ties, inverse))]
    runs = 1 + int(np.count_nonzero(np.diff(along)))
    sizes = np.bincount(fold_of)
    counts = np.bincount(inverse)
    if min(chance_of_runs(runs, sizes), *chances_of_order(inverse, counts)) > chance / 3:
        return None
    worst: tuple[float, int, float, float] | None = None
    for f, size in enumerate(sizes):
        held = np.bincount(inverse[fold_of == f], minlength=len(values))
        first, last, rows = _stretches(held, held == counts)
        long = rows >= _long_stretch(len(column), int(size), len(values))
        share = float(rows[long].sum() / size)
        if share >= _SHARE and (worst is None or share > worst[0]):
            longest = np.flatnonzero(long)[rows[long].argmax()]
            worst = share, f, float(values[first[longest]]), float(values[last[longest]])
    return None if worst is None else worst[1:]


def chance_of_runs(runs: int, sizes: np.ndarray) -> float:
    """Upper bound of the probability of so few runs in a random sequence of folds.

    There are n! / Πmᵢ! sequences of folds with mᵢ rows. Of those with R runs, each gives a way to
    cut the folds' rows into R parts, one or more of each fold, and an order of these parts in which
    no two neighbours are of one fold. By Vandermonde's identity there are C(n − K, R − K) ways to
    cut; there are at most K (K − 1)^(R − 1) orders, and at most R! of them.

    Parameters
    ----------
    runs
        Observed number of runs.
    sizes
        ``(K,)`` rows per fold, all positive.
    """
    from scipy.special import gammaln, logsumexp

    n, K = int(sizes.sum()), len(sizes)
    R = np.arange(K, runs + 1)
    cuts = gammaln(n - K + 1) - gammaln(R - K + 1) - gammaln(n - R + 1)
    orders = np.minimum(gammaln(R + 1), np.log(K) + (R - 1) * np.log(max(K - 1, 1)))
    sequences = gammaln(n + 1) - gammaln(sizes + 1).sum()
    return float(np.exp(min(logsumexp(cuts + orders) - sequences, 0.0)))


def chances_of_order(ranks: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Upper bounds of the probabilities that random rows go up or down, and that equal ones meet.

    Of n! / Πcᵢ! orders of C labels that occur cᵢ times, at most 2n go up or down all along, from
    some row on, and in C! equal labels stand together.

    Parameters
    ----------
    ranks
        ``(n,)`` numbers 0 to C − 1 of the labels, in the order of their values.
    counts
        ``(C,)`` how often each occurs.

    Returns
    -------
    chances : tuple of float
        1 where the rows are not in such an order.
    """
    from scipy.special import gammaln

    n, C = len(ranks), len(counts)
    orders = gammaln(n + 1) - gammaln(counts + 1).sum()
    around = np.diff(np.append(ranks, ranks[0]))  # one step back around the end
    monotone = min(np.count_nonzero(around < 0), np.count_nonzero(around > 0)) <= 1
    together = np.count_nonzero(np.diff(ranks)) == C - 1
    return (
        float(np.exp(min(np.log(2 * n) - orders, 0.0))) if monotone else 1.0,
        float(np.exp(min(gammaln(C + 1) - orders, 0.0))) if together else 1.0,
    )


def _stretches(held: np.ndarray, absent: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First and last value of each stretch that training lacks, and how many test rows it holds."""
    edges = np.diff(np.concatenate([[False], absent, [False]]).astype(np.int8))
    first, last = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    total = np.concatenate([[0], np.cumsum(held)])
    return first, last, total[last + 1] - total[first]


def _long_stretch(n: int, size: int, places: int) -> int:
    """Rows from which on a stretch is longer than chance would leave out, at one of some places.

    It is beyond ``size`` if no stretch is.

    The chance that r given rows of n are all in a test part of m rows is m/n · (m − 1)/(n − 1) ⋯
    """
    chance = places * np.cumprod((size - np.arange(size)) / (n - np.arange(size)))
    return int(np.argmax(np.append(chance, 0.0) <= _LONG)) + 1
