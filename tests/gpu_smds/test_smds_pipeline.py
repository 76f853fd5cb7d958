"""The functions of smds' pipeline by their names there, against smds."""

import cases
import numpy as np
import pandas as pd
import pytest
import tolerances

from gpu_smds import (
    METRICS,
    compare_manifolds,
    discover_manifolds,
    run_statistical_validation,
)

N = 90

NAMES = ["circular", "euclidean", "semicircular", "discrete_circular", "log_linear"]


@pytest.fixture
def data(rng):
    """Circle at (0, 0), line at (0, 1), noise at (1, 0), constant at (1, 1)."""
    return cases.planted(rng, N)


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
            tolerances.assert_close(ours[column], theirs[column], tolerances.SCORE)
        tolerances.assert_close(
            np.stack(ours[f"fold_{name}"]), np.stack(theirs[f"fold_{name}"]), tolerances.SCORE
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
    assert list(read["shape"]) == list(table["shape"])
    for column in (f"mean_{name}" for name in METRICS):
        tolerances.assert_close(read[column], table[column], tolerances.WRITTEN)
    assert "negative" in read.set_index("shape").loc["log_linear", "error"]


@pytest.mark.filterwarnings("ignore")
def test_statistical_validation(data, tmp_path):
    X, y = data[0][:, 0, 0], data[1]
    tables, folder = run_statistical_validation(X, y, 2, 3, shapes=NAMES)
    assert folder is None
    assert list(tables) == list(METRICS)
    found = compare_manifolds(X, y, NAMES, "all", n_repeats=2, n_folds=3, n_components=2)
    for m, metric in enumerate(METRICS):
        frame = tables[metric]
        assert frame.index.names == ["run_id", "fold_id"]
        assert list(frame.columns) == NAMES
        tolerances.assert_same(frame.to_numpy(), found.scores.scores[:, m].T)
    tables, folder = run_statistical_validation(X, y, 2, 3, "mine", NAMES[:3], tmp_path)
    few = compare_manifolds(X, y, NAMES[:3], "all", n_repeats=2, n_folds=3, n_components=2)
    for metric in METRICS:
        picture = (folder / metric / "critical_difference.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
        written = pd.read_csv(folder / metric / "p_values.csv", index_col=0)
        pd.testing.assert_index_equal(written.columns, few.nemenyi((), metric).columns)
        tolerances.assert_close(written, few.nemenyi((), metric), tolerances.WRITTEN)
        scores = pd.read_csv(folder / metric / "scores.csv", index_col=[0, 1])
        tolerances.assert_close(scores, tables[metric], tolerances.WRITTEN)
