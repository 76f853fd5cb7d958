"""Formulas among the words of a run: its CSV files, and the run again from its own prompts.csv."""

import csv
import json

import pytest
from tiny_models import save_tiny
from typer.testing import CliRunner

from experiments.cli import app
from extract import read_prompts
from extract.cells import as_written

_ROLES = ("--source", "=hour", "--destination", "end", "--distractor", "train")


def _run(*arguments, expect=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == expect, result.output
    return result.output


def _rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model"), "llama")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Sentences that begin with =, with a minus and a plus as words and a formula as a slot."""
    path = tmp_path_factory.mktemp("own") / "own.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "=hour"])
        for hour in range(24):
            writer.writerow([f"= train {hour} + delay - end", hour / 24 - 0.5, str(hour)])
    return path


@pytest.mark.parametrize("as_is", [False, True])
def test_words_of_a_run(model, own, tmp_path, as_is):
    switch = ("--csv-as-is",) if as_is else ()
    out = tmp_path / "run"
    base = ("--model", model, "--out", out, *_ROLES, *switch)
    _run("all", *base, "--prompts", own, "--permutations", 20)
    _run("discover", *base, "--prompts", own, "--shuffles", 2)
    _run("transfer", *base, "--prompts", own)
    words = {"=", "train", "=hour", "+", "delay", "-", "end"}
    for name, columns in {
        "independent": ("word",),
        "rigid": ("word",),
        "similarity": ("word_a", "word_b"),
        "significance": ("word",),
        "discover": ("word",),
        "transfer": ("source_word", "target_word"),
        "subspaces": ("word_a", "word_b"),
        "transfer_layers": ("word",),
    }.items():
        rows = _rows(out / "results" / f"{name}.csv")
        for column in columns:
            cells = {row[column] for row in rows}
            found = cells if as_is else {as_written(cell) for cell in cells}
            assert found == ({"=hour", "end"} if name == "transfer_layers" else words)
            assert as_is or not [cell for cell in cells if cell[0] in "=+-@"]
    numbers = [row["score"] for row in _rows(out / "results" / "independent.csv")]
    assert not [number for number in numbers if number.startswith("'")]


def test_a_run_from_the_sentences_of_a_run(model, own, tmp_path):
    base = ("independent", "--model", model, *_ROLES)
    _run(*base, "--prompts", own, "--out", tmp_path / "run")
    written = tmp_path / "run" / "prompts.csv"
    assert "neutralised" in _rows(written)[0]
    assert read_prompts(written).hash == read_prompts(own).hash
    _run(*base, "--prompts", written, "--out", tmp_path / "again")
    manifests = [
        json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("run", "again")
    ]
    assert manifests[0]["identity"] == manifests[1]["identity"]
    assert (tmp_path / "again" / "prompts.csv").read_bytes() == written.read_bytes()
    # The first run may be gone on with from the copy.
    assert "are used again" in _run(
        *base, "--prompts", tmp_path / "again" / "prompts.csv", "--out", tmp_path / "run"
    )
