"""Rows sorted by label with an int as cv are warned of; shuffled ones and others never."""

import itertools
import math
import warnings

import numpy as np
import pytest
import tolerances
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut

from gpu_smds import (
    OnePass,
    bootstrap_map,
    compare_manifolds,
    discover,
    discover_manifolds,
    fit_map,
    nested_map,
    score_map,
    significance_map,
    transfer_map,
)
from gpu_smds._labels import Labels
from gpu_smds.crossval.folds import resolve_folds
from gpu_smds.crossval.sorted_rows import chance_of_runs, chances_of_order, warn_if_sorted

N = 60
SORTED = np.arange(N) / N
WEEKDAYS = np.arange(7.0)


def _circle(y):
    X = np.random.default_rng(0).normal(size=(len(y), 2, 8))
    X[..., 0] += 4 * np.cos(2 * np.pi * y)[:, None]
    X[..., 1] += 4 * np.sin(2 * np.pi * y)[:, None]
    return X


STATES = _circle(SORTED)


def _warns(labels, folds):
    tests = resolve_folds(folds, labels).tests
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        warned = warn_if_sorted(Labels(labels), tests, "shuffle")
    assert len(said) == warned
    return warned


CALLS = {
    "score_map": lambda **cv: score_map(STATES, SORTED, **cv),
    "OnePass": lambda **cv: OnePass(STATES).score_map(SORTED, **cv),
    "transfer_map": lambda **cv: transfer_map(fit_map(STATES, SORTED), STATES, SORTED, **cv),
    "significance_map": lambda **cv: significance_map(STATES, SORTED, 3, **cv),
    "bootstrap_map": lambda **cv: bootstrap_map(STATES, SORTED, n_resamples=3, **cv),
    "discover": lambda **cv: discover(STATES, SORTED, ["circular", "cluster"], **cv),
    "nested_map": lambda **cv: nested_map(STATES, SORTED, [0.1, 1.0], **cv),
    "inner folds": lambda cv: nested_map(
        STATES, SORTED, [1.0, 2.0], cv=KFold(3, shuffle=True, random_state=0), inner_cv=cv
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_function_warns_once_at_the_callers_line(name):
    with pytest.warns(UserWarning, match="sorted by label.*fold 0 leaves out") as said:
        CALLS[name](cv=3)
    assert len(said) == 1
    assert said[0].filename == __file__
    argument = "inner_cv" if name == "inner folds" else "cv"
    assert f"shuffle: {argument}=KFold(3, shuffle=True, random_state=0)" in str(said[0].message)


@pytest.mark.parametrize("name", [name for name in CALLS if name != "inner folds"])
def test_what_the_warning_says_helps(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        more = {"inner_cv": KFold(3, shuffle=True)} if name == "nested_map" else {}
        CALLS[name](cv=KFold(3, shuffle=True, random_state=0), **more)


def test_the_score_is_as_before_and_shuffling_is_better():
    with pytest.warns(UserWarning, match="sorted by label"):
        held_out = score_map(STATES, SORTED, cv=3)
    np.testing.assert_array_equal(held_out.scores, score_map(STATES, SORTED, cv=KFold(3)).scores)
    shuffled = score_map(STATES, SORTED, cv=KFold(3, shuffle=True, random_state=0))
    assert (shuffled.mean > held_out.mean + 0.2).all()


def test_the_functions_named_as_in_smds_say_their_own_argument():
    with pytest.warns(UserWarning, match="sorted by label.*shuffle: random_state=0$") as said:
        discover_manifolds(STATES[:, 0], SORTED, ["circular"])
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        discover_manifolds(STATES[:, 0], SORTED, ["circular"], random_state=0)
        compare_manifolds(STATES[:, 0], SORTED, ["circular", "cluster"], n_repeats=2)


@pytest.mark.parametrize(
    ("labels", "manifold", "says"),
    [
        (SORTED, "circular", "leaves out labels from 0 to 0.316667, which"),
        (np.repeat(["a", "b", "c"], 20), "cluster", "leaves out categories, which"),
        (
            np.datetime64("2024-05-01") + np.arange(N),
            "euclidean",
            "leaves out labels from 2024-05-01 to 2024-05-20, which",
        ),
    ],
    ids=["numbers", "categories", "dates"],
)
def test_what_is_left_out_is_said_in_the_words_of_the_labels(labels, manifold, says):
    with pytest.warns(UserWarning, match=f"fold 0 {says} its test part holds"):
        score_map(STATES, labels, manifold)


@pytest.mark.parametrize(
    "cv",
    [
        None,
        KFold(3),
        GroupKFold(3),
        LeaveOneGroupOut(),
        [(np.arange(20, N), np.arange(20)), (np.arange(40), np.arange(40, N))],
    ],
    ids=["none", "KFold", "groups", "leave one out", "pairs"],
)
def test_what_is_held_out_on_purpose_is_not_warned_of(cv):
    groups = None if cv is None or isinstance(cv, list | KFold) else np.arange(N) // 12
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score_map(STATES, SORTED, cv=cv, groups=groups)


_random = np.random.default_rng(1)
SORTED_LABELS = {
    "up": SORTED,
    "down": SORTED[::-1],
    "around the end": (SORTED + 0.37) % 1,
    "few": np.arange(12) / 12,
    "weekdays": np.repeat(WEEKDAYS, 3),
    "weekdays in blocks": np.repeat(_random.permutation(WEEKDAYS), 4),
    "months, days within them shuffled": np.repeat(np.arange(12.0), 10) + _random.random(120),
    "nearly": np.sort(_random.random(120)) + 0.05 * _random.normal(size=120),
    "second column": np.c_[_random.random(N), SORTED],
    "six classes": np.repeat(np.arange(6.0), 5),
}
OTHER_LABELS = {
    "weekdays in turn": np.tile(WEEKDAYS, 9),
    "names by weekdays": np.tile(np.repeat(WEEKDAYS, 2), 6),
    "two classes, both in every training part": np.repeat([0.0, 1.0], 30),
    "hardly": np.sort(_random.random(300)) + 0.6 * _random.normal(size=300),
    "too few": np.arange(8) / 8,
}


@pytest.mark.parametrize("folds", [3, 5])
@pytest.mark.parametrize("labels", SORTED_LABELS.values(), ids=SORTED_LABELS)
def test_sorted(labels, folds):
    assert _warns(labels, folds)


@pytest.mark.parametrize("folds", [3, 5])
@pytest.mark.parametrize("labels", OTHER_LABELS.values(), ids=OTHER_LABELS)
def test_not_sorted(labels, folds):
    assert not _warns(labels, folds)


def test_each_row_its_own_fold_leaves_nothing_out():
    assert not _warns(SORTED, N)


def test_shuffled_rows_are_not_warned_of():
    rng = np.random.default_rng(2)
    kinds = [
        lambda n: np.arange(n) / n,
        lambda n: np.arange(n) % 3 + 0.0,
        lambda n: rng.integers(0, 7, n) + 0.0,
        lambda n: np.c_[np.arange(n) // 4, np.arange(n) % 4] + 0.0,
        lambda n: np.repeat([0.0, 1.0, 2.0], [n - 3, 2, 1]),
    ]
    for n in [*range(6, 31, 3), 100]:
        for kind, folds in itertools.product(kinds, (2, 3, 5)):
            for _ in range(4):
                assert not _warns(rng.permutation(kind(n)), folds)


@pytest.mark.parametrize("sizes", [(4, 4), (5, 3), (3, 3, 3), (4, 3, 2), (2, 2, 2, 2)])
def test_the_chance_of_runs_is_an_upper_bound(sizes):
    n = sum(sizes)
    folds = np.repeat(np.arange(len(sizes)), sizes)
    sequences = set(itertools.permutations(folds.tolist()))
    runs = np.array([1 + np.count_nonzero(np.diff(s)) for s in sequences])
    assert len(sequences) == math.factorial(n) / math.prod(map(math.factorial, sizes))
    for r in range(len(sizes), n + 1):
        exact = (runs <= r).mean()
        assert chance_of_runs(r, np.array(sizes)) >= exact - tolerances.ROUNDING
    # Exact where it decides: no fold is cut.
    exact = (runs <= len(sizes)).mean()
    chance = chance_of_runs(len(sizes), np.array(sizes))
    tolerances.assert_close(chance, exact, tolerances.ROUNDING)


@pytest.mark.parametrize("labels", [(0, 1, 2, 3, 4, 5), (0, 0, 1, 1, 2, 2), (0, 0, 0, 1, 2)])
def test_the_chances_of_order_are_upper_bounds(labels):
    counts = np.bincount(labels)
    found = [
        chances_of_order(np.array(order), counts) for order in set(itertools.permutations(labels))
    ]
    for chances in np.array(found).T:
        sorted_orders = chances < 1
        if sorted_orders.any():
            assert chances[sorted_orders].max() >= sorted_orders.mean() - tolerances.ROUNDING
