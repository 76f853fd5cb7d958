"""States of every kind that people have: scored as they are, or refused in one line."""

import numpy as np
import pandas as pd
import pytest
import tolerances
import torch
from sklearn.cross_decomposition import PLSRegression

from gpu_smds import (
    HybridSMDS,
    OnePass,
    Status,
    SupervisedMDS,
    bootstrap_map,
    discover,
    fit_map,
    nested_map,
    score_map,
    significance_map,
    transfer_map,
)

N, D = 36, 10
FLOAT8 = [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz]
_random = np.random.default_rng(0)
LABELS = _random.permutation(N) / N
_STATES = _random.normal(size=(N, 4, D)) + 100 * (np.arange(D) == 0)
_turn = 2 * np.pi * LABELS[:, None]
_STATES[..., 1] += 3 * np.cos(_turn)
_STATES[..., 2] += 3 * np.sin(_turn)
_STATES[:, 1] = _STATES[0, 1]  # does not vary
_STATES[5, 2, 0] = np.nan
STATES = torch.from_numpy(_STATES)


class _Store:
    """A lazily read store, like that of a file."""

    def __init__(self, states):
        self.shape, self.dtype, self._states = states.shape, states.dtype, states

    def __getitem__(self, index):
        return self._states[index]


_RIGID = {"orthonormal": True, "standardize": "all"}


@pytest.mark.parametrize(
    ("dtype", "store", "how"),
    [
        *((dtype, store, {"standardize": "train"}) for dtype in FLOAT8 for store in (False, True)),
        *((torch.float8_e4m3fn, False, how) for how in ({}, _RIGID, {"solver": "pls"})),
    ],
)
def test_float8_states_are_scored_as_float32(dtype, store, how):
    states = STATES.to(dtype)
    expected = score_map(states.float(), LABELS, **how)
    found = score_map(_Store(states) if store else states, LABELS, **how)
    tolerances.assert_same(found.scores, expected.scores)
    worst = found.worst_status
    assert worst[1] == Status.CONSTANT
    assert worst[2] == Status.NON_FINITE
    assert worst[0] == worst[3] == Status.OK


def test_a_feature_that_varies_by_one_step_of_float8_is_no_constant():
    states = torch.full((N, D), 8.0)
    states[:, 0] += torch.from_numpy(LABELS > 0.5)  # 8 and 9 are neighbours in e4m3
    assert score_map(states.to(torch.float8_e4m3fn), LABELS, "euclidean").mean > 0.5


def test_maps_and_estimators_take_float8():
    states = STATES[:, 3].to(torch.float8_e5m2)
    expected = fit_map(states.float(), LABELS)
    found = fit_map(states, LABELS)
    tolerances.assert_same(found.W, expected.W)
    tolerances.assert_same(found.transform(states), expected.transform(states.float()))
    model = SupervisedMDS().fit(states, LABELS)
    assert model.score(states, LABELS) == SupervisedMDS().fit(states.float(), LABELS).score(
        states.float(), LABELS
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn], ids=str)
def test_a_reducer_of_scikit_learn_takes_what_numpy_does_not_have(dtype):
    states = STATES[:, 3].to(dtype)
    model = HybridSMDS(reducer=PLSRegression(n_components=2)).fit(states, LABELS)
    plain = HybridSMDS(reducer=PLSRegression(n_components=2)).fit(states.float(), LABELS)
    tolerances.assert_same(model.transform(states), plain.transform(states.float()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2], ids=str)
def test_a_list_of_tensors_is_their_stack(dtype):
    states = STATES[:, 3].to(dtype)
    fitted = fit_map(list(states), LABELS)
    tolerances.assert_same(fitted.W, fit_map(states, LABELS).W)
    assert isinstance(fitted.transform(list(states)), np.ndarray)
    listed = SupervisedMDS().fit(list(states), LABELS)
    tolerances.assert_same(listed.W_, SupervisedMDS().fit(states, LABELS).W_.numpy())


_FITTED = fit_map(_STATES[:, 3:], LABELS)
_FUNCTIONS = {
    "score_map": lambda X: score_map(X, LABELS),
    "fit_map": lambda X: fit_map(X, LABELS),
    "discover": lambda X: discover(X, LABELS),
    "significance_map": lambda X: significance_map(X, LABELS, 9),
    "bootstrap_map": lambda X: bootstrap_map(X, LABELS, 9),
    "nested_map": lambda X: nested_map(X, LABELS, [1.0, 2.0]),
    "transfer_map": lambda X: transfer_map(_FITTED, X, LABELS),
    "OnePass": OnePass,
    "transform": _FITTED.transform,
    "score": lambda X: _FITTED.score(X, LABELS),
}
_NESTED = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(3, 3)], layout=torch.jagged)
_TABLE = pd.DataFrame(_STATES[:, 3])
_REFUSED = [
    (_NESTED, TypeError, r"^X is a nested tensor: .* pass torch.stack\(X.unbind\(\)\)$"),
    ([_NESTED, _NESTED], TypeError, r"^X\[0\] is a nested tensor"),
    ({"a": _STATES}, TypeError, "^X is a dict: pass its values as one array$"),
    (_TABLE, TypeError, r"^X is a DataFrame: pass X.to_numpy\(\)$"),
    (_TABLE.rename(columns={0: "dtype"}), TypeError, r"^X is a DataFrame: pass X.to_numpy\(\)$"),
    ([np.ones(3), np.ones(4)], ValueError, "parts differ in shape: take the same number of tokens"),
    ([torch.ones(3), torch.ones(4)], ValueError, r"parts differ in shape \(here \(3,\) and \(4,\)"),
    (_STATES.astype(object), TypeError, r"Python objects: pass np.array\(list\(X\), dtype=float\)"),
    ([{}] * N, TypeError, "got Python objects"),
    (torch.ones(N, D, dtype=torch.uint8).view(torch.float4_e2m1fn_x2), TypeError, "unpack it"),
]


@pytest.mark.parametrize("function", _FUNCTIONS)
@pytest.mark.parametrize(("states", "error", "line"), _REFUSED)
def test_other_kinds_are_refused_with_what_to_do(function, states, error, line):
    with pytest.raises(error, match=line) as refused:
        _FUNCTIONS[function](states)
    assert "\n" not in str(refused.value)


def test_a_store_that_gives_a_nested_tensor_is_refused():
    class Nested(_Store):
        def __getitem__(self, index):
            return _NESTED

    with pytest.raises(TypeError, match=r"^X is a nested tensor"):
        score_map(Nested(STATES), LABELS)


def test_what_is_said_of_objects_helps():
    given = list(_STATES[:, 3].astype(object))
    objects = np.empty(N, dtype=object)
    objects[:] = given
    for X in (given, objects, _STATES[:, 3].astype(object)):
        tolerances.assert_same(np.array(list(X), dtype=float), _STATES[:, 3])


def test_the_estimator_takes_tables_and_refuses_dictionaries():
    plain = SupervisedMDS().fit(_STATES[:, 3], LABELS)
    named = _TABLE.rename(columns=str)
    tolerances.assert_same(
        SupervisedMDS().fit(named, LABELS).transform(named), plain.transform(_STATES[:, 3])
    )
    with pytest.raises(TypeError, match=r"^X is a dict"):
        SupervisedMDS().fit({"a": 1}, LABELS)
