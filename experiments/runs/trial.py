"""How long a command takes, from a short trial on random states of the same size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

import numpy as np
import torch

from experiments.designs.counts import LIGHT, THOROUGH
from experiments.designs.experiment import Experiment
from experiments.designs.pairs import position_pairs
from experiments.designs.passes import on_all_sites
from experiments.designs.permutation import PATIENCE, seconds_of_test
from experiments.designs.setting import CURVES, Part, Setting, cross_validation
from experiments.designs.shapes import score_shapes
from experiments.designs.timing import duration, seconds_for, seconds_of
from experiments.options import Options
from experiments.runs.analysis import shown_name
from experiments.runs.examples import examples
from experiments.runs.extraction import load, release_memory
from experiments.runs.inquiry import Inquiry
from experiments.runs.room import check_counts, check_room, described
from experiments.runs.run import Run
from extract import UsageError
from extract.layer_file import dtype_named
from gpu_smds import fit_map

# Shuffles of which a trial takes the time; more take as much longer.
_SHUFFLES = 2


def sample_states(n: int, width: int, dtype: torch.dtype) -> torch.Tensor:
    """Random states ``(n, 1, positions, d)`` of a few positions, on which times are taken."""
    few = 4 * min(torch.get_num_threads(), 4)
    generator = np.random.default_rng(0)
    return torch.from_numpy(generator.standard_normal((n, 1, few, width), np.float32)).to(dtype)


def dry_run(run: Run, inquiries: Sequence[Inquiry], command: str) -> None:
    """Print what a command would take; the model is loaded for a short trial."""
    screen, plan = run.screen, run.plan
    if plan is None:
        screen.note(f"{run.source.name}: finished states of {run.folder} would be used again")
        for line in examples(run.prompts, None, None):
            screen.note(line)
        dtype = dtype_named(f"torch.{(run.manifest or {}).get('dtype', 'float32')}")
    else:
        for line in described(plan):
            screen.note(line)
        for line in examples(plan.reading.prompts, plan.tokens, plan.positions):
            screen.note(line)
        check_room(plan)
        dtype = plan.dtype
    for inquiry in inquiries:
        check_sizes(inquiry)
    takes = []
    if plan is not None:
        takes = [f"{duration(plan.reading_seconds(load(run)))} for the sentences"]
        release_memory()
    if run.shape is not None and command != "figures":
        for inquiry in inquiries:
            of = f" of {shown_name(inquiry.analysis.name)}" if len(inquiries) > 1 else ""
            takes += [f"{time}{of}" for time in times(inquiry, dtype)]
    if takes:
        *most, last = takes
        listed = f"{', '.join(most)} and {last}" if most else last
        screen.note(f"time       about {listed}, as a short trial suggests")


def check_sizes(inquiry: Inquiry) -> None:
    """Refuse permutations and shuffles that do not fit the memory; see ``check_counts``."""
    run = inquiry.run
    if run.shape is not None:
        n, _, positions, d = run.shape
        shape = n, len(inquiry.layers), positions, d
        check_counts(inquiry.command, inquiry.options, shape, inquiry.memory_budget, run.device)


def times(inquiry: Inquiry, dtype: torch.dtype) -> list[str]:
    """What an analysis takes once its states are there, such as "3 min for the experiments".

    ``dtype`` is that of the states.
    """
    run, command, options = inquiry.run, inquiry.command, inquiry.options
    assert run.shape is not None
    n, _, positions, width = run.shape
    layers = len(inquiry.layers)
    setting = inquiry.setting_of(sample_states(n, width, dtype), (0,), 1, 0)
    screen = run.screen
    sites = layers * positions
    if command == "similarity":
        return [f"{duration(_seconds_of_maps(setting, positions))} for the experiment"]
    if command == "transfer":
        return [f"{duration(_seconds_of_pairs(setting, layers, positions))} for all pairs"]
    if command == "discover":
        shuffles = f" with {options.shuffles:,} shuffles" if options.shuffles else ""
        seconds = _seconds_of_discovery(setting, options, sites)
        return [f"{duration(seconds)} for the manifolds{shuffles}"]
    found = []
    if command != "significance":
        rows = inquiry.experiments
        asked = rows.values() if command == "all" else [rows[command]]
        shared = [row for row in asked if row.plan is not None]
        if shared:
            seconds = _seconds_of_experiments(setting, shared, sites)
            found.append(f"{duration(seconds)} for the experiment{'s' if command == 'all' else ''}")
    light = command == "all"
    count = options.permutations
    count = (LIGHT if light else THOROUGH) if count is None else count
    if count and command in ("all", "significance"):
        try:
            seconds = seconds_of_test(setting, count, sites)
        except ValueError as error:
            screen.warn(f"no permutation test: {error}")
        else:
            if light and seconds > PATIENCE:  # the layers of the curves only
                seconds *= min(1.0, CURVES / layers)
            found.append(f"{duration(seconds)} for the permutation test")
    return found


def _part(setting: Setting, positions: slice) -> Setting:
    return replace(setting, states=Part(setting.states, None, positions))


def _seconds_of_experiments(
    setting: Setting, experiments: Sequence[Experiment], sites: int
) -> float:
    def work(positions: slice) -> object:
        return on_all_sites(experiments, _part(setting, positions))

    return seconds_of(work, setting, sites)


def _seconds_of_maps(setting: Setting, positions: int) -> float:
    """Time of Exp 2, which is that of fitting the maps of one layer."""

    def work(some: slice) -> object:
        return fit_map(
            Part(setting.states, None, some),
            setting.labels,
            manifold=setting.ideal,
            standardize="all",
            device=setting.device,
            memory_budget=setting.memory_budget,
        )

    return seconds_of(work, setting, positions)


def _seconds_of_pairs(setting: Setting, layers: int, positions: int) -> float:
    """Time of all pairs of positions at every layer, and of layers at two words."""
    cv = cross_validation(setting) if setting.clean else None
    # Maps of p sites take b·p to fit, and c·p² to score each on each.
    trials = []
    most = int(setting.states.shape[2])
    for p in (most // 4, most // 4, most):  # the first sets up libraries
        started = perf_counter()
        position_pairs(_part(setting, slice(0, p)), cv)
        trials.append((p, perf_counter() - started))
    (few, of_few), (more, of_more) = trials[1:]
    c = max(0.0, (of_more / more - of_few / few) / (more - few))
    b = max(0.0, of_more / more - c * more)
    return layers * (b + c * positions) * positions + 2 * (b + c * layers) * layers


def _seconds_of_discovery(setting: Setting, options: Options, sites: int) -> float:
    """Time of all manifolds with the labels as they are, and with every shuffle of them.

    What the labels alone take is a large part of it, and is over when the first state is read.
    """

    def seconds(shuffles: int) -> float:
        states = _Watched(setting.states)
        started = perf_counter()
        score_shapes(replace(setting, states=states), options.manifolds, shuffles)
        ended = perf_counter()
        of_labels = (states.first_read or ended) - started
        return of_labels + (ended - started - of_labels) * sites / int(setting.states.shape[2])

    try:
        seconds(0)  # sets up libraries
        return seconds_for(seconds, options.shuffles, 0, _SHUFFLES)
    except ValueError as error:
        raise UsageError(str(error)) from error


class _Watched:
    """States that note when they are read for the first time."""

    def __init__(self, states: torch.Tensor) -> None:
        self._states = states
        self.shape, self.dtype = states.shape, states.dtype
        self.first_read: float | None = None

    def __getitem__(self, index: tuple[slice, int, slice]) -> torch.Tensor:
        self.first_read = self.first_read or perf_counter()
        return self._states[index]
