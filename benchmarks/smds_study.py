"""The study's protocol as a plain loop over smds, one site at a time: what we are compared with.

Also the oracle of ``tests/parity``.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import smds
from sklearn.model_selection import KFold


def zscore(x: np.ndarray) -> np.ndarray:
    """Centre and scale every feature over all samples; features that do not vary stay 0."""
    std = x.std(axis=0)
    z: np.ndarray = (x - x.mean(axis=0)) / np.where(std > 0, std, 1)
    return z


def model(**arguments: Any) -> Any:
    """Make the study's estimator."""
    return smds.SupervisedMDS(manifold="circular", **arguments)


def splits(n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The study's three folds of n samples."""
    return list(KFold(3, shuffle=True, random_state=42).split(np.empty((n, 1))))


def independent(x: np.ndarray, y: np.ndarray) -> float:
    """Exp 1 at one site ``(n, d)``."""
    scores = []
    for train, test in splits(len(x)):
        scores.append(model().fit(x[train], y[train]).score(x[test], y[test]))
    return float(np.mean(scores))


def weights(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Exp 2: the flattened map of one site."""
    flat: np.ndarray = model().fit(zscore(x), y).W_.ravel()
    return flat


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Exp 2: absolute cosine of two flattened maps."""
    return float(abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b))


def reuse(fitted: Any, x: np.ndarray, y: np.ndarray) -> float:
    """Exp 3: a map fitted on the z-scored source, scored on one site's z-scored states."""
    return float(np.clip(fitted.score(zscore(x), y), 0, 1))


def rigid(x: np.ndarray, y: np.ndarray) -> float:
    """Exp 4 at one site."""
    z, split = zscore(x), int(0.8 * len(x))
    with contextlib.redirect_stdout(io.StringIO()):
        fitted = model(orthonormal=True, alpha=0).fit(z[:split], y[:split])
    return float(np.clip(fitted.score(z[split:], y[split:]), 0, 1))
