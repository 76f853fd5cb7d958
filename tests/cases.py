"""What the library is tested on, once for all files: states, labels, solvers and splits.

A new solver is a row in ``SOLVERS``: every map is then run with it.
"""

import contextlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import KFold, RepeatedKFold, ShuffleSplit

from gpu_smds import Status

#: Samples, and fewer and more features than that.
N = 60
NARROW, WIDE = 10, 70


@dataclass(frozen=True)
class Solver:
    """Arguments of a map and the width of the states they are tested on."""

    d: int
    arguments: dict[str, Any] = field(default_factory=dict)
    #: Whether a permutation test fits again for each permutation, which it says as a warning.
    refits: bool = False

    def said(self):
        """What a permutation test with this solver warns of: its price, or nothing."""
        if self.refits:
            return pytest.warns(UserWarning, match="fitted again for each of .* permutations")
        return contextlib.nullcontext()


SOLVERS = {
    "primal": Solver(NARROW, {"alpha": 1.0}),
    "dual": Solver(WIDE, {"alpha": 1.0}),
    "primal-train": Solver(NARROW, {"standardize": "train"}),
    "dual-train": Solver(WIDE, {"standardize": "train"}),
    "primal-all": Solver(NARROW, {"standardize": "all", "alpha": 30.0}),
    "dual-all": Solver(WIDE, {"standardize": "all", "alpha": 30.0}),
    "min-norm": Solver(NARROW, {"alpha": 0.0}),
    "min-norm-wide": Solver(WIDE, {"alpha": 0.0, "standardize": "train"}),
    "orthonormal": Solver(NARROW, {"orthonormal": True}),
    "orthonormal-train": Solver(WIDE, {"orthonormal": True, "standardize": "train"}),
    "orthonormal-all": Solver(NARROW, {"orthonormal": True, "standardize": "all"}),
    "pls": Solver(NARROW, {"solver": "pls"}, refits=True),
}
#: Those with a penalty to choose.
RIDGE = [name for name in SOLVERS if name.startswith(("primal", "dual"))]

#: What smds can fit, by its own arguments.
OF_SMDS = {
    "ridge-1": {"alpha": 1.0},
    "ridge-0.1": {"alpha": 0.1},
    "min-norm": {"alpha": 0.0},
    "orthonormal": {"alpha": 0.0, "orthonormal": True},
}

#: What ``cv=`` takes, for N samples.
SPLITS = {
    "three": 3,
    "shuffled": KFold(4, shuffle=True, random_state=1),
    "repeated": RepeatedKFold(n_splits=2, n_repeats=3, random_state=0),
    "holdout": [(np.arange(38), np.arange(38, N))],
    "unused": [(np.arange(20), np.arange(28, N))],
    "overlapping": ShuffleSplit(2, test_size=0.4, random_state=0),
    # As a bootstrap draws them: rows three times, twice and once.
    "repeated rows": [(np.r_[0:30, 0:20, 0:8], np.arange(30, N))],
    "all": None,
}


def labels(rng: np.random.Generator, n: int) -> np.ndarray:
    """Days of the year as the study labels them, repeats included."""
    return rng.integers(0, 365, n) / 365


def states(
    rng: np.random.Generator,
    y: np.ndarray,
    sites: tuple[int, ...],
    d: int,
    *,
    signal: float = 2.0,
    outlier: float = 300.0,
) -> np.ndarray:
    """A noisy circle in random directions, an outlier feature and a large common mean."""
    n = len(y)
    X = rng.normal(size=(n, *sites, d))
    circle = np.stack([np.cos(2 * np.pi * y), np.sin(2 * np.pi * y)], axis=1)
    X += signal * np.einsum("nk,...kd->n...d", circle, rng.normal(size=(*sites, 2, d)) / d**0.5)
    X[..., 0] *= outlier
    X[..., 1] += 50.0
    return X


def planted(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """States (n, 2, 2, 12): a circle, a line, noise and a constant site; labels in 0..1."""
    y = rng.random(n)
    X = rng.normal(size=(n, 2, 2, 12))
    X[:, 0, 0, :2] += 6 * np.stack([np.cos(2 * np.pi * y), np.sin(2 * np.pi * y)], axis=1)
    X[:, 0, 1, 0] += 20 * y
    X[:, 1, 1] = 3.0
    return X, y


def degenerate(
    rng: np.random.Generator, d: int, n: int = N
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """States (n, 2, 3, d), labels and expected statuses: of six sites three can be scored."""
    y = labels(rng, n)
    X = states(rng, y, (2, 3), d)
    X[:, 0, 1] = rng.normal(size=d)
    X[5, 1, 1, 3] = np.nan
    X[7, 1, 2, 0] = np.inf
    status = np.zeros((2, 3), dtype=int)
    status[0, 1], status[1, 1:] = Status.CONSTANT, Status.NON_FINITE
    return X, y, status
