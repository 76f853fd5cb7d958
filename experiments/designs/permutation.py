"""The permutation test of Exp 1: is the score more than chance, at every layer and word?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import lgamma, log
from typing import Any

import numpy as np

from experiments.designs.counts import THOROUGH
from experiments.designs.setting import Part, Setting, cross_validation
from experiments.designs.timing import seconds_for, seconds_of
from gpu_smds import Checkpoint, SignificanceMap, significance_map
from gpu_smds.crossval.folds import resolve_folds
from gpu_smds.inference.permutations import exchange_blocks, exchangeable

#: Seconds that the light version may take on all sites; else it takes the layers of the curves.
PATIENCE = 120.0
#: Share of labels that may stay what they are under a permutation, unsaid.
STUCK = 0.3
#: Family-wise error.
LEVEL = 0.05


def exchange_facts(setting: Setting) -> dict[str, Any]:
    """What a test may exchange, for its report.

    Returns
    -------
    dict
        ``units``, the number of sentences that differ, since equal ones get one label together;
        ``repeated``, whether some are equal; ``log10_exchanges``, the number of ways to exchange
        the labels; ``unchanged``, the share of labels that a random permutation is expected to
        leave what they are, since their sentences can change places with few others.
    """
    n, groups = len(setting.labels), setting.sentences
    units = n if groups is None else len(np.unique(groups))
    folds = resolve_folds(cross_validation(setting), setting.labels)
    how = "rows" if groups is None else "whole_groups"
    movable = exchangeable(exchange_blocks(folds, n), groups, how)
    return {
        "units": units,
        "repeated": units < n,
        "log10_exchanges": sum(lgamma(len(rows) + 1) for rows in movable) / log(10),
        "unchanged": _unchanged(setting.labels, movable),
    }


def _unchanged(labels: np.ndarray, movable: Sequence[np.ndarray]) -> float:
    unchanged = float(len(labels) - sum(map(np.size, movable)))
    for units in movable:
        counts = np.unique(labels[units[:, 0]], axis=0, return_counts=True)[1]
        unchanged += float((counts**2).sum()) / len(units) * units.shape[1]
    return unchanged / len(labels)


def permutation_test(
    setting: Setting,
    layers: Sequence[int],
    count: int,
    positions: slice | None = None,
    progress: Any = False,
    checkpoint: Checkpoint | None = None,
) -> SignificanceMap:
    """Permutation test of Exp 1 at some layers, with so many permutations.

    Equal sentences have equal states and labels. Taken apart by permutations, but together in truth
    on both sides of the study's folds, they would make chance look smaller than it is.
    """
    found = significance_map(
        Part(setting.states, [setting.layers.index(layer) for layer in layers], positions),
        setting.labels,
        count,
        manifold=setting.ideal,
        cv=cross_validation(setting),
        groups=setting.sentences,
        exchange="rows" if setting.sentences is None else "whole_groups",
        seed=setting.seed or 0,
        device=setting.device,
        memory_budget=setting.memory_budget,
        progress=progress,
        checkpoint=checkpoint,
    )
    return replace(found, metadata={**found.metadata, **exchange_facts(setting)})


def seconds_of_test(setting: Setting, count: int, sites: int) -> float:
    """Estimate of the time of a test of so many sites, from a few of them."""
    middle = (setting.layers[len(setting.layers) // 2],)

    def seconds(some: int) -> float:
        return seconds_of(
            lambda positions: permutation_test(setting, middle, some, positions), setting, sites
        )

    return seconds_for(seconds, count, THOROUGH // 4, THOROUGH)
