"""Ready tasks on the command line: what they ask unless other things are given."""

import json
import re

import pytest
from command_line import run
from tiny_models import save_tiny

from extract.task_files import read_task, task_names

pytestmark = pytest.mark.usefixtures("small_pictures")
FEW = ("--samples", 60)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", "llama", "split")


def _settings(folder):
    return json.loads((folder / "manifest.json").read_text())["main"]


def test_a_command_is_of_the_task(model, tmp_path):
    folder, base = tmp_path / "run", ("--model", model, "--out", tmp_path / "run")
    said = run("rigid", "--task", "hour", *base, *FEW)
    assert "60 sentences" in said
    task, asked = read_task("hour"), _settings(folder)
    for key in ("manifold", "source", "destination", "distractor"):
        assert asked[key] == getattr(task, key)
    assert asked["period"] == task.period == 24
    assert 'task = "hour"' in (folder / "run.toml").read_text()
    assert "are used again" in run("rigid", "--task", "hour", *base, *FEW)
    # What is given goes first.
    run("rigid", "--task", "hour", "--manifold", "euclidean", "--only-layers", 1, *base, *FEW)
    assert (folder / "analyses/manifold-euclidean-period-none-only-layers-1").is_dir()
    written = (folder / "run.toml").read_text()
    assert written.index("period = 24") < written.index('period = "none"')
    said = run("discover", "--task", "hour", "--shuffles", 0, *base, "--samples", 60)
    assert f"{len(task.shapes)} manifolds" in said
    # The folder is of this task.
    refused = run("all", *base, *FEW, expect=2)
    assert 'holds a run with task "hour", asked for default' in refused
    refused = run("all", "--task", "weekday", *base, *FEW, expect=2)
    assert 'task "hour", asked for "weekday": give --task hour, or choose another --out' in refused


def test_the_date_is_the_default(model, tmp_path):
    base = ("--model", model, "--layers", "0", "--out", tmp_path / "run", "--samples", 40)
    run("rigid", *base)
    assert "are used again" in run("rigid", "--task", "date", *base)
    assert "task" not in (tmp_path / "run/run.toml").read_text()


def test_a_task_of_ones_own(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "colours.toml"
    path.write_text(
        """
        title = "A colour"
        template = "{Name} likes the {Colour} door."
        manifold = "euclidean"
        shapes = ["euclidean"]
        source = "Colour"
        destination = "door"
        distractor = "likes"
        slots.Name = ["Anna", "Paul", "Lisa", "Mark"]
        label.slot = "Colour"
        label.unit = "of the rainbow"
        label.values = { red = 0, yellow = 1, green = 2, blue = 3 }
        """
    )
    run("rigid", "--task", path, "--model", model, "--samples", 60)
    assert (tmp_path / "runs/tiny-colours/results/rigid.csv").is_file()
    again = run("rigid", "--config", "runs/tiny-colours/run.toml", "--out", "again")
    assert "error" not in again
    path.write_text(path.read_text().replace('shapes = ["euclidean"]', 'shapes = ["sircle"]'))
    said = run("all", "--task", path, "--model", model, expect=2)
    assert re.search(r"colours\.toml: shapes: unknown manifold 'sircle': choose one of", said)
    inside = tmp_path / "runs/tiny-colours/mine.toml"
    inside.write_text(path.read_text().replace("sircle", "euclidean"))
    out = ("--out", inside.parent)
    assert "choose another --out" in run("all", "--task", inside, "--model", model, *out, expect=2)


def test_a_task_has_its_own_sentences(model, tmp_path):
    (tmp_path / "mine.csv").write_text("text,label\n")
    both = ("--task", "hour", "--prompts", tmp_path / "mine.csv", "--model", model)
    assert "error: --task brings its own sentences" in run("all", *both, expect=2)
    assert "unknown task 'hours'" in run("all", "--task", "hours", "--model", model, expect=2)


def test_the_tasks_are_listed():
    said = run("tasks")
    for name in task_names():
        assert f"{name} " in said
        assert read_task(name).title in said
