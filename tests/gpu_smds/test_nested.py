"""The penalty is chosen by what a hand-written loop finds, and never by the test part."""

import cases
import numpy as np
import pytest
import tolerances
from cases import SOLVERS
from sklearn.model_selection import GroupKFold, KFold, RepeatedKFold

from gpu_smds import Status, nested_map, score_map
from gpu_smds.inference.nested_cv import _chosen

N = 54
ALPHAS = [0.0, 1e-2, 1.0, 30.0, 1e3, 1e5]
CASES = {
    **{
        name: ({k: v for k, v in SOLVERS[name].arguments.items() if k != "alpha"}, SOLVERS[name].d)
        for name in ("primal", "dual", "primal-train", "dual-train")
    },
    "shepard": ({"metric": "shepard_goodness_score"}, 8),
    "euclidean": ({"manifold": "euclidean"}, 8),
}


def _problem(rng, d, sites=(2, 2)):
    y = cases.labels(rng, N)
    return cases.states(rng, y, sites, d, signal=1.0, outlier=5.0), y


def _by_hand(X, y, alphas, outer, inner, groups=None, **more):
    """Scores ``(fold, *sites)``, choices and inner means ``(alpha, fold, *sites)``."""
    scores, choices, means = [], [], []
    for train, test in outer:
        parts = None if groups is None else groups[train]
        mean = np.stack(
            [
                score_map(X[train], y[train], cv=inner, groups=parts, alpha=alpha, **more).mean
                for alpha in alphas
            ]
        )
        tried = np.stack(
            [score_map(X, y, cv=[(train, test)], alpha=a, **more).mean for a in alphas]
        )
        score, choice = (np.full(mean.shape[1:], np.nan) for _ in range(2))
        for site in np.ndindex(mean.shape[1:]):
            best = -np.inf
            for a, alpha in enumerate(alphas):
                value = mean[(a, *site)]
                if value > best or (value == best and alpha > choice[site]):
                    best, choice[site], score[site] = value, alpha, tried[(a, *site)]
        scores.append(score)
        choices.append(choice)
        means.append(mean)
    return np.stack(scores), np.stack(choices), np.stack(means, axis=1)


@pytest.mark.parametrize("name", CASES)
def test_a_hand_written_loop(rng, name):
    more, d = CASES[name]
    X, y = _problem(rng, d)
    outer = list(KFold(3).split(y))
    found = nested_map(X, y, ALPHAS, **more)
    scores, choices, means = _by_hand(X, y, ALPHAS, outer, 3, **more)
    tolerances.assert_close(found.inner, means, tolerances.SCORE)
    np.testing.assert_array_equal(found.alpha, choices)
    assert len(np.unique(choices)) > 1  # there was something to choose
    tolerances.assert_close(found.scores.scores, scores, tolerances.SCORE)
    assert found.scores.dims == ("fold", "site0", "site1")
    assert (found.scores.status == Status.OK).all()
    assert np.isfinite(found.scores.se).all()
    assert found.path.dims == ("alpha", "fold", "site0", "site1")
    tolerances.assert_same(found.path.scores, score_map(X, y, alpha=ALPHAS, **more).scores)


def test_splitters_and_any_number_of_site_axes(rng):
    X, y = _problem(rng, 8)
    outer, inner = RepeatedKFold(n_splits=2, n_repeats=2, random_state=0), KFold(4)
    few = ALPHAS[::2]
    for states in (X[:, 0], X[:, 0, 0]):
        found = nested_map(states, y, few, cv=outer, inner_cv=inner)
        expected = _by_hand(states, y, few, list(outer.split(y)), inner)
        np.testing.assert_array_equal(found.alpha, expected[1])
        tolerances.assert_close(found.scores.scores, expected[0], tolerances.SCORE)
    masks = []
    for train, _ in KFold(3).split(y):
        mask = np.zeros(N, dtype=bool)
        mask[train] = True
        masks.append((mask, ~mask))
    tolerances.assert_same(
        nested_map(X, y, ALPHAS, cv=masks).scores.scores, nested_map(X, y, ALPHAS).scores.scores
    )
    assert nested_map(X[:, :, :0], y, ALPHAS).alpha.shape == (3, 2, 0)


def _leaking(X, y, alphas, **arguments):
    """What nested_map must not do: choose by the scores of the outer test parts."""
    path = score_map(X, y, alpha=list(alphas), **arguments)
    return _chosen(np.array(alphas), path, path.scores, np.zeros(path.scores.shape[1:], np.int8))


def _differs(method, X, y, change_states, change_labels):
    """Whether corrupting a fold's test rows changes its choice or inner means, per fold."""
    before, changed = method(X, y, ALPHAS), []
    for f, (train, test) in enumerate(KFold(3).split(y)):
        states, labels = X.copy(), y.copy()
        if change_states:
            # As large as the others: the mean of all rows is what shifts, and that only rounds.
            states[test] = np.random.default_rng(1).normal(size=states[test].shape)
        if change_labels:
            labels[test] = np.random.default_rng(2).permutation(y[train])[: len(test)]
        after = method(states, labels, ALPHAS)
        apart = np.abs(after.inner[:, f] - before.inner[:, f]).max()
        changed.append(apart > tolerances.CHUNK or (after.alpha[f] != before.alpha[f]).any())
        others = [g for g in range(3) if g != f]
        # It is a corruption.
        assert np.abs(after.inner[:, others] - before.inner[:, others]).max() > tolerances.DIFFERS
    return changed


@pytest.mark.parametrize("what", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("name", ["primal", "dual", "primal-train", "dual-train"])
def test_the_choice_does_not_see_the_test_part(rng, name, what):
    """And the check is one that sees a leak: choosing by the test part fails it in every fold."""
    more, d = CASES[name]
    X, y = _problem(rng, d)

    def honest(X, y, alphas):
        return nested_map(X, y, alphas, **more)

    def leaking(X, y, alphas):
        return _leaking(X, y, alphas, **more)

    assert _differs(honest, X, y, *what) == [False] * 3
    assert _differs(leaking, X, y, *what) == [True] * 3


def test_noise_is_not_flattered(rng):
    """With nothing to find the best of many penalties by the test part looks better than it is."""
    y = cases.labels(rng, N)
    X = rng.normal(size=(N, 20, 6))
    single = score_map(X, y, alpha=1.0).mean.mean()
    assert _leaking(X, y, ALPHAS).scores.mean.mean() > single
    assert nested_map(X, y, ALPHAS).scores.mean.mean() < _leaking(X, y, ALPHAS).scores.mean.mean()


def test_of_equals_the_largest(rng):
    X, y = _problem(rng, 8, (2,))
    alphas = [10.0, 1.0, 10.0, 100.0]
    path = score_map(X, y, alpha=alphas)
    inner = np.zeros((4, 3, 2))
    inner[:2, 0] = 1.0
    inner[3, 1] = np.nan
    found = _chosen(np.array(alphas), path, inner, np.zeros((3, 2), np.int8))
    assert found.alpha[0].tolist() == [10.0, 10.0]
    assert np.isnan(found.alpha[1]).all()
    assert found.alpha[2].tolist() == [100.0, 100.0]
    np.testing.assert_array_equal(found.scores.scores[0], path.scores[0, 0])
    np.testing.assert_array_equal(found.scores.scores[2], path.scores[3, 2])
    # One feature: the projection is a line, whose scale and so whose penalty means nothing.
    one = nested_map(X[..., 2:3], y, [1.0, 1.0, 1.0])
    assert (one.alpha == 1.0).all()


def test_groups_stay_together(rng, monkeypatch):
    """Neither the outer nor an inner fold has a group on both sides."""
    X, y = _problem(rng, 8, (2,))
    groups = np.array([f"g{number}" for number in rng.permutation(np.arange(N) // 3)])
    seen = []
    original = nested_map.__globals__["OnePass"].score_map

    def watched(self, labels, *rest, **named):
        seen.append(named["cv"])
        return original(self, labels, *rest, **named)

    monkeypatch.setattr("gpu_smds.inference.nested_cv.OnePass.score_map", watched)
    for inner_cv in (3, np.int64(3), GroupKFold(3)):
        seen.clear()
        found = nested_map(X, y, ALPHAS, cv=GroupKFold(3), inner_cv=inner_cv, groups=groups)
        outer, inner = seen
        assert (len(outer), len(inner)) == (3, 9)
        for train, test in outer + inner:
            assert not set(groups[train]) & set(groups[test])
        for f, (train, test) in enumerate(outer):
            for fit, held in inner[3 * f : 3 * f + 3]:
                assert not set(test) & set(np.r_[fit, held])
                np.testing.assert_array_equal(np.sort(np.r_[fit, held]), train)
        expected = _by_hand(X, y, ALPHAS, outer, GroupKFold(3), groups)
        np.testing.assert_array_equal(found.alpha, expected[1])


def test_undefined_sites(rng):
    X, y = _problem(rng, 8)
    X[:, 0, 1] = X[0, 0, 1]
    X[5, 1, 1, 3] = np.nan
    X[:18, 1, 0] = X[0, 1, 0]  # constant in the first test part only
    found = nested_map(X, y, ALPHAS)
    expected = np.zeros((3, 2, 2), dtype=int)
    expected[:, 0, 1], expected[:, 1, 1] = Status.CONSTANT, Status.NON_FINITE
    expected[0, 1, 0] = Status.CONSTANT
    np.testing.assert_array_equal(np.isnan(found.scores.scores), found.scores.status > 0)
    # Where the other two folds train on constant rows the inner test part may be constant too.
    np.testing.assert_array_equal(found.scores.status[:, 0], expected[:, 0])
    np.testing.assert_array_equal(found.scores.status[:, 1, 1], expected[:, 1, 1])
    assert found.scores.status[0, 1, 0] == Status.CONSTANT
    assert np.isnan(found.alpha[:, 0, 1]).all()
    assert np.isnan(found.alpha[:, 1, 1]).all()
    # A choice was made where only the test part is constant.
    assert found.alpha[0, 1, 0] in ALPHAS
    alone = nested_map(X[:, 0, 0], y, ALPHAS)
    tolerances.assert_same(found.scores.scores[:, 0, 0], alone.scores.scores)
    np.testing.assert_array_equal(found.alpha[:, 0, 0], alone.alpha)
    assert (alone.scores.status == Status.OK).all()


def test_an_inner_part_of_one_label_leaves_no_choice(rng):
    y = np.r_[cases.labels(rng, 18), np.zeros(12), cases.labels(rng, N - 30)]
    X = cases.states(rng, y, (2,), 8)
    found = nested_map(X, y, ALPHAS)
    # Rows 18 to 29 are the first inner test part of the first fold.
    assert (found.scores.status[0] == Status.DEGENERATE_LABELS).all()
    assert np.isnan(found.scores.scores[0]).all()
    assert np.isnan(found.alpha[0]).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"alphas": 1.0}, "takes a list of alphas"),
        ({"alphas": []}, "empty list"),
        ({"alphas": [1.0, -1.0]}, "not negative"),
        ({"manifold": ["circular"]}, "one manifold and metric"),
        ({"metric": ["scale_normalized_stress"]}, "one manifold and metric"),
        ({"standardize": "all"}, "shows the test part to the choice"),
        ({"standardize": "yes"}, "standardize must be one of"),
        ({"cv": None}, "holds nothing out"),
        ({"inner_cv": None}, "holds nothing out"),
        ({"inner_cv": 9}, "number of splits"),
        ({"y": np.ones(12)}, "all labels are equal"),
    ],
)
def test_wrong_arguments_say_what_to_pass(rng, change, says):
    arguments = {
        "X": rng.normal(size=(12, 2, 3)),
        "y": rng.permutation(12) + 0.0,
        "alphas": [1.0, 2.0],
    }
    with pytest.raises(ValueError, match=says):
        nested_map(**arguments | change)
