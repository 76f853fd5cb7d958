"""Which slot of one's own sentences is the source, and what is judged where it holds nothing."""

import json
import re

import numpy as np
import pytest
from command_line import run
from tiny_models import save_tiny

from experiments.designs.exchange import Exchange
from experiments.designs.experiment import layer_of_source
from experiments.designs.setting import Setting, cross_validation
from experiments.runs.source import predicts
from extract import study_prompts
from gpu_smds import ScoreMap
from gpu_smds.crossval.folds import resolve_folds
from gpu_smds.inference.permutations import draw_permutations, exchange_blocks

#: Where figures go matters here, and not what is on them.
pytestmark = pytest.mark.usefixtures("small_pictures")

NAMES = ("Hope", "Carl", "Rosa", "Liam")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", "llama", "together", bos=True)


def _write(path, header, rows):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def hours(tmp_path_factory):
    rows = [
        f"{name} called at {hour:02d}:00 sharp.,{hour},{name},{hour:02d}:00"
        for hour in range(24)
        for name in NAMES
    ]
    path = tmp_path_factory.mktemp("prompts") / "hours.csv"
    return _write(path, "text,label,name,time", rows)


def test_the_source_is_the_slot_that_predicts_the_label(model, hours, tmp_path):
    base = ("all", "--model", model, "--prompts", hours, "--permutations", 19, "--out", tmp_path)
    said = run(*base)
    assert "source: time, which predicts the label best on rows held out (R²: name 0.00" in said
    facts = json.loads((tmp_path / "results" / "summary.json").read_text())
    assert "time" in facts["verdicts"][0]["claim"]
    assert "H1 cannot be tested: name a word after time that has nothing to do with it" in said
    # In any case of letters, and by no other name.
    assert "analyses/" not in run(*base, "--source", "Time")
    error = run(*base, "--source", "when", expect=2)
    assert "no word 'when' for the source; there are: name, called, at, time, sharp" in error


def test_what_the_source_does_not_hold_is_not_judged(model, hours, tmp_path):
    base = ("all", "--model", model, "--prompts", hours, "--out", tmp_path, "--source", "name")
    said = run(*base, "--permutations", 39)
    facts = json.loads((tmp_path / "results" / "summary.json").read_text())
    assert [verdict["supported"] for verdict in facts["verdicts"]] == [None] * len(
        facts["verdicts"]
    )
    assert "H2 cannot be tested: name is nowhere significant" in said
    assert "supported" not in said
    said = run(*base, "--permutations", 5, "--as", "few")
    assert "--permutations 5: the smallest p is 1/6" in said
    assert "give at least 19" in said
    assert "H2 cannot be tested: 5 permutations cannot show anything at 5%" in said


def test_nor_is_what_other_words_cannot_hold(model, hours, tmp_path):
    base = ("all", "--model", model, "--prompts", hours, "--out", tmp_path, "--permutations", 39)
    said = run(*base, "--destination", "called", "--distractor", "at")
    assert "H1 cannot be tested: at does not stand after time: name another --distractor" in said
    assert "H2 cannot be tested: called is nowhere significant" in said
    assert re.search("H3 (not )?supported", said)
    said = run(*base, "--destination", "time")
    assert "H2 cannot be tested: time is both source and destination" in said


def test_the_layer_is_one_where_every_landmark_has_a_score():
    """At the embeddings a slot scores best, and words that never differ have no score."""
    scores = np.array([[[0.99, np.nan, np.nan], [0.8, 0.7, np.nan], [0.9, 0.6, np.nan]]])
    for landmarks, layer in (
        ({"source": 0, "destination": 1}, 2),
        ({"source": 0}, 0),
        ({"source": 0, "distractor": 2}, 0),
        ({"source": 2}, -1),
    ):
        found = ScoreMap(
            scores,
            np.zeros(scores.shape, np.int8),
            ("fold", "layer", "position"),
            metadata={"landmarks": landmarks},
        )
        assert layer_of_source(found) == layer


def test_two_that_predict_alike_are_asked_for(model, tmp_path):
    rows = [
        f"It is the day {day} or {day + 100} now.,{day / 50},{day},{day + 100}" for day in range(50)
    ]
    path = _write(tmp_path / "twice.csv", "text,label,First,Second", rows)
    base = ("reuse", "--model", model, "--prompts", path, "--out", tmp_path / "run")
    said = run(*base, expect=2)
    assert re.search(r"equally well on rows held out \(R²: First (0\.9\d|1\.00), Second", said)
    assert "such as --source First" in said
    assert not (tmp_path / "run").exists()
    run(*base, "--source", "second")


def test_what_predicts():
    rng = np.random.default_rng(0)
    y = rng.random(120)
    assert predicts(tuple(f"{value:.3f}" for value in y), y) > 0.95
    assert predicts(tuple("abcdefgh"[int(8 * value)] for value in y), y) > 0.9
    assert predicts(tuple(rng.permutation([f"{value:.3f}" for value in y])), y) < 0.1
    assert predicts(tuple(f"word{i}" for i in rng.integers(0, 6, 120)), y) < 0.1
    assert predicts(tuple(f"only-{i:03d}x" for i in range(120)), y) < 0.2
    many = np.stack([np.cos(y), np.sin(y)], axis=1)
    assert predicts(tuple(f"{value:.3f}" for value in y), many) > 0.95


DAYS = ("Monday", "Tuesday", "Friday")


@pytest.fixture(scope="module")
def weekdays(tmp_path_factory):
    days = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    rows = [
        f"{name} rests on {day} again.,{number / 7},{name},{day}"
        for _ in range(5)
        for number, day in enumerate(days)
        for name in (*NAMES, "Emma", "Noah")
    ]
    path = tmp_path_factory.mktemp("prompts") / "days.csv"
    return _write(path, "text,label,Name,Day", rows)


def test_repeated_sentences_are_said(model, weekdays, tmp_path):
    """Before anything is computed, and with what the test could exchange."""
    base = ("--model", model, "--prompts", weekdays, "--out", tmp_path, "--source", "Day")
    said = run("all", *base, "--permutations", 199)
    assert "168 of 210 sentences repeat another one: 42 differ" in said
    assert said.index("repeat another one") < said.index("reading sentences")
    assert (
        "exchanged: the labels of 42 different sentences, each taken once, so that the folds keep "
        "equal ones together, within the values of Name, in 10^9 ways; the smallest p is 0.005; "
        "43% of the labels stay what they are"
    ) in said
    facts = json.loads((tmp_path / "results" / "summary.json").read_text())
    assert len(facts["significance"]) == 3


def test_in_the_studys_sentences_hardly_any_label_stays():
    prompts = study_prompts(400)
    sentences = np.unique(np.array(prompts.texts), return_inverse=True)[1]
    setting = Setting(None, prompts.labels, (0,), 1, 0, sentences=sentences)
    facts = Exchange.of(setting).facts
    assert facts["repeated"]
    assert facts["units"] == len(set(prompts.texts))
    assert facts["log10_exchanges"] > 100
    # As often as drawn permutations leave them.
    folds = resolve_folds(cross_validation(setting), prompts.labels)
    blocks = exchange_blocks(folds, 400)
    drawn = draw_permutations(blocks, sentences, "whole_groups", 200, 0)
    left = (prompts.labels[drawn] == prompts.labels).mean()
    assert abs(left - facts["unchanged"]) < 0.01


def test_what_cannot_be_tested_is_not_judged(model, tmp_path):
    """Also where the summary is made again without the test."""
    rows = [
        f"Anna rests on {day} again.,{n / 3},{day}" for n, day in enumerate(DAYS) for _ in "123"
    ]
    path = _write(tmp_path / "three.csv", "text,label,Day", rows)
    base = ("--model", model, "--prompts", path, "--out", tmp_path / "run")
    said = run("all", *base)
    assert "no permutation test: 3 sentences that differ are too few to exchange labels" in said
    assert "H2 cannot be tested: 3 sentences that differ are too few" in said
    assert "supported" not in said
    assert "supported" not in run("figures", *base)
    assert "too few to exchange labels" in run("significance", *base, expect=1)


def test_numbers_of_slots_are_whole_numbers():
    labels = 500.0 * np.arange(1, 60)
    values = tuple(f"{label:,.0f} people" for label in labels)
    assert predicts(values, labels) > 0.9  # as two numbers or one, these would not be comparable
    assert predicts(tuple("9" * (400 + k) for k in range(20)), np.arange(20.0)) == 0
