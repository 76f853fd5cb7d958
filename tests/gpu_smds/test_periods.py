"""Labels with a period: an absolute phase, on every shape that closes on itself."""

import warnings

import cases
import numpy as np
import pytest
import smds
import tolerances
from smds.shapes.continuous_shapes import CircularShape as SmdsCircle

import gpu_smds
from gpu_smds import (
    ChainShape,
    CircularShape,
    ComputedSMDSParametrization,
    DiscreteCircularShape,
    KleinBottleShape,
    PeriodWarning,
    SphericalShape,
    SupervisedMDS,
    TorusShape,
    compare_manifolds,
    discover,
    discover_manifolds,
    fit_map,
    score_map,
    significance_map,
)
from gpu_smds.geometry.as_json import as_json, from_json
from gpu_smds.geometry.shapes import SHAPES, periodic_names

WEEK = np.arange(7.0)
OF_ONE = ("chain", "circular", "discrete_circular")
OF_TWO = ("cylindrical", "geodesic", "klein_bottle", "spherical", "torus")
BAD = (0, 0.0, -7, np.nan, np.inf, -np.inf, True, False, np.True_, "month", "7", [7], (1, 2, 3))


def _given(name, period):
    """A shape of that name as its class makes it with a period."""
    return type(SHAPES[name]())(period=period)


@pytest.fixture
def weekdays(rng):
    y = rng.permutation(np.arange(63) % 7).astype(float)
    X = rng.normal(size=(63, 2, 8))
    X[:, 1, :2] += 3 * np.stack([np.cos(2 * np.pi * y / 7), np.sin(2 * np.pi * y / 7)], axis=1)
    return X, y


def test_which_shapes_close_on_themselves():
    assert periodic_names() == sorted((*OF_ONE, *OF_TWO))


def test_weekdays_are_seven_points():
    D = CircularShape(period=7)(WEEK)
    tolerances.assert_close(D[0], 2 * abs(np.sin(np.pi * WEEK / 7)), tolerances.LAST_BITS)
    sunday_on_monday = CircularShape()(WEEK)[0, 6]
    tolerances.assert_close(sunday_on_monday, 0.0, tolerances.ONE_ROUNDING)
    steps = [0, 1, 2, 3, 3, 2, 1]
    np.testing.assert_array_equal(DiscreteCircularShape(period=7)(WEEK)[0], steps)
    np.testing.assert_array_equal(ChainShape(period=7)(WEEK)[0], [0, 1, -1, -1, -1, -1, 1])
    # A day that is missing, even the last one, changes nothing for the others.
    for shape in (CircularShape(period=7), DiscreteCircularShape(period=7), ChainShape(period=7)):
        np.testing.assert_array_equal(shape(WEEK[1:5]), shape(WEEK)[1:5, 1:5])


@pytest.mark.parametrize("name", OF_ONE + OF_TWO)
def test_labels_a_period_apart_are_one_point(rng, name):
    shape = _given(name, 24)
    y = rng.integers(0, 24, 20 if name in OF_ONE else (20, 2)).astype(float)
    turns = 24 * rng.integers(-3, 4, 20)
    later = y + turns if name in OF_ONE else y + np.stack([0 * turns, turns], axis=1)
    tolerances.assert_close(shape(later), shape(y), tolerances.LAST_BITS)
    both = np.concatenate([y, later])
    tolerances.assert_close(np.diag(shape(both)[:20, 20:]), np.zeros(20), tolerances.ROUNDING)


@pytest.mark.parametrize("name", OF_TWO)
def test_each_column_has_its_period(rng, name):
    y = np.stack([rng.integers(0, 24, 30), rng.integers(0, 7, 30)], axis=1).astype(float)
    if name in ("torus", "klein_bottle"):
        turns = y / [24, 7]
        plain = type(SHAPES[name]())(normalize_labels=False)
        tolerances.assert_close(_given(name, (24, 7))(y), plain(turns), tolerances.LAST_BITS)
        tolerances.assert_close(_given(name, 24)(y), plain(y / 24), tolerances.LAST_BITS)
    else:
        degrees = np.stack([y[:, 0], 360 / 7 * y[:, 1]], axis=1)
        tolerances.assert_close(_given(name, 7)(y), SHAPES[name]()(degrees), tolerances.ROUNDING)
        same = discover(rng.normal(size=(30, 4)), y, [name], period=(24, 7)).sources[name].source
        assert same.period == 7


def test_a_klein_bottle_is_mirrored_every_turn():
    shape = KleinBottleShape(period=(10, 4))
    y = np.array([[1, 1], [11, 3], [21, 1], [1, 5]], dtype=float)
    tolerances.assert_close(shape(y), np.zeros((4, 4)), tolerances.ROUNDING)
    assert shape(np.array([[1.0, 1], [11, 1]]))[0, 1] > 0.1


def test_scores_are_those_of_smds_on_fractions_of_a_turn(weekdays):
    X, y = weekdays
    train, test = np.arange(42), np.arange(42, 63)
    ours = score_map(X, y, manifold=CircularShape(period=7), cv=[(train, test)]).mean
    for site in (0, 1):
        shape = smds.ComputedSMDSParametrization(SmdsCircle(normalize_labels=False), 2)
        theirs = smds.SupervisedMDS(parametrization=shape, alpha=1.0)
        theirs.fit(X[train, site], y[train] / 7)
        expected = theirs.score(X[test, site], y[test] / 7)
        tolerances.assert_close(ours[site], expected, tolerances.SCORE)


def test_the_period_reaches_every_function(weekdays, tmp_path):
    X, y = weekdays
    shape, plain = CircularShape(period=7), CircularShape(normalize_labels=False)
    arguments = {"n_permutations": 9, "seed": 3}
    p = significance_map(X, y, manifold=shape, **arguments)
    turns = significance_map(X, y / 7, manifold=plain, **arguments)
    tolerances.assert_close(p.score, turns.score, tolerances.SCORE)
    np.testing.assert_array_equal(p.p, turns.p)
    fitted = fit_map(X, y, manifold=shape)
    fitted.save(tmp_path / "map")
    loaded = gpu_smds.FittedMap.load(tmp_path / "map")
    assert loaded.manifold.source.period == 7
    expected = fit_map(X, y / 7, manifold=plain).score(X, y / 7).scores
    tolerances.assert_close(loaded.score(X, y).scores, expected, tolerances.SCORE)
    model = SupervisedMDS(manifold=shape).fit(X[:, 1], y)
    model.save(tmp_path / "model")
    score = SupervisedMDS.load(tmp_path / "model").score(X[:, 1], y)
    tolerances.assert_close(score, expected.ravel()[1], tolerances.SCORE)


def test_discovery_takes_a_period_for_the_shapes_that_have_one(weekdays):
    X, y = weekdays
    with warnings.catch_warnings():
        warnings.simplefilter("error", PeriodWarning)
        found = discover(X, y, period="week")
        compared = compare_manifolds(X, y, ["circular", "cluster"], n_repeats=1, period=7)
        table, _ = discover_manifolds(X[:, 1], y, ["circular", "euclidean"], period=7)
    for name in found.manifolds:
        shape = _given(name, 7) if name in OF_ONE else name
        alone = score_map(X, y, manifold=shape, cv=5)
        mean = found.scores.mean[found.manifolds.index(name), 0]
        tolerances.assert_close(mean, alone.mean, tolerances.SCORE, name=name)
    assert "circular" in compared.manifolds
    row = table[table["shape"] == "CircularShape"].iloc[0]
    assert row["params"]["period"] == 7
    kept = discover(X, y, [CircularShape(period=14), DiscreteCircularShape(9)], period=7)
    assert [of.source.parameters() for of in kept.sources.values()] == [
        {"radious": 1.0, "normalize_labels": True, "period": 14},
        {"num_points": 9, "normalize_labels": False},
    ]
    inside = ComputedSMDSParametrization("circular", 2)
    given = discover(X, y, [inside], period=7).scores
    tolerances.assert_same(
        given.mean[0, 0], found.scores.mean[found.manifolds.index("circular"), 0]
    )
    assert inside.manifold == "circular"
    with pytest.raises(ValueError, match="none of these does: leave it out, or try one of chain"):
        discover(X, y, ["euclidean"], period=7)


@pytest.mark.parametrize("name", OF_ONE + OF_TWO)
def test_json(name):
    shape = _given(name, 7)
    again = from_json(as_json(shape))
    y = WEEK if name in OF_ONE else np.stack([WEEK, WEEK], axis=1)
    np.testing.assert_array_equal(again(y), shape(y))
    # Without a period it is what version 0.1.0 wrote.
    assert "period" not in as_json(SHAPES[name]())["parameters"]
    forged = as_json(shape)
    forged["parameters"]["period"] = -1
    with pytest.raises(ValueError, match="cannot be made: period must be a positive number"):
        from_json(forged)


def test_json_of_two_periods():
    shape = from_json(as_json(TorusShape(period=(24, 7))))
    y = np.array([[1.0, 2], [20, 5]])
    np.testing.assert_array_equal(shape(y), TorusShape(period=(24, 7))(y))


@pytest.mark.parametrize("period", BAD, ids=repr)
def test_what_is_no_period(period, weekdays):
    X, y = weekdays
    for make in (CircularShape, DiscreteCircularShape, ChainShape, SphericalShape, TorusShape):
        with pytest.raises(ValueError, match="period must be") as error:
            make(period=period)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="period must be"):
        discover(X, y, period=period)


def test_two_periods_of_one_column(weekdays):
    X, y = weekdays
    for labels in (y / 7, y[:, None] / 7):
        with pytest.raises(ValueError, match=r"period=\(24, 7\) is of two columns .* there is one"):
            discover(X, labels, period=(24, 7))


def test_two_lengths_of_one_ring():
    assert DiscreteCircularShape(7, period=7)(WEEK)[0, 6] == 1
    with pytest.raises(ValueError, match="period=8 and num_points=7 are two lengths of one ring"):
        DiscreteCircularShape(7, period=8)


@pytest.mark.parametrize(
    ("name", "days"), [("day", 1), ("week", 7), ("year", 365.2425), (" Year", 365.2425)]
)
def test_names_of_periods_are_days(rng, name, days):
    y = rng.integers(0, 20000, 30).astype(float) / 4
    np.testing.assert_array_equal(CircularShape(period=name)(y), CircularShape(period=days)(y))


CALLS = {
    "score_map": lambda X, y, shape: score_map(X, y, manifold=shape),
    "fit_map": lambda X, y, shape: fit_map(X, y, manifold=shape),
    "significance_map": lambda X, y, shape: significance_map(
        X, y, manifold=shape, n_permutations=3
    ),
    "discover": lambda X, y, shape: discover(X, y, [shape, "euclidean"]),
    "SupervisedMDS": lambda X, y, shape: SupervisedMDS(manifold=shape).fit(X[:, 0], y),
    "parametrization": lambda X, y, shape: score_map(
        X, y, ComputedSMDSParametrization(shape, n_components=2)
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_whole_numbers_whose_ends_meet_are_warned_of(weekdays, name):
    X, y = weekdays
    with pytest.warns(PeriodWarning) as caught:
        CALLS[name](X, y, "circular")
    (warning,) = [each for each in caught if each.category is PeriodWarning]
    assert str(warning.message) == (
        "labels 0 and 6 become the same point of the shape CircularShape, which has no period: "
        "give the period of the labels, such as CircularShape(period=7)"
    )
    assert warning.filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error", PeriodWarning)
        CALLS[name](X, y, CircularShape(period=7))
        CALLS[name](X, y / 7, CircularShape(normalize_labels=False))
        CALLS[name](X, y, "discrete_circular")
        CALLS[name](X, y, "euclidean")
        CALLS[name](X, cases.labels(np.random.default_rng(0), len(y)), "circular")  # days / 365


def test_the_period_that_is_named_has_the_step_of_the_labels(rng):
    X = rng.normal(size=(48, 3))
    with pytest.warns(PeriodWarning, match=r"labels 0 and 45 .* CircularShape\(period=60\)"):
        score_map(X, 15 * (np.arange(48) % 4))
    dates = np.datetime64("2024-03-01") + np.arange(48) * np.timedelta64(30, "h")
    with pytest.warns(PeriodWarning, match=r"such as CircularShape\(period='year'\)"):
        score_map(X, dates, cv=None)
    pairs = np.stack([np.arange(48) % 24, np.arange(48) % 7], axis=1)
    with pytest.warns(PeriodWarning, match=r"labels 0 and 23 .* TorusShape\(period=\(24, 7\)\)"):
        score_map(X, pairs, "torus")
