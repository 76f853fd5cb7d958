"""The tests between manifolds: repeated folds, ranks, Friedman and Nemenyi."""

import cases
import numpy as np
import pytest
import tolerances
from scipy.stats import friedmanchisquare
from sklearn.model_selection import KFold

from gpu_smds import (
    compare_manifolds,
    score_map,
)

N = 90

NAMES = ["circular", "euclidean", "semicircular", "discrete_circular", "log_linear"]


@pytest.fixture
def data(rng):
    """Circle at (0, 0), line at (0, 1), noise at (1, 0), constant at (1, 1)."""
    return cases.planted(rng, N)


def test_comparison(data):
    X, y = data
    found = compare_manifolds(X, y, NAMES, n_repeats=3, n_folds=4)
    assert found.scores.scores.shape == (len(NAMES), 1, 12, 2, 2)
    first = score_map(X, y, NAMES, cv=KFold(4, shuffle=True, random_state=42))
    tolerances.assert_same(found.scores.scores[:, 0, :4], first.scores)
    last = score_map(X, y, NAMES, cv=KFold(4, shuffle=True, random_state=42 + 2 * 1337))
    tolerances.assert_same(found.scores.scores[:, 0, 8:], last.scores)
    statistic, p = found.friedman()
    expected = friedmanchisquare(*found.scores.scores[:, 0, :, 0, 1])
    tolerances.assert_close(statistic[0, 1], expected.statistic, tolerances.LAST_BITS)
    tolerances.assert_close(p[0, 1], expected.pvalue, tolerances.LAST_BITS)
    assert np.isnan(p[1, 1])
    ranks = found.ranks()
    assert ranks[0, 0, 0] < 1.2
    tolerances.assert_close(ranks[:, 0, 0].sum(), 15, tolerances.LAST_BITS)
    assert np.isnan(ranks[:, 1, 1]).all()


def test_post_hoc(data, tmp_path):
    X, y = data
    found = compare_manifolds(X, y, NAMES, n_repeats=3, n_folds=4)
    p = found.nemenyi((0, 0))
    assert list(p.columns) == NAMES
    # Demšar's critical difference is where the p-value is 5 %.
    ranks = found.ranks()[:, 0, 0]
    apart = np.abs(ranks[:, None] - ranks[None]) > found.critical_difference()
    np.testing.assert_array_equal(p.to_numpy() < 0.05, apart)
    found.draw(tmp_path / "cd.png", (0, 0))
    assert (tmp_path / "cd.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="fewer than two manifolds have scores"):
        found.nemenyi((1, 1))
    with pytest.raises(ValueError, match="site must have 2 indices"):
        found.frame()
    with pytest.raises(ValueError, match="at least 3 manifolds"):
        compare_manifolds(X, y, NAMES[:2], n_repeats=1).friedman()
