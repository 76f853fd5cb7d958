"""Arguments that mean nothing: each is refused by every function, in one line that names it."""

import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import tolerances
import torch
from hostile.examples import examples
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.cross_decomposition import PLSRegression
from sklearn.model_selection import RepeatedKFold

from gpu_smds import (
    CircularShape,
    EuclideanShape,
    HybridSMDS,
    OnePass,
    SignificanceMap,
    SphericalShape,
    Status,
    SupervisedMDS,
    _memory,
    bootstrap_map,
    compare_manifolds,
    discover,
    discover_manifolds,
    fit_map,
    nested_map,
    principal_angles,
    score_map,
    significance_map,
    similarity_map,
    transfer_map,
)
from gpu_smds.geometry.as_json import as_json, from_json

N = 12
_RNG = np.random.default_rng(0)
STATES = _RNG.normal(size=(N, 2, 3))
LABELS = np.random.default_rng(0).permutation(N) / N
FITTED = fit_map(STATES, LABELS)
ONE_SITE = SupervisedMDS().fit(STATES[:, 0], LABELS)


def _one_pass(X=STATES, y=LABELS, device=None, memory_budget=None, progress=False, **more):
    once = OnePass(X, device, memory_budget)
    planned = once.score_map(y, **more)
    once.run(progress)
    return planned()


def _estimate(X=STATES[:, 0], y=LABELS, **parameters):
    return SupervisedMDS(**parameters).fit(X, y)


def _reduce(X=STATES[:, 0], y=LABELS, **parameters):
    return HybridSMDS(reducer=PLSRegression(2), **parameters).fit(X, y)


def _with(function, **fixed):
    return lambda **given: function(**{"X": STATES, "y": LABELS} | fixed | given)


#: Every public function that computes, with arguments that it takes.
FUNCTIONS = {
    "score_map": _with(score_map),
    "fit_map": _with(fit_map),
    "transfer_map": _with(transfer_map, fitted=FITTED),
    "OnePass": _one_pass,
    "significance_map": _with(significance_map, n_permutations=5),
    "bootstrap_map": _with(bootstrap_map, n_resamples=5),
    "nested_map": _with(nested_map, alphas=[0.1, 1.0]),
    "discover": _with(discover, manifolds=["circular"]),
    "discover_manifolds": _with(discover_manifolds, X=STATES[:, 0], shapes=["circular"]),
    "compare_manifolds": _with(compare_manifolds, manifolds=["circular"], n_repeats=2, n_folds=2),
    "SupervisedMDS": _estimate,
    "SupervisedMDS.score": lambda X=STATES[:, 0], y=LABELS, **more: ONE_SITE.score(X, y, **more),
    "HybridSMDS": _reduce,
    "FittedMap.score": lambda X=STATES, y=LABELS, **more: FITTED.score(X, y, **more),
}
ONLY_STATES = {
    "FittedMap.transform": FITTED.transform,
    "SupervisedMDS.transform": ONE_SITE.transform,
    "SupervisedMDS.inverse_transform": ONE_SITE.inverse_transform,
}
# What takes one site has states of one.
ONE = {name for name in (*FUNCTIONS, *ONLY_STATES) if "MDS" in name} | {"discover_manifolds"}
BY_CV = {"score_map", "transfer_map", "OnePass", "significance_map", "bootstrap_map", "nested_map"}
BY_CV |= {"discover"}
RIGID = {"score_map", "fit_map", "OnePass", "significance_map", "bootstrap_map", "discover"}
RIGID |= {"compare_manifolds", "SupervisedMDS", "HybridSMDS"}
BY_ALPHA = RIGID
DEVICES = set(FUNCTIONS) - {"SupervisedMDS.score", "HybridSMDS", "FittedMap.score"}
BUDGETS = DEVICES - {"discover_manifolds", "SupervisedMDS"}
PROGRESS = BUDGETS


class Store:
    """A store that says one shape and gives another."""

    dtype = np.dtype(float)

    def __init__(self, part, shape=STATES.shape):
        self.part, self.shape = part, shape

    def __getitem__(self, index):
        return self.part


def _masked(values):
    mask = np.zeros(np.shape(values), dtype=bool)
    mask.flat[0] = True
    return np.ma.masked_array(values, mask)


with warnings.catch_warnings():
    # torch warns of what it has not finished or will remove.
    warnings.simplefilter("ignore")
    _PLAIN_TENSOR = torch.ones(STATES.shape)
    _QUANTIZED = torch.quantize_per_tensor(_PLAIN_TENSOR, 0.1, 0, torch.quint8)
    _NESTED = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(3, 3)])
    _MASKED = torch.masked.masked_tensor(_PLAIN_TENSOR, _PLAIN_TENSOR > 0)

# (argument, value, type of the error, what the line says, functions that take it)
WRONG_LABELS = [
    (_masked(LABELS), ValueError, "labels has masked entries: fill or drop"),
    ([1.0] * 11 + [np.ma.masked], ValueError, "labels has masked entries"),
    (_MASKED, TypeError, "MaskedTensor"),
    (LABELS + 1j, ValueError, "labels must be real, got complex"),
    (list(LABELS + 1j), ValueError, "labels must be real, got complex"),
    (torch.from_numpy(LABELS + 1j), ValueError, "labels must be real, got complex"),
    ([str(v) for v in LABELS], ValueError, "labels are text, and .* takes numbers or dates"),
    (np.array([str(v) for v in LABELS], dtype=object), ValueError, "labels are text, and .* takes"),
    (np.arange(N).astype("m8[D]"), ValueError, "labels must be numbers, got timedelta64"),
    (10**400 * np.arange(N).astype(object), ValueError, "labels must be numbers"),
    (2**60 + np.arange(N), ValueError, r"labels hold integers beyond 2\*\*53"),
    (LABELS * 1e200, ValueError, "labels of up to 9.16667e[+]199 have squares .* scale them"),
    (
        torch.from_numpy(LABELS).to_sparse(),
        TypeError,
        r"labels is a sparse tensor: pass labels\.to_dense\(\)",
    ),
    (torch.zeros(N, device="meta"), TypeError, "labels is on the device 'meta'"),
    (np.zeros((N, 0)), ValueError, r"labels must be \(n,\) or \(n, k\)"),
]
WRONG_STATES = [
    (_masked(STATES), ValueError, "masked entries: fill or drop"),
    (STATES + 1j, (ValueError, TypeError), "must be real"),
    (torch.from_numpy(STATES + 1j), (ValueError, TypeError), "must be real"),
    (torch.from_numpy(STATES).to_sparse(), TypeError, r"sparse tensor: pass X\S*\.to_dense\(\)"),
    (torch.zeros(STATES.shape, device="meta"), TypeError, "is on the device 'meta'"),
    (_QUANTIZED, TypeError, r"quantized tensor: pass X\S*\.dequantize\(\)"),
    (_NESTED, TypeError, "nested tensor"),
    (_MASKED, TypeError, "MaskedTensor"),
]
NO_STATES = [
    (None, TypeError, "X must be a torch tensor"),
    ("states", TypeError, "X must be a torch tensor"),
    (3.0, TypeError, "X must be a torch tensor"),
    (np.ndarray, TypeError, "X must be a torch tensor"),
    (np.array(3.0), ValueError, r"X must be \(n_samples, \*sites, n_features\), got shape \(\)"),
    (np.zeros(STATES.shape, dtype=object), TypeError, "X must be floating point"),
    ([[1.0], [1.0, 2.0]], ValueError, "X must be an array"),
    (sparse.csr_matrix(np.eye(N)), TypeError, r"X is a sparse matrix: pass X.toarray\(\)"),
    (Store(STATES, (N, None, 3)), TypeError, r"X.shape must be integers, got \(12, None, 3\)"),
    (Store(STATES, (N, -2, 3)), ValueError, "X.shape must not be negative"),
    (Store(STATES[:5, :1]), ValueError, r"X\[:, \d:\d\] gave shape \(5, 1, 3\), expected \(12, "),
    (
        Store(STATES[:, 0]),
        ValueError,
        r"X\[:, \d:\d\] gave shape \(12, 3\), expected \(12, \d, 3\)",
    ),
    (Store(_masked(STATES)), ValueError, "X has masked entries|gave shape"),
    (Store(STATES.astype(int)), ValueError, "gave int64, expected floating point|gave shape"),
]
WRONG_FOLDS = [
    (True, TypeError, "{cv} must be a number of folds"),
    (2.5, TypeError, "{cv} must be a number of folds"),
    ("3", TypeError, "{cv} must be a number of folds"),
    (1, ValueError, "{cv} must be at least 2 folds"),
    ([1, 2], ValueError, r"{cv} must give pairs \(train, test\)"),
    ([([0.0, 1.5], [2, 3])], TypeError, "{cv} must give integers as row numbers, got float64"),
    ([([0, 1], [2, np.nan])], TypeError, "{cv} must give integers"),
    ([(["0", "1"], ["2", "3"])], TypeError, "{cv} must give integers"),
    ([(np.array([0, 1], dtype=object), [2, 3])], TypeError, "{cv} must give integers"),
    ([([[0], [1]], [2, 3])], ValueError, "{cv} must give one axis of row numbers"),
    ([([[0], [1, 2]], [2, 3])], ValueError, "{cv} must give row numbers"),
    ([(_masked([0, 1, 2]), [3, 4])], ValueError, "{cv} has masked entries"),
    ([([True, False], [2, 3])], ValueError, "{cv} gives a mask of 2 rows"),
    (RepeatedKFold(n_splits=2, n_repeats=10**13), ValueError, "{cv} of .* folds takes .* free"),
]
WRONG_ALPHAS = [
    ("1", TypeError, "alpha must be a real number, got '1'"),
    (True, TypeError, "alpha must be a real number, got True"),
    (1j, TypeError, "alpha must be a real number"),
    (None, TypeError, "alpha must be a real number, got None"),
    (10**400, ValueError, "alpha must be finite"),
    (float("nan"), ValueError, "alpha must be finite"),
    (-1, ValueError, "alpha must be finite and not negative, got -1"),
    ([], ValueError, "alpha is an empty list"),
    ([["1"]], TypeError, "alpha must be a real number"),
    (np.ones((2, 2)), ValueError, r"alpha must be a number or a list, got shape \(2, 2\)"),
    (_masked([1.0, 2.0]), ValueError, "alpha has masked entries"),
]
WRONG_DEVICES = [
    ("", ValueError, "device must be 'cpu' or 'cuda', got ''"),
    ("nope", ValueError, "device must be 'cpu' or 'cuda'"),
    ("meta", ValueError, "device must be 'cpu' or 'cuda'"),
    ("mps", ValueError, "device must be 'cpu' or 'cuda'"),
    (-1, ValueError, "device must be 'cpu' or 'cuda'"),
    (True, TypeError, "device must be None, 'cpu' or 'cuda'"),
    (1.5, TypeError, "device must be None, 'cpu' or 'cuda'"),
    (object(), TypeError, "device must be None, 'cpu' or 'cuda', got <object"),
]
WRONG_BUDGETS = [
    ("4GB", TypeError, "memory_budget must be a whole number of bytes"),
    (True, TypeError, "memory_budget must be a whole number of bytes"),
    (1.5, TypeError, "memory_budget must be a whole number of bytes"),
    (float("inf"), TypeError, "memory_budget must be a whole number of bytes"),
    (float("nan"), TypeError, "memory_budget must be a whole number of bytes"),
    (-5, ValueError, "memory_budget must be a positive number"),
    (10**30, ValueError, "memory_budget is 1e[+]12 EB, but the cpu has"),
]
WRONG_GROUPS = [
    (_masked(np.arange(N)), ValueError, "groups has masked entries"),
    ("abc", ValueError, "groups must be one per sample"),
    (3, ValueError, "groups must be one per sample"),
    ([1, 2, 3], ValueError, "groups must be one per sample, 12 in all"),
]


def _integers(name, *functions):
    for value in (2.0, True, "2", None, np.float64(2), [2]):
        yield name, value, TypeError, f"{name} must be an integer", functions


def _every_case():
    for value, error, says in WRONG_LABELS:
        yield "y", value, error, says, FUNCTIONS
    for value, error, says in (*WRONG_STATES, *NO_STATES):
        yield "X", value, error, says, set(FUNCTIONS) - ONE
    for value, error, says in WRONG_FOLDS:
        yield "cv", value, error, says.format(cv="cv"), BY_CV
        yield "inner_cv", value, error, says.format(cv="inner_cv"), ["nested_map"]
    for value, error, says in WRONG_ALPHAS:
        yield "alpha", value, error, says, BY_ALPHA
        if not np.isscalar(value) and value is not None:
            yield "alphas", value, error, says.replace("alpha", "alphas"), ["nested_map"]
    for value, error, says in WRONG_DEVICES:
        yield "device", value, error, says, DEVICES
    for value, error, says in WRONG_BUDGETS:
        yield "memory_budget", value, error, says, BUDGETS
    for value, error, says in WRONG_GROUPS:
        yield "groups", value, error, says, BY_CV
    for value in ("False", 1, None, 0.0, np.array([True, False])):
        yield "orthonormal", value, TypeError, "orthonormal must be True or False", RIGID
    for value in ("yes", None, 3):
        yield "progress", value, TypeError, "progress must be True, False or a callable", PROGRESS
    for value in (np.array(["a", "b"]), ["euclidean"], 5):
        yield "standardize", value, ValueError, "standardize must be one of", ["score_map"]
        yield "metric", [value], ValueError, "unknown metric", ["score_map", "discover"]
    for name in ("gpu_accel", "bypass_mds", "save_results", "clear_cache"):
        takes = {"gpu_accel": "SupervisedMDS", "bypass_mds": "HybridSMDS"}
        taker = [takes.get(name, "discover_manifolds")]
        yield name, "False", TypeError, f"{name} must be True or False", taker
    several = ("score_map", "fit_map", "nested_map", "discover", "SupervisedMDS", "HybridSMDS")
    for value in (2.0, True, "2"):
        yield "n_components", value, TypeError, "n_components must be an integer", several
    yield "n_components", 10**12, ValueError, "components.* takes .* free", ["score_map", "fit_map"]
    yield from _integers("n_permutations", "significance_map")
    yield from _integers("n_resamples", "bootstrap_map")
    yield from _integers("n_shuffles", "discover")
    yield from _integers("n_repeats", "compare_manifolds")
    yield from _integers("n_folds", "compare_manifolds", "discover_manifolds")
    yield from _integers("seed", "significance_map", "bootstrap_map", "discover")
    for value in (2.0, True, "2"):
        says = "random_state must be an integer"
        yield "random_state", value, TypeError, says, ["discover_manifolds"]
    yield "seed", -1, ValueError, "seed must be at least 0", ["significance_map", "bootstrap_map"]
    for name, value, function in (
        ("n_permutations", 10**11, "significance_map"),
        ("n_resamples", 10**11, "bootstrap_map"),
        ("n_shuffles", 10**11, "discover"),
        ("n_repeats", 10**11, "compare_manifolds"),
    ):
        yield name, value, ValueError, f"{name}=100,000,000,000 takes .*B are free.*", [function]
        yield name, 10**400, ValueError, f"{name} must be below", [function]
    yield "alpha", range(10**13), ValueError, "alpha of .* takes .* are free", ["score_map"]
    yield "manifolds", "circular", TypeError, "manifolds must be a list", ["discover"]
    yield "manifolds", 5, TypeError, "manifolds must be a list", ["compare_manifolds"]
    yield "fitted", "map", TypeError, "fitted must be a FittedMap", ["transfer_map"]
    yield "exchange", False, ValueError, "exchange must be one of", ["significance_map"]
    names = [1, "a"] * 6
    names = np.array(names, dtype=object)
    yield "groups", names, ValueError, "groups must be names of one kind", ["significance_map"]


def _table():
    for argument, value, error, says, functions in _every_case():
        for function in sorted(functions):
            yield pytest.param(function, {argument: value}, error, says, id=f"{function}-{says}")


def _refused(call, error, says):
    with warnings.catch_warnings():
        # Such as that an imaginary part was dropped.
        warnings.simplefilter("error")
        with pytest.raises(error, match=says) as raised:
            call()
    assert "\n" not in str(raised.value)
    assert type(raised.value) in (ValueError, TypeError)


@pytest.mark.parametrize(("function", "arguments", "error", "says"), list(_table()))
def test_refused_in_one_line(function, arguments, error, says):
    _refused(lambda: FUNCTIONS[function](**arguments), error, says)


@pytest.mark.parametrize("function", sorted(ONE))
@pytest.mark.parametrize(("X", "error", "says"), WRONG_STATES)
def test_states_refused_in_one_line(function, X, error, says):
    call = ONLY_STATES.get(function) or (lambda X: FUNCTIONS[function](X=X))
    _refused(lambda: call(X), error, says)


@pytest.mark.parametrize(("X", "error", "says"), WRONG_STATES)
def test_states_to_transform_refused_in_one_line(X, error, says):
    _refused(lambda: FITTED.transform(X), error, says)
    for wrong in (None, "states", Store(STATES)):
        _refused(lambda w=wrong: FITTED.transform(w), (TypeError, ValueError), "^X must be")


def test_what_scikit_learn_says_in_one_line():
    for X in (np.ones(3), np.full((N, 3), np.nan), sparse.csr_matrix(np.eye(N)), [["a"]] * N):
        _refused(lambda X=X: ONE_SITE.fit(X, LABELS), (ValueError, TypeError), ".")
    ONE_SITE.fit(STATES[:, 0], LABELS)


def test_what_may_be_passed():
    """Numbers of other libraries, masks of all rows, masked arrays where nothing is masked."""
    expected = score_map(STATES, LABELS).scores
    half = np.arange(N) < 6
    for X, y, more in (
        (np.ma.masked_array(STATES), np.ma.masked_array(LABELS), {}),
        (STATES, [Fraction(int(12 * v), 12) for v in LABELS], {}),
        (STATES.tolist(), torch.from_numpy(LABELS), {"alpha": Decimal(1)}),
        (STATES, LABELS, {"alpha": np.float32(1), "orthonormal": np.False_, "cv": np.int64(3)}),
        (
            STATES,
            LABELS,
            {"memory_budget": 1e8, "device": torch.device("cpu:0")},
        ),
        (STATES, LABELS, {"groups": np.arange(N) // 4, "cv": KFOLD}),
    ):
        tolerances.assert_close(score_map(X, y, **more).scores, expected, tolerances.LAST_BITS)
    by_mask = score_map(STATES, LABELS, cv=[(half, ~half)])
    by_number = score_map(STATES, LABELS, cv=[(torch.arange(6), list(range(6, 12)))])
    np.testing.assert_array_equal(by_mask.scores, by_number.scores)
    assert np.isnan(score_map(STATES, LABELS, cv=[([], range(12))]).mean).all()
    tolerances.assert_close(
        score_map(STATES, torch.from_numpy(LABELS).bfloat16()).scores,
        expected,
        tolerances.LABELS_BFLOAT16,
    )
    assert significance_map(STATES, LABELS, np.int64(3), seed=2**70).null.shape == (3, 2)


KFOLD = [(np.setdiff1d(np.arange(N), part), part) for part in np.arange(N).reshape(3, 4)]


def test_labels_of_all_sizes():
    """What normalises labels does not see their size; the others say that it does not fit."""
    expected = score_map(STATES, LABELS, "euclidean").scores
    for scale in (1e-300, 1e-100, 1e100, 1e149):
        found = score_map(STATES, LABELS * scale, "euclidean").scores
        tolerances.assert_close(found, expected, tolerances.ROUNDING)
    plain = EuclideanShape(normalize_labels=False)
    for scale in (1e-9, 1e60):
        found = score_map(STATES, LABELS * scale, plain).scores
        tolerances.assert_close(found, expected, tolerances.ROUNDING)
    for shape in (plain, "discrete_circular"):
        _refused(lambda s=shape: score_map(STATES, LABELS * 1e140, s), ValueError, "scale the lab")
        _refused(lambda s=shape: fit_map(STATES, LABELS * 1e140, s), ValueError, "scale the lab")
    tiny = score_map(STATES, LABELS * 1e-100, plain)
    ((_, explanation),) = tiny.explain().values()
    assert "to within 1e-12" in explanation
    _refused(lambda: fit_map(STATES, LABELS * 1e-100, plain), ValueError, "to within 1e-12")


def test_flags_of_shapes_and_levels_of_results():
    shape = CircularShape(normalize_labels="False")
    _refused(lambda: score_map(STATES, LABELS, shape), TypeError, "normalize_labels must be True")
    tested = significance_map(STATES, LABELS, 9)
    assert isinstance(tested, SignificanceMap)
    drawn = bootstrap_map(STATES, LABELS, 9)
    compared = compare_manifolds(STATES, LABELS, ["circular", "euclidean"], n_repeats=2, n_folds=2)
    for wrong, error in ((True, TypeError), ("0.05", TypeError), (95, ValueError)):
        _refused(lambda w=wrong: tested.significant(w), error, "level must be")
        _refused(lambda w=wrong: tested.band(w), error, "share must be")
        _refused(lambda w=wrong: drawn.interval(w), error, "level must be")
        _refused(lambda w=wrong: drawn.difference((0,), (1,), w), error, "level must be")
        _refused(lambda w=wrong: compared.critical_difference(w), error, "alpha must be")


def test_only_what_cannot_fit_is_refused(monkeypatch):
    """The free memory decides, not a fixed limit; and nothing where nobody tells it."""
    cpu = torch.device("cpu")
    _memory.check_fits(1 << 30, "n", "all", cpu)
    for free, says in ((900 << 20, r"n=5 takes 1\.1 GB for all, and 944 MB are free on the cpu"),):
        monkeypatch.setattr(_memory, "free_memory", lambda device, free=free: free)
        _memory.check_fits(free, "n=5", "all", cpu)
        _refused(lambda: _memory.check_fits(1 << 30, "n=5", "all", cpu), ValueError, says)
    monkeypatch.setattr(_memory, "free_memory", lambda device: 0)
    _memory.check_fits(1 << 60, "n=5", "all", cpu)
    sizes = {0: "0 bytes", 1500: "1.5 kB", 23 * 10**9: "23 GB", 10**30: "1e+12 EB"}
    assert {count: _memory.in_words(count) for count in sizes} == sizes


def test_results_that_do_not_fit(monkeypatch):
    """What is given out is counted before anything is computed."""
    monkeypatch.setattr(_memory, "free_memory", lambda device: 50)
    monkeypatch.setattr(_memory, "SMALL", 10)
    for call in (
        lambda: score_map(STATES, LABELS),
        lambda: score_map(STATES, LABELS, cv=None),
        lambda: fit_map(STATES, LABELS, n_components=50),
        lambda: fit_map(STATES, LABELS, "cluster"),
        lambda: transfer_map(FITTED, STATES, LABELS),
        lambda: discover(STATES, LABELS, ["circular"], n_shuffles=9),
        lambda: significance_map(STATES, LABELS, 9),
        lambda: bootstrap_map(STATES, LABELS, 9),
        lambda: compare_manifolds(STATES, LABELS),
    ):
        _refused(call, ValueError, "takes .* for .*, and 50 bytes are free on the cpu: ask for few")
    assert similarity_map(FITTED).shape == (2, 2)
    assert principal_angles(FITTED).shape == (2, 2, 2)


HOSTILE = [
    {"class": "os.system", "parameters": {}},
    {"class": "BaseShape", "parameters": {}},
    {"class": "PointShape", "parameters": {}},
    {"class": "SMDSParametrization", "parameters": {}},
    {"class": "resolve_manifold", "parameters": {"manifold": "circular"}},
    {"class": "np", "parameters": {}},
    {"class": "__builtins__", "parameters": {}},
    {"class": ["CircularShape"], "parameters": {}},
    {"class": "CircularShape"},
    {"class": "CircularShape", "parameters": {}, "more": 1},
    {"class": "CircularShape", "parameters": [1]},
    {"class": "CircularShape", "parameters": {"__class__": 1}},
    {"class": "CircularShape", "parameters": {"self": 1}},
    {"class": "CircularShape", "parameters": {"radious": "x"}},
    {"class": "CircularShape", "parameters": {"radious": float("inf")}},
    {"class": "CircularShape", "parameters": {"normalize_labels": "False"}},
    {"class": "ChainShape", "parameters": {"threshold": -1.0}},
    {"class": "ChainShape", "parameters": {"threshold": None}},
    {"class": "DiscreteCircularShape", "parameters": {"num_points": "x"}},
    {"class": "PolytopeShape", "parameters": {"n_iter": 1e3}},
    {"class": "HierarchicalShape", "parameters": {}},
    {"class": "HierarchicalShape", "parameters": {"level_distances": {"array": []}}},
    {"class": "TorusShape", "parameters": {"radii": {"array": [1.0]}}},
    {"array": [[1.0], [1.0, 2.0]]},
    {"array": [None]},
    {"array": [{"class": "CircularShape", "parameters": {}}]},
    {"array": "text"},
    {"array": [1.0], "class": "CircularShape"},
    [1.0],
    {},
]


@pytest.mark.parametrize("value", HOSTILE)
def test_files_name_only_what_is_listed(value):
    _refused(lambda: from_json(value), ValueError, ".")
    inside = {"class": "ComputedSMDSParametrization", "parameters": {"manifold": value}}
    _refused(lambda: from_json(inside), ValueError, ".")


def test_nested_without_end():
    value = {"class": "CircularShape", "parameters": {}}
    for _ in range(900):
        value = {"class": "ComputedSMDSParametrization", "parameters": {"manifold": value}}
    _refused(lambda: from_json(value), ValueError, "more than 4 levels")


def test_round_trips():
    for shape in (SphericalShape(2), CircularShape(normalize_labels=False)):
        again = from_json(as_json(shape))
        assert repr(again) == repr(shape)
    for plain in (None, True, 3, 2.5, "circular"):
        assert from_json(as_json(plain)) == plain


_NUMBERS = st.one_of(
    st.integers(-(10**400), 10**400),
    st.integers(-3, 40),
    st.floats(),
    st.complex_numbers(),
    st.fractions(),
    st.decimals(),
)
_ARRAYS = st.sampled_from(
    [
        np.zeros(0),
        np.arange(N),
        np.arange(N) * 1.0,
        np.arange(N) + 1j,
        np.full(N, np.nan),
        np.ones((N, 2)),
        np.arange(24.0).reshape(N, 2),
        np.zeros((N, 2, 3)),
        np.array(["a"] * N),
        np.array([None] * N),
        np.arange(N) > 5,
        np.ma.masked_array(np.arange(N), np.arange(N) > 9),
        torch.arange(N),
        torch.ones(N, 2, 3).to_sparse(),
        torch.zeros(N, 2, 3, device="meta"),
        torch.tensor(float("nan")),
        sparse.eye(N),
    ]
)
_PLAIN = st.one_of(st.none(), st.booleans(), _NUMBERS, st.text(max_size=5), st.binary(max_size=5))
_JUNK = st.one_of(
    _PLAIN,
    _ARRAYS,
    st.lists(_PLAIN, max_size=4),
    st.tuples(_PLAIN, _PLAIN),
    st.dictionaries(st.text(max_size=2), _PLAIN, max_size=2),
    st.just([(np.arange(6), np.arange(6, N))]),
    st.sampled_from(
        [object(), int, np, len, {1, 2}, range(3), torch.float32, torch.device("meta")]
    ),
)
_NAMES = [
    "X",
    "y",
    "manifold",
    "cv",
    "alpha",
    "orthonormal",
    "standardize",
    "metric",
    "n_components",
    "groups",
    "device",
    "dtype",
    "memory_budget",
    "progress",
    "seed",
    "n_permutations",
    "exchange",
    "shuffle",
]
_TAKES = {
    "score_map": {"seed", "n_permutations", "exchange", "shuffle"},
    "fit_map": {"seed", "n_permutations", "exchange", "shuffle", "cv", "metric", "groups"},
    "significance_map": {"dtype"},
}


def _is_cheap(junk):
    # A large number of permutations that fits is only slow.
    return all(not isinstance(v, int) or abs(v) < 50 or v > 10**12 for v in junk.values())


@examples(150)
@given(
    st.sampled_from(sorted(_TAKES)),
    st.dictionaries(st.sampled_from(_NAMES), _JUNK, min_size=1, max_size=3),
)
def test_junk_gives_a_result_or_one_line(function, junk):
    junk = {name: value for name, value in junk.items() if name not in _TAKES[function]}
    # A function of the caller's may raise what it likes.
    if not _is_cheap(junk) or any(callable(junk.get(name)) for name in ("manifold", "progress")):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        warnings.simplefilter("ignore", UserWarning)
        try:
            found = FUNCTIONS[function](**junk)
        except (ValueError, TypeError) as error:
            refused = str(error)
        else:
            refused = None
    if refused is not None:
        assert len(refused.splitlines()) == 1
        return
    # What has no number has a status that says why.
    values = {
        "score_map": lambda: found.scores,
        "fit_map": lambda: found.W.mean((-1, -2)).numpy(),
        "significance_map": lambda: found.score,
    }[function]()
    defined = np.asarray(found.status) < Status.NO_PROJECTION
    np.testing.assert_array_equal(np.isfinite(values), defined)
