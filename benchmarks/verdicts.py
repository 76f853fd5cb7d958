"""Does the study claim what is not there, and find what is? Verdicts on noise and planted circles.

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

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.designs import experiments_of
from experiments.designs.exchange import Exchange
from experiments.designs.permutation import permutation_test
from experiments.designs.setting import Setting
from experiments.options import Options
from experiments.reports.summary import verdicts
from experiments.runs.results import Columns, compute_results, facts_of
from experiments.runs.source import slots_beside, with_source
from extract import Prompts, UsageError
from extract.prompts import fill

PERMUTATIONS, LAYERS = 200, (0, 10, 20, 30)


@dataclass(frozen=True)
class Case:
    """States with labels, and how their columns are called."""

    setting: Setting
    columns: Columns


def supported(case: Case, permutations: int) -> bool:
    """Whether any hypothesis is printed as supported, as by ``gpu-smds all``."""
    setting, columns = case.setting, case.columns
    tested = permutation_test(setting, setting.layers, permutations)
    facts = {**tested.metadata, **facts_of(setting, columns, "benchmark")}
    tested = replace(tested, metadata={**facts, "of_layers": facts["layers"]})
    if not tested.significant()[:, columns.landmarks["source"]].any():
        return False  # no hypothesis is judged, so that the experiments need not be run
    results: dict[str, Any] = {}
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
    return Case(_setting(states, LAYERS, prompts, named, columns, len(LAYERS)), columns), True


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


def _setting(
    states: Any,
    layers: tuple[int, ...],
    prompts: Prompts,
    source: str,
    columns: Columns,
    n_states: int,
    manifold: str = "circular",
) -> Setting:
    """The setting as :mod:`experiments.runs.inquiry` makes it of own sentences."""

    def numbered(values: Any) -> np.ndarray:
        return np.unique(np.array(values), return_inverse=True)[1].reshape(-1)

    return Setting(
        states,
        prompts.labels,
        layers,
        n_states,
        columns.landmarks["source"],
        manifold,
        sentences=numbered(prompts.texts),
        beside={slot: numbered(prompts.slots[slot]) for slot in slots_beside(source, prompts)},
    )
