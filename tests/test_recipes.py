"""The recipes of CONTRIBUTING.md that have code, followed to the letter.

They are applied to a copy of the packages, which then does all five.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import save_tiny

ROOT = Path(__file__).parent.parent
RECIPES = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Adding")[1]
BLOCKS = re.findall(r"^```(?:python|toml)\n# (.+?)\n(.*?)^```", RECIPES, re.MULTILINE | re.DOTALL)

_SCORED = """
import numpy as np
import gpu_smds

rng = np.random.default_rng(0)
y = rng.random(90)
angle = 2 * np.pi * y
ellipse = np.stack([np.cos(angle), np.sin(angle) / 2], axis=1)
basis = np.linalg.qr(rng.normal(size=(8, 2)))[0].T
X = np.stack([ellipse @ basis, rng.normal(size=(90, 8))], axis=1)

# At the first site the ellipse lies in the states as it is.
score = gpu_smds.score_map(X, y, "ellipse", alpha=1e-9)
assert score.mean[0] > 1 - 1e-6 > 0.7 > score.mean[1]

metrics = ["cosine", "normalized_stress"]
found = gpu_smds.score_map(X, y, "ellipse", metric=metrics, solver="averages")
train = np.arange(30, 90)
centred = ellipse[train] - ellipse[train].mean(0)
Y = (lambda U, S: U * S)(*np.linalg.svd(centred, full_matrices=False)[:2])
W = (X[train, 0] - X[train, 0].mean(0)).T @ Y / len(train)
Z = X[:30, 0] @ W
D, E = (np.linalg.norm(P[:, None] - P[None], axis=-1) for P in (ellipse[:30], Z))
expected = (D * E).sum() / np.sqrt((D**2).sum() * (E**2).sum())
assert abs(found.scores[0, 0, 0] - expected) < 1e-12, (found.scores[0, 0, 0], expected)
assert abs(found.scores[1, 0, 0] - (1 - np.sqrt(((D - E) ** 2).sum() / (D**2).sum()))) < 1e-12
assert found.status.tolist() == np.zeros((3, 2), dtype=int).tolist()

# What a solver gets for nothing: maps, intervals, permutations, files.
fitted = gpu_smds.fit_map(X, y, "ellipse", solver="averages")
fitted.save("fitted.safetensors")
assert type(gpu_smds.FittedMap.load("fitted.safetensors").solver.kind).__name__ == "Averages"
assert (gpu_smds.bootstrap_map(X, y, 20, manifold="ellipse", solver="averages").se > 0).all()
import warnings

with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    tested = gpu_smds.significance_map(X, y, 19, manifold="ellipse", solver="averages")
assert "fitted again for each of 19 permutations" in str(said[0].message)
assert tested.p[0] == 0.05 < tested.p[1]
labels = y[tested.permutations[3]]
again = gpu_smds.score_map(X, labels, "ellipse", solver="averages").mean
assert abs(tested.null[3] - again).max() < 1e-12
print("as the recipes say")
"""


def _apply(what: str, code: str, to: Path) -> None:
    """Do what the first line of a block says."""
    if new := re.fullmatch(r"new file (\S+)", what):
        path = to / new[1]
        assert not path.exists(), f"{path} is there already"
        path.write_text(code, encoding="utf-8")
        return
    row = re.fullmatch(r"row of (\w+) in (\S+)", what)
    assert row, f"a recipe begins with {what!r}"
    before, entry = code.rstrip().rsplit("\n\n", 1)
    table, path = row[1], to / row[2]
    text = path.read_text(encoding="utf-8")
    begin = re.search(rf"^{table}\b.*= ([{{(])$", text, re.MULTILINE)
    assert begin, f"{row[2]} has no table {table}"
    end = text.index({"{": "\n}", "(": "\n)"}[begin[1]], begin.end())
    rows = text[begin.start() : end]
    path.write_text(
        f"{text[: begin.start()]}{before.strip()}\n\n\n{rows}\n    {entry.strip()},{text[end:]}",
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A copy of the packages with all recipes applied."""
    folder = tmp_path_factory.mktemp("library")
    ignored = shutil.ignore_patterns("__pycache__")
    for package in ("gpu_smds", "extract", "experiments"):
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    for what, code in BLOCKS:
        _apply(what, code, folder)
    return folder


def test_the_page_has_a_recipe_for_each():
    kinds = [what.split(" in ")[0].split(" gpu_smds")[0] for what, _ in BLOCKS]
    expected = ["new file", "row of SHAPES", "row of METRICS", "new file", "row of SOLVERS"]
    expected += ["new file experiments/designs/halves.py", "row of EXPERIMENTS"]
    expected += ["new file extract/tasks/warmth.toml"]
    assert kinds == expected


def test_the_recipes_work(library):
    done = subprocess.run(
        [sys.executable, "-c", _SCORED], capture_output=True, text=True, cwd=library, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "as the recipes say"


def _command(library, *arguments):
    """What the copy's command line prints."""
    done = subprocess.run(
        [sys.executable, "-m", "experiments.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=library,
        env=os.environ | {"COLUMNS": "120"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_an_experiment_is_everywhere(library, tmp_path):
    """In the help, its own command, the table, the summary, the CSV files and the figures."""
    assert "Exp 5: does a map of the first half" in _command(library, "--help")
    model = save_tiny(tmp_path / "model", "llama", "together", bos=True)
    base = ("--model", model, "--samples", 40, "--permutations", 0, "--out", tmp_path / "run")
    said = _command(library, "all", *base)
    assert re.search(r"5 halves .* s ", said)
    found = json.loads((tmp_path / "run/results/summary.json").read_text())
    assert [row["experiment"] for row in found["table"]][-1] == "halves"
    rows = (tmp_path / "run/results/halves.csv").read_text().splitlines()
    assert rows[0] == "layer,position,word,token,score,std,status"
    assert len(rows) == 1 + 4 * 34
    assert (tmp_path / "run/figures/halves.png").stat().st_size > 10_000
    assert "halves" in _command(library, "list", tmp_path / "run")
    said = _command(
        library, "halves", *(part for part in base if part not in ("--permutations", 0))
    )
    assert "halves.png" in said
    assert "similarity.png" not in said


def test_a_task_is_read_as_the_others_are(library):
    said = _command(library, "tasks")
    assert re.search(r"warmth +euclidean +How warm a drink is\n +\w+ drank the ", said)


def test_the_recipes_pass_the_linters(library):
    """All but the order of imports, which the linter sorts itself."""
    files = [library / what.split()[-1] for what, _ in BLOCKS if not what.endswith(".toml")]
    command = ["-m", "ruff", "check", "--config", ROOT / "pyproject.toml", "--ignore", "I001"]
    done = subprocess.run(
        [sys.executable, *command, *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
