"""Hidden states to test on: random ones with what real ones have, and labels."""

import numpy as np


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
