"""The command line on small models: every architecture, every file, every wrong use."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tolerances
import torch
from safetensors import safe_open
from tiny_disk import on_a_tiny_disk
from tiny_models import save_tiny
from typer.testing import CliRunner

from experiments.cli import app
from experiments.designs import experiments_of
from extract import HiddenStates
from gpu_smds import ScoreMap

MODELS = {
    "gpt2": {"architecture": "gpt2", "digits": "together"},
    "llama": {"architecture": "llama", "digits": "together", "bos": True},
    "qwen2": {"architecture": "qwen2", "digits": "split"},
}
EXPERIMENTS = tuple(experiments_of(()))


def run(*arguments, expect=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == expect, result.output
    return result.output


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: save_tiny(folder / name, **facts) for name, facts in MODELS.items()}


@pytest.fixture(scope="module")
def finished(models, tmp_path_factory):
    """A whole run of every architecture."""
    folders = {}
    for name, model in models.items():
        folders[name] = tmp_path_factory.mktemp("runs") / name
        run("all", "--model", model, "--samples", 40, "--out", folders[name])
    return folders


def _table(folder, experiment):
    with (folder / "results" / f"{experiment}.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", MODELS)
def test_folder_contract(finished, name):
    folder = finished[name]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["n_states"] == 4
    assert torch.__version__.startswith(manifest["versions"]["torch"])
    assert str(folder.parent.parent) not in (folder / "manifest.json").read_text()
    with (folder / "prompts.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40
    assert list(rows[0]) == ["text", "label", "Name", "Day_Ordinal", "Month"]
    assert len(list((folder / "states").glob("layer_*.safetensors"))) == 4
    for figure in (*EXPERIMENTS, "circle"):
        content = (folder / "figures" / f"{figure}.png").read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 10_000
    summary = json.loads((folder / "results" / "summary.json").read_text())
    assert [row["experiment"] for row in summary["table"]] == list(EXPERIMENTS)
    assert [verdict["name"] for verdict in summary["verdicts"]] == ["H1", "H2", "H3"]


@pytest.mark.parametrize("name", MODELS)
def test_state_files_say_what_they_are(finished, name):
    with safe_open(finished[name] / "states" / "layer_02.safetensors", framework="pt") as file:
        facts, shape = file.metadata(), file.get_tensor("hidden_states").shape
    positions = json.loads(facts["positions"])
    assert shape == (40, len(positions["words"]), 32)
    assert facts["layer"] == "2"
    assert facts["final_norm"] == "post"
    assert facts["dtype"] == "float32"
    assert json.loads(facts["model"])["type"] == MODELS[name]["architecture"]
    assert {"revision", "tokenizer", "prompts_hash"} <= facts.keys()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("experiment", ["independent", "reuse", "rigid"])
def test_tables_hold_the_scores(finished, name, experiment):
    rows = _table(finished[name], experiment)
    assert list(rows[0]) == ["layer", "position", "word", "token", "score", "std", "status"]
    scores = ScoreMap.load(finished[name] / "results" / f"{experiment}.safetensors")
    assert scores.dims == ("fold", "layer", "position")
    assert len(rows) == scores.mean.size
    for row in rows:
        value = scores.mean[int(row["layer"]), int(row["position"])]
        assert (row["status"] in ("ok", "undetermined")) == bool(np.isfinite(value))
        assert row["score"] == ("" if np.isnan(value) else f"{value:.10g}")
    # In layer 0 every fixed word is the same vector in all sentences.
    status = {row["word"]: row["status"] for row in rows if row["layer"] == "0"}
    assert status["volleyball"] == "constant" or name == "gpt2"  # GPT-2 adds the position
    assert status["Month"] == "ok"


@pytest.mark.parametrize("name", MODELS)
def test_similarity_table(finished, name):
    rows = _table(finished[name], "similarity")
    positions = len({row["position_a"] for row in rows})
    assert len(rows) == positions**2
    assert {row["layer"] for row in rows} == {"2"}  # int(0.6·4)
    diagonal = [row for row in rows if row["position_a"] == row["position_b"]]
    own = [float(row["score"]) for row in diagonal if row["score"]]
    assert own
    tolerances.assert_close(own, 1, tolerances.WRITTEN)


def test_bos_is_a_column_and_undefined(finished):
    rows = _table(finished["llama"], "independent")
    first = [row for row in rows if row["position"] == "0"]
    assert {row["word"] for row in first} == {"<|begin|>"}
    assert {row["status"] for row in first} == {"constant"}


def test_the_same_command_uses_what_is_there(finished, models, monkeypatch):
    import extract.models

    def refuse(*arguments, **more):
        raise AssertionError("the model was loaded again")

    monkeypatch.setattr(extract.models, "load_model", refuse)
    monkeypatch.setattr(extract.models, "load_tokenizer", refuse)
    folder = finished["gpt2"]
    before = {p: p.stat().st_mtime_ns for p in (folder / "results").glob("*.safetensors")}
    run("all", "--model", models["gpt2"], "--samples", 40, "--out", folder)
    run("rigid", "--model", models["gpt2"], "--samples", 40, "--out", folder)
    after = {p: p.stat().st_mtime_ns for p in before if p.name != "circle.safetensors"}
    assert all(before[path] == time for path, time in after.items())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("--samples", 50), "samples 40, asked for 50"),
        (("--seed", 7), "seed 42, asked for 7"),
        (("--positions", "raw"), 'positions "word", asked for "raw"'),
        (("--layers", "0,2"), 'layers default, asked for "0,2"'),
        (("--dtype", "bfloat16"), 'dtype default, asked for "bfloat16"'),
    ],
)
def test_other_options_in_the_same_folder(finished, models, change, named):
    folder = finished["gpt2"]
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    base = ("all", "--model", models["gpt2"], "--samples", 40, "--out", folder)
    output = run(*base, *change, expect=2)
    assert named in output
    assert "--force" in output
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} == before


def test_another_model_in_the_same_folder(finished, models):
    output = run(
        *("all", "--model", models["qwen2"], "--samples", 40, "--out", finished["gpt2"]), expect=2
    )
    assert "holds a run with" in output


def test_figures_are_drawn_again(finished, models):
    path = finished["qwen2"] / "figures" / "rigid.png"
    path.unlink()
    run("figures", "--model", models["qwen2"], "--samples", 40, "--out", finished["qwen2"])
    assert path.is_file()


def test_models_side_by_side(models, tmp_path):
    run(
        *("all", "--model", models["gpt2"], "--model", models["llama"]),
        *("--samples", 24, "--out", tmp_path, "--layers", "1-3"),
    )
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "gpt2" / "results" / "summary.json").is_file()
    assert (tmp_path / "llama" / "results" / "summary.json").is_file()


def test_quiet_prints_nothing(models, tmp_path):
    out = run(
        "independent", "--model", models["gpt2"], "--samples", 12, "--out", tmp_path, "--quiet"
    )
    assert out == ""


def test_no_save_keeps_states_out_of_the_folder(models, tmp_path):
    run("all", "--model", models["gpt2"], "--samples", 12, "--out", tmp_path, "--no-save")
    assert not (tmp_path / "states").exists()
    assert (tmp_path / "results" / "summary.json").is_file()


def test_no_save_after_a_finished_run_uses_its_states(models, tmp_path):
    arguments = ("independent", "--model", models["gpt2"], "--samples", 12, "--out", tmp_path)
    run(*arguments)
    before = (tmp_path / "states" / "index.json").read_bytes()
    assert "used again" in run(*arguments, "--no-save")
    assert "used again" in run(*arguments)
    assert (tmp_path / "states" / "index.json").read_bytes() == before


def test_dry_run_writes_nothing(models, tmp_path):
    base = ("all", "--model", models["gpt2"], "--samples", 12, "--out", tmp_path / "run")
    output = run(*base, "--dry-run")
    assert not (tmp_path / "run").exists()
    for word in ("sentences  12", "positions  ", "states     0.00 GB", "disk       "):
        assert word in output


def test_discover(models, tmp_path):
    base = ("discover", "--model", models["qwen2"], "--samples", 40, "--out", tmp_path)
    output = run(*base, "--shuffles", 2)
    assert "sites won" in output
    assert "not tried, since they take other labels: torus" in output
    assert "nothing beats shuffled labels at" in output
    rows = _table(tmp_path, "discover")
    assert list(rows[0]) == [
        *("layer", "position", "word", "token", "manifold", "score", "std"),
        *("baseline", "above_baseline", "status"),
    ]
    columns = len({row["position"] for row in rows})
    assert len(rows) == 4 * columns * 7
    first = [float(row["score"] or -1) for row in rows[:7]]
    assert first == sorted(first, reverse=True)
    assert (tmp_path / "figures" / "discover.png").is_file()
    assert "is used again" in run(*base, "--shuffles", 2)
    output = run(*base, "--manifolds", "circular, spiral", "--shuffles", 0)
    assert "is used again" not in output.replace("states of", "").replace("are used again", "")
    two = tmp_path / "analyses" / "manifolds-circular_spiral-shuffles-0"
    assert {row["manifold"] for row in _table(two, "discover")} == {"circular", "spiral"}
    # The circle's scores are those of Exp 1.
    run("independent", *base[1:])
    exp1 = {(r["layer"], r["position"]): r["score"] for r in _table(tmp_path, "independent")}
    for row in _table(two, "discover"):
        if row["manifold"] == "circular" and row["score"]:
            expected = float(exp1[row["layer"], row["position"]])
            tolerances.assert_close(float(row["score"]), expected, tolerances.SCORE)


def test_discover_wrong_use(models, tmp_path):
    base = ("--model", models["gpt2"], "--samples", 20, "--out", tmp_path)
    for arguments, says in (
        (("discover", *base, "--manifolds", "ring"), "unknown manifold 'ring'"),
        (("discover", *base, "--manifolds", "torus"), "no manifold takes these labels"),
        (("discover", *base, "--shuffles", "1"), "0 or at least 2"),
        (("rigid", *base, "--shuffles", "3"), "--shuffles is for discover, not for rigid"),
    ):
        assert says in run(*arguments, expect=2)
    assert not (tmp_path / "results").exists()


def test_other_shapes_in_the_experiments(models, tmp_path):
    base = ("--model", models["gpt2"], "--samples", 40)
    run("independent", *base, "--manifold", "semicircular", "--out", tmp_path / "half")
    assert _table(tmp_path / "half", "independent")
    output = run("all", *base, "--manifold", "torus", "--out", tmp_path / "torus", expect=2)
    assert "takes labels of shape (n, k)" in output


def test_extract_then_experiments(models, tmp_path):
    base = ("--model", models["qwen2"], "--samples", 20, "--out", tmp_path)
    run("extract", *base)
    assert HiddenStates.open(tmp_path / "states").shape[:2] == (20, 4)
    assert not (tmp_path / "results").exists()
    run("reuse", *base)
    assert [p.name for p in sorted((tmp_path / "results").glob("*.csv"))] == ["reuse.csv"]


def test_own_sentences(models, tmp_path):
    path = tmp_path / "hours.csv"
    rows = [f"The train leaves at {h} from here.,{h / 24},{h}" for h in range(24)]
    path.write_text("text,label,Hour\n" + "\n".join(rows))
    run(
        *("all", "--model", models["qwen2"], "--prompts", path, "--out", tmp_path / "run"),
        *("--source", "Hour", "--destination", "here"),
    )
    words = dict.fromkeys(row["word"] for row in _table(tmp_path / "run", "independent"))
    assert list(words)[:5] == ["The", "train", "leaves", "at", "Hour"]


def test_raw_positions_warn(models, tmp_path):
    output = run(
        *("independent", "--model", models["qwen2"], "--samples", 30, "--out", tmp_path),
        *("--positions", "raw"),
    )
    assert "warning: raw positions mix words" in output
    assert "most often at" in output


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_narrow_dtypes(models, tmp_path, kind):
    base = ("--model", models["gpt2"], "--samples", 12, "--out", tmp_path, "--dtype", kind)
    run("independent", *base)
    assert HiddenStates.open(tmp_path / "states").dtype == getattr(torch, kind)


def test_the_last_state_before_the_final_norm(models, finished, tmp_path):
    base = ("--model", models["gpt2"], "--samples", 40)
    run("extract", *base, "--final-norm", "pre", "--out", tmp_path)
    before = HiddenStates.open(tmp_path / "states")
    after = HiddenStates.open(finished["gpt2"] / "states")
    assert before.metadata["final_norm"] == "pre"
    assert torch.equal(before[:, 2, :], after[:, 2, :])
    assert (before[:, 3, :] - after[:, 3, :]).abs().max() > tolerances.DIFFERS
    output = run("all", *base, "--final-norm", "pre", "--out", finished["gpt2"], expect=2)
    assert 'final_norm "post", asked for "pre"' in output


def test_manifests_of_before_there_was_a_choice(models, tmp_path):
    base = ("extract", "--model", models["gpt2"], "--samples", 12, "--out", tmp_path)
    run(*base)
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["identity"]["states"]["final_norm"], manifest["memory_budget"]
    path.write_text(json.dumps(manifest))
    assert "are used again" in run(*base)
    assert "final_norm" in run(*base, "--final-norm", "pre", expect=2)


def test_batches_are_in_the_manifest(models, tmp_path):
    base = ("extract", "--model", models["qwen2"], "--samples", 30, "--out", tmp_path)
    run(*base, "--batch-tokens", 150)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert sum(manifest["batches"]) == 30
    assert max(manifest["batches"]) <= 150 // 34
    assert manifest["memory_budget"] > 0
    assert manifest["quantization"] is None


def test_a_run_killed_after_its_last_sentence_needs_no_model(models, tmp_path, monkeypatch):
    from experiments.runs import extraction as running

    base = ("extract", "--model", models["qwen2"], "--samples", 30, "--out", tmp_path)
    run(*base)
    content = {p.name: p.read_bytes() for p in (tmp_path / "states").iterdir()}
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"extracted": False}))

    def refuse(*arguments, **more):
        raise AssertionError("the model was loaded")

    with monkeypatch.context() as patch:
        patch.setattr(running, "load_model", refuse)
        run(*base)
    assert json.loads(path.read_text())["extracted"]
    # Unless the files are not what they were.
    (tmp_path / "states" / "layer_01.safetensors").write_bytes(b"x")
    path.write_text(json.dumps(manifest | {"extracted": False}))
    run(*base)
    assert {p.name: p.read_bytes() for p in (tmp_path / "states").iterdir()} == content


_ON_A_TINY_DISK = """
import json, subprocess, sys
from pathlib import Path
from typer.testing import CliRunner
from experiments.cli import app

base = ["--model", sys.argv[1], "--samples", "40", "--out", "disk/run"]

def run(command):
    result = CliRunner().invoke(app, [command, *base])
    return [result.exit_code, " ".join(result.output.split())]

def content():
    return {str(p): p.read_bytes() for p in Path("disk/run").rglob("*") if p.is_file()}

said = {"extract": run("extract")}
before = content()
subprocess.run(["mount", "-o", "remount,ro", "disk"], check=True)
said["read-only"] = run("independent")
subprocess.run(["mount", "-o", "remount,rw", "disk"], check=True)
with Path("disk/other").open("wb", buffering=0) as file:
    try:
        while file.write(bytes(4096)):
            pass
    except OSError:
        pass
said["full"] = run("independent")
after = content()
said["intact"] = [name for name in before if after.get(name) != before[name]]
Path("disk/other").unlink()
said["again"] = run("independent")
print(json.dumps(said))
"""


def test_a_disk_that_is_read_only_or_full(models, tmp_path):
    said = json.loads(on_a_tiny_disk(tmp_path, "2m", _ON_A_TINY_DISK, models["gpt2"]))
    assert said["extract"][0] == 0
    code, output = said["read-only"]
    assert code == 1
    assert "disk/run cannot be written (Read-only file system): choose another --out" in output
    code, output = said["full"]
    assert code == 1
    assert "the disk is full: free some space and give the same command again" in output
    assert said["intact"] in ([], ["disk/run/.lock"])
    assert said["again"][0] == 0


def test_overflow_is_undefined_and_counted(models, tmp_path):
    """One feature beyond float16: its sites are undefined, the rest is scored."""
    import shutil

    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(models["llama"], folder)
    weights = load_file(folder / "model.safetensors")
    for part in ("gate", "up"):
        weights[f"layers.1.mlp.{part}_proj.weight"][:] = 1
    weights["layers.1.mlp.down_proj.weight"][:] = 6e4
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    base = ("--model", folder, "--samples", 12, "--out", tmp_path / "run", "--dtype", "float16")
    output = run("independent", *base)
    assert "--dtype bfloat16" in output
    assert "layer 2 Name, layer 2 was, " in output or "layer 2 <|begin|>, layer 2 Name" in output
    assert "non_finite" in output
    statuses = {(row["layer"], row["status"]) for row in _table(tmp_path / "run", "independent")}
    assert ("2", "non_finite") in statuses
    assert ("1", "ok") in statuses


def _wrong(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("text,label\nI like red.,0\nI like blue.,0\n")
    (tmp_path / "file").write_text("")
    return {
        ("--model", "nonsense"): (2, "unknown model 'nonsense'"),
        ("--model", tmp_path / "none.gguf"): (2, "unknown model"),
        ("--samples", 3): (2, "3 sentences are too few: 3 folds need at least 6"),
        ("--samples", 0): (2, "--samples must be at least 1"),
        ("--samples", "many"): (2, "valid integer"),
        ("--prompts", tmp_path / "none.csv"): (2, "no such file"),
        ("--prompts", path): (2, "all labels are equal"),
        ("--manifold", "round"): (2, "unknown manifold 'round'"),
        ("--destination", "cake"): (2, "no word 'cake' for the destination"),
        ("--layers", "9"): (2, "the model has hidden states 0 to 3"),
        ("--device", "abacus"): (2, "unknown device"),
        ("--positions", "random"): (2, "word"),
        ("--protocol", "other"): (2, "'other' is not one of 'study', 'clean'"),
        ("--out", tmp_path / "file"): (2, "is a file"),
    }


@pytest.mark.parametrize("number", range(14))
def test_wrong_use_is_one_line(models, tmp_path, number):
    change, (code, says) = list(_wrong(tmp_path).items())[number]
    arguments = {"--model": models["gpt2"], "--samples": 12, "--out": tmp_path / "run"}
    arguments |= {change[0]: change[1]}
    before = sorted(p.name for p in tmp_path.iterdir())
    flat = [part for pair in arguments.items() for part in pair]
    output = run("all", *flat, expect=code)
    assert says in " ".join(output.split())
    assert "Traceback" not in output
    assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_cuda(models, tmp_path):
    base = ("all", "--model", models["gpt2"], "--samples", 12, "--out", tmp_path / "run")
    assert "use --device cpu" in run(*base, "--device", "cuda", expect=2)
    assert not (tmp_path / "run").exists()


def test_labels_that_are_not_numbers(models, tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(
        '{"text": "I like red.", "label": 1}\n{"text": "I like blue.", "label": null}\n'
    )
    output = run("all", "--model", models["gpt2"], "--prompts", path, expect=2)
    assert "line 2" in output


@pytest.mark.parametrize("damage", ["short", "altered"])
def test_damaged_states_are_not_used(models, tmp_path, damage):
    base = ("--model", models["gpt2"], "--samples", 12, "--out", tmp_path)
    run("extract", *base)
    path = tmp_path / "states" / "layer_01.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 255
    path.write_bytes(content[:-8] if damage == "short" else content)
    output = run("independent", *base, expect=1)
    assert "layer_01.safetensors" in output
    assert not (tmp_path / "results").exists()
    run("independent", *base, "--force-states")


def test_damaged_manifest_and_result(models, tmp_path):
    base = ("--model", models["gpt2"], "--samples", 12, "--out", tmp_path)
    run("independent", *base)
    path = tmp_path / "results" / "independent.safetensors"
    sound = ScoreMap.load(path)
    path.write_bytes(b"x")
    assert "kept as independent.safetensors.changed" in run("independent", *base)
    assert path.with_suffix(".safetensors.changed").read_bytes() == b"x"
    np.testing.assert_array_equal(ScoreMap.load(path).scores, sound.scores)
    # Nobody can tell any more which files are the run's, so that --force must not remove any.
    (tmp_path / "manifest.json").write_text("{")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for force in ((), ("--force",), ("--force-states",)):
        assert "manifest.json is damaged" in run("independent", *base, *force, expect=1)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_full_disk(models, tmp_path, monkeypatch):
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    base = ("all", "--model", models["gpt2"], "--samples", 12, "--out", tmp_path)
    assert "too full" in run(*base, expect=1)
    assert not list(tmp_path.rglob("*.partial"))


def test_tokens_never_show(models, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret123")
    output = run("all", "--model", models["gpt2"], "--samples", 12, "--out", tmp_path)
    assert "hf_secret123" not in output
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"hf_secret123" not in path.read_bytes()


def test_interrupted_runs_go_on(models, tmp_path):
    """A real Ctrl-C while the model reads; the same command finishes with the same numbers."""
    base = ["--model", str(models["gpt2"]), "--samples", "1500", "--batch-size", "1"]
    command = [sys.executable, "-m", "experiments.cli", "independent", *base]
    folder = tmp_path / "broken"
    process = subprocess.Popen(
        [*command, "--out", str(folder)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
    )
    progress = folder / "states" / "progress.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if progress.is_file() and progress.read_bytes().count(b"\n") > 10:
            break
        time.sleep(0.005)
    assert process.poll() is None, "it ended, or did not begin, before it could be interrupted"
    assert progress.is_file()
    # Once, it ran on after one press; as a user would, press again. On a busy machine it takes
    # its time to come to an end.
    errors = "it did not end"
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            _, errors = process.communicate(timeout=30)
            break
    assert process.returncode == 130, errors
    assert "interrupted: the same command goes on" in errors
    done = progress.read_bytes().count(b"\n") - 1
    assert 10 <= done < 1500
    assert not list((folder / "states").glob("layer_*.safetensors"))
    run("independent", *base, "--out", folder)
    run("independent", *base, "--out", tmp_path / "whole")
    for name in ("states/layer_03.safetensors", "results/independent.csv"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_help_teaches():
    assert "gpu-smds all" in run("--help")
    text = " ".join(run("all", "--help").split())
    for option in (
        *("--model", "--revision", "--samples", "--seed", "--prompts", "--manifold", "--source"),
        *("--destination", "--layers", "--positions", "--quantize", "--dtype", "--device"),
        *("--batch-size", "--protocol", "--out", "--no-save", "--force", "--dry-run", "--quiet"),
        *("--debug", "--final-norm", "--batch-tokens", "--permutations", "--hold-out"),
    ):
        assert option in text


def test_models_command():
    output = run("models")
    assert "meta-llama/Llama-3.1-8B-Instruct" in output
    assert "smollm2" in output


def _complete(words):
    """What a shell would offer for the last of some words."""
    done = subprocess.run(
        [sys.executable, "-m", "experiments.cli"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ
        | {
            "_GPU_SMDS_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(words),
            "COMP_CWORD": str(len(words) - 1),
        },
    )
    return done.stdout.split()


def test_the_shell_completes_commands_and_options():
    assert _complete(["gpu-smds", "sig"]) == ["significance"]
    assert _complete(["gpu-smds", "all", "--perm"]) == ["--permutations"]
    assert _complete(["gpu-smds", "all", "--protocol", ""]) == ["study", "clean"]


def test_help_says_how_to_complete_and_what_exit_codes_mean():
    said = " ".join(CliRunner().invoke(app, ["--help"]).output.split())
    assert "--install-completion" in said
    assert "0 done, 1 failed, 2 wrong use, 130 interrupted" in said
