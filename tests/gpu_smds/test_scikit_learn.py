"""The estimators beside scikit-learn's: its checks, its tools, labels and states of all kinds."""

import cases
import manifolds
import numpy as np
import pytest
import tolerances
import torch
from manifolds import LABELS, METRICS, TABLE
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpu_smds import (
    ChainShape,
    CircularShape,
    ComputedSMDSParametrization,
    DiscreteCircularShape,
    HierarchicalShape,
    HybridSMDS,
    Status,
    StressMetrics,
    SupervisedMDS,
    UserProvidedSMDSParametrization,
    score_map,
)

N = 60


@pytest.fixture
def data(rng):
    y = rng.integers(0, 12, N).astype(float)
    return cases.states(rng, y / 12, (), 10, outlier=5.0), y


@pytest.mark.filterwarnings("ignore:nothing can be fitted")  # labels 0 and 1 are one point
@parametrize_with_checks(
    [
        SupervisedMDS(),
        SupervisedMDS(manifold="cluster"),
        SupervisedMDS(manifold="euclidean", alpha=0.1),
        SupervisedMDS(manifold="log_linear", orthonormal=True),
        HybridSMDS(reducer=PCA(n_components=1)),
    ]
)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_tools_of_scikit_learn(data):
    X, y = data
    search = GridSearchCV(
        make_pipeline(StandardScaler(), SupervisedMDS()),
        {"supervisedmds__manifold": ["circular", "cluster", DiscreteCircularShape(12)]},
        cv=3,
    ).fit(X, y)
    expected = score_map(
        X, y, ["circular", "cluster", DiscreteCircularShape(12)], cv=3, standardize="train"
    ).mean
    tolerances.assert_close(search.cv_results_["mean_test_score"], expected, tolerances.SCORE)
    scoring = {
        name: lambda model, X, y, name=name: model.score(X, y, metric=name) for name in METRICS
    }
    found = cross_validate(SupervisedMDS(), X, y, cv=3, scoring=scoring)
    expected = score_map(X, y, cv=3, metric=list(METRICS)).scores
    for name, scores in zip(METRICS, expected, strict=True):
        tolerances.assert_close(found[f"test_{name}"], scores, tolerances.SCORE)


@pytest.mark.parametrize("given", [list, np.int64, np.float32, "column", "torch"])
def test_labels_of_all_kinds(data, given):
    X, y = data
    expected = SupervisedMDS().fit(X, y).score(X, y)
    if given == "column":
        labels = y[:, None]
    elif given == "torch":
        labels = torch.from_numpy(y)
    else:
        labels = given(y) if given is list else y.astype(given)
    tolerances.assert_close(
        SupervisedMDS().fit(X, labels).score(X, labels), expected, tolerances.SCORE
    )
    tolerances.assert_close(score_map(X, labels, cv=None).scores[0], expected, tolerances.SCORE)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("contiguous", [True, False])
def test_states_of_all_kinds(data, dtype, contiguous):
    X, y = torch.from_numpy(data[0]), data[1]
    X = X.to(getattr(torch, dtype))
    if not contiguous:
        X = X.repeat_interleave(2, dim=1)[:, ::2]
    expected = SupervisedMDS().fit(X.double(), y).score(X.double(), y)
    tolerances.assert_close(SupervisedMDS().fit(X, y).score(X, y), expected, tolerances.SCORE)
    if dtype != "bfloat16":  # which numpy does not know
        model = SupervisedMDS().fit(X.numpy(), y)
        assert model.W_.dtype == np.float64
        tolerances.assert_close(model.score(X.numpy(), y), expected, tolerances.SCORE)


@pytest.mark.parametrize("solver", [{}, {"alpha": 0.0}, {"orthonormal": True}])
def test_one_feature_and_two_samples(rng, solver):
    X = rng.normal(size=(2, 1))
    for name in ("circular", "euclidean", "semicircular"):
        # The two ends of a whole turn are one point of the circle.
        if name == "circular":
            with pytest.warns(UserWarning, match="fall on one point"):
                model = SupervisedMDS(manifold=name, **solver).fit(X, [0.0, 1.0])
            assert np.isnan(model.score(X, [0.0, 1.0]))
            assert model.status_ == Status.DEGENERATE_LABELS
            continue
        model = SupervisedMDS(manifold=name, **solver).fit(X, [0.0, 1.0])
        tolerances.assert_close(model.score(X, [0.0, 1.0]), 1.0, tolerances.LAST_BITS)


def test_no_sites():
    for shape in [(9, 0, 4), (9, 3, 0, 4), (9, 0, 3, 4)]:
        result = score_map(np.empty(shape), np.arange(9.0), metric=list(METRICS))
        assert result.scores.shape == (5, 3, *shape[1:-1])
        assert result.mean.shape == (5, *shape[1:-1])


@pytest.mark.parametrize(
    "model",
    [
        SupervisedMDS(alpha=0.5),
        SupervisedMDS(manifold=CircularShape(normalize_labels=False)),
        SupervisedMDS(manifold=HierarchicalShape(np.array([2.0, 1.0]))),
        SupervisedMDS(manifold="chain"),
        SupervisedMDS(ComputedSMDSParametrization(DiscreteCircularShape(12), 3)),
        SupervisedMDS(UserProvidedSMDSParametrization(n_components=2)),
        SupervisedMDS("user_provided"),
    ],
    ids=str,
)
def test_files(data, tmp_path, model):
    X, y = data
    if "circular" in str(model.manifold).lower() and model.parametrization == "computed":
        y = y / 12
    if "Hierarchical" in str(model.manifold) or "UserProvided" in str(model.parametrization):
        y = np.stack([y // 4, y], axis=1)
    model = clone(model).fit(X, y)
    model.save(tmp_path / "new folder" / "model.safetensors")
    again = SupervisedMDS.load(tmp_path / "new folder" / "model.safetensors")
    for name in ("W_", "Y_"):
        np.testing.assert_array_equal(getattr(again, name), getattr(model, name))
    for metric in METRICS:
        tolerances.assert_same(again.score(X, y, metric), model.score(X, y, metric))
    tolerances.assert_same(again.transform(X), model.transform(X))
    tolerances.assert_same(again.parametrization_fitted_.D_, model.parametrization_fitted_.D_)
    assert again.status_ == model.status_


def _own_shape(y):
    return np.abs(y[:, None] - y[None, :])


def test_own_code_is_not_saved(data, tmp_path):
    X, y = data
    model = SupervisedMDS(manifold=_own_shape, n_components=1).fit(X, y)
    with pytest.raises(ValueError, match="code of your own"):
        model.save(tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_torch_stays_torch(data):
    X, y = torch.from_numpy(data[0]), data[1]
    for manifold in ("circular", ChainShape()):
        model = SupervisedMDS(manifold=manifold).fit(X, y)
        plain = SupervisedMDS(manifold=manifold).fit(X.numpy(), y)
        Z = model.transform(X)
        tolerances.assert_same(Z, plain.transform(X.numpy()))
        tolerances.assert_same(model.inverse_transform(Z), plain.inverse_transform(Z.numpy()))
        for value in (model.W_, model.Y_, Z, model.inverse_transform(Z)):
            assert isinstance(value, torch.Tensor)
            assert value.device == X.device


def test_metric_by_enum(data):
    from smds.stress import StressMetrics as Theirs

    X, y = data
    model = SupervisedMDS().fit(X, y)
    for ours, theirs in zip(StressMetrics, Theirs, strict=True):
        assert ours.value == theirs.value
        assert model.score(X, y, ours) == model.score(X, y, theirs) == model.score(X, y, ours.value)
    with pytest.raises(ValueError, match="unknown metric 'stress'"):
        model.score(X, y, "stress")


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.id)
def test_maps_are_loops_over_the_estimator(rng, row):
    """Three site axes, a constant and a broken site among them."""
    y = LABELS[row.labels](rng, N)
    X = cases.states(rng, np.reshape(y, (N, -1))[:, 0], (2, 1, 3), 8, outlier=5.0)
    X[:, 0, 0, 1], X[3, 1, 0, 2, 4] = 1.0, np.nan
    train, test = np.arange(40), np.arange(40, N)
    result = score_map(
        X, y, row.ours, cv=[(train, test)], metric=list(METRICS), n_components=row.n_components
    )
    for site in np.ndindex(2, 1, 3):
        x = X[(slice(None), *site)]
        if site in ((0, 0, 1), (1, 0, 2)):
            assert np.isnan(result.scores[(slice(None), 0, *site)]).all()
            continue
        model = SupervisedMDS(row.ours, row.ours, row.n_components)
        model.set_params(parametrization="computed").fit(x[train], y[train])
        expected = [model.score(x[test], y[test], name) for name in METRICS]
        tolerances.assert_close(result.scores[(slice(None), 0, *site)], expected, tolerances.CHUNK)


def test_all_manifolds_at_once(rng):
    """One Gram matrix for all of them gives what each gives by itself."""
    y = LABELS["uneven"](rng, N)
    X = cases.states(rng, y / 4, (2, 2), 9, outlier=5.0)
    rows = [row for row in TABLE if row.labels == "uneven" or row.shape == "CircularShape"]
    shapes = [row.ours for row in rows if row.ours.normalize_labels or row.labels == "uneven"]
    for solver in ({}, {"alpha": 0.0}, {"orthonormal": True}):
        many = score_map(X, y, shapes, metric=list(METRICS), n_components=2, **solver)
        for i, shape in enumerate(shapes):
            one = score_map(X, y, shape, metric=list(METRICS), n_components=2, **solver)
            tolerances.assert_same(many.scores[i], one.scores)
            np.testing.assert_array_equal(many.status[i], one.status)


def test_own_shape_class(data):
    """A shape written for smds works with the import changed."""
    from smds.shapes import BaseShape as Theirs

    from gpu_smds import BaseShape as Ours

    def make(base):
        class Ring(base):
            y_ndim = 1

            @property
            def normalize_labels(self):
                return False

            def _compute_distances(self, y):
                delta = np.abs(y[:, None] - y[None, :])
                return np.minimum(delta, 12 - delta)

        return Ring()

    X, y = data
    ours = score_map(X, y, make(Ours), cv=3, n_components=2)
    theirs = score_map(X, y, make(Theirs), cv=3, n_components=2)
    tolerances.assert_same(ours.scores, theirs.scores)
    tolerances.assert_same(ours.scores, score_map(X, y, DiscreteCircularShape(12), cv=3).scores)


def test_table_is_what_the_tests_run_on():
    assert len({row.id for row in TABLE}) == len(TABLE)
    assert manifolds.METRICS == METRICS
