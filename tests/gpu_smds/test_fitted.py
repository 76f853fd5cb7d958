"""Fitted maps: transform, score, similarity, transfer, files."""

import cases
import numpy as np
import pytest
import tolerances
import torch
from sklearn.model_selection import KFold

from gpu_smds import FittedMap, Status, fit_map, score_map, similarity_map, transfer_map

N = 50


@pytest.fixture(params=["primal", "dual"])
def data(request, rng):
    y = cases.labels(rng, N)
    X = cases.states(rng, y, (2, 3), 15 if request.param == "primal" else 70)
    X[:, 1, 2] = 1.5
    return X, y


def _own_scores(scores):
    """Scores of every source on its own position."""
    return np.diagonal(scores, axis1=-2, axis2=-1)


@pytest.mark.parametrize("standardize", [None, "train"])
@pytest.mark.parametrize("orthonormal", [False, True])
def test_shapes_and_transform(data, standardize, orthonormal):
    X, y = data
    fitted = fit_map(X, y, standardize=standardize, orthonormal=orthonormal)
    d = X.shape[-1]
    assert fitted.W.shape == (2, 3, 2, d)
    assert fitted.mean.shape == fitted.scale.shape == (2, 3, d)
    assert fitted.Y.shape == (N, 2)
    assert fitted.status.tolist() == [[0, 0, 0], [0, 0, Status.CONSTANT]]
    assert torch.isnan(fitted.W[1, 2]).all()
    Z = fitted.transform(X)
    assert isinstance(Z, np.ndarray)
    assert isinstance(fitted.transform(torch.from_numpy(X)), torch.Tensor)
    for site in np.ndindex(2, 3):
        x = X[(slice(None), *site)]
        if site == (1, 2):
            assert np.isnan(Z[:, 1, 2]).all()
            continue
        scale = x.std(0) if standardize else 1.0
        W = fitted.W[site].numpy()
        tolerances.assert_close(
            Z[(slice(None), *site)], (x - x.mean(0)) / scale @ W.T, tolerances.SCORE
        )
        if orthonormal:
            tolerances.assert_close(W @ W.T, np.eye(2), tolerances.SOLUTION)


def test_score_of_the_same_states(data):
    X, y = data
    scores = fit_map(X, y).score(X, y)
    expected = score_map(X, y, cv=None)
    assert scores.dims == expected.dims
    tolerances.assert_close(scores.scores, expected.scores, tolerances.SCORE)
    np.testing.assert_array_equal(scores.status, expected.status)


def test_score_of_new_states(data, rng):
    X, y = data
    split = [(np.arange(30), np.arange(30, N))]
    expected = score_map(X, y, cv=split)
    found = fit_map(X[:30], y[:30]).score(X[30:], y[30:])
    tolerances.assert_close(found.scores, expected.scores, tolerances.SCORE)


def test_similarity_is_the_cosine_of_flat_maps(data):
    X, y = data
    fitted = fit_map(X, y, standardize="all")
    similarity = similarity_map(fitted)
    assert similarity.shape == (2, 3, 3)
    W = fitted.W.numpy().reshape(2, 3, -1)
    for a in range(3):
        for b in range(3):
            u, v = W[0, a], W[0, b]
            expected = abs(u @ v) / np.linalg.norm(u) / np.linalg.norm(v)
            tolerances.assert_close(similarity[0, a, b], expected, tolerances.ROUNDING)
    assert np.isnan(similarity[1, 2]).all()
    assert np.isnan(similarity[1, :, 2]).all()
    with pytest.raises(ValueError, match="no site axis"):
        similarity_map(fit_map(X[:, 0, 0], y))


@pytest.mark.parametrize("standardize", [None, "all"])
def test_transfer_by_hand(data, standardize):
    X, y = data
    scores = transfer_map(fit_map(X, y, standardize=standardize), X, y)
    assert scores.dims == ("fold", "site0", "source", "target")
    assert scores.scores.shape == (1, 2, 3, 3)
    z = (X - X.mean(0)) / np.where(X.std(0) > 0, X.std(0), 1) if standardize else X
    for s, t in ((0, 0), (0, 2), (2, 1)):
        source = fit_map(z[:, 0, s], y)
        expected = source.score(z[:, 0, t], y).scores[0]
        tolerances.assert_close(scores.scores[0, 0, s, t], expected, tolerances.SCORE)
    # The constant position neither decodes nor is decoded.
    assert (scores.status[0, 1, 2] == Status.CONSTANT).all()
    assert (scores.status[0, 1, :, 2] == Status.CONSTANT).all()


def test_transfer_of_one_source(data):
    X, y = data
    every = transfer_map(fit_map(X, y), X, y)
    one = transfer_map(fit_map(X[..., 1:2, :], y), X, y)
    assert one.scores.shape == (1, 2, 1, 3)
    tolerances.assert_close(one.scores[:, :, 0], every.scores[:, :, 1], tolerances.ROUNDING)


@pytest.mark.parametrize("standardize", [None, "train", "all"])
def test_transfer_on_held_out_rows(data, standardize):
    """Where source and target are one, it is the cross-validated score."""
    X, y = data
    cv = KFold(3, shuffle=True, random_state=7)
    scores = transfer_map(fit_map(X, y, standardize=standardize), X, y, cv=cv)
    expected = score_map(X, y, cv=cv, standardize=standardize)
    tolerances.assert_close(_own_scores(scores.scores), expected.scores, tolerances.SCORE)
    np.testing.assert_array_equal(_own_scores(scores.status), expected.status)


def test_transfer_never_fits_on_held_out_rows(data):
    """Changing a held-out row's source state changes nothing in the other rows' fit."""
    X, y = data
    split = [(np.arange(40), np.arange(40, N))]
    before = transfer_map(fit_map(X, y, standardize="train"), X, y, cv=split)
    changed = X.copy()
    changed[45:, :, 0] += 100.0
    after = transfer_map(fit_map(changed, y, standardize="train"), X, y, cv=split)
    tolerances.assert_close(before.scores[:, :, 0], after.scores[:, :, 0], tolerances.CHUNK)


def test_chunks_of_transfer(data):
    X, y = data
    fitted = fit_map(X, y, standardize="all")
    whole = transfer_map(fitted, X, y)
    chunked = transfer_map(fitted, X, y, memory_budget=200_000)
    tolerances.assert_close(whole.scores, chunked.scores, tolerances.CHUNK)


def test_files(data, tmp_path):
    X, y = data
    fitted = fit_map(X, y, standardize="all")
    fitted.save(tmp_path / "map.safetensors")
    again = FittedMap.load(tmp_path / "map.safetensors")
    for name in ("W", "mean", "scale", "Y"):
        np.testing.assert_array_equal(getattr(again, name), getattr(fitted, name))
    tolerances.assert_same(again.transform(X), fitted.transform(X))
    tolerances.assert_same(transfer_map(again, X, y).scores, transfer_map(fitted, X, y).scores)
    with pytest.raises(ValueError, match="call fit_map again"):
        transfer_map(again, X, y, cv=3)
    own = fit_map(X, y, manifold=lambda v: np.abs(v[:, None] - v[None, :]), n_components=1)
    with pytest.raises(ValueError, match="code of your own"):
        own.save(tmp_path / "own.safetensors")


def test_wrong_arguments(data):
    X, y = data
    fitted = fit_map(X, y)
    with pytest.raises(ValueError, match="takes one alpha, not lists"):
        fit_map(X, y, alpha=[1.0])
    with pytest.raises(ValueError, match="all site axes but the last must agree"):
        transfer_map(fitted, X[:, :1], y)
    with pytest.raises(ValueError, match=r"takes \d+ features, X has 4"):
        transfer_map(fitted, X[..., :4], y)
    with pytest.raises(ValueError, match="the map was fitted on"):
        fitted.transform(X[:, :, :2])
    with pytest.raises(ValueError, match="the map was fitted on"):
        fitted.score(X[:, :, :2], y)
    with pytest.raises(ValueError, match="labels that the map was fitted on"):
        transfer_map(fitted, X, y[::-1], cv=3)
