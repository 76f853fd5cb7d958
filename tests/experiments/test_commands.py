"""``significance``, ``transfer`` and ``--protocol clean`` on a small model, file by file."""

import csv
import json

import pytest
import tolerances
from tiny_models import save_tiny
from typer.testing import CliRunner

from experiments.cli import app
from experiments.designs.counts import LIGHT, THOROUGH
from experiments.runs import significance
from gpu_smds import ScoreMap, SignificanceMap

STUDY = ("independent", "similarity", "reuse", "rigid")
SIZE = ("--samples", 60)


def run(*arguments, expect=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == expect, result.output
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", "llama", "together", bos=True)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """A finished run by the study's protocol, its light test included."""
    folder = tmp_path_factory.mktemp("run") / "run"
    run("all", "--model", model, *SIZE, "--out", folder)
    return folder


def _rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def _png(path):
    assert path.read_bytes().startswith(b"\x89PNG")


def test_all_runs_the_light_test(folder):
    found = SignificanceMap.load(folder / "results" / "significance.safetensors")
    assert found.metadata["n_permutations"] == LIGHT
    assert found.metadata["layers"] == [0, 1, 2, 3]
    scores = ScoreMap.load(folder / "results" / "independent.safetensors")
    tolerances.assert_close(found.score, scores.mean, tolerances.SCORE)
    _png(folder / "figures" / "significance.png")
    said = json.loads((folder / "results" / "summary.json").read_text())["significance"]
    assert f"{LIGHT} permutations, all layers" in said[0]
    assert said[1].startswith("Month ")
    assert said[0] in (folder / "results" / "summary.txt").read_text()


def test_the_table_of_the_test(folder):
    found = SignificanceMap.load(folder / "results" / "significance.safetensors")
    rows = _rows(folder / "results" / "significance.csv")
    assert list(rows[0]) == [
        *("layer", "position", "word", "token", "score", "null_mean", "null_sd", "z"),
        *("p", "p_family", "q", "status"),
    ]
    assert len(rows) == found.score.size
    for row in rows:
        site = int(row["layer"]), int(row["position"])
        if row["status"] == "constant":
            assert row["p"] == row["score"] == ""
        else:
            p, p_family = float(row["p"]), float(row["p_family"])
            tolerances.assert_close(p_family, found.p_family[site], tolerances.WRITTEN)
            tolerances.assert_close(p, found.p[site], tolerances.WRITTEN)
            assert p <= p_family + tolerances.WRITTEN


def test_a_thorough_test_replaces_the_light_one_and_is_kept(folder, model):
    path = folder / "results" / "significance.safetensors"
    command = ["significance", "--model", model, *SIZE, "--out", folder]
    said = run(*command)
    assert "significant at a family-wise 5%" in said
    assert SignificanceMap.load(path).metadata["n_permutations"] == THOROUGH
    before = path.stat().st_mtime_ns
    assert "is used again" in run(*command)
    run("all", "--model", model, *SIZE, "--out", folder)
    assert path.stat().st_mtime_ns == before
    # A number that is named is a question of its own.
    assert "permutations 1030 – another question" in run(*command, "--permutations", 1030)
    assert path.stat().st_mtime_ns == before
    own = folder / "analyses" / "permutations-1030" / "results" / "significance.safetensors"
    assert SignificanceMap.load(own).metadata["n_permutations"] == 1030


def test_a_slow_test_takes_the_layers_of_the_curves(folder, model, tmp_path, monkeypatch):
    """And says so, keeps to it, and leaves the rest to ``significance``."""
    monkeypatch.setattr(significance, "PATIENCE", 0.0)
    command = ["--model", model, *SIZE, "--out", tmp_path]
    assert "tested at layers 1, 2, 3" in run("all", *command)
    path = tmp_path / "results" / "significance.safetensors"
    assert SignificanceMap.load(path).metadata["layers"] == [1, 2, 3]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["significance"]["layers"] == [1, 2, 3]
    assert len({row["layer"] for row in _rows(path.with_suffix(".csv"))}) == 3
    run("figures", *command)
    run("significance", *command)
    found = SignificanceMap.load(path)
    assert found.metadata["layers"] == [0, 1, 2, 3]
    assert found.metadata["n_permutations"] == THOROUGH


def test_the_test_can_be_left_out(model, tmp_path):
    run("all", "--model", model, *SIZE, "--out", tmp_path, "--permutations", 0)
    assert not (tmp_path / "results" / "significance.safetensors").exists()
    assert not (tmp_path / "figures" / "significance.png").exists()


@pytest.fixture(scope="module")
def clean(folder, model):
    """The clean protocol, in the same folder."""
    before = {p: p.read_bytes() for p in (folder / "results").glob("*.safetensors")}
    said = run("all", "--model", model, *SIZE, "--out", folder, "--protocol", "clean")
    assert "states of" in said
    assert "clean protocol" in said
    assert before == {p: p.read_bytes() for p in (folder / "results").glob("*.safetensors")}
    return folder / "analyses" / "protocol-clean" / "results"


def test_the_clean_protocol_stands_beside_the_studys(folder, clean):
    names = (*STUDY, "unseen_labels", "unseen_names")
    for name in names:
        facts = ScoreMap.load(clean / f"{name}.safetensors").metadata
        assert facts["protocol"] == "clean"
        assert facts["hold_out"] == "Name"
        assert (clean / f"{name}.csv").exists()
        _png(folder / "analyses" / "protocol-clean" / "figures" / f"{name}.png")
    summary = json.loads((clean / "summary.json").read_text())
    assert summary["protocol"] == "clean"
    assert [row["experiment"] for row in summary["table"]] == list(names)
    for name in ("reuse", "rigid"):
        scores = ScoreMap.load(clean / f"{name}.safetensors")
        assert scores.scores.shape[0] == 3
    for part in (clean, folder / "results"):
        test = SignificanceMap.load(part / "significance.safetensors")
        assert test.metadata["exchange"] == "whole_groups"


def test_figures_of_either_protocol_are_drawn_again(folder, clean, model):
    for options, part in ((), ""), (("--protocol", "clean"), "analyses/protocol-clean"):
        figures = folder / part / "figures"
        drawn = {path.name for path in figures.glob("*.png")} - {"transfer.png"}
        for path in figures.glob("*.png"):
            path.unlink()
        run("figures", "--model", model, *SIZE, "--out", folder, *options)
        assert drawn <= {path.name for path in figures.glob("*.png")} | {
            *("transfer_layers.png", "subspaces.png")
        }


@pytest.mark.parametrize("options", [(), ("--protocol", "clean")])
def test_transfer(folder, clean, model, options):
    run("transfer", "--model", model, *SIZE, "--out", folder, *options)
    results = clean if options else folder / "results"
    scores = ScoreMap.load(results / "transfer.safetensors")
    n_words = scores.scores.shape[2]
    assert scores.dims == ("fold", "layer", "source", "target")
    assert scores.scores.shape == (3 if options else 1, 4, n_words, n_words)
    assert len(_rows(results / "transfer.csv")) == 4 * n_words**2
    # The row of the source is Exp 3.
    reuse = ScoreMap.load(results / "reuse.safetensors").mean
    source = scores.metadata["landmarks"]["source"]
    tolerances.assert_close(scores.mean[:, source], reuse, tolerances.SCORE)
    words = {row["word"] for row in _rows(results / "transfer_layers.csv")}
    assert words == {"Month", "birthday"}
    angles = _rows(results / "subspaces.csv")
    assert list(angles[0])[-4:] == ["cosine", "angle_1", "angle_2", "status"]
    own = [row for row in angles if row["position_a"] == row["position_b"] and row["cosine"]]
    assert own
    tolerances.assert_close([float(row["angle_2"]) for row in own], 0, tolerances.WRITTEN)
    figures = folder / ("analyses/protocol-clean" if options else "") / "figures"
    for name in ("transfer", "transfer_layers", "subspaces"):
        _png(figures / f"{name}.png")
    before = (results / "transfer.safetensors").stat().st_mtime_ns
    run("transfer", "--model", model, *SIZE, "--out", folder, *options)
    assert (results / "transfer.safetensors").stat().st_mtime_ns == before


def _own_prompts(path, slot="Town", spread=1.0):
    lines = [f"text,label,{slot}"]
    for i in range(24):
        town = ("Rome", "Oslo", "Bern")[i % 3]
        lines.append(f"In {town} it is {i} o'clock now,{spread * i / 24},{town}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_own_sentences_name_what_is_held_out(model, tmp_path):
    prompts = _own_prompts(tmp_path / "own.csv")
    marks = ("--source", "Town", "--destination", "now", "--distractor", "In", "--permutations", 0)
    options = ("--prompts", prompts, *marks, "--model", model, "--protocol", "clean")
    run("all", *options, "--out", tmp_path / "a")
    # Who asks by the clean protocol first has it in results/.
    assert (tmp_path / "a" / "results" / "unseen_labels.safetensors").exists()
    assert not (tmp_path / "a" / "results" / "unseen_names.safetensors").exists()
    run("all", *options, "--out", tmp_path / "b", "--hold-out", "Town")
    facts = ScoreMap.load(tmp_path / "b" / "results" / "unseen_Town.safetensors").metadata
    assert facts["hold_out"] == "Town"
    said = run("all", *options, "--out", tmp_path / "c", "--hold-out", "Street", expect=2)
    assert "--hold-out Street: the sentences have no such slot, but Town" in said


def test_the_clean_protocol_refuses_labels_that_are_no_turn(model, tmp_path):
    prompts = _own_prompts(tmp_path / "own.csv", spread=24.0)
    marks = ("--source", "Town", "--destination", "now", "--distractor", "In")
    options = ("--prompts", prompts, *marks, "--model", model, "--out", tmp_path / "run")
    said = run("all", *options, "--protocol", "clean", expect=2)
    assert "these span 23: give their period, such as --period 24" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("rigid", "--permutations", 5), "--permutations is for all and significance, not for"),
        (("significance", "--permutations", 0), "--permutations must be at least 1"),
        (("all", "--hold-out", "Name"), "--hold-out is for --protocol clean"),
        (("discover", "--protocol", "clean"), "--protocol has no effect on discover: leave it out"),
    ],
)
def test_options_without_effect_are_refused(model, tmp_path, arguments, said):
    assert said in run(*arguments, "--model", model, "--out", tmp_path / "run", expect=2)
