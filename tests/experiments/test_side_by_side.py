"""Two processes in one folder, and a folder of version 0.1.0 while processes are killed in it."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_models import save_tiny
from warm import Server

from experiments.runs.manifest import merged
from extract.sources import resolve_model
from gpu_smds import ScoreMap


@pytest.fixture(scope="module")
def server():
    found = Server()
    yield found
    found.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", "llama", "together", bos=True)


def _begun(arguments, until, deadline=60.0):
    """A process that is stopped, and lets go of nothing, once a file is there."""
    command = [sys.executable, "-m", "experiments.cli", *map(str, arguments)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + deadline
    while not until.exists() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGSTOP)
    while _is_held(Path(arguments[arguments.index("--out") + 1]) / ".manifest.lock"):
        # Nobody is stopped there but by a test.
        process.send_signal(signal.SIGCONT)
        time.sleep(0.001)
        process.send_signal(signal.SIGSTOP)
    assert until.exists(), process.stderr.read()
    return process


def _is_held(path):
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _scores(folder):
    return {
        path.name: ScoreMap.load(path).scores.tobytes()
        for path in folder.glob("*.safetensors")
        if path.stem in ("independent", "similarity", "reuse", "rigid")
    }


def test_two_analyses_at_once_and_no_two_of_the_same(server, model, tmp_path):
    run = tmp_path / "run"
    base = ("--model", model, "--samples", 300, "--out", run)
    assert server.run(["reuse", *base])[0] == 0
    begun = run / "analyses" / "source-Name" / "results" / "similarity.csv"
    first = _begun(["all", *base, "--source", "Name", "--permutations", 20], begun)
    try:
        # Another question of the same states, while the first has begun and goes on later.
        code, _ = server.run(["all", *base, "--source", "born", "--permutations", 20])
        assert code == 0, server.output
        assert server.run(["list", run])[0] == 0
        before = json.loads((run / "manifest.json").read_text())
        code, _ = server.run(["all", *base, "--source", "Name", "--permutations", 20])
        assert code == 1
        assert f"source-Name is in use by process {first.pid} on " in server.output
        assert "choose another --as" in server.output
        # Nor may the states be replaced, or anything be removed.
        code, _ = server.run(["extract", *base, "--force-states"])
        assert code == 1
        assert "is in use by " in server.output
        code, _ = server.run(["remove", run, "source-born", "--yes"])
        assert code == 1
        assert json.loads((run / "manifest.json").read_text()) == before
    finally:
        first.send_signal(signal.SIGCONT)
    _, said = first.communicate(timeout=120)
    assert first.returncode == 0, said
    manifest = json.loads((run / "manifest.json").read_text())
    assert set(manifest["analyses"]) == {"source-Name", "source-born"}
    # Both are as if they had been alone, and all files are listed.
    for word in ("Name", "born"):
        place = run / "analyses" / f"source-{word}"
        alone = tmp_path / word
        options = ("--model", model, "--samples", 300, "--out", alone, "--source", word)
        assert server.run(["all", *options, "--permutations", 20])[0] == 0
        assert _scores(place / "results") == _scores(alone / "results")
        for path in place.rglob("*.*"):
            if path.is_file() and path.name != ".lock":
                assert str(path.relative_to(run)) in manifest["files"]
    assert 'as = "source-born"' in (run / "run.toml").read_text()
    assert 'as = "source-Name"' in (run / "run.toml").read_text()
    code, _ = server.run(["remove", run, "source-born", "--yes"])
    assert code == 0
    assert not (run / "analyses" / "source-born").exists()


def test_who_reads_the_model_is_alone(server, model, tmp_path):
    base = ("--model", model, "--samples", 300, "--out", tmp_path / "run")
    progress = tmp_path / "run" / "states" / "progress.jsonl"
    first = _begun(["extract", *base, "--batch-size", 1], progress)
    try:
        code, _ = server.run(["reuse", *base, "--source", "Name"])
        assert code == 1
        assert f"run is in use by process {first.pid} on " in server.output
    finally:
        first.kill()
        first.wait()
    assert server.run(["reuse", *base, "--source", "Name"])[0] == 0


def test_changes_of_two_are_merged():
    base = {"a": 1, "files": {"x": {"sha256": "1"}, "y": {}}, "analyses": {}}
    mine = {"a": 2, "files": {"x": {"sha256": "1"}, "z": {}}, "analyses": {"m": {"s": 1}}}
    theirs = {"a": 1, "files": {"x": {"sha256": "2"}, "y": {}, "w": {}}, "analyses": {"t": {}}}
    assert merged(base, mine, theirs) == {
        "a": 2,
        "files": {"x": {"sha256": "2"}, "z": {}, "w": {}},
        "analyses": {"m": {"s": 1}, "t": {}},
    }
    assert merged({}, {"b": 1}, {"c": 2}) == {"b": 1, "c": 2}


BASE = ("--samples", 200, "--permutations", 20, "--quiet")


@pytest.fixture(scope="module")
def of_0_1_0(server, model, tmp_path_factory):
    """A folder as version 0.1.0 left it, both protocols finished."""
    folder = tmp_path_factory.mktemp("old") / "run"
    command = ("all", "--model", model, *BASE, "--out", folder)
    assert server.run(command)[0] == 0
    _as_of_0_1_0(folder, model)
    for options in ((), ("--protocol", "clean")):
        # Results say of which states they are, which that version put in other words.
        assert server.run([*command, *options])[0] == 0, server.output
    for part in ("results", "figures"):
        if (folder / "analyses/protocol-clean" / part).exists():
            (folder / "analyses/protocol-clean" / part).rename(folder / part / "clean")
    shutil.rmtree(folder / "analyses")
    _as_of_0_1_0(folder, model)
    return folder


def _as_of_0_1_0(folder, model):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in ("program", "token", "files", "main", "analyses", "fingerprint", "identity_of"):
        manifest.pop(name, None)
    source = resolve_model(str(model))
    states = manifest["identity"]["states"]
    for key in source.fingerprint():
        states.pop(key, None)
    manifest["identity"]["states"] = {**source.sampled_fingerprint(), **states}
    path.write_text(json.dumps(manifest | {"format_version": 1}))
    for name in ("run.toml", ".manifest.lock", ".lock", "results/.lock"):
        (folder / name).unlink(missing_ok=True)


def test_killed_while_a_folder_of_0_1_0_is_taken_over(server, model, of_0_1_0, tmp_path):
    """Nothing is read or computed again, and what is asked further is as in another folder."""
    before = {p.relative_to(of_0_1_0): p.read_bytes() for p in of_0_1_0.rglob("results/**/*.csv")}
    before |= {p.relative_to(of_0_1_0): p.read_bytes() for p in of_0_1_0.rglob("*_*.safetensors")}
    assert Path("results/clean/reuse.csv") in before
    fresh = tmp_path / "fresh"
    further = ("--source", "Day_Ordinal")
    assert server.run(["all", "--model", model, *BASE, "--out", fresh, *further])[0] == 0
    killed = 0
    for number, moment in enumerate(np.linspace(0.02, 0.9, 10)):
        folder = tmp_path / str(number)
        shutil.copytree(of_0_1_0, folder)
        read = {p: os.stat(p).st_mtime_ns for p in (folder / "states").iterdir()}
        command = ("all", "--model", model, *BASE, "--out", folder)
        asked = [(), ("--protocol", "clean"), further]
        for options in asked:
            code, _ = server.run([*command, *options], seconds=float(moment))
            killed += code == -signal.SIGKILL
        for options in asked:
            code, _ = server.run([*command, *options])
            assert code == 0, server.output
        assert {p: os.stat(p).st_mtime_ns for p in (folder / "states").iterdir()} == read
        assert {p: (folder / p).read_bytes() for p in before} == before
        place = folder / "analyses" / "source-Day_Ordinal" / "results"
        assert _scores(place) == _scores(fresh / "results")
        assert not list(folder.rglob("*.partial"))
        assert not list(folder.rglob("*.changed"))
        shutil.rmtree(folder)
    assert killed >= 10
