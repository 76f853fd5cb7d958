"""Labels as people have them: dates, text, tables of pandas, few bits, missing ones."""

import datetime
import re
from decimal import Decimal

import cases
import numpy as np
import pandas as pd
import pytest
import tolerances
import torch

from gpu_smds import (
    CircularShape,
    ClusterShape,
    ComputedSMDSParametrization,
    HierarchicalShape,
    HybridSMDS,
    PolytopeShape,
    SupervisedMDS,
    UserProvidedSMDSParametrization,
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
from gpu_smds._labels import label_numbers
from gpu_smds.geometry.shapes import categorical_names

N = 24
DATES = np.datetime64("2023-11-20") + np.arange(N) * np.timedelta64(37, "D")
DAYS = DATES.astype(np.int64).astype(float)  # since 1970-01-01
OF_A_YEAR = CircularShape(period="year")
NAMES = np.array(["winter", "spring", "summer", "autumn"])[np.arange(N) * 7 % 4]
CODES = np.array([3.0, 1.0, 2.0, 0.0])[np.arange(N) * 7 % 4]
NEW_YEAR = datetime.datetime(2024, 1, 1)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(N, 2, 5))


#: Every public function with labels, as f(X, y, manifold).
FUNCTIONS = {
    "score_map": lambda X, y, shape: score_map(X, y, shape, cv=3).scores,
    "fit_map": lambda X, y, shape: fit_map(X, y, shape).W,
    "transfer_map": lambda X, y, shape: transfer_map(fit_map(X, y, shape), X, y).scores,
    "significance_map": lambda X, y, shape: (
        significance_map(X, y, n_permutations=5, manifold=shape).p
    ),
    "bootstrap_map": lambda X, y, shape: bootstrap_map(X, y, manifold=shape, n_resamples=3).score,
    "nested_map": lambda X, y, shape: (
        nested_map(X, y, alphas=[0.1, 1], manifold=shape, cv=3, inner_cv=3).scores.scores
    ),
    "discover": lambda X, y, shape: discover(X, y, [shape], cv=3).scores.scores,
    "compare_manifolds": lambda X, y, shape: (
        compare_manifolds(X, y, [shape], n_repeats=1, n_folds=3).scores.scores
    ),
    "discover_manifolds": lambda X, y, shape: discover_manifolds(X[:, 0], y, [shape], n_folds=3)[0][
        "mean_scale_normalized_stress"
    ],
    "SupervisedMDS": lambda X, y, shape: (
        SupervisedMDS(manifold=shape).fit(X[:, 0], y).score(X[:, 0], y)
    ),
    "parametrization": lambda X, y, shape: (
        score_map(X, y, ComputedSMDSParametrization(shape, 2), cv=3).scores
    ),
}
#: Dates in whatever holds them; all are those of DAYS.
HOLDERS = {
    "datetime64": DATES,
    "nanoseconds": DATES.astype("M8[ns]"),
    "list": list(DATES),
    "objects": np.array(list(DATES), dtype=object),
    "date": DATES.astype(object).tolist(),
    "datetime": [datetime.datetime.combine(d, datetime.time()) for d in DATES.astype(object)],
    "aware": [
        datetime.datetime.combine(
            d, datetime.time(2), datetime.timezone(datetime.timedelta(hours=2))
        )
        for d in DATES.astype(object)
    ],
    "Series": pd.Series(DATES),
    "Series with a zone": pd.Series(DATES).dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"),
    "DatetimeIndex": pd.DatetimeIndex(DATES),
    "DataFrame": pd.DataFrame({"when": DATES}),
    "timestamps": [pd.Timestamp(d) for d in DATES],
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_dates_are_days(X, holder):
    labels = label_numbers(HOLDERS[holder])
    assert labels.dates
    np.testing.assert_array_equal(labels.values.ravel(), DAYS)
    if holder in ("datetime64", "Series"):
        tolerances.assert_same(
            score_map(X, HOLDERS[holder], OF_A_YEAR).scores, score_map(X, DAYS, OF_A_YEAR).scores
        )


def test_times_are_parts_of_a_day():
    noon = datetime.datetime(1970, 1, 3, 12)
    for given in ([noon], pd.Series([noon]), np.array([noon], dtype="M8[s]"), [pd.Timestamp(noon)]):
        assert label_numbers(given).values.ravel() == [2.5]
    for given in ("1600-02-29", "9999-12-31"):
        (days,) = label_numbers([datetime.date.fromisoformat(given)]).values
        assert days == np.datetime64(given).astype(int)
    np.testing.assert_array_equal(
        label_numbers(np.array(["1971-01", "1972-03"], "M8[M]")).values, [365, 790]
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_takes_dates(X, name):
    found = FUNCTIONS[name](X, pd.Series(DATES), OF_A_YEAR)
    tolerances.assert_same(np.asarray(found), np.asarray(FUNCTIONS[name](X, DAYS, OF_A_YEAR)))


MISSING = {
    "NaT": np.where(np.arange(N) == 3, np.datetime64("NaT", "D"), DATES),
    "NaT among objects": np.array(
        [*DATES[:3], np.datetime64("NaT", "D"), *DATES[4:]], dtype=object
    ),
    "NaT of pandas": [*HOLDERS["datetime"][:3], pd.NaT, *HOLDERS["datetime"][4:]],
    "Series with NaT": pd.Series(np.where(np.arange(N) == 3, np.datetime64("NaT", "D"), DATES)),
    "NaN": np.where(np.arange(N) == 3, np.nan, DAYS),
    "None": [*DAYS[:3], None, *DAYS[4:]],
    "NA": pd.Series([0, 1, 2, pd.NA, *range(4, N)], dtype="Int64"),
    "text": [*NAMES[:3], None, *NAMES[4:]],
    "text and NaN": [*NAMES[:3].tolist(), float("nan"), *NAMES[4:].tolist()],
    "Categorical": pd.Categorical([*NAMES[:3], None, *NAMES[4:]]),
    "bfloat16": torch.where(torch.arange(N) == 3, torch.nan, torch.arange(N)).bfloat16(),
    "columns": np.where(
        np.arange(2 * N).reshape(N, 2) == 7, np.nan, 1.0 * np.arange(2 * N).reshape(N, 2)
    ),
    "DataFrame": pd.DataFrame(
        {"a": NAMES, "b": np.where(np.arange(N) == 3, np.datetime64("NaT", "D"), DATES)}
    ),
}


@pytest.mark.parametrize("given", MISSING)
def test_a_missing_label_names_its_row(X, given):
    y = MISSING[given]
    functions = FUNCTIONS if given in ("NaT among objects", "NaN") else ("score_map", "fit_map")
    for name in functions:
        with pytest.raises(
            ValueError, match=r"label of row 3 is missing, counted from 0 \(1 of 24"
        ):
            FUNCTIONS[name](X, y, "cluster")
    with pytest.raises(ValueError, match="label of row 3 is missing"):
        SupervisedMDS(manifold="cluster").fit(X[:, 0], y)
    with pytest.raises(ValueError, match="label of row 3 is missing"):
        HybridSMDS(reducer="no matter", manifold="cluster").fit(X[:, 0], y)


def test_an_infinite_label_names_its_row(X):
    y = np.where(np.arange(N) % 9 == 5, -np.inf, DAYS)
    with pytest.raises(ValueError, match=r"label of row 5 is infinite, counted from 0 \(3 of 24"):
        score_map(X, y)


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_floats_of_few_bits(X, dtype):
    y = (torch.arange(N) % 8 / 8).to(dtype)
    for name in FUNCTIONS:
        expected = np.asarray(FUNCTIONS[name](X, y.double().numpy(), "circular"))
        tolerances.assert_same(np.asarray(FUNCTIONS[name](X, y, "circular")), expected)
    expected = score_map(X, y.double()).scores
    tolerances.assert_same(score_map(X, list(y)).scores, expected)
    tolerances.assert_close(CircularShape()(y), CircularShape()(y.double()), tolerances.LAST_BITS)
    pairs = torch.stack([y, y], dim=1)
    own = UserProvidedSMDSParametrization(pairs)
    np.testing.assert_array_equal(own.y, pairs.double().numpy())


HELD = {
    "array": NAMES,
    "list": NAMES.tolist(),
    "objects": NAMES.astype(object),
    "bytes": NAMES.astype("S"),
    "Series": pd.Series(NAMES),
    "Categorical": pd.Categorical(NAMES, categories=["winter", "spring", "summer", "autumn"]),
    "category": pd.Series(NAMES, dtype="category"),
    "string": pd.Series(NAMES, dtype="string"),
    "column": NAMES[:, None],
    "DataFrame": pd.DataFrame({"season": NAMES}),
}


@pytest.mark.parametrize("held", HELD)
def test_text_is_numbered_in_its_order(X, held):
    labels = label_numbers(HELD[held])
    assert labels.categories
    np.testing.assert_array_equal(labels.values.ravel(), CODES)
    tolerances.assert_same(
        score_map(X, HELD[held], "cluster").scores, score_map(X, CODES, "cluster").scores
    )


def test_which_shapes_take_text(X):
    assert categorical_names() == ["cluster", "hierarchical", "polytope"]
    tolerances.assert_same(ClusterShape()(NAMES), ClusterShape()(CODES))
    tolerances.assert_same(PolytopeShape()(NAMES), PolytopeShape()(CODES))
    levels = pd.DataFrame({"season": NAMES, "half": NAMES > "spring", "day": DATES})
    numbers = np.stack([CODES, NAMES > "spring", DAYS], axis=1)
    shape = HierarchicalShape([3.0, 2.0, 1.0])
    tolerances.assert_same(score_map(X, levels, shape).scores, score_map(X, numbers, shape).scores)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_text_is_refused_where_it_would_be_a_quantity(X, name):
    found = FUNCTIONS[name](X, NAMES, "cluster")
    tolerances.assert_same(np.asarray(found), np.asarray(FUNCTIONS[name](X, CODES, "cluster")))
    with pytest.raises(
        ValueError, match=r"labels are text, and .* takes numbers or dates"
    ) as error:
        FUNCTIONS[name](X, NAMES, "euclidean")
    assert "number them in their order" in str(error.value)
    assert "\n" not in str(error.value)


def test_discovery_tries_the_shapes_that_take_text(X):
    found = discover(X, NAMES)
    assert found.manifolds == ["cluster"]
    assert "labels are text" in found.skipped["circular"]
    table, _ = discover_manifolds(X[:, 0], NAMES)
    assert table["shape"][0] == "ClusterShape"


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([*range(N - 1), "a"], "labels mix numbers and text ('a' in row 23)"),
        ([*NAMES[:-1].tolist(), 3], "labels mix text and numbers (3 in row 23)"),
        ([*DAYS[:-1], NEW_YEAR], "labels mix numbers and dates (datetime.datetime"),
        (pd.Series([*range(N - 1), "a"]), "labels mix numbers and text"),
        ([{}] * N, "labels must be numbers"),
        (np.arange(N) * np.timedelta64(1, "D"), "labels must be numbers, got timedelta64"),
        (pd.Series(DATES).dt.to_period("M"), "labels must be numbers"),
    ],
)
def test_what_is_no_label(X, y, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        score_map(X, y, "cluster")


def test_numbers_of_other_kinds(X):
    expected = score_map(X, np.arange(N) / N).scores
    for y in (
        [Decimal(k) / N for k in range(N)],
        pd.Series(np.arange(N) / N, index=np.arange(N)[::-1]),
        pd.DataFrame({"label": np.arange(N) / N}),
        pd.Series(np.arange(N) / N, dtype="Float64"),
    ):
        tolerances.assert_close(score_map(X, y).scores, expected, tolerances.SCORE)
    pairs = cases.labels(np.random.default_rng(0), 2 * N).reshape(N, 2)
    tolerances.assert_same(
        score_map(X, pd.DataFrame(pairs), "torus").scores, score_map(X, pairs, "torus").scores
    )
