"""Folds of neighbouring rows where the rows are in the order of the labels."""

import warnings

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, KFold

from gpu_smds import discover, score_map

N = 90


@pytest.fixture(scope="module")
def circle():
    rng = np.random.default_rng(0)
    y = rng.random(N)
    angle = 2 * np.pi * y
    X = np.stack([np.cos(angle), np.sin(angle)], 1) @ rng.normal(size=(2, 8))
    return X + 0.05 * rng.normal(size=X.shape), y


def _said(call, *arguments, **more):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        call(*arguments, **more)
    return [str(one.message) for one in said]


@pytest.mark.parametrize("cv", [5, KFold(5)], ids=str)
@pytest.mark.parametrize("call", [score_map, discover])
def test_sorted_labels_are_said(circle, cv, call):
    X, y = circle
    order = np.argsort(y)
    more = {"manifolds": ["circular", "euclidean"]} if call is discover else {}
    (said,) = _said(call, X[order], y[order], cv=cv, **more)
    assert "the training labels of fold 1 leave out" in said
    assert "cv=KFold(5, shuffle=True, random_state=0)" in said
    assert not _said(call, X, y, cv=cv, **more)


def test_categories_in_their_order_are_said(circle):
    X, _ = circle
    y = np.repeat(np.arange(6.0), N // 6)
    (said,) = _said(score_map, X, y, manifold="cluster", cv=3)
    assert "leave out 2 of 6 values" in said
    assert not _said(score_map, X, np.random.default_rng(1).permutation(y), "cluster", cv=3)


def test_who_splits_on_purpose_is_not_bothered(circle):
    X, y = circle
    order, groups = np.argsort(y), np.arange(N) // 30
    pairs = list(GroupKFold(3).split(X, groups=groups))
    for cv in (pairs, KFold(5, shuffle=True, random_state=0), None):
        assert not _said(score_map, X[order], y[order], cv=cv)
    assert not _said(score_map, X[order], y[order], cv=GroupKFold(3), groups=groups)


def test_one_odd_label_is_no_order(circle):
    X, y = circle
    y = y.copy()
    y[7] = 3.0
    assert not _said(score_map, X, y, manifold="euclidean", cv=5)
