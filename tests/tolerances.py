"""The tolerances of all tests, each with its reason, and the only way in which they are applied.

They are never loosened to pass. ``test_tolerances.py`` checks that no test compares otherwise.
"""

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
# One float32 forward pass with the same padding, in blocks that are loaded one by one.
PLACED_FLOAT32 = 1e-6
# Sums of logarithms of a few probabilities, each of a float32 forward pass of another length.
LOG_PROBABILITY = 1e-4
# A few operations on numbers of about 1 in another order.
ROUNDING = 1e-12
# The same operations in another order, few enough to count the roundings.
LAST_BITS = 1e-14
# One rounding of a number between 1 and 2, and no more.
ONE_ROUNDING = 1e-15
# The solution of a small well-conditioned system, or an angle of its subspaces, by two methods.
SOLUTION = 1e-11
# A system of condition 1e5 solved in float32 and refined in float64.
FLOAT32_SOLVED = 1e-8
# Where some angles lie below π/4 and some above, scipy 1.18 takes the arc cosine of the small ones,
# which is good to the root of a rounding.
ARC_COSINE = 1e-7
# The score of resampled rows that a map meets exactly is 1 less the root of the difference of two
# equal sums, which is good to the root of a rounding.
PERFECT_RESAMPLE = 1e-7
# Where the minimum of a loss is nearly flat, rounding moves the map along it: by up to 1e-6 of its
# size, and what the map scores with it.
FLAT = 1e-6
# The slope at a minimum, as a part of that at the start: L-BFGS stops where it sees no descent.
STATIONARY = 1e-5
# Labels in bfloat16 have 8 bits, which moves them by up to 0.002 of a turn.
LABELS_BFLOAT16 = 0.01
# A sum of squared differences, as a part of itself, where it is not 0 but for rounding.
LOSS = 1e-9
# Partial least squares: scikit-learn finds directions by power iteration until a step moves them by
# less than 1e-12, which leaves more than that where two are almost as strong.
LATENT = 1e-9
# Numbers as tables hold them, with ten digits.
WRITTEN = 1e-10

# No closeness but its opposite: what two things differ by at least that are not the same.
DIFFERS = 1e-3
# What two scores differ by at least that a comparison to SCORE must not take for each other.
DISTINCT = 1e-6
# As DIFFERS, for states of a quantised model, as a part of their norm.
QUANTISED = 1e-4


def weights(largest_eigenvalue: float, alpha: float) -> float:
    """Bound on W relative to its largest entry: smds' explicit inverse errs by eps·λmax/α."""
    return max(1e-9, 4 * 2.220446049250313e-16 * largest_eigenvalue / alpha)


def assert_close(actual, expected, within, *, relative=False, name="") -> None:
    """Numbers that differ by at most ``within``, or by that part of the largest expected one.

    Arrays of numpy, tensors on any device, lists and numbers; two tensors must be of one dtype. NaN
    stands where NaN is expected and nowhere else, and infinities are equal. Shapes are equal, but a
    single number may be what all of an array is expected to be. ``name`` says which of several
    comparisons failed.
    """
    said = f"{name}: " if name != "" else ""
    dtypes = {getattr(value, "dtype", None) for value in (actual, expected) if _is_tensor(value)}
    assert len(dtypes) < 2, f"{said}tensors of two dtypes: {dtypes}"
    found, aim = _array(actual), _array(expected)
    if aim.ndim:
        assert found.shape == aim.shape, f"{said}shape {found.shape}, expected {aim.shape}"
    found, aim = np.broadcast_arrays(found, aim)
    undefined = np.isnan(found) != np.isnan(aim)
    assert not undefined.any(), f"{said}NaN in one of the two only, first at {_first(undefined)}"
    infinite = (np.isinf(found) | np.isinf(aim)) & (found != aim)
    assert not infinite.any(), f"{said}infinity in one of the two only, first at {_first(infinite)}"
    finite = np.isfinite(aim)
    apart = np.zeros(aim.shape)
    apart[finite] = np.abs(found[finite] - aim[finite])
    bound = within * np.abs(aim[finite]).max(initial=0) if relative else within
    if not apart.max(initial=0) <= bound:  # nor where the bound is NaN
        at = np.unravel_index(apart.argmax(), apart.shape)
        largest = f"{apart[at]:.3g} at {_first(apart == apart[at])}"
        raise AssertionError(
            f"{said}{(apart > bound).sum()} of {apart.size} numbers differ by more than "
            f"{bound:.3g}, most by {largest}: {found[at]!r}, expected {aim[at]!r}"
        )


def assert_same(actual, expected) -> None:
    """The same computation twice; undefined in the same places."""
    assert_close(actual, expected, CHUNK)


def assert_same_loss(actual, expected) -> None:
    """Sums of squared differences, each to a part of itself, or 0 but for rounding."""
    found, aim = np.atleast_1d(_array(actual)), np.atleast_1d(_array(expected))
    assert_close(found, aim, np.inf)  # shapes, and where they are undefined
    for i in np.ndindex(aim.shape):
        assert_close(found[i], aim[i], max(ROUNDING, LOSS * np.nan_to_num(aim[i])), name=i)


def _is_tensor(value) -> bool:
    return hasattr(value, "detach")


def _array(value) -> np.ndarray:
    if _is_tensor(value):
        value = value.detach().cpu().double().numpy()
    return np.asarray(value, dtype=np.float64)


def _first(where: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(where)[0])
