"""float64 parity with smds 1.6.6 on random states, through the maps and the estimator."""

import cases
import numpy as np
import pytest
import smds
import tolerances
from cases import OF_SMDS
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from gpu_smds import SupervisedMDS, fit_map, score_map

N = 90
WIDTHS = {"d<n": 24, "d~n": 50, "d>n": 200}


def _reference(X, y, train, test, standardize, solver):
    if standardize == "all":
        X = StandardScaler().fit_transform(X)
    fit, held_out = X[train], X[test]
    if standardize == "train":
        scaler = StandardScaler().fit(fit)
        fit, held_out = scaler.transform(fit), scaler.transform(held_out)
    model = smds.SupervisedMDS(manifold="circular", **solver).fit(fit, y[train])
    return model.score(held_out, y[test])


@pytest.mark.parametrize("standardize", [None, "train", "all"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("solver", OF_SMDS)
def test_cross_validated_scores(rng, solver, width, standardize):
    d, arguments = WIDTHS[width], OF_SMDS[solver]
    if solver == "min-norm" and d >= N * 2 / 3:
        # smds keeps the direction that centring removed (rcond 1e-15): rounding noise decides.
        pytest.skip("smds is not well conditioned here")
    y = cases.labels(rng, N)
    X = cases.states(rng, y, (2, 2), d)
    cv = KFold(3, shuffle=True, random_state=42)
    result = score_map(X, y, cv=cv, standardize=standardize, **arguments)
    for site in np.ndindex(2, 2):
        x = X[(slice(None), *site)]
        expected = [_reference(x, y, a, b, standardize, arguments) for a, b in cv.split(x)]
        tolerances.assert_close(result.scores[(slice(None), *site)], expected, tolerances.SCORE)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("solver", OF_SMDS)
def test_train_equals_test(rng, solver, width):
    if solver == "min-norm" and width == "d>n":
        pytest.skip("smds is not well conditioned here")
    y = cases.labels(rng, N)
    X = cases.states(rng, y, (), WIDTHS[width])
    model = smds.SupervisedMDS(**OF_SMDS[solver]).fit(X, y)
    result = score_map(X, y, cv=None, **OF_SMDS[solver])
    assert result.scores.shape == (1,)
    tolerances.assert_close(result.scores[0], model.score(X, y), tolerances.SCORE)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("solver", OF_SMDS)
def test_weights(rng, solver, width):
    """W up to the rotation or reflection by which the two embeddings differ."""
    if solver == "min-norm" and width == "d>n":
        pytest.skip("smds is not well conditioned here")
    y = cases.labels(rng, N)
    X = cases.states(rng, y, (), WIDTHS[width])
    theirs = smds.SupervisedMDS(**OF_SMDS[solver]).fit(X, y)
    ours = fit_map(X, y, **OF_SMDS[solver])
    U, _, Vt = np.linalg.svd(ours.Y.numpy().T @ theirs.Y_)
    W = (U @ Vt).T @ ours.W.numpy()
    centred = X - X.mean(0)
    largest = np.linalg.norm(centred, 2) ** 2
    alpha = OF_SMDS[solver]["alpha"] or np.inf
    bound = tolerances.weights(largest, alpha) * np.abs(theirs.W_).max()
    tolerances.assert_close(W, theirs.W_, bound)


@pytest.mark.parametrize("solver", OF_SMDS)
def test_estimator(rng, solver):
    y = cases.labels(rng, N)
    X = cases.states(rng, y, (), 30)
    new, new_y = cases.states(rng, y[:40], (), 30), y[:40]
    theirs = smds.SupervisedMDS(**OF_SMDS[solver]).fit(X, y)
    ours = SupervisedMDS(**OF_SMDS[solver]).fit(X, y)
    tolerances.assert_close(ours.score(new, new_y), theirs.score(new, new_y), tolerances.SCORE)
    U, _, Vt = np.linalg.svd(ours.Y_.T @ theirs.Y_)
    tolerances.assert_close(
        ours.transform(new) @ U @ Vt, theirs.transform(new), tolerances.SCORE, relative=True
    )
    tolerances.assert_close(
        ours.inverse_transform(ours.transform(new)),
        theirs.inverse_transform(theirs.transform(new)),
        tolerances.SCORE,
        relative=True,
    )
    tolerances.assert_close(
        ours.parametrization_fitted_.D_, theirs.parametrization_fitted_.D_, tolerances.LAST_BITS
    )


def test_shape_of_smds_as_manifold(rng):
    """Shapes of smds work as they are, by way of the full distance matrix."""
    from smds.shapes.continuous_shapes import CircularShape

    y = cases.labels(rng, 60)
    X = cases.states(rng, y, (2,), 20)
    theirs = score_map(X, y, manifold=CircularShape(), n_components=2)
    tolerances.assert_close(theirs.scores, score_map(X, y).scores, tolerances.SCORE)
    column = score_map(X, y[:, None], manifold=CircularShape(), n_components=2)
    tolerances.assert_close(column.scores, theirs.scores, tolerances.SCORE)


def test_callable_manifold_of_three_components(rng):
    """Any distances: cities on a sphere, against smds with the same callable."""
    from smds import ComputedSMDSParametrization
    from smds.shapes.spatial_shapes import SphericalShape

    y = np.stack([rng.uniform(-80, 80, 60), rng.uniform(-170, 170, 60)], axis=1)
    X = rng.normal(size=(60, 25))
    X[:, :3] += 0.05 * np.concatenate([y, y[:, :1] * 2], axis=1)
    model = smds.SupervisedMDS(
        parametrization=ComputedSMDSParametrization(SphericalShape(), n_components=3)
    )
    expected = model.fit(X[:40], y[:40]).score(X[40:], y[40:])
    split = [(np.arange(40), np.arange(40, 60))]
    result = score_map(X, y, manifold=SphericalShape(), n_components=3, cv=split)
    tolerances.assert_close(result.scores[0], expected, tolerances.SCORE)
