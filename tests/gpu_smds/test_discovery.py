"""Which manifold is it: rankings, baselines, tables and files."""

import cases
import numpy as np
import pandas as pd
import pytest
import tolerances

from gpu_smds import (
    METRICS,
    BaseShape,
    CircularShape,
    Discovery,
    Status,
    discover,
    score_map,
)
from gpu_smds.maps.discovery import NOTHING, UNDEFINED

N = 90
NAMES = ["circular", "euclidean", "semicircular", "discrete_circular", "log_linear"]


@pytest.fixture
def data(rng):
    """Circle at (0, 0), line at (0, 1), noise at (1, 0), constant at (1, 1)."""
    return cases.planted(rng, N)


def test_scores_are_those_of_the_score_map(data):
    X, y = data
    found = discover(X, y, NAMES, "all", cv=4, n_shuffles=2)
    expected = score_map(X, y, NAMES, metric=list(METRICS), cv=4)
    assert found.manifolds == NAMES
    tolerances.assert_same(found.scores.scores, expected.scores)
    np.testing.assert_array_equal(found.scores.status, expected.status)


def test_winners(data):
    X, y = data
    found = discover(X, y, NAMES, n_shuffles=20)
    assert found.baseline.shape == (len(NAMES), 20, 2, 2)
    assert found.winner[0, 0] == NAMES.index("circular")
    assert NAMES[found.winner[0, 1]] in ("euclidean", "discrete_circular", "log_linear")
    assert found.winner[1, 0] == NOTHING
    assert found.winner[1, 1] == UNDEFINED
    assert found.margin[0, 0] > 0.05
    assert np.isnan(found.margin[1]).all()
    # Of equal ones the first: half a ring is a line.
    equal = discover(X, y, ["discrete_circular", "euclidean"], n_shuffles=20, n_components=2)
    assert equal.winner[0, 1] == 0
    tolerances.assert_close(equal.margin[0, 1], 0, tolerances.SCORE)
    # Without shuffles the highest score wins, noise or not.
    plain = discover(X, y, NAMES)
    assert plain.winner[1, 0] == plain.scores.mean[:, 0, 1, 0].argmax()


def test_the_baseline_is_shuffled_labels(data):
    X, y = data
    found = discover(
        X, y, NAMES[:2], ["scale_normalized_stress", *METRICS], 3, n_shuffles=2, seed=5
    )
    rng = np.random.default_rng(5)
    orders = [rng.permutation(N) for _ in range(2)]
    for s, order in enumerate(orders):
        expected = score_map(X, y[order], NAMES[:2], cv=3).mean
        tolerances.assert_same(found.baseline[:, s], expected)


def test_the_table_is_tidy_and_ranked(data):
    X, y = data
    found = discover(X, y, NAMES, ["scale_normalized_stress", "shepard_goodness_score"], cv=3)
    table = found.table()
    assert list(table.columns) == [
        *("manifold", "layer", "position", "metric", "mean", "std"),
        *("fold_0", "fold_1", "fold_2", "status", "rank"),
    ]
    assert len(table) == len(NAMES) * 2 * 4
    row = table[
        (table.manifold == "euclidean")
        & (table.layer == 0)
        & (table.position == 1)
        & (table.metric == "shepard_goodness_score")
    ].iloc[0]
    scores = found.scores.scores[1, 1, :, 0, 1]
    tolerances.assert_close(
        row[["fold_0", "fold_1", "fold_2"]].astype(float),
        scores,
        tolerances.LAST_BITS,
        relative=True,
    )
    tolerances.assert_close(row["mean"], scores.mean(), tolerances.LAST_BITS)
    for _, site in table.groupby(["layer", "position", "metric"]):
        ordered = site.dropna()
        assert ordered["mean"].is_monotonic_decreasing
        assert (ordered["rank"].to_numpy() <= np.arange(1, len(ordered) + 1)).all()
    constant = table[(table.layer == 1) & (table.position == 1)]
    assert constant["rank"].isna().all()
    assert (constant["status"] == "constant").all()
    one_site = discover(X[:, 0, 0], y, NAMES, cv=3).table()
    assert list(one_site.columns[:2]) == ["manifold", "metric"]
    assert one_site.manifold[0] == "circular"


def test_files(data, tmp_path):
    X, y = data
    found = discover(X, y, NAMES, n_shuffles=3)
    found.save(tmp_path / "found.safetensors")
    again = Discovery.load(tmp_path / "found.safetensors")
    np.testing.assert_array_equal(again.winner, found.winner)
    np.testing.assert_array_equal(again.baseline, found.baseline)
    pd.testing.assert_frame_equal(again.table(), found.table())


def test_what_does_not_fit_the_labels_is_skipped_with_a_reason(data):
    X, y = data
    found = discover(X, 30 * y)
    assert "takes labels of shape (n, k)" in found.skipped["torus"]
    assert found.manifolds == [
        *("euclidean", "log_linear", "semicircular", "circular"),
        *("discrete_circular", "spiral", "cluster"),
    ]
    assert "negative" in discover(X, y - 1).skipped["log_linear"]
    pairs = discover(X, np.stack([y, y[::-1]], axis=1))
    assert "spherical" in pairs.manifolds
    assert "circular" in pairs.skipped
    with pytest.raises(ValueError, match="no manifold takes these labels"):
        discover(X, y, ["torus"])


def test_shapes_of_the_same_name(data):
    X, y = data
    found = discover(X, y, [CircularShape(), CircularShape(normalize_labels=False)])
    assert found.manifolds == ["CircularShape", "CircularShape 2"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n_shuffles": 1}, "0 or at least 2"),
        ({"metric": "fit"}, "unknown metric"),
        ({"manifolds": []}, "empty list"),
        ({"manifolds": ["ring"]}, "unknown manifold"),
        ({"alpha": [1.0, 2.0]}, "one alpha"),
    ],
)
def test_wrong_arguments(data, change, says):
    with pytest.raises(ValueError, match=says):
        discover(*data, **change)


class _Broken(BaseShape):
    def _compute_distances(self, y):
        raise RuntimeError("a bug")


def test_a_bug_is_not_swallowed(data):
    with pytest.raises(RuntimeError, match="a bug"):
        discover(*data, [_Broken(), "circular"])


def test_equal_distances_leave_the_other_metrics(data):
    """Every label its own cluster: no ranks to correlate, the other metrics are there."""
    found = discover(*data, ["cluster"], "all")
    ranked = list(METRICS).index("shepard_goodness_score")
    assert np.isnan(found.scores.scores[0, ranked]).all()
    names = [name for name in METRICS if name != "shepard_goodness_score"]
    others = np.delete(found.scores.scores[0], ranked, axis=0)
    expected = score_map(*data, "cluster", metric=names, cv=5)
    tolerances.assert_same(others, expected.scores)
    assert np.isfinite(others[..., 0, 0]).all()
    assert (found.scores.status[0, :, 0, 0] == Status.EQUAL_DISTANCES).all()
