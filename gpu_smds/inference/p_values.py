"""Corrections of p-values for many sites: family-wise by max-T, and the false discovery rate."""

from __future__ import annotations

import numpy as np

#: Permutations that change nothing give the same score up to rounding, which on sites with massive
#: activations exceeds 1e-12: smaller differences count as 0. Where labels change, scores differ
#: by thousandths.
ROUNDING = 1e-9


def varies(score: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Sites ``(*sites)`` where scores of ``(*sites)`` and ``(m, *sites)`` differ, NaN ones not."""
    low, high = np.minimum(score, null.min(0)), np.maximum(score, null.max(0))
    return np.asarray(high - low > ROUNDING)


def family_wise(score: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Family-wise p ``(*sites)`` by max-T of scores ``(*sites)`` and a null ``(m, *sites)``.

    A site's scores are standardised by the mean and standard deviation over all m + 1 label sets,
    the given one included: they are then exchangeable and the test is exact.
    """
    every = np.concatenate([score[None], null]).reshape(len(null) + 1, -1)
    defined = np.isfinite(every).all(0)
    # Where all label sets give the same score up to rounding, p is 1.
    tested = defined & varies(every[0], every[1:])
    p = np.where(defined, 1.0, np.nan)
    if tested.any():
        t = every[:, tested]
        t = (t - t.mean(0)) / t.std(0)
        largest = t.max(1)
        p[tested] = (largest[:, None] >= t[0] - 1e3 * ROUNDING).mean(0)
    return p.reshape(score.shape)


def false_discovery(p: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's q ``(*sites)`` of p values; NaN where p is NaN."""
    q = np.full(p.size, np.nan)
    flat = p.reshape(-1)
    at = np.flatnonzero(np.isfinite(flat))
    order = at[np.argsort(flat[at])][::-1]
    ranks = np.arange(len(order), 0, -1)
    q[order] = np.minimum.accumulate(np.minimum(flat[order] * len(order) / ranks, 1.0))
    return q.reshape(p.shape)
