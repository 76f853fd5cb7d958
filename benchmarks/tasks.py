"""Every ready task on SmolLM2: which shape wins where, how sure, and does the model know it?

    python -m benchmarks.tasks                  # all tasks, then docs/tasks.md and its figures
    python -m benchmarks.tasks --task hour      # one, beside what was measured of the others
    python -m benchmarks.tasks --page           # only the page and what it says, from the JSON
    python -m benchmarks.tasks --quick          # fewer sentences, questions and permutations
    python -m benchmarks.tasks --runs FOLDER    # keep the runs there, or go on with them; with
                                                # --page, only draw them again

For each task ``gpu-smds significance`` and ``gpu-smds discover`` are run as a user would, on four
layers, into a folder that is removed at the end unless it is given. Then the model goes on with the
task's question, after each of some sentences.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.answers import Answering, asked
from benchmarks.environment import environment
from benchmarks.output import OUT, output, write_facts
from benchmarks.tasks_figure import draw_task
from benchmarks.tasks_page import write_page
from experiments.commands import execute
from experiments.console import Screen
from experiments.options import Options
from extract import HiddenStates, UsageError
from extract.models import model_device
from extract.sources import resolve_model
from extract.task_files import read_task, task_names
from gpu_smds import Discovery, SignificanceMap
from gpu_smds._files import File

MODEL, LAYERS = "smollm2", (0, 10, 20, 30)


@dataclass(frozen=True)
class Size:
    """Sentences and permutations of a run, and questions put to the model."""

    samples: int = 240
    permutations: int = 200
    questions: int = 24


QUICK = Size(samples=100, permutations=39, questions=8)


def main() -> None:
    """Measure, and write the JSON, the page and the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", action="append", choices=task_names(), help="only this one")
    parser.add_argument("--quick", action="store_true", help="fewer of everything; no page")
    parser.add_argument("--page", action="store_true", help="only write the page again")
    parser.add_argument("--runs", type=Path, help="folder that keeps the runs")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the JSON file")
    arguments = parser.parse_args()
    path = output(arguments.out, "tasks-quick.json" if arguments.quick else "tasks.json")
    if arguments.page:
        facts = json.loads(path.read())
        for name in facts["tasks"] if arguments.runs else ():
            draw(name, facts["size"]["samples"], arguments.runs / name)
    else:
        facts = measured(arguments, path)
    if not arguments.quick:
        print(f"page {write_page(facts)}")


def measured(arguments: argparse.Namespace, path: File) -> dict[str, Any]:
    """All tasks that are asked for, written after each; others stay what they were."""
    before = json.loads(path.read()) if arguments.task and path.exists() else {}
    size = QUICK if arguments.quick else Size()
    facts = {
        "environment": environment(),
        "load": round(os.getloadavg()[0], 1),
        "size": vars(size),
        "layers": LAYERS,
    }
    rows = dict(before.get("tasks", {}))
    model = Answering(resolve_model(MODEL), model_device(None))
    for name in arguments.task or task_names():
        with tempfile.TemporaryDirectory() as folder:
            run = (arguments.runs or Path(folder)) / name
            took = rows[name]["seconds"] if run.exists() and name in rows else {}
            rows[name] = measure(name, size, run, model)
            rows[name]["seconds"] |= took  # what is done already takes no time
            if not arguments.quick:
                draw(name, size.samples, run)
        print(json.dumps({name: rows[name]}, indent=1), flush=True)
        facts["tasks"] = {name: rows[name] for name in task_names() if name in rows}
        write_facts(path, facts)
    return facts


def measure(name: str, size: Size, run: Path, model: Answering) -> dict[str, Any]:
    """Everything of one task, whose run has a folder, as JSON."""
    seconds = {}
    for command in ("significance", "discover"):
        started = perf_counter()
        _execute(command, name, size, run)
        seconds[command] = round(perf_counter() - started, 1)
    tested = SignificanceMap.load(run / "results" / "significance.safetensors")
    row = {
        "sentences": size.samples,
        "seconds": seconds,
        "winners": winners(_discovery(run)),
        "significant": significant(tested),
    }
    started = perf_counter()
    row["knows"] = asked(model, read_task(name), size.questions)
    seconds["question"] = round(perf_counter() - started, 1)
    return row


def draw(name: str, samples: int, run: Path) -> None:
    """Draw the figure of a finished run."""
    tested = SignificanceMap.load(run / "results" / "significance.safetensors")
    states = HiddenStates.open(run / "states", verify=False)
    draw_task(name, states, samples, tested, read_task(name))


def _execute(command: str, name: str, size: Size, run: Path) -> None:
    values: dict[str, Any] = {
        "models": (MODEL,),
        "task": name,
        "samples": size.samples,
        "layers": ",".join(map(str, LAYERS)),
        "out": run,
        "quiet": True,
    }
    if command == "significance":
        values["permutations"] = size.permutations
    if command == "discover" and name == "date":
        values["manifolds"] = tuple(read_task(name).shapes)
    execute(command, [Options(**values, given=frozenset(values))], Screen(quiet=True))


def _discovery(run: Path) -> Discovery:
    """The discovery of a run, which may have become an analysis of its own."""
    (path,) = run.glob("**/discover.safetensors")
    return Discovery.load(path)


def winners(found: Discovery) -> dict[str, Any]:
    """Scores of all shapes where one of them scores best, at the source, the destination, the end.

    ``share`` has, per shape, its share of all sites from the source on where any shape wins.
    """
    facts, mean = found.scores.metadata, found.scores.mean[:, 0]
    landmarks, last = facts["landmarks"], mean.shape[2] - 1
    places = {"source": landmarks["source"], "destination": landmarks["destination"], "last": last}
    rows: dict[str, Any] = {}
    for place, position in places.items():
        won = np.where(found.winner[:, position] >= 0, _best(mean[:, :, position]), -1)
        layer = int(won.argmax())
        rows[place] = {
            "word": facts["words"][position],
            "layer": facts["layers"][layer],
            "winner": _name(found, int(found.winner[layer, position])),
            "scores": {
                shape: None if np.isnan(score) else round(float(score), 3)
                for shape, score in zip(found.manifolds, mean[:, layer, position], strict=True)
            },
        }
    later = found.winner[:, landmarks["source"] :]
    wins = {shape: int((later == m).sum()) for m, shape in enumerate(found.manifolds)}
    total = max(sum(wins.values()), 1)
    rows["share"] = {shape: round(count / total, 3) for shape, count in wins.items()}
    return rows


def _best(scores: np.ndarray) -> np.ndarray:
    best: np.ndarray = np.nan_to_num(scores, nan=-1).max(0)
    return best


def _name(found: Discovery, winner: int) -> str | None:
    return found.manifolds[winner] if winner >= 0 else None


def significant(tested: SignificanceMap) -> dict[str, Any]:
    """Shares of sites that are significant at a family-wise 5 %, of those that have a score."""
    source = tested.metadata["landmarks"]["source"]
    found, defined = tested.significant(), np.isfinite(tested.score)

    def share(columns: slice) -> dict[str, int]:
        return {"of": int(defined[:, columns].sum()), "found": int(found[:, columns].sum())}

    return {
        "before": share(slice(None, source)),
        "from_source": share(slice(source, None)),
        "at_source": share(slice(source, source + 1)),
    }


if __name__ == "__main__":
    try:
        main()
    except UsageError as error:
        raise SystemExit(str(error)) from error
