"""Incomplete distances through the maps and the estimator."""

from dataclasses import replace

import cases
import numpy as np
import pytest
import tolerances
import torch
from manifolds import METRICS

from gpu_smds import (
    ChainShape,
    Status,
    SupervisedMDS,
    discover,
    fit_map,
    score_map,
    similarity_map,
    transfer_map,
)
from gpu_smds.crossval import fold_fit

N = 60


@pytest.fixture
def data(rng):
    y = rng.integers(0, 12, N).astype(float)
    X = cases.states(rng, y / 12, (2, 3), 8, signal=6.0, outlier=5.0)
    X[:, 0, 1], X[3, 1, 2, 0] = 2.0, np.inf
    return X, y


@pytest.mark.parametrize("standardize", [None, "train"])
def test_maps_are_loops_over_the_estimator(data, standardize):
    X, y = data
    train, test = np.arange(40), np.arange(40, N)
    result = score_map(
        X,
        y,
        ["chain", "circular"],
        cv=[(train, test)],
        metric=list(METRICS),
        standardize=standardize,
    )
    circular = score_map(X, y, cv=[(train, test)], metric=list(METRICS), standardize=standardize)
    tolerances.assert_same(result.scores[1], circular.scores)
    assert result.status[0, 0, 0, 1] == Status.CONSTANT
    assert result.status[0, 0, 1, 2] == Status.NON_FINITE
    for site in np.ndindex(2, 3):
        if site in ((0, 1), (1, 2)):
            continue
        x = X[(slice(None), *site)]
        if standardize:
            x = (x - x[train].mean(0)) / x[train].std(0)
        model = SupervisedMDS(manifold="chain").fit(x[train], y[train])
        expected = [model.score(x[test], y[test], name) for name in METRICS]
        tolerances.assert_close(
            result.scores[(0, slice(None), 0, *site)], expected, tolerances.FLAT
        )
        assert result.status[(0, 0, *site)] == model.status_ == Status.OK


def test_alpha_and_orthonormality_are_without_effect(data):
    """As in smds, whose iterative fit knows neither."""
    X, y = data[0][:, 0, 0], data[1]
    by_alpha = score_map(X, y, "chain", alpha=[1.0, 0.0])
    tolerances.assert_same(by_alpha.scores[0], by_alpha.scores[1])
    rigid = score_map(X, y, "chain", orthonormal=True)
    tolerances.assert_same(rigid.scores, by_alpha.scores[0])
    assert (rigid.status == Status.OK).all()


def test_chunks(data):
    X, y = data
    whole = score_map(X, y, "chain", cv=2)
    chunked = score_map(X, y, "chain", cv=2, memory_budget=5_000_000)
    tolerances.assert_close(chunked.scores, whole.scores, tolerances.FLAT)
    np.testing.assert_array_equal(chunked.status, whole.status)


def test_fitted_maps(data):
    X, y = data
    fitted = fit_map(X, y, "chain")
    assert fitted.W.shape == (2, 3, 2, 8)
    assert fitted.status.tolist() == [[0, Status.CONSTANT, 0], [0, 0, Status.NON_FINITE]]
    own = transfer_map(fitted, X, y).mean
    expected = score_map(X, y, "chain", cv=None).mean
    for i in range(2):
        tolerances.assert_close(np.diagonal(own[i]), expected[i], tolerances.FLAT)
    similarity = similarity_map(fitted)
    own = np.where(fitted.status, np.nan, 1.0)
    tolerances.assert_close(np.diagonal(similarity, 0, 1, 2), own, tolerances.ROUNDING)
    np.testing.assert_array_equal(similarity, similarity.swapaxes(1, 2))
    held_out = transfer_map(fitted, X, y, cv=3)
    scores = score_map(X, y, "chain", cv=3)
    tolerances.assert_close(held_out.scores[:, 0, 0, 0], scores.scores[:, 0, 0], tolerances.FLAT)


def test_what_did_not_converge_says_so(data, monkeypatch):
    X, y = data
    expected = score_map(X, y, ["circular", "chain"], cv=2)
    solve = fold_fit.fit_distances

    def impatient(*arguments):
        return replace(solve(*arguments), converged=torch.zeros(len(arguments[0]), dtype=bool))

    monkeypatch.setattr(fold_fit, "fit_distances", impatient)
    result = score_map(X, y, ["circular", "chain"], cv=2)
    assert (result.status[0, :, 0, 0] == Status.OK).all()
    assert (result.status[1, :, 0, 0] == Status.NOT_CONVERGED).all()
    tolerances.assert_same(result.scores, expected.scores)  # what there is, is given
    assert np.isfinite(result.scores[:, :, 0, 0]).all()
    assert "stopped before it converged" in result.explain()["not_converged"][1]
    assert SupervisedMDS(manifold="chain").fit(X[:, 0, 0], y).status_ == Status.NOT_CONVERGED


def test_no_pair_has_a_distance(data):
    X = data[0]
    lonely = np.random.default_rng(0).permutation(N) * 5.0
    result = score_map(X, lonely, ChainShape(0.5), cv=3)
    assert np.isnan(result.scores).all()
    assert result.status[0, 0, 0] == Status.DEGENERATE_LABELS


def test_discovery_tries_chain_where_it_is_named(data):
    X, y = data[0][:, 0, :1], data[1]
    found = discover(X, y, ["chain", "circular"], "all")
    assert found.manifolds == ["chain", "circular"]
    expected = score_map(X, y, ["chain", "circular"], metric=list(METRICS), cv=5)
    tolerances.assert_close(found.scores.scores, expected.scores, tolerances.FLAT)
    assert (found.scores.status == Status.OK).all()
