"""p values are their definitions, in plain loops and as scipy has them."""

import numpy as np
import tolerances
from scipy.stats import false_discovery_control

from gpu_smds import SignificanceMap
from gpu_smds.inference.p_values import false_discovery, family_wise


def _max_t(score, null):
    """Westfall and Young's p, in plain loops."""
    sets = [score, *null]
    sites = [s for s in range(len(score)) if all(np.isfinite(one[s]) for one in sets)]
    standard = {}
    for s in sites:
        column = [one[s] for one in sets]
        mean = sum(column) / len(column)
        sd = (sum((value - mean) ** 2 for value in column) / len(column)) ** 0.5
        standard[s] = [(value - mean) / sd for value in column]
    p = [np.nan] * len(score)
    for s in sites:
        reached = 0
        for b in range(len(sets)):
            if max(standard[r][b] for r in sites) >= standard[s][0] - tolerances.SCORE:
                reached += 1
        p[s] = reached / len(sets)
    return p


def test_p_values_are_their_definitions(rng):
    score, null = rng.normal(size=12) + 1, rng.normal(size=(40, 12)) * rng.random(12)
    score[3] = null[:, 3] = np.nan
    null[5:9, 7] = score[7]  # ties
    found = SignificanceMap.of(score, null, np.zeros(12, dtype=np.int8))
    for s in range(12):
        reached = sum(null[b, s] >= score[s] for b in range(40))
        expected = np.nan if s == 3 else (1 + reached) / 41
        np.testing.assert_array_equal(found.p[s], expected)
    np.testing.assert_array_equal(found.p_family, _max_t(score, null))
    np.testing.assert_array_equal(family_wise(score, null), found.p_family)
    at = np.arange(12) != 3
    assert np.isnan(found.q[3])
    expected = false_discovery_control(found.p[at])
    tolerances.assert_close(found.q[at], expected, tolerances.ONE_ROUNDING)
    assert (found.p_family[at] >= found.p[at]).all()
    tolerances.assert_close(
        found.z, (score - null.mean(0)) / null.std(0, ddof=1), tolerances.LAST_BITS, relative=True
    )
    np.testing.assert_array_equal(found.significant(0.2), found.p_family <= 0.2)
    low, high = found.band(0.5)
    tolerances.assert_close(
        [low[0], high[0]],
        np.quantile(null[:, 0], [0.25, 0.75]),
        tolerances.LAST_BITS,
        relative=True,
    )


def test_false_discovery_of_tied_and_shaped_p(rng):
    p = rng.integers(1, 8, (3, 5)) / 8
    expected = false_discovery_control(p.ravel()).reshape(p.shape)
    tolerances.assert_close(false_discovery(p), expected, tolerances.ONE_ROUNDING)
