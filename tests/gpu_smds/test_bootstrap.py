"""A resample's score is that of the resampled rows, and its spread that of further samples."""

import cases
import numpy as np
import pytest
import tolerances
import torch
from budgets import smallest
from cases import SOLVERS, SPLITS, degenerate
from sklearn.model_selection import GroupKFold, KFold, RepeatedKFold, ShuffleSplit

from gpu_smds import CircularShape, Status, bootstrap_map, fit_map, score_map
from gpu_smds.crossval.folds import resolve_folds
from gpu_smds.geometry.manifold import resolve_manifold
from gpu_smds.inference.bootstrap import _weights

N = cases.N


def _stress_score(D, points):
    E = np.linalg.norm(points[:, None] - points[None], axis=-1)
    scale = (D * E).sum() / (E * E).sum()
    return 1 - np.sqrt(((D - scale * E) ** 2).sum() / (D * D).sum())


def _by_hand(X, y, cv, groups, seed, count, manifold="circular", **more):
    """Scores ``(count, sites)`` of resamples whose rows are written out."""
    if more.get("standardize") == "all":
        X, more = (X - X.mean(0)) / X.std(0), {**more, "standardize": None}
    folds = resolve_folds(cv, y, groups)
    names = np.arange(len(y)) if groups is None else np.unique(groups, return_inverse=True)[1]
    weights = _weights(folds, names[folds.order], count, seed)
    total = np.zeros((count, X.shape[1]))
    every = np.arange(len(y))[folds.order]
    for fold, w in zip(folds.folds, weights, strict=True):
        train, test = every[fold.train], every[fold.test]
        fitted = fit_map(X[train], y[train], manifold=manifold, **more)
        D = resolve_manifold(manifold).distances(y[test])
        scaled = (X[test] - fitted.mean.numpy()) / fitted.scale.numpy()
        Z = np.einsum("nsd,skd->nsk", scaled, fitted.W.numpy())
        for b in range(count):
            rows = np.repeat(np.arange(len(test)), w[b].numpy().astype(int))
            for s in range(X.shape[1]):
                total[b, s] += _stress_score(D[np.ix_(rows, rows)], Z[rows, s])
    return total / len(folds)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_resampled_scores_are_those_of_the_resampled_rows(rng, solver, split):
    more, cv = SOLVERS[solver].arguments, SPLITS[split]
    X, y, status = degenerate(rng, SOLVERS[solver].d)
    found = bootstrap_map(X, y, 3, seed=2, cv=cv, **more)
    plain = score_map(X, y, cv=cv, **more)
    tolerances.assert_close(found.score, plain.mean, tolerances.SCORE)
    np.testing.assert_array_equal(found.status, status)
    for scores in found.resampled:
        np.testing.assert_array_equal(np.isnan(scores), status > 0)
    assert found.dims == ("site0", "site1")
    expected = _by_hand(X[:, :, 0], y, cv, None, 2, 3, **more)
    found = found.resampled[:, :, 0]
    if (solver, split) == ("min-norm-wide", "all"):
        # More features than samples meet all labels.
        tolerances.assert_close(found, 1, tolerances.PERFECT_RESAMPLE)
        tolerances.assert_close(plain.mean[:, 0], 1, tolerances.SCORE)
    else:
        # No resample's score could be taken for that of another or of the sample itself.
        scores = np.sort(np.concatenate([plain.mean[None, :, 0], found]), axis=0)
        assert np.diff(scores, axis=0).min() > tolerances.DISTINCT
        tolerances.assert_close(found, expected, tolerances.SCORE)


@pytest.mark.parametrize("manifold", ["euclidean", "cluster", "semicircular"])
def test_other_manifolds(rng, manifold):
    y = rng.choice(4, N, p=[0.4, 0.3, 0.2, 0.1]).astype(float)
    X = cases.states(rng, y / 4, (2,), 6, outlier=3.0)
    found = bootstrap_map(X, y, 4, manifold=manifold)
    expected = _by_hand(X, y, 3, None, 0, 4, manifold)
    tolerances.assert_close(found.resampled, expected, tolerances.SCORE)


def test_whole_groups_are_resampled(rng):
    X, y, _ = degenerate(rng, 8)
    groups = np.array(["a", "b", "c"])[np.arange(N) % 3].astype("U8")
    groups = np.char.add(groups, (np.arange(N) // 9).astype(str))
    for cv in (GroupKFold(3), [(np.arange(20), np.arange(20, N))]):
        found = bootstrap_map(X, y, 3, cv=cv, groups=groups)
        expected = _by_hand(X[:, :, 0], y, cv, groups, 0, 3)
        tolerances.assert_close(found.resampled[:, :, 0], expected, tolerances.SCORE)
        folds = resolve_folds(cv, y, groups)
        numbers = np.unique(groups, return_inverse=True)[1][folds.order]
        for fold, w in zip(folds.folds, _weights(folds, numbers, 50, 0), strict=True):
            of_row = numbers[fold.test]
            for group in np.unique(of_row):
                assert (w[:, of_row == group] == w[:, of_row == group][:, :1]).all()
            first = np.unique(of_row, return_index=True)[1]
            # As many groups as the part has.
            assert (w[:, first].sum(1) == len(first)).all()
    free = bootstrap_map(X, y, 3)
    assert np.abs(free.resampled - found.resampled)[:, 0, 0].min() > tolerances.DISTINCT


@pytest.mark.parametrize(
    "cv",
    [
        RepeatedKFold(n_splits=3, n_repeats=5, random_state=0),
        ShuffleSplit(9, test_size=0.3, random_state=0),
    ],
)
def test_a_sample_in_several_test_parts_is_one_sample(rng, cv):
    """It is drawn as often in each of them, and repeats do not make an error small."""
    folds = resolve_folds(cv, np.arange(N) * 1.0)
    weights = _weights(folds, np.arange(N)[folds.order], 5, 0)
    times = np.full((5, N), np.nan)
    every = np.arange(N)
    for fold, w in zip(folds.folds, weights, strict=True):
        rows = every[fold.test]
        assert (np.isnan(times[:, rows]) | (times[:, rows] == w.numpy())).all()
        times[:, rows] = w.numpy()
    y = rng.random(90)
    X = cases.states(rng, y, (5,), 6, outlier=1.0)
    once = bootstrap_map(X, y, 300).se
    often = bootstrap_map(X, y, 300, cv=cv).se
    # The squared error over five repeats would be a fifth, were they independent.
    assert (often > 0.7 * once).all()


def test_the_error_is_that_of_further_samples(rng):
    """Maps fitted once: how much the score of fresh test samples varies, and what is said of it."""
    n_train, n_test, d = 60, 80, 6
    mixing = rng.normal(size=(2, d))

    def draw(n):
        y = rng.random(n)
        circle = np.stack([np.cos(2 * np.pi * y), np.sin(2 * np.pi * y)], axis=1)
        return circle @ mixing + 1.2 * rng.normal(size=(n, d)), y

    turn = CircularShape(normalize_labels=False)
    X, y = draw(n_train)
    W = fit_map(X, y, turn).W.numpy()
    split = [(np.arange(n_train), np.arange(n_train, n_train + n_test))]
    said, fresh = [], []
    for number in range(400):
        part, labels = draw(n_test)
        fresh.append(_stress_score(turn(labels), part @ W.T))
        if number < 10:
            both, all_labels = np.concatenate([X, part]), np.concatenate([y, labels])
            found = bootstrap_map(both, all_labels, 300, manifold=turn, cv=split)
            tolerances.assert_close(found.score, fresh[-1], tolerances.SCORE)
            said.append(found.se)
    assert abs(np.mean(said) / np.std(fresh, ddof=1) - 1) < 0.3


def test_differences_are_paired(rng):
    y = cases.labels(rng, N)
    X = cases.states(rng, y, (3,), 8)
    X[:, 2] = X[:, 0]
    found = bootstrap_map(X, y, 200)
    ab, ba = found.difference(0, 1), found.difference(1, 0)
    assert ab.estimate == -ba.estimate == found.score[0] - found.score[1]
    tolerances.assert_close([ab.low, ab.high], [-ba.high, -ba.low], tolerances.LAST_BITS)
    apart = found.resampled[:, 0] - found.resampled[:, 1]
    tolerances.assert_close(
        [ab.low, ab.high], np.quantile(apart, [0.025, 0.975]), tolerances.LAST_BITS
    )
    wide, narrow = found.difference(0, 1, 0.99), found.difference(0, 1, 0.5)
    assert wide.low < ab.low < narrow.low < narrow.high < ab.high < wide.high
    # A site and its copy, in another block of sites.
    tolerances.assert_close(found.difference(0, 2), [0, 0, 0], tolerances.ROUNDING)
    assert found.difference(0, 0) == (0, 0, 0)
    low, high = found.interval()[1:]
    tolerances.assert_close(low, np.quantile(found.resampled, 0.025, axis=0), tolerances.LAST_BITS)
    assert ((low < found.score) & (found.score < high)).all()
    tolerances.assert_close(found.se, found.resampled.std(0, ddof=1), tolerances.LAST_BITS)


def test_lists_of_manifolds_share_their_resamples(rng):
    X, y, status = degenerate(rng, 8)
    names = ["circular", "semicircular", "euclidean"]
    many = bootstrap_map(X, y, 20, manifold=names)
    assert many.dims == ("manifold", "site0", "site1")
    assert many.manifolds == names
    assert many.score.shape == (3, 2, 3)
    assert many.resampled.shape == (20, 3, 2, 3)
    for m, name in enumerate(names):
        one = bootstrap_map(X, y, 20, manifold=name)
        np.testing.assert_array_equal(many.status[m], status)
        tolerances.assert_same(many.score[m], one.score)
        tolerances.assert_same(many.resampled[:, m], one.resampled)
    found = many.difference((0,), (2,))
    assert found.low.shape == (2, 3)
    np.testing.assert_array_equal(np.isnan(found.high), status > 0)
    one = many.difference((0, 1, 0), (2, 1, 0))
    assert (one.estimate, one.low) == (found.estimate[1, 0], found.low[1, 0])


@pytest.mark.parametrize("axes", [(), (2,), (2, 1), (0,)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_containers_and_site_axes(rng, axes, dtype):
    y = cases.labels(rng, N)
    X = torch.from_numpy(cases.states(rng, y, axes, 8)).to(dtype)
    found = bootstrap_map(X, y, 5)
    tolerances.assert_same(found.score, score_map(X, y).mean)
    assert found.resampled.shape == (5, *axes)
    assert found.se.shape == found.status.shape == axes
    wide = bootstrap_map(X.double(), y, 5)
    tolerances.assert_same(found.resampled, wide.resampled)


def test_undefined_in_one_part_only(rng):
    y = np.r_[np.zeros(N // 3), cases.labels(rng, N - N // 3)]
    X = cases.states(rng, y, (2,), 8)
    found = bootstrap_map(X, y, 5, cv=KFold(3))
    assert (found.status == Status.DEGENERATE_LABELS).all()
    assert np.isnan(found.score).all()
    assert np.isnan(found.resampled).all()
    few = [(np.arange(1, N), np.arange(1))]
    assert (bootstrap_map(X, y, 5, cv=few).status == Status.TOO_FEW).all()


def test_a_resample_without_a_score_is_nan(rng):
    """Three test samples are one and the same in a ninth of all resamples."""
    y = cases.labels(rng, 20)
    X = cases.states(rng, y, (2,), 4, outlier=1.0)
    found = bootstrap_map(X, y, 900, cv=[(np.arange(17), np.arange(17, 20))])
    lost = np.isnan(found.resampled)
    assert (lost[:, 0] == lost[:, 1]).all()
    # Binomial of 900 and 1/9: five standard deviations of 9.4.
    assert abs(lost[:, 0].sum() - 100) < 47
    expected = score_map(X, y, cv=[(np.arange(17), np.arange(17, 20))])
    assert (expected.status == Status.OK).all()
    tolerances.assert_close(found.score, expected.mean, tolerances.SCORE)


@pytest.mark.parametrize("solver", ["primal", "dual", "orthonormal", "pls"])
def test_budget_and_threads_change_nothing(rng, solver):
    more = SOLVERS[solver].arguments
    X, y, _ = degenerate(rng, SOLVERS[solver].d)
    X[..., 0] /= 300
    whole = bootstrap_map(X, y, 30, **more)
    found = [smallest(lambda budget: bootstrap_map(X, y, 30, memory_budget=budget, **more))]
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(bootstrap_map(X, y, 30, **more))
    finally:
        torch.set_num_threads(threads)
    for one in found:
        tolerances.assert_close(one.resampled, whole.resampled, tolerances.ROUNDING)
    other = np.abs(bootstrap_map(X, y, 30, seed=1, **more).resampled - whole.resampled)
    assert (other[:, whole.status == 0] > 0).all()
    assert np.median(other[:, whole.status == 0]) > tolerances.DIFFERS


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n_resamples": 1}, "at least 2"),
        ({"alpha": [1.0]}, "one alpha"),
        ({"manifold": "chain"}, "complete distances only"),
        ({"manifold": []}, "empty list"),
        ({"standardize": "yes"}, "standardize must be one of"),
        ({"groups": [1, 2], "cv": None}, "groups must be one per sample"),
        ({"y": np.ones(12)}, "all labels are equal"),
    ],
)
def test_wrong_arguments_say_what_to_pass(rng, change, says):
    arguments = {"X": rng.normal(size=(12, 2, 3)), "y": rng.permutation(12) + 0.0, "n_resamples": 5}
    with pytest.raises(ValueError, match=says) as error:
        bootstrap_map(**arguments | change)
    assert "\n" not in str(error.value)


@pytest.mark.cuda
@pytest.mark.parametrize("solver", SOLVERS)
def test_cuda_equals_cpu(rng, solver):
    more = SOLVERS[solver].arguments
    X, y, _ = degenerate(rng, SOLVERS[solver].d)
    cpu, cuda = bootstrap_map(X, y, 20, **more), bootstrap_map(X, y, 20, device="cuda", **more)
    np.testing.assert_array_equal(cpu.status, cuda.status)
    tolerances.assert_close(cpu.resampled, cuda.resampled, tolerances.REFINED)
