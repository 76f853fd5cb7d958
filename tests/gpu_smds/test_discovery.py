"""Which manifold is it: rankings, baselines, tables, files, and the tests between manifolds."""

import cases
import numpy as np
import pandas as pd
import pytest
import tolerances
from scipy.stats import friedmanchisquare
from sklearn.model_selection import KFold

from gpu_smds import (
    METRICS,
    BaseShape,
    CircularShape,
    Discovery,
    Status,
    compare_manifolds,
    discover,
    discover_manifolds,
    run_statistical_validation,
    score_map,
)
from gpu_smds.maps.discovery import NOTHING, UNDEFINED

N = 90
NAMES = ["circular", "euclidean", "semicircular", "discrete_circular", "log_linear"]


@pytest.fixture
def data(rng):
    """Circle at (0, 0), line at (0, 1), noise at (1, 0), constant at (1, 1)."""
    y = rng.random(N)
    X = rng.normal(size=(N, 2, 2, 12))
    X[:, 0, 0, :2] += 6 * np.stack([np.cos(2 * np.pi * y), np.sin(2 * np.pi * y)], axis=1)
    X[:, 0, 1, 0] += 20 * y
    X[:, 1, 1] = 3.0
    return X, y


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
    assert equal.margin[0, 1] < 1e-9
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
    np.testing.assert_allclose(row[["fold_0", "fold_1", "fold_2"]].astype(float), scores)
    assert row["mean"] == pytest.approx(scores.mean())
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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", [None, 7])
def test_table_of_smds(rng, tmp_path, monkeypatch, seed):
    from smds.pipeline import discovery_pipeline
    from smds.shapes import continuous_shapes, discrete_shapes

    monkeypatch.setattr(discovery_pipeline, "CACHE_DIR", str(tmp_path / "cache"))
    y = rng.integers(0, 30, N).astype(float)
    X = cases.states(rng, y / 30, (), 10, outlier=5.0)
    shapes = [
        continuous_shapes.CircularShape(),
        continuous_shapes.SpiralShape(),
        continuous_shapes.LogLinearShape(),
        discrete_shapes.DiscreteCircularShape(),
    ]
    theirs, _ = discovery_pipeline.discover_manifolds(
        X, y, shapes, n_folds=3, n_jobs=1, save_results=False, random_state=seed
    )
    import gpu_smds

    own = [getattr(gpu_smds, type(shape).__name__)() for shape in shapes]
    ours, path = discover_manifolds(
        X, y, own, n_folds=3, n_jobs=1, save_results=False, random_state=seed
    )
    assert path is None
    assert set(theirs.columns) == set(ours.columns)
    assert ours["shape"].tolist() == theirs["shape"].tolist()
    for name in METRICS:
        for column in (f"mean_{name}", f"std_{name}"):
            np.testing.assert_allclose(ours[column], theirs[column], rtol=0, atol=tolerances.SCORE)
        np.testing.assert_allclose(
            np.stack(ours[f"fold_{name}"]), np.stack(theirs[f"fold_{name}"]), atol=tolerances.SCORE
        )


def test_discover_manifolds_writes_only_where_told(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, y = data[0][:, 0, 0], data[1]
    table, path = discover_manifolds(X, y, n_folds=3)
    assert path is None
    assert not list(tmp_path.iterdir())
    assert table["shape"][0] in ("ChainShape", "CircularShape", "ClusterShape")
    table, path = discover_manifolds(X, y - 1, n_folds=0, save_dir="out", experiment_name="here")
    assert path == "out/here.csv"
    read = pd.read_csv(path)
    assert len(read) == len(table)
    assert "negative" in read.set_index("shape").loc["log_linear", "error"]


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
    assert statistic[0, 1] == pytest.approx(expected.statistic)
    assert p[0, 1] == pytest.approx(expected.pvalue)
    assert np.isnan(p[1, 1])
    ranks = found.ranks()
    assert ranks[0, 0, 0] < 1.2
    assert ranks[:, 0, 0].sum() == pytest.approx(15)
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


@pytest.mark.filterwarnings("ignore")
def test_statistical_validation(data, tmp_path):
    X, y = data[0][:, 0, 0], data[1]
    tables, folder = run_statistical_validation(X, y, 2, 3, shapes=NAMES)
    assert folder is None
    assert list(tables) == list(METRICS)
    frame = tables["scale_normalized_stress"]
    assert frame.index.names == ["run_id", "fold_id"]
    assert frame.shape == (6, len(NAMES))
    _, folder = run_statistical_validation(X, y, 2, 3, "mine", NAMES[:3], tmp_path)
    for metric in METRICS:
        assert (folder / metric / "critical_difference.png").is_file()
        assert (folder / metric / "p_values.csv").is_file()


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
    others = np.delete(found.scores.scores[0], ranked, axis=0)[..., 0, 0]
    assert np.isfinite(others).all()
    assert (found.scores.status[0, :, 0, 0] == Status.EQUAL_DISTANCES).all()
