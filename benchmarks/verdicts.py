"""Does the study claim what is not there, and find what is? Verdicts on noise and on circles.

    python -m benchmarks.verdicts            # 100 seeds of noise per case, 50 planted designs
    python -m benchmarks.verdicts --quick    # 10 and 10

Noise: the real states of every ready task and of some tables of own sentences, read once by
SmolLM2, on four layers; labels are dealt out anew for each seed, by the unit that the test
exchanges, with the source given. What is counted is how often any hypothesis is printed as
"supported".

Planted: random tables of two to four slots, one of which holds the label; the states carry a
stretched circle of it from its word on, the values of the other slots, and noise. What is counted
is how often the right slot is taken as the source and a hypothesis is printed as "supported".
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.progress import track
from scipy.stats import binomtest

from benchmarks.environment import environment
from benchmarks.output import OUT, output, write_facts
from experiments.commands import execute
from experiments.console import Screen
from experiments.designs import experiments_of
from experiments.designs.exchange import Exchange
from experiments.designs.permutation import permutation_test
from experiments.designs.setting import Setting, numbered
from experiments.options import Options
from experiments.reports.summary import verdicts
from experiments.runs.extraction import states_of
from experiments.runs.folder import RunFolder
from experiments.runs.preparation import prepare
from experiments.runs.results import Columns, compute_results, facts_of
from experiments.runs.source import slots_beside, with_source
from extract import Prompts, UsageError
from extract.cells import csv_text
from extract.prompts import fill
from extract.task_files import task_names
from gpu_smds import ScoreMap
from gpu_smds._files import File

MODEL, SAMPLES, PERMUTATIONS, LAYERS = "smollm2", 200, 99, (0, 10, 20, 30)
#: Share of noise that may be called supported at most, and of planted circles at least.
MOST_OF_NOISE, LEAST_OF_PLANTED = 0.07, 0.9


@dataclass(frozen=True)
class Case:
    """States with labels, and how their columns are called."""

    setting: Setting
    columns: Columns


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="10 seeds and designs")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the results")
    args = parser.parse_args()
    file = output(args.out, "verdicts.json")
    seeds = 10 if args.quick else 100
    started = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        noise = {
            name: _of_noise(name, read_case(options), seeds)
            for name, options in _questions(Path(folder)).items()
        }
    circles = _of_circles(10 if args.quick else 50)
    every = {
        "seeds": sum(of["seeds"] for of in noise.values()),
        "supported": sum(of["supported"] for of in noise.values()),
    }
    print(_said("noise, all", every["supported"], every["seeds"]))
    for what, found in circles.items():
        if what != "designs":
            print(_said(f"planted circles: {what}", found, circles["designs"]))
    facts = {
        "environment": environment(),
        "model": MODEL,
        "samples": SAMPLES,
        "permutations": PERMUTATIONS,
        "layers": list(LAYERS),
        "seconds": perf_counter() - started,
        "most_of_noise": MOST_OF_NOISE,
        "least_of_planted": LEAST_OF_PLANTED,
        "noise": noise,
        "noise_in_all": every,
        "planted": circles,
    }
    write_facts(file, facts)
    print(f"written to {file}")


def _questions(folder: Path) -> dict[str, Options]:
    """What is asked, by name: every ready task, and tables of own sentences."""
    layers = ",".join(map(str, LAYERS))
    basis = Options(models=(MODEL,), samples=SAMPLES, layers=layers, quiet=True)
    tables = {
        "table of weekdays": (_weekdays(folder), "Day"),
        "table of hours": (_hours(folder), "time"),
    }
    asked = {
        name: replace(basis, task=name, given=frozenset({"task"})) for name in task_names()
    } | {
        name: replace(basis, prompts=path, source=source, given=frozenset({"prompts", "source"}))
        for name, (path, source) in tables.items()
    }
    return {
        name: replace(options, out=folder / name.replace(" ", "-"))
        for name, options in asked.items()
    }


def _weekdays(folder: Path) -> Path:
    """Weekdays × names, every sentence five times."""
    days = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    names = ("Hope", "Anna", "John", "Mary", "Paul", "Lisa")
    rows = [
        (f"{name} came home on {day} night.", number / 7, name, day)
        for _ in range(5)
        for number, day in enumerate(days)
        for name in names
    ]
    return _table(folder / "weekdays.csv", ("text", "label", "Name", "Day"), rows)


def _hours(folder: Path) -> Path:
    """Hours × names, crossed."""
    names = ("Hope", "Anna", "John", "Mary")
    rows = [
        (f"{name} called at {hour:02d}:00 sharp.", hour / 24, name, f"{hour:02d}:00")
        for hour in range(24)
        for name in names
    ]
    return _table(folder / "hours.csv", ("text", "label", "name", "time"), rows)


def _table(path: Path, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Path:
    File.of(path).write(csv_text([header, *rows]).encode())
    return path


def read_case(options: Options) -> Case:
    """The states of one question, read with the model, and all that the study makes of it."""
    screen = Screen(quiet=True)
    execute("extract", [replace(options, given=options.given - {"source"})], screen)
    assert options.out is not None
    folder = RunFolder(options.out)
    folder.look()
    run, (inquiry,) = prepare("all", options.models[0], [options], folder, screen)
    with folder.held(True):
        states = states_of(run)
        return Case(replace(inquiry.setting(states), states=states[:]), inquiry.columns)


def _of_noise(name: str, case: Case, seeds: int) -> dict[str, Any]:
    """How often labels that are dealt out anew are said to lie on a manifold."""
    started, found = perf_counter(), 0
    for seed in track(range(seeds), name):
        found += supported(dealt_out(case, seed), PERMUTATIONS)
    exchange = Exchange.of(case.setting)
    said = {key: exchange.facts[key] for key in ("units", "once", "within")}
    print(_said(name, found, seeds))
    return {"seeds": seeds, "supported": found, "seconds": perf_counter() - started, **said}


def _of_circles(designs: int) -> Mapping[str, int]:
    """How often a planted circle is found where it is."""
    right = borne_out = 0
    for seed in track(range(designs), "planted circles"):
        case, is_right = planted(seed)
        right += is_right
        borne_out += case is not None and supported(case, PERMUTATIONS)
    return {"designs": designs, "the right source": right, "supported": borne_out}


def _said(what: str, found: int, of: int) -> str:
    interval = binomtest(found, of).proportion_ci()
    return f"{what}: {found} of {of} ({interval.low:.1%} to {interval.high:.1%})"


def supported(case: Case, permutations: int) -> bool:
    """Whether any hypothesis is printed as supported, as by ``gpu-smds all``."""
    setting, columns = case.setting, case.columns
    tested = permutation_test(setting, setting.layers, permutations)
    facts = {**tested.metadata, **facts_of(setting, columns, "benchmark")}
    tested = replace(tested, metadata={**facts, "of_layers": facts["layers"]})
    if not tested.significant()[:, columns.landmarks["source"]].any():
        return False  # no hypothesis is judged, so that the experiments need not be run
    results: dict[str, ScoreMap] = {}
    for row in experiments_of(()).values():
        results |= compute_results([row], setting, columns, "benchmark", lambda *_: None)
    return any(verdict.supported for verdict in verdicts(results, tested))


def dealt_out(case: Case, seed: int) -> Case:
    """The case with labels dealt out anew, by the unit that the test exchanges.

    Equal sentences keep one label together; labels stay within the values that the test keeps.
    """
    setting, rng = case.setting, np.random.default_rng(seed)
    exchange = Exchange.of(setting)
    sentences = np.arange(len(setting.labels)) if setting.sentences is None else setting.sentences
    first, of_sentence = np.unique(sentences, return_index=True, return_inverse=True)[1:]
    within = np.zeros(len(sentences), dtype=int)
    if exchange.values is not None:
        within[exchange.rows] = exchange.values
    dealt = first.copy()
    for value in np.unique(within[first]):
        units = np.flatnonzero(within[first] == value)
        dealt[units] = first[rng.permutation(units)]
    return replace(case, setting=replace(setting, labels=setting.labels[dealt[of_sentence]]))


def planted(seed: int) -> tuple[Case | None, bool]:
    """A random table with a circle planted, and whether its slot is taken as the source."""
    rng = np.random.default_rng(seed)
    count, n = int(rng.integers(2, 5)), int(rng.integers(60, 301))
    kinds = [int(rng.integers(3, 13)) for _ in range(count)]
    holder = int(rng.integers(count))
    kinds[holder] = int(rng.integers(6, 25))
    drawn = [rng.integers(0, kind, n) for kind in kinds]
    slots = {f"Slot{j}": tuple(f"v{j}x{v}" for v in values) for j, values in enumerate(drawn)}
    template = " ".join(f"then {{{slot}}} came" for slot in slots) + " home"
    prompts = fill(template, slots, drawn[holder] / kinds[holder])
    named = f"Slot{holder}"
    try:
        options, _ = with_source(Options(prompts=Path("table.csv")), prompts)
    except UsageError:
        return None, False
    if options.source != named:
        return None, False
    states = _planted_states(rng, prompts, drawn, holder)
    columns = Columns(
        prompts.units,
        prompts.units,
        {"source": prompts.units.index(named), "destination": len(prompts.units) - 1},
    )
    return Case(_setting(states, prompts, named, columns), columns), True


def _planted_states(
    rng: np.random.Generator, prompts: Prompts, drawn: list[np.ndarray], holder: int
) -> np.ndarray:
    """States ``(n, layers, positions, 64)``: noise, values of slots, a stretched circle."""
    n, width = len(prompts), 64
    shape = (n, len(LAYERS), len(prompts.units), width)
    states = 0.5 * rng.normal(size=shape)
    for j, values in enumerate(drawn):
        start = prompts.units.index(f"Slot{j}")
        states[:, :, start:] += rng.normal(size=(values.max() + 1, width))[values][:, None, None]
    angle = 2 * np.pi * prompts.labels
    axes = np.linalg.qr(rng.normal(size=(width, 2)))[0].T * [[9.0], [3.0]]
    circle = np.cos(angle)[:, None] * axes[0] + np.sin(angle)[:, None] * axes[1]
    states[:, :, prompts.units.index(f"Slot{holder}") :] += circle[:, None, None]
    return states


def _setting(states: np.ndarray, prompts: Prompts, source: str, columns: Columns) -> Setting:
    """The setting as :mod:`experiments.runs.inquiry` makes it of own sentences."""
    return Setting(
        states,
        prompts.labels,
        LAYERS,
        len(LAYERS),
        columns.landmarks["source"],
        sentences=numbered(np.array(prompts.texts)),
        beside={
            slot: numbered(np.array(prompts.slots[slot])) for slot in slots_beside(source, prompts)
        },
    )


if __name__ == "__main__":
    main()
