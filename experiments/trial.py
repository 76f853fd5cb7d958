"""How long a command takes, from a short trial on random states of the same size."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

import numpy as np
import torch

from experiments import protocol
from experiments.console import Screen
from experiments.options import Options
from experiments.pairs import position_pairs
from experiments.plan import duration, seconds_for, seconds_of
from experiments.protocol import Part, Setting
from experiments.significance import LIGHT, PATIENCE, THOROUGH, seconds_of_test
from extract import UsageError
from gpu_smds import discover, fit_map

# Shuffles of which a trial takes the time; more take as much longer.
_SHUFFLES = 2


def sample_states(n: int, width: int, dtype: torch.dtype) -> torch.Tensor:
    """Random states ``(n, 1, positions, d)`` of a few positions, on which times are taken."""
    few = 4 * min(torch.get_num_threads(), 4)
    generator = np.random.default_rng(0)
    return torch.from_numpy(generator.standard_normal((n, 1, few, width), np.float32)).to(dtype)


def times(
    command: str,
    setting: Setting,
    layers: int,
    positions: int,
    options: Options,
    screen: Screen,
) -> list[str]:
    """What a command takes once the states are there, such as "3 min for the experiments".

    Parameters
    ----------
    command
        Its name.
    setting
        That of the run, with :func:`sample_states` for its states.
    layers, positions
        How many the states have.
    options, screen
        Those of the run.
    """
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
        names = setting.experiments if command == "all" else [command]
        seconds = _seconds_of_experiments(setting, names, sites)
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
                seconds *= min(1.0, protocol.CURVES / layers)
            found.append(f"{duration(seconds)} for the permutation test")
    return found


def _part(setting: Setting, positions: slice) -> Setting:
    return replace(setting, states=Part(setting.states, None, positions))


def _seconds_of_experiments(setting: Setting, names: list[str], sites: int) -> float:
    def work(positions: slice) -> object:
        return protocol.on_all_sites(names, _part(setting, positions))

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
    cv = protocol.cross_validation(setting) if setting.clean else None
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
        discover(
            states,
            setting.labels,
            options.manifolds,
            cv=protocol.folds(),
            n_shuffles=shuffles,
            device=setting.device,
            memory_budget=setting.memory_budget,
        )
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
