"""The tolerances of all tests, each with its reason. They are never loosened to pass."""

import numpy as np

# float64 against float64, the same formula in another order: what smds and we differ by.
SCORE = 1e-9
# Massive-activation sites: smds inverts XᵀX itself, whose condition is 1e11 and more there.
SCORE_MASSIVE = 1e-8
# The same numbers in other blocks, or in memory of another alignment, which BLAS treats
# differently: only the order of sums changes.
CHUNK = 1e-9
# float32 systems refined in float64 until the projections are off by 1e-9 or so; a score on a
# device other than the CPU.
REFINED = 1e-6
# One float32 forward pass against another with other padding.
STATES_FLOAT32 = 1e-5


def weights(largest_eigenvalue: float, alpha: float) -> float:
    """Bound on W relative to its largest entry: smds' explicit inverse errs by eps·λmax/α."""
    return max(1e-9, 4 * 2.220446049250313e-16 * largest_eigenvalue / alpha)


def assert_same(actual, expected) -> None:
    """The same computation twice; undefined in the same places."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=CHUNK)
