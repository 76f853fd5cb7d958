"""The standard error over folds, of one map."""

import cases
import numpy as np
import pytest
import tolerances
from cases import degenerate
from sklearn.model_selection import RepeatedKFold

from gpu_smds import ScoreMap, score_map

N = cases.N


def _corrected(scores, n_train, n_test):
    """Nadeau and Bengio's standard error, in plain loops."""
    mean = sum(scores) / len(scores)
    variance = sum((score - mean) ** 2 for score in scores) / (len(scores) - 1)
    return (variance * (1 / len(scores) + n_test / n_train)) ** 0.5


@pytest.mark.parametrize(
    ("cv", "n_train", "n_test"),
    [
        (3, 40, 20),
        (RepeatedKFold(n_splits=5, n_repeats=4, random_state=0), 48, 12),
        ([(np.arange(25), np.arange(25, 45)), (np.arange(20, 45), np.arange(20))], 25, 20),
    ],
)
def test_standard_error_over_folds(rng, tmp_path, cv, n_train, n_test):
    X, y, status = degenerate(rng, 8)
    found = score_map(X, y, cv=cv, alpha=[1.0, 10.0])
    assert found.se.shape == (2, 2, 3)
    for a, site in np.ndindex(2, 2):
        scores = found.scores[a, :, site, 0].tolist()
        tolerances.assert_close(
            found.se[a, site, 0],
            _corrected(scores, n_train, n_test),
            tolerances.LAST_BITS,
            relative=True,
        )
    np.testing.assert_array_equal(np.isnan(found.se[0]), status > 0)
    found.save(tmp_path / "scores.safetensors")
    again = ScoreMap.load(tmp_path / "scores.safetensors")
    np.testing.assert_array_equal(again.se, found.se)
    np.testing.assert_array_equal(again.fold_sizes, found.fold_sizes)
    assert found.to_dict()["se"][0][0][0] == found.se[0, 0, 0]


def test_no_standard_error_of_one_fold_or_of_unknown_sizes(rng, tmp_path):
    X, y, _ = degenerate(rng, 8)
    for cv in (None, [(np.arange(25), np.arange(25, N))]):
        assert np.isnan(score_map(X, y, cv=cv).se).all()
    found = score_map(X, y)
    bare = ScoreMap(found.scores, found.status, found.dims)
    assert np.isnan(bare.se).all()
    bare.save(tmp_path / "bare.safetensors")
    assert ScoreMap.load(tmp_path / "bare.safetensors").fold_sizes is None
