"""The pieces by themselves: embeddings, solvers, stress, folds, files."""

import json

import cases
import exact
import numpy as np
import pytest
import tolerances
import torch
from scipy.spatial.distance import pdist, squareform

from gpu_smds import CircularShape, ScoreMap, Status, fit_map, score_map
from gpu_smds.crossval.folds import resolve_folds
from gpu_smds.geometry.classical_mds import classical_mds, embed_points
from gpu_smds.geometry.manifold import Manifold
from gpu_smds.metrics.reference import Ideal
from gpu_smds.metrics.scores import score_projections
from gpu_smds.solvers.minimum_norm import ridge_svd
from gpu_smds.solvers.procrustes import closest_rotation
from gpu_smds.solvers.ridge_systems import ridge_, signs


def test_points_and_distances_of_the_circle_agree(rng):
    y = torch.from_numpy(cases.labels(rng, 40))
    shape = CircularShape()
    expected = squareform(pdist(shape.points(y).numpy()))
    np.testing.assert_allclose(shape(y.numpy()), expected, atol=1e-14)


def test_radius_is_without_effect(rng):
    y = cases.labels(rng, 20)
    np.testing.assert_array_equal(CircularShape(radious=7.0)(y), CircularShape()(y))


def test_embedding_of_points_is_classical_mds(rng):
    points = torch.from_numpy(rng.normal(size=(30, 3)))
    D = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    for k in (1, 2, 3):
        Y, determined = embed_points(points, k)
        Z, determined_too = classical_mds(D, k)
        assert determined
        assert determined_too
        np.testing.assert_allclose((Y @ Y.mT).numpy(), (Z @ Z.mT).numpy(), atol=1e-12)
    wide, _ = embed_points(points, 5)
    assert wide.shape == (30, 5)
    assert (wide[:, 3:] == 0).all()


def test_large_label_sets_embed_without_a_distance_matrix(rng):
    y = torch.from_numpy(cases.labels(rng, 50_000))
    Y, determined = embed_points(CircularShape().points(y), 2)
    assert determined
    assert Y.shape == (50_000, 2)


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
            np.testing.assert_allclose(found.numpy(), expected, atol=1e-11)


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
        np.testing.assert_allclose(found.solution[i].numpy(), expected, atol=1e-11)


@pytest.mark.parametrize("shape", [(30, 8), (12, 40)])
def test_minimum_norm_is_the_pseudo_inverse(rng, shape):
    X = rng.normal(size=(2, *shape))
    X[1, :, 3] = X[1, :, 2]  # rank deficient
    Y = rng.normal(size=(shape[0], 2))
    found = ridge_svd(torch.from_numpy(X), torch.from_numpy(Y), 0.0).numpy()
    for i in range(2):
        np.testing.assert_allclose(found[i], np.linalg.pinv(X[i], rcond=1e-12) @ Y, atol=1e-11)


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("ratio", [1.0, 1e-2, 1e-5, 1e-9])
def test_procrustes_is_the_polar_factor(rng, k, ratio):
    U, _ = np.linalg.qr(rng.normal(size=(20, k)))
    V, _ = np.linalg.qr(rng.normal(size=(k, k)))
    M = U * np.geomspace(1.0, ratio, k) @ V.T
    found, undetermined = closest_rotation(torch.from_numpy(M)[None])
    assert not undetermined.any()
    np.testing.assert_allclose(found[0].numpy(), U @ V.T, atol=1e-14 / ratio + 1e-13)


def test_procrustes_with_fewer_features_than_components(rng):
    M = torch.from_numpy(rng.normal(size=(4, 1, 2)))
    found, undetermined = closest_rotation(M)
    np.testing.assert_allclose(found.numpy(), (M / M.norm(dim=2, keepdim=True)).numpy())
    assert not undetermined.any()


def test_procrustes_without_a_direction_is_flagged(rng):
    M = np.outer(rng.normal(size=6), [1.0, 2.0])
    assert closest_rotation(torch.from_numpy(M)[None])[1].tolist() == [True]


@pytest.mark.parametrize("n", [2, 3, 200])
def test_stress_by_its_definition(rng, n):
    D = squareform(rng.random(n * (n - 1) // 2))
    Z = rng.normal(size=(5, n, 2))
    Z[3] = 1.0
    manifold = Manifold("given", lambda y: D, 2)
    ideal = Ideal(manifold, np.arange(float(n)), torch.device("cpu"), 0)
    scores, collapsed = score_projections(torch.from_numpy(Z), ideal, ["scale_normalized_stress"])
    for i in (0, 1, 2, 4):
        d, e = squareform(D, checks=False), pdist(Z[i])
        scale = d @ e / (e @ e)
        expected = 1 - np.sqrt(((d - scale * e) ** 2).sum() / (d @ d))
        assert abs(scores[0, i] - expected) < 1e-12
    assert collapsed.tolist() == [False, False, False, True, False]


def test_partitions_are_recognised():
    assert resolve_folds(3, np.arange(10.0)).partition
    assert not resolve_folds([(np.arange(5), np.arange(5, 10))], np.arange(10.0)).partition
    missing = [(np.arange(4), np.arange(5, 10)), (np.arange(5, 10), np.arange(5))]
    assert not resolve_folds(missing, np.arange(10.0)).partition


def test_boolean_masks_are_folds():
    mask = np.arange(10) < 6
    folds = resolve_folds([(mask, ~mask)], np.arange(10.0))
    assert (folds.folds[0].n_train, folds.folds[0].n_test) == (6, 4)


def test_score_map_file_and_dict(rng, tmp_path):
    y = cases.labels(rng, 30)
    X = cases.states(rng, y, (2, 2), 6)
    X[0, 1, 1] = np.nan
    result = score_map(X, y, alpha=[0.1, 1.0])
    path = tmp_path / "scores.safetensors"
    result.save(path)
    again = ScoreMap.load(path)
    np.testing.assert_array_equal(again.scores, result.scores)
    np.testing.assert_array_equal(again.status, result.status)
    assert again.dims == result.dims
    assert dict(again.coords) == dict(result.coords)
    assert [p.name for p in tmp_path.iterdir()] == ["scores.safetensors"]
    plain = json.loads(json.dumps(result.to_dict()))
    assert plain["scores"][0][0][1][1] is None
    assert plain["scores"][1][2][0][1] == result.scores[1, 2, 0, 1]
    assert result.explain()["non_finite"] == (6, Status.NON_FINITE.explanation)


def test_damaged_files(tmp_path):
    path = tmp_path / "scores.safetensors"
    with pytest.raises(FileNotFoundError, match="does not exist"):
        ScoreMap.load(path)
    path.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ")
    with pytest.raises(ValueError, match="does not hold a ScoreMap"):
        ScoreMap.load(path)
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match="damaged"):
        ScoreMap.load(path)


def test_every_status_is_explained():
    assert all(status.explanation.endswith(".") for status in Status)


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
    assert abs(found - expected) < tolerances.SCORE_MASSIVE
    assert abs(fitted - expected) < tolerances.SCORE_MASSIVE
