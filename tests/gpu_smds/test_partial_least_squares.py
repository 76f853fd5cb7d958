"""``solver="pls"`` against scikit-learn's PLSRegression behind HybridSMDS, site by site."""

import warnings

import cases
import numpy as np
import pytest
import smds
import tolerances
import torch
from sklearn.cross_decomposition import PLSRegression
from sklearn.model_selection import KFold
from tolerances import assert_close

from gpu_smds import (
    METRICS,
    FittedMap,
    HybridSMDS,
    OnePass,
    PartialLeastSquares,
    Status,
    bootstrap_map,
    discover,
    fit_map,
    score_map,
    significance_map,
    transfer_map,
)

N = 60
# Labels of a shape, and how many columns its embedding has: fewer than, as many as and more than
# the latent variables.
SHAPES = {
    "circular": lambda rng: cases.labels(rng, N),
    "euclidean": lambda rng: rng.random(N),
    "spiral": lambda rng: rng.random(N),
    "cluster": lambda rng: rng.choice(4, N, p=[0.4, 0.3, 0.2, 0.1]).astype(float),
    "klein_bottle": lambda rng: rng.random((N, 2)),
}


def _reducer(k):
    """scikit-learn's with its power iteration run to the end."""
    return PLSRegression(n_components=k, tol=1e-24, max_iter=100_000)


def _states(rng, y, d, sites=(3,)):
    X = cases.states(rng, np.reshape(y, (N, -1))[:, 0], sites, d)
    X[..., -1] = 3.0  # a feature that does not vary
    return X


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("d", [8, 50, 150])
@pytest.mark.parametrize("shape", SHAPES)
def test_scores_are_those_of_the_hybrid(rng, shape, d, k):
    y = SHAPES[shape](rng)
    X = _states(rng, y, d)
    found = score_map(X, y, shape, metric=list(METRICS), solver=PartialLeastSquares(k))
    assert (found.status == Status.OK).all()
    for f, (train, test) in enumerate(KFold(3).split(X)):
        for site in range(3):
            hybrid = HybridSMDS(shape, reducer=_reducer(k)).fit(X[train, site], y[train])
            for m, metric in enumerate(METRICS):
                expected = hybrid.score(X[test, site], y[test], metric)
                assert_close(found.scores[m, f, site], expected, tolerances.LATENT)


@pytest.mark.parametrize("d", [20, 90])
def test_scores_are_those_of_smds(rng, d):
    y = cases.labels(rng, N)
    X = _states(rng, y, d)
    found = score_map(X, y, solver="pls", cv=[(np.arange(40), np.arange(40, N))])
    for site in range(3):
        theirs = smds.HybridSMDS("circular", n_components=2, reducer=_reducer(2))
        expected = theirs.fit(X[:40, site], y[:40]).score(X[40:, site], y[40:])
        assert_close(found.scores[0, site], expected, tolerances.LATENT)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_maps_are_those_of_scikit_learn(rng, k):
    """The projections themselves, up to the sign of a latent variable."""
    y = cases.labels(rng, N)
    X = _states(rng, y, 30)
    fitted = fit_map(X, y, solver=PartialLeastSquares(k))
    Z = fitted.transform(X)
    assert Z.shape == (N, 3, k)
    for site in range(3):
        theirs = _reducer(k).fit(X[:, site], fitted.Y.numpy()).transform(X[:, site])
        signs = np.sign((theirs * Z[:, site]).sum(0))
        assert_close(Z[:, site] * signs, theirs, tolerances.LATENT)


def test_batched_is_looped_and_chunked(rng):
    X, y, status = cases.degenerate(rng, 40)
    arguments = {"solver": "pls", "metric": list(METRICS)}
    whole = score_map(X, y, **arguments)
    np.testing.assert_array_equal(whole.worst_status, status)
    chunked = score_map(X, y, memory_budget=8 << 20, **arguments)
    tolerances.assert_same(chunked.scores, whole.scores)
    for site in np.ndindex(X.shape[1:-1]):
        one = score_map(X[(slice(None), *site)], y, **arguments)
        tolerances.assert_same(one.scores, whole.scores[(..., *site)])


def test_standardize_and_alpha_are_without_effect(rng):
    y = cases.labels(rng, N)
    X = _states(rng, y, 20)
    plain = score_map(X, y, solver="pls").scores
    for standardize in ("train", "all"):
        found = score_map(X, y, solver="pls", standardize=standardize).scores
        tolerances.assert_same(found, plain)
    several = score_map(X, y, solver="pls", alpha=[0.1, 10.0])
    assert several.dims == ("alpha", "fold", "site0")
    for scores in several.scores:
        tolerances.assert_same(scores, plain)


def test_several_manifolds_at_once(rng):
    y = rng.random(N)
    X = _states(rng, y, 20)
    shapes = ["circular", "euclidean", "spiral"]
    many = score_map(X, y, shapes, solver=PartialLeastSquares(3))
    for m, shape in enumerate(shapes):
        one = score_map(X, y, shape, solver=PartialLeastSquares(3))
        tolerances.assert_same(many.scores[m], one.scores)
    found = discover(X, y, shapes, cv=3, solver=PartialLeastSquares(3))
    tolerances.assert_same(found.scores.scores[:, 0], many.scores)


def test_more_latent_variables_than_directions(rng):
    """States of two dimensions: the third latent variable is 0 and said to be undetermined."""
    y = cases.labels(rng, N)
    X = rng.normal(size=(N, 2)) @ rng.normal(size=(2, 9))
    two = score_map(X, y, solver=PartialLeastSquares(2))
    three = score_map(X, y, solver=PartialLeastSquares(3))
    assert (two.status == Status.OK).all()
    assert (three.status == Status.UNDETERMINED).all()
    assert_close(three.scores, two.scores, tolerances.LATENT)
    W = fit_map(X, y, solver=PartialLeastSquares(3)).W
    assert (W[2] == 0).all()
    assert (W[:2] != 0).any()


def test_saved_and_loaded(rng, tmp_path):
    y = cases.labels(rng, N)
    X = _states(rng, y, 12)
    fitted = fit_map(X, y, solver=PartialLeastSquares(3))
    fitted.save(tmp_path / "map.safetensors")
    again = FittedMap.load(tmp_path / "map.safetensors")
    assert again.solver == fitted.solver
    assert again.solver.kind == PartialLeastSquares(3)
    np.testing.assert_array_equal(again.transform(X), fitted.transform(X))
    tolerances.assert_same(again.score(X, y).scores, fitted.score(X, y).scores)


def test_transfer_refits_on_each_training_part(rng):
    y = cases.labels(rng, N)
    X = _states(rng, y, 12, sites=(2, 3))
    fitted = fit_map(X, y, solver="pls")
    own = score_map(X, y, solver="pls")
    held_out = transfer_map(fitted, X, y, cv=3)
    tolerances.assert_same(np.diagonal(held_out.scores, axis1=2, axis2=3), own.scores)
    once = OnePass(X)
    pending = once.score_map(y, solver="pls"), once.transfer_map(fitted, y, cv=3)
    once.run()
    for result, alone in zip(pending, (own, held_out), strict=True):
        tolerances.assert_same(result().scores, alone.scores)


@pytest.mark.parametrize("shuffle", ["within_folds", "global"])
def test_permutations_refit_and_say_so_first(rng, shuffle):
    X, y, _ = cases.degenerate(rng, 10)
    with pytest.warns(UserWarning, match="fitted again for each of 5 permutations") as said:
        found = significance_map(X, y, 5, solver="pls", shuffle=shuffle)
    assert len(said) == 1
    assert "\n" not in str(said[0].message)
    plain = score_map(X, y, solver="pls")
    assert_close(found.score, plain.mean, tolerances.SCORE)
    np.testing.assert_array_equal(found.status, plain.worst_status)
    for b, permutation in enumerate(found.permutations):
        permuted = score_map(X, y[permutation], solver="pls").mean
        assert_close(found.null[b], permuted, tolerances.SCORE)


def test_the_bootstrap_does_not_refit(rng):
    X, y, status = cases.degenerate(rng, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = bootstrap_map(X, y, 9, solver=PartialLeastSquares(3))
    assert_close(found.score, score_map(X, y, solver=PartialLeastSquares(3)).mean, tolerances.SCORE)
    np.testing.assert_array_equal(found.status, status)
    defined = np.isfinite(found.score)
    assert (found.se[defined] > 0).all()
    assert np.isnan(found.resampled[:, ~defined]).all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"solver": "lasso"}, "solver must be one of 'ridge', 'procrustes', 'pls'"),
        ({"solver": 2}, "solver must be one of"),
        ({"solver": PartialLeastSquares}, "solver must be one of"),
        ({"solver": "pls", "orthonormal": True}, 'orthonormal=True is the solver "procrustes"'),
        ({"solver": PartialLeastSquares(9)}, "needs at least 9 features, and X has 8"),
        ({"solver": "pls", "manifold": "chain"}, "chain leaves distances undefined"),
    ],
)
def test_wrong_arguments_say_what_to_pass(rng, arguments, says):
    y = rng.integers(0, 6, N).astype(float)
    X = rng.normal(size=(N, 2, 8))
    for function in (score_map, fit_map):
        with pytest.raises((ValueError, TypeError), match=says) as error:
            function(X, y, **arguments)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(("wrong", "error"), [(0, ValueError), (1.5, TypeError), (True, TypeError)])
def test_wrong_numbers_of_latent_variables(wrong, error):
    with pytest.raises(error, match="n_latent must be"):
        PartialLeastSquares(wrong)


def test_named_solvers_are_those_of_the_flags(rng):
    y = cases.labels(rng, N)
    X = _states(rng, y, 20)
    same = {"ridge": {}, "procrustes": {"orthonormal": True}}
    for name, flags in same.items():
        named, flagged = score_map(X, y, solver=name), score_map(X, y, **flags)
        np.testing.assert_array_equal(named.scores, flagged.scores)
        both = score_map(X, y, solver="procrustes", orthonormal=True).scores
    np.testing.assert_array_equal(both, named.scores)


@pytest.mark.cuda
def test_cuda_equals_cpu(rng):
    X, y, _ = cases.degenerate(rng, 40)
    cpu, cuda = score_map(X, y, solver="pls"), score_map(X, y, solver="pls", device="cuda")
    np.testing.assert_array_equal(cpu.status, cuda.status)
    assert_close(cpu.scores, cuda.scores, tolerances.REFINED)
    assert_close(
        fit_map(torch.from_numpy(X).cuda(), y, solver="pls").W.cpu().abs(),
        fit_map(X, y, solver="pls").W.abs(),
        tolerances.REFINED,
    )
