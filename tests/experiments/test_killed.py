"""Runs that are killed at any moment, and what they are when the same command was given again."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_models import save_tiny
from warm import Server

from experiments.designs import experiments_of
from gpu_smds import ScoreMap, SignificanceMap

KILLS = 20


@pytest.fixture(scope="module")
def server():
    found = Server()
    yield found
    found.close()


def _content(folder: Path):
    """Everything that must not depend on interruptions."""
    results = {}
    for name in experiments_of(()):
        scores = ScoreMap.load(folder / "results" / f"{name}.safetensors")
        results[name] = (scores.scores, scores.status)
    tested = SignificanceMap.load(folder / "results" / "significance.safetensors")
    results["significance"] = (tested.null, tested.status)
    tables = {p.name: p.read_bytes() for p in sorted((folder / "results").glob("*.csv"))}
    states = {p.name: p.read_bytes() for p in sorted((folder / "states").iterdir())}
    return results, tables, states


def test_killed_at_random_moments(server, tmp_path):
    """Three layers of files, two kills a run; it ends as one that nobody touched."""
    model = save_tiny(tmp_path / "model", "llama", "together", bos=True)
    command = [
        *("all", "--model", model, "--samples", 700, "--layers", "0,2,3", "--batch-size", 4),
        "--quiet",
    ]
    whole = tmp_path / "whole"
    watched = [whole / "states" / "progress.jsonl", whole / "results" / "significance.safetensors"]
    code, (begun, finished) = server.run([*command, "--out", whole], watched)
    assert code == 0
    results, tables, states = _content(whole)
    assert len(states) == 4
    generator = random.Random(5)
    killed, reading, scoring = 0, 0, 0
    for number in range(KILLS // 2):
        folder = tmp_path / str(number)
        # Once it has begun to read, and at any time after the start.
        moments = [generator.uniform(0, finished - begun), generator.uniform(0.1, finished)]
        begins = [folder / "states" / "progress.jsonl", ""]
        for moment, after in zip(moments, begins, strict=True):
            code, _ = server.run([*command, "--out", folder], seconds=moment, after=after)
            killed += code == -signal.SIGKILL
            reading += (folder / "states" / "progress.jsonl").exists()
            scoring += bool(list((folder / "results").glob("*.partial")))
        code, _ = server.run([*command, "--out", folder])
        assert code == 0, f"after kills at {moments} of {finished:.2f} s"
        found = _content(folder)
        assert found[1:] == (tables, states)
        for name, (scores, status) in results.items():
            np.testing.assert_array_equal(found[0][name][0], scores)
            np.testing.assert_array_equal(found[0][name][1], status)
        assert not list(folder.rglob("*.partial"))
    print(f"{killed} killed, {reading} while reading, {scoring} with some sites scored")
    # Most of them did meet a run under way, while it read the sentences or scored.
    assert killed >= KILLS // 2
    assert reading + scoring >= 4


def test_a_second_process_stops(server, tmp_path):
    model = save_tiny(tmp_path / "model", "gpt2")
    folder = tmp_path / "run"
    command = ["extract", "--model", str(model), "--samples", "300", "--out", str(folder)]
    gpu_smds = [sys.executable, "-m", "experiments.cli"]
    first = subprocess.Popen([*gpu_smds, *command, "--batch-size", "1"], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (folder / "states" / "progress.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # it neither ends nor lets go
    second = subprocess.run([*gpu_smds, *command], capture_output=True, text=True, check=False)
    first.kill()
    first.wait()
    assert second.returncode == 1
    assert f"is in use by process {first.pid} on " in second.stderr
    assert "choose another --out" in second.stderr
    # The lock goes with the process, however it ended.
    code, _ = server.run([*command, "--quiet"])
    assert code == 0
