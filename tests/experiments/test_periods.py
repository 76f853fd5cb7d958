"""``--period``: what it asks, what it is refused for, and where it is missing."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tolerances
import torch
from command_line import run
from tiny_models import save_tiny

from experiments.designs.circle import circle
from experiments.designs.setting import Setting, folds
from experiments.options import Options
from experiments.reports.turn import names_of_labels, ticks
from experiments.runs.analysis import agree, main_settings, settings_asked
from experiments.runs.inquiry import Inquiry
from experiments.runs.periods import missing_period
from experiments.settings import read_settings
from extract import HiddenStates, UsageError, study_prompts
from gpu_smds import CircularShape, ScoreMap, score_map
from gpu_smds.geometry.joined_ends import PeriodWarning

#: Where figures go matters here, and not what is on them.
pytestmark = [
    pytest.mark.usefixtures("small_pictures"),
    pytest.mark.filterwarnings(f"error::{PeriodWarning.__module__}.{PeriodWarning.__name__}"),
]

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NAMES = ("Hope", "Carl", "Rosa", "Liam", "Emma", "Noah")
WARNED = "warning: labels 0 and 6 become the same point of the manifold circular: give --period 7"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", "llama", "together", bos=True)


@pytest.fixture(scope="module")
def weekdays(tmp_path_factory):
    rows = [
        f"{name} rests on {day} again.,{number},{day},{name}"
        for number, day in enumerate(DAYS)
        for name in NAMES
    ]
    path = tmp_path_factory.mktemp("prompts") / "days.csv"
    path.write_text("\n".join(["text,label,Day,Name", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def asked(model, weekdays, tmp_path_factory):
    """Arguments of a run whose first question has a period."""
    out = tmp_path_factory.mktemp("run") / "run"
    base = ("--model", model, "--prompts", weekdays, "--source", "Day", "--out", out)
    return base, run("all", *base, "--permutations", 19, "--period", 7)


def test_the_results_are_those_of_the_library(asked):
    (*_, out), said = asked
    assert "become the same point" not in said
    found = ScoreMap.load(out / "results" / "independent.safetensors")
    states = HiddenStates.open(out / "states")
    y = np.arange(42) // 6
    expected = score_map(states, y, manifold=CircularShape(period=7), cv=folds())
    tolerances.assert_close(found.mean, expected.mean, tolerances.SCORE)
    assert found.metadata["period"] == 7
    assert "study protocol, labels of period 7" in said
    assert json.loads((out / "results" / "summary.json").read_text())["period"] == 7
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["main"]["period"] == 7
    assert "period = 7.0" in (out / "run.toml").read_text()


def test_another_period_is_another_question(asked):
    base, _ = asked
    assert "analyses/" not in run("figures", *base, "--period", "week")
    error = run("independent", *base, "--as", "main", "--period", "none", expect=2)
    assert "the analysis main has period 7: choose another --as" in error
    said = run("independent", *base, "--period", "14")
    assert "period 14 – another question" in said
    assert "analyses/period-14/results" in said
    error = run("independent", *base, "--as", "period-14", "--period", 7, expect=2)
    assert "the analysis period-14 has period 14: choose another --as" in error
    said = run("discover", *base, "--manifolds", "circular,cluster", "--shuffles", 0)
    assert said.count("warning:") == 1
    assert -1 < said.find(WARNED) < said.find("discovery:")


def test_the_clean_protocol_takes_whole_numbers_with_it(asked):
    base, _ = asked
    error = run("reuse", *base, "--protocol", "clean", expect=2)
    assert "these span 6: give their period, such as --period 7" in error
    said = run("independent", *base, "--protocol", "clean", "--period", 7)
    assert "become the same point" not in said


def test_runs_of_before_had_none():
    before = {
        "source": "Day",
        "destination": "lunch",
        "distractor": "rests",
        "manifold": "circular",
    }
    assert main_settings({"main": before})["period"] is None
    assert main_settings({"identity": {"experiments": before}})["period"] is None
    asked = settings_asked("independent", Options(**before), None)
    assert agree(main_settings({"main": before}), asked)
    assert not agree(main_settings({"main": before | {"period": 7.0}}), asked)


def test_labels_a_period_apart_are_held_out_together():
    labels = np.arange(21.0)
    run_of = SimpleNamespace(prompts=SimpleNamespace(labels=labels))

    def groups(**of):
        options = Options(protocol="clean", **of)
        asked = SimpleNamespace(options=options, run=run_of, hold_out=None)
        return Inquiry.held_out.func(asked)["labels"].tolist()

    assert groups(period=7.0) == 3 * list(range(7))
    assert groups(period=7.0, manifold="discrete_circular") == 3 * list(range(7))
    assert groups(period=7.0, manifold="euclidean") == groups() == list(range(21))


def test_who_is_warned():
    week = SimpleNamespace(labels=np.arange(42.0) // 6)
    assert missing_period("all", Options(), week).startswith("labels 0 and 6 become the same point")
    assert missing_period("discover", Options(protocol="clean"), week) is not None
    for silent in (
        Options(period=7.0),
        Options(protocol="clean"),
        Options(manifold="euclidean"),
        Options(manifold="discrete_circular"),
    ):
        assert missing_period("all", silent, week) is None
    pairs = SimpleNamespace(labels=np.stack([np.arange(42) % 6 * 4.0, np.arange(42) // 6], axis=1))
    assert missing_period("all", Options(manifold="torus"), pairs) == (
        "labels 0 and 20 become the same point of the manifold torus: if they begin again, divide "
        "each column by its own period, such as 24 and 7, and give --period 1, else another "
        "--manifold"
    )
    dates = SimpleNamespace(labels=np.array([19372.0, 20072, 20073]))
    said = missing_period("all", Options(), dates)
    assert "give --period 702 (or year or week, if they are dates) if they begin again" in said
    # The study's labels are fractions of a year.
    assert missing_period("all", Options(), study_prompts(60)) is None
    assert Setting(None, week.labels, (0,), 1, 0).ideal == "circular"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--period", "0"), "--period 0: a period is a positive number in the units of the labels"),
        (("--period", "nan"), "--period nan: a period is"),
        (("--period", "5_9"), "--period 5_9: a period is"),
        (("--period", "month"), "or for labels in days day, week, year"),
        (("--period", "1"), "--period 1: all labels lie whole periods apart, and are one point"),
        (
            ("--period", "7", "--manifold", "euclidean"),
            "and euclidean does not: choose among chain, circular, cylindrical",
        ),
    ],
)
def test_what_is_refused(asked, arguments, message):
    base, _ = asked
    error = run("independent", *base, *arguments, expect=2)
    assert error.count("error: ") == 1
    assert message in error


@pytest.mark.parametrize("value", ["7", "7.0", '"week"', '"7"', '"Week"'])
def test_a_file_of_settings_has_it(value, tmp_path):
    config = tmp_path / "run.toml"
    config.write_text(f"[question]\nperiod = {value}\n")
    assert read_settings(config).values == {"period": 7.0}


def test_one_question_of_a_file_has_no_period(tmp_path):
    config = tmp_path / "run.toml"
    config.write_text(
        '[question]\nperiod = 7\n[[analysis]]\nmanifold = "euclidean"\nperiod = "none"\n'
    )
    found = read_settings(config)
    assert found.values == {"period": 7.0}
    assert found.analyses == ({"manifold": "euclidean", "period": None},)


@pytest.mark.parametrize("value", ["-1", "true", '"month"', "nan", "inf", "[7]", '""'])
def test_a_file_of_settings_has_a_wrong_one(value, tmp_path):
    config = tmp_path / "run.toml"
    config.write_text(f"[question]\nperiod = {value}\n")
    with pytest.raises(UsageError, match="period"):
        read_settings(config)


def test_the_circle_is_the_ideal_one(rng):
    y = np.arange(42) // 6
    angle = 2 * np.pi * y / 7
    X = np.stack([np.cos(angle), np.sin(angle)], axis=1)[:, None, None] @ rng.normal(size=(2, 5))
    found = circle(Setting(torch.from_numpy(X), y, (0,), 2, 0, period=7.0), 0, 0)
    aim = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert np.abs(found.points - aim).max() < 0.2  # ridge draws them together
    assert found.score > 0.99


def _around(period, names=None):
    return ticks(0, period, False, period, names)


def test_labels_around_the_circle():
    names, places = zip(*_around(7), strict=True)
    assert names == tuple(f"{k}" for k in range(7))
    tolerances.assert_close(places, (np.arange(7) - 0.5) / 7, tolerances.LAST_BITS)
    assert [name for name, _ in _around(24)] == [f"{k}" for k in range(0, 24, 2)]
    assert [name for name, _ in _around(60)] == [f"{k}" for k in range(0, 60, 5)]
    assert [name for name, _ in _around(1)] == ["0", "0.25", "0.5", "0.75"]
    assert [name for name, _ in _around(365.2425)] == ["0", "91.3", "183", "274"]
    assert [name for name, _ in _around(1440)] == [f"{k}" for k in range(0, 1440, 120)]
    assert len(_around(13)) == 4
    assert len(_around(8.64e13)) == 12  # a day in nanoseconds: not all its parts are tried
    few = _around(8, {1.0: "one", 3.0: "three", 7.0: "seven"})
    assert few == [("one", 0.0), ("three", 0.25), ("seven", 0.625)]


def test_names_of_labels_around_the_circle():
    def names(period, values):
        prompts = SimpleNamespace(slots={"Day": values}, labels=np.arange(14.0))
        options = Options(source="Day", period=period)
        return names_of_labels(
            SimpleNamespace(run=SimpleNamespace(prompts=prompts), options=options)
        )

    assert names(7, 2 * DAYS) == {float(k): day[:3] for k, day in enumerate(DAYS)}
    assert names(7, 2 * tuple("MTWtFSs")) == {float(k): day for k, day in enumerate("MTWtFSs")}
    assert names(None, 2 * DAYS) is None
    assert names(7, DAYS + DAYS[::-1]) is None  # a label has two of them
    assert names(7, 2 * ("weekday",) * 7) is None
    assert names(14, tuple(map(str, range(14)))) is None
    assert names(7, 2 * ("first", "firstly", *DAYS[2:])) is None


@pytest.mark.parametrize(
    ("low", "high", "names"),
    [
        (0, 1, ["1 | 0", "0.25", "0.5", "0.75"]),
        (20000, 20040, ["20040 | 20000", "20010", "20020", "20030"]),
        (1e9, 1e9 + 8, ["1000000008 | 1000000000", "1000000002", "1000000004", "1000000006"]),
        (1e-9, 3e-9, ["3e-09 | 1e-09", "1.5e-09", "2e-09", "2.5e-09"]),
    ],
)
def test_labels_without_a_period_stand_where_they_are(low, high, names):
    starts = [-0.125, 0.125, 0.375, 0.625]
    assert ticks(low, high, False, None) == list(zip(names, starts, strict=True))
