"""Maps to incomplete ideal distances: the loss, its minimum, and sites that do not mix."""

import numpy as np
import pytest
import tolerances
import torch

from gpu_smds.solvers.distance_fit import fit_distances


def chain(y, threshold=2.0):
    direct = np.abs(y[:, None] - y)
    D = np.minimum(direct, y.max() + 1 - direct)
    return torch.from_numpy(np.where(threshold > D, D, -1.0))


def ring(rng, y, b, d):
    angle = 2 * np.pi * y / (y.max() + 1)
    circle = np.stack((np.cos(angle), np.sin(angle)), axis=1)
    X = circle @ rng.normal(size=(b, 2, d)) + 0.5 * rng.normal(size=(b, len(y), d))
    return torch.from_numpy(X)


def loss(X, D, Wt):
    """By definition; the pairs of a sample with itself contribute nothing."""
    i, j = (D >= 0).fill_diagonal_(False).nonzero(as_tuple=True)
    distances = torch.linalg.vector_norm((X[:, i] - X[:, j]) @ Wt, dim=2)
    return (distances - D[i, j]).square().sum(1)


@pytest.fixture
def case(rng):
    y = rng.integers(0, 12, 30).astype(float)
    return ring(rng, y, 5, 8), chain(y)


def same(a, b):
    tolerances.assert_close(a.Wt, b.Wt, tolerances.CHUNK)
    tolerances.assert_same_loss(a.loss, b.loss)
    assert torch.equal(a.converged, b.converged)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_loss_is_the_one_defined_and_stationary(case, k):
    X, D = case
    fit = fit_distances(X, D, k)
    assert fit.converged.all()
    tolerances.assert_close(fit.loss, loss(X, D, fit.Wt), tolerances.ROUNDING, relative=True)
    start = 0.01 * torch.from_numpy(np.random.default_rng(42).normal(size=fit.Wt.shape))
    slopes = []
    for Wt in (start.requires_grad_(), fit.Wt.clone().requires_grad_()):
        loss(X, D, Wt).sum().backward()
        slopes.append(torch.linalg.vector_norm(Wt.grad, dim=(1, 2)))
    assert (slopes[1] < tolerances.STATIONARY * slopes[0]).all()


@pytest.mark.parametrize("d", [4, 8, 20, 40])
def test_batched_is_looped_is_chunked(rng, d):
    y = rng.integers(0, 12, 30).astype(float)
    X, D = ring(rng, y, 5, d), chain(y)
    whole = fit_distances(X, D, 2)
    same(whole, fit_distances(X, D, 2))
    same(whole, fit_distances(X, D, 2, chunk=2))
    for i in range(5):
        one = fit_distances(X[i : i + 1], D, 2)
        tolerances.assert_close(one.Wt[0], whole.Wt[i], tolerances.CHUNK)
        tolerances.assert_same_loss(one.loss[0], whole.loss[i])


def test_exact_embeddings_are_found(rng):
    y = np.arange(12.0)
    D = chain(y)
    X = torch.from_numpy(rng.normal(size=(2, 12, 30)))
    fit = fit_distances(X, D, 2)
    assert fit.converged.all()
    tolerances.assert_close(fit.loss, 0, tolerances.ROUNDING)


def test_unusable_sites_are_nan_and_leave_the_others_alone(case):
    X, D = case
    expected = fit_distances(X[[0, 2, 4]], D, 2)
    X = X.clone()
    X[1, 3, 0], X[3, 0, 2] = torch.nan, torch.inf
    fit = fit_distances(X, D, 2)
    assert fit.Wt[[1, 3]].isnan().all()
    assert fit.loss[[1, 3]].isnan().all()
    assert fit.converged.tolist() == [True, False, True, False, True]
    tolerances.assert_close(fit.Wt[[0, 2, 4]], expected.Wt, tolerances.CHUNK)
    assert fit_distances(X[[1]], D, 2).Wt.isnan().all()
    assert fit_distances(X[:0], D, 2).Wt.shape == (0, 8, 2)


def test_disconnected_graphs_and_lone_samples(rng):
    y = np.concatenate((rng.integers(0, 6, 20), rng.integers(20, 26, 20), [13])).astype(float)
    X, D = ring(rng, y, 2, 60), chain(y)
    fit = fit_distances(X, D, 2)
    assert fit.converged.all()
    tolerances.assert_close(fit.loss, loss(X, D, fit.Wt), tolerances.CHUNK)
    assert fit.Wt.isfinite().all()


def test_coincident_and_constant_states(case):
    X, D = case
    X = X.clone()
    X[0, 5:9] = X[0, 4]
    X[1] = 3.0
    fit = fit_distances(X, D, 2)
    assert fit.converged.all()
    assert (fit.Wt[1] == 0).all()
    tolerances.assert_close(fit.loss, loss(X, D, fit.Wt), tolerances.ROUNDING, relative=True)


def test_offsets_and_the_unseen_directions_change_nothing(case):
    X, D = case
    expected = fit_distances(X, D, 2)
    fit = fit_distances(torch.cat((X + 1000, X), dim=2), D, 2)
    # Minimum norm shares a map equally between equal features.
    tolerances.assert_close(fit.Wt[:, :8], fit.Wt[:, 8:], tolerances.CHUNK)
    assert fit.Wt.shape == (5, 16, 2)
    assert (fit.loss <= expected.loss * 1.1).all()


def test_float32_and_all_zero_distances(case):
    X, D = case
    narrow, wide = fit_distances(X.float(), D, 2), fit_distances(X.float().double(), D, 2)
    assert narrow.Wt.dtype == torch.float64
    same(narrow, wide)
    still = fit_distances(X, torch.where(D >= 0, 0, D), 2)
    assert still.converged.all()
    assert (still.loss == 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda D: torch.full_like(D, -1), "undefined"),
        (lambda D: D.clone().index_fill_(0, torch.tensor([0]), 1), "symmetric"),
        (lambda D: D.clone().fill_(torch.inf), "infinity"),
        (lambda D: D * torch.nan, "NaN"),
        (lambda D: D[1:], "must be"),
    ],
)
def test_distances_that_cannot_be_used(case, change, message):
    X, D = case
    with pytest.raises(ValueError, match=message):
        fit_distances(X, change(D), 2)
