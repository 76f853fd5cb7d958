"""``--positions slots``: sentences of different wording, from the table to figures and summary."""

import csv
import json
from pathlib import Path

import pytest
from command_line import run
from tiny_models import CHAT_TEMPLATE, save_tiny

from experiments.runs.manifest import check_states
from extract import UsageError

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
FORMS = (
    "{n} comes on {d}. It is",
    "On {d} we all had a party with {n}.\n",
    "{d}? {n} was born then",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", chat=CHAT_TEMPLATE)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "days.csv"
    rows = [
        (FORMS[(i + j) % 3].format(n=name, d=day), i / 7, name, day)
        for i, day in enumerate(DAYS)
        for j, name in enumerate(("Anna", "Paul", "Lisa"))
    ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label", "name", "day"), *rows])
    return path


@pytest.mark.usefixtures("small_pictures")
def test_the_study_of_slots(model, table, tmp_path):
    folder = tmp_path / "run"
    common = ("--model", model, "--prompts", table, "--layers", "0,2", "--out", folder)
    said = run("all", *common, "--permutations", 20, expect=2)
    assert "use --positions slots where the wording differs too" in said
    said = run("all", *common, "--positions", "slots", "--permutations", 20)
    assert "source: day, which predicts the label best" in said
    facts = json.loads((folder / "manifest.json").read_text())["positions"]
    assert facts["words"] == ["name", "day", "<last>"]
    assert facts["landmarks"] == {"source": 1, "destination": 2}
    summary = json.loads((folder / "results" / "summary.json").read_text())
    assert [verdict["name"] for verdict in summary["verdicts"]] == ["H1", "H2", "H3"]
    assert "--distractor" in summary["verdicts"][0]["why_not"]
    assert {path.stem for path in (folder / "figures").iterdir()} >= {"independent", "circle"}
    # Another question of the same states; the sentences of the run give the same run.
    said = run("reuse", *common, "--positions", "slots", "--destination", "NAME")
    assert "destination name – another question of the same states" in said
    (table := tmp_path / "again.csv").write_bytes((folder / "prompts.csv").read_bytes())
    again = ("--model", model, "--prompts", table, "--layers", "0,2", "--out", folder)
    assert "states of" in run("independent", *again, "--positions", "slots")
    said = run("independent", *again, "--positions", "slots", "--distractor", "party", expect=2)
    assert "no word 'party' for the distractor; there are: name, day, <last>" in said


def test_a_hash_is_no_option():
    found, wanted = {"prompts": "ab" * 32, "positions": "word"}, {"positions": "slots"}
    with pytest.raises(UsageError) as error:
        check_states(Path("run"), found, wanted | {"prompts": "cd" * 32})
    assert "give" not in str(error.value)
    with pytest.raises(UsageError, match="give --positions word, or"):
        check_states(Path("run"), found, wanted | {"prompts": "ab" * 32})


def test_slots_in_a_chat_template(model, table, tmp_path):
    folder = tmp_path / "run"
    options = ("--positions", "slots", "--chat", "--layers", "2", "--out", folder)
    # The template strips nothing here: the line break at the end of a sentence stays.
    run("extract", "--model", model, "--prompts", table, *options)
    facts = json.loads((folder / "manifest.json").read_text())["positions"]
    assert facts["words"] == ["name", "day", "<last>"]
    assert facts["tokens"][-1] == "↵"


def test_slots_of_a_task(model, tmp_path):
    options = ("--samples", 12, "--positions", "slots", "--dry-run", "--out", tmp_path / "run")
    said = run("all", "--model", model, "--task", "weekday", *options)
    assert "(slots): " in said
    assert "<last>" in said
