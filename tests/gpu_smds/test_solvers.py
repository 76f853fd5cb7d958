"""The solvers by themselves, each against its definition."""

import cases
import exact
import numpy as np
import pytest
import tolerances
import torch

from gpu_smds import CircularShape, fit_map, score_map
from gpu_smds.solvers.minimum_norm import ridge_svd
from gpu_smds.solvers.procrustes import closest_rotation
from gpu_smds.solvers.ridge_systems import ridge_, signs


@pytest.mark.parametrize("alpha", [0.1, 1.0, 50.0])
@pytest.mark.parametrize("shape", [(30, 8), (12, 40)])
def test_ridge_forms_agree(rng, alpha, shape):
    X = torch.from_numpy(rng.normal(size=(3, *shape)))
    Y = torch.from_numpy(rng.normal(size=(shape[0], 2)))
    signed = signs(shape[0], X)
    primal = ridge_(X.mT @ X, X.mT @ Y, X.mT @ signed, alpha)
    dual = ridge_(X @ X.mT, Y, X @ X.mT @ signed, alpha)
    by_primal, A = primal.solution, dual.solution
    both = [slice(0, 1), slice(1, 2)]
    assert not (primal.doubtful(X @ by_primal, both) | dual.doubtful(X @ X.mT @ A, both)).any()
    by_svd = ridge_svd(X, Y, alpha)
    for i in range(3):
        x = X[i].numpy()
        expected = np.linalg.solve(x.T @ x + alpha * np.eye(shape[1]), x.T @ Y.numpy())
        for found in (by_primal[i], X[i].mT @ A[i], by_svd[i]):
            tolerances.assert_close(found.numpy(), expected, tolerances.SOLUTION)


def test_dual_ridge_finds_the_intercept_itself(rng):
    """States that are not centred, against the same states centred first."""
    X = torch.from_numpy(rng.normal(size=(2, 12, 40)) + rng.normal(size=(2, 1, 40)))
    Y = torch.from_numpy(rng.normal(size=(12, 2)))
    Y -= Y.mean(0)
    signed = signs(12, X)
    found = ridge_(X @ X.mT, Y, X @ X.mT @ signed, 0.7, intercept=True)
    X = X - X.mean(1, keepdim=True)
    for i in range(2):
        expected = np.linalg.solve((X[i] @ X[i].mT).numpy() + 0.7 * np.eye(12), Y.numpy())
        tolerances.assert_close(found.solution[i].numpy(), expected, tolerances.SOLUTION)


@pytest.mark.parametrize("shape", [(30, 8), (12, 40)])
def test_minimum_norm_is_the_pseudo_inverse(rng, shape):
    X = rng.normal(size=(2, *shape))
    X[1, :, 3] = X[1, :, 2]  # rank deficient
    Y = rng.normal(size=(shape[0], 2))
    found = ridge_svd(torch.from_numpy(X), torch.from_numpy(Y), 0.0).numpy()
    for i in range(2):
        tolerances.assert_close(
            found[i], np.linalg.pinv(X[i], rcond=1e-12) @ Y, tolerances.SOLUTION
        )


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("ratio", [1.0, 1e-2, 1e-5, 1e-9])
def test_procrustes_is_the_polar_factor(rng, k, ratio):
    U, _ = np.linalg.qr(rng.normal(size=(20, k)))
    V, _ = np.linalg.qr(rng.normal(size=(k, k)))
    M = U * np.geomspace(1.0, ratio, k) @ V.T
    found, undetermined = closest_rotation(torch.from_numpy(M)[None])
    assert not undetermined.any()
    tolerances.assert_close(found[0].numpy(), U @ V.T, tolerances.LAST_BITS / ratio)


def test_procrustes_with_fewer_features_than_components(rng):
    M = torch.from_numpy(rng.normal(size=(4, 1, 2)))
    found, undetermined = closest_rotation(M)
    tolerances.assert_close(
        found.numpy(),
        (M / M.norm(dim=2, keepdim=True)).numpy(),
        tolerances.LAST_BITS,
        relative=True,
    )
    assert not undetermined.any()


def test_procrustes_without_a_direction_is_flagged(rng):
    M = np.outer(rng.normal(size=6), [1.0, 2.0])
    assert closest_rotation(torch.from_numpy(M)[None])[1].tolist() == [True]


@pytest.mark.parametrize("shape", [(225, 60), (90, 200)])
@pytest.mark.parametrize("massive", [1e2, 1e4, 1e5])
def test_massive_directions_do_not_cost_digits(shape, massive):
    """Against extended precision. smds itself errs by 1e-4 in the worst of these cases."""
    rng = np.random.default_rng(3)
    n, d = shape[0] + 60, shape[1]
    y = cases.labels(rng, n)
    circle = np.stack([np.cos(2 * np.pi * y), np.sin(2 * np.pi * y)], axis=1)
    directions = np.linalg.qr(rng.normal(size=(d, 3)))[0].T
    X = 1e-2 * (rng.normal(size=(n, d)) + circle @ rng.normal(size=(2, d)))
    X += massive * rng.normal(size=(n, 3)) @ directions
    train, test = np.arange(shape[0]), np.arange(shape[0], n)
    Y = fit_map(X[train], y[train]).Y.numpy()
    projected = exact.ridge_projection(X[train], Y, X[test], 0.1)
    expected = exact.score(CircularShape()(y[test]), projected)
    found = score_map(X, y, cv=[(train, test)], alpha=0.1).scores[0]
    fitted = fit_map(X[train], y[train], alpha=0.1).score(X[test], y[test]).scores[0]
    tolerances.assert_close(found, expected, tolerances.SCORE_MASSIVE)
    tolerances.assert_close(fitted, expected, tolerances.SCORE_MASSIVE)
