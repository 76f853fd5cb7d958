"""Every shape × metric × solver against smds 1.6.6 in float64, training = test and held out."""

import cases
import manifolds
import numpy as np
import pytest
import smds
import tolerances
from cases import OF_SMDS
from manifolds import LABELS, METRICS, TABLE

from gpu_smds import (
    ComputedSMDSParametrization,
    Status,
    SupervisedMDS,
    UserProvidedSMDSParametrization,
    manifold_names,
    score_map,
)

SOLVERS = {name: OF_SMDS[name] for name in ("ridge-1", "min-norm", "orthonormal")}
N, HELD_OUT, D = 70, 30, 18
SPLITS = {
    "train = test": [(np.arange(N + HELD_OUT), np.arange(N + HELD_OUT))],
    "held out": [(np.arange(N), np.arange(N, N + HELD_OUT))],
}


def _data(rng, kind):
    y = LABELS[kind](rng, N + HELD_OUT)
    X = cases.states(rng, np.reshape(y, (len(y), -1))[:, 0], (), D, outlier=30.0)
    X[:, 2:5] += 2 * np.reshape(y - y.mean(0), (len(y), -1))[:, :1] / np.abs(y).max()
    return X, y


def _theirs(parametrization, solver, X, y, split):
    model = smds.SupervisedMDS(parametrization=parametrization, **solver)
    (train, test) = split[0]
    model.fit(X[train], y[train])
    with np.errstate(all="ignore"):
        return np.array([model.score(X[test], y[test], metric=name) for name in METRICS])


def _compare(row, solver, scores, status, expected, y_test):
    reason = row.undetermined or (solver == "orthonormal" and row.rank_below)
    if reason:
        assert status.max() in (Status.UNDETERMINED, Status.EQUAL_DISTANCES), reason
        return
    assert Status(int(status.max())) in (Status.OK, Status.EQUAL_DISTANCES)
    for name, ours, theirs in zip(METRICS, scores, expected, strict=True):
        if name == "non_metric_stress" and np.isnan(theirs):
            # Rounding splits the largest distance, past which smds' regression does not look.
            D = row.theirs(np.squeeze(y_test))
            assert 0 < D.max() - np.unique(D)[-2] < tolerances.ONE_ROUNDING
            assert np.isfinite(ours)
            continue
        tolerances.assert_close(ours, theirs, tolerances.SCORE, name=name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.id)
def test_scores(rng, row, solver):
    X, y = _data(rng, row.labels)
    theirs = smds.ComputedSMDSParametrization(row.theirs, row.n_components)
    for split in SPLITS.values():
        result = score_map(
            X,
            y,
            row.ours,
            cv=split,
            metric=list(METRICS),
            n_components=row.n_components,
            **SOLVERS[solver],
        )
        expected = _theirs(theirs, SOLVERS[solver], X, y, split)
        _compare(row, solver, result.scores[:, 0], result.status, expected, y[split[0][1]])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.id)
def test_distances_to_the_last_bit(rng, row):
    """The rank metrics see ties, so the distances must not differ in their last bit."""
    y = LABELS[row.labels](rng, 50)
    np.testing.assert_array_equal(row.ours(y), row.theirs(np.squeeze(y)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.id)
def test_estimator(rng, row):
    X, y = _data(rng, row.labels)
    theirs = smds.SupervisedMDS(smds.ComputedSMDSParametrization(row.theirs, row.n_components))
    ours = SupervisedMDS(ComputedSMDSParametrization(row.ours, row.n_components))
    theirs.fit(X[:N], y[:N])
    ours.fit(X[:N], y[:N])
    np.testing.assert_array_equal(
        ours.parametrization_fitted_.D_, theirs.parametrization_fitted_.D_
    )
    assert ours.Y_.shape == theirs.Y_.shape
    assert ours.W_.shape == theirs.W_.shape
    if row.undetermined:
        assert ours.status_ == Status.UNDETERMINED
        return
    for name in METRICS:
        expected = theirs.score(X[N:], y[N:], metric=name)
        found = ours.score(X[N:], y[N:], metric=name)
        if not (name == "non_metric_stress" and np.isnan(expected)):
            tolerances.assert_close(found, expected, tolerances.SCORE)
    # The embeddings differ by a rotation or reflection among equal axes.
    gram = theirs.Y_ @ theirs.Y_.T
    tolerances.assert_close(ours.Y_ @ ours.Y_.T, gram, tolerances.SOLUTION, relative=True)


def test_the_table_holds_every_shape():
    assert len(manifold_names()) == 16
    shapes = {type(manifolds.Row(row.shape, "", 1, row.parameters).ours) for row in TABLE}
    assert len(shapes) == 16


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(set(manifold_names()) - {"chain", "polytope"}))
def test_names_mean_what_they_mean_in_smds(rng, name):
    kind = {"hierarchical": "levels", "klein_bottle": "pairs", "torus": "pairs"}.get(name)
    kind = kind or ("degrees" if name in ("cylindrical", "geodesic", "spherical") else None)
    kind = kind or ("pairs" if name == "graph_geodesic" else "uneven")
    X, y = _data(rng, kind)
    theirs = smds.SupervisedMDS(manifold=name).fit(X, y)
    ours = SupervisedMDS(manifold=name).fit(X, y)
    assert ours.Y_.shape == theirs.Y_.shape
    tolerances.assert_close(ours.score(X, y), theirs.score(X, y), tolerances.SCORE)


def _turn(labels, template):
    return template[np.asarray(labels, dtype=int) % len(template)]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["labels", "template", "fixed"])
def test_user_provided(rng, kind, solver):
    X, _ = _data(rng, "continuous")
    template = rng.normal(size=(7, 2))
    y = rng.integers(0, 7, len(X)) if kind == "template" else rng.normal(size=(len(X), 2))
    arguments = {
        "labels": {},
        "template": {"fixed_template": template, "mapper": _turn, "n_components": 2},
        "fixed": {"y": y},
    }[kind]
    split = SPLITS["train = test" if kind == "fixed" else "held out"]
    theirs = smds.UserProvidedSMDSParametrization(**arguments)
    ours = UserProvidedSMDSParametrization(**arguments)
    expected = _theirs(theirs, SOLVERS[solver], X, y, split)
    result = score_map(
        X, y, ours, cv=split, metric=list(METRICS), n_components=None, **SOLVERS[solver]
    )
    tolerances.assert_close(result.scores[:, 0], expected, tolerances.SCORE)
    train, test = split[0]
    model = SupervisedMDS(ours, **SOLVERS[solver]).fit(X[train], y[train])
    found = [model.score(X[test], y[test], metric=name) for name in METRICS]
    tolerances.assert_close(found, expected, tolerances.SCORE)


def test_user_provided_by_name(rng):
    X, y = _data(rng, "pairs")
    theirs = smds.SupervisedMDS(parametrization="user_provided")
    with pytest.warns(UserWarning, match="manifold value is ignored"):
        theirs.fit(X, y)
    ours = SupervisedMDS(parametrization="user_provided").fit(X, y)
    np.testing.assert_array_equal(ours.Y_, theirs.Y_)
    tolerances.assert_close(ours.W_, theirs.W_, tolerances.SOLUTION)


def test_an_instance_of_smds_works_as_it_is(rng):
    from smds.shapes.spatial_shapes import GeodesicShape

    X, y = _data(rng, "degrees")
    theirs = smds.ComputedSMDSParametrization(GeodesicShape(), 3)
    expected = smds.SupervisedMDS(theirs).fit(X, y).score(X, y)
    tolerances.assert_close(SupervisedMDS(theirs).fit(X, y).score(X, y), expected, tolerances.SCORE)
    tolerances.assert_close(score_map(X, y, theirs, cv=None).scores[0], expected, tolerances.SCORE)
