"""The permutation test of Exp 1: is the score more than chance, at every layer and word?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from experiments.designs.counts import THOROUGH
from experiments.designs.exchange import Exchange
from experiments.designs.finite_sentences import finite_everywhere
from experiments.designs.setting import Part, Setting
from experiments.designs.timing import seconds_for, seconds_of
from gpu_smds import Checkpoint, SignificanceMap, significance_map

#: Seconds that the light version may take on all sites; else it takes the layers of the curves.
PATIENCE = 120.0
#: Family-wise error.
LEVEL = 0.05


def permutation_test(
    setting: Setting,
    layers: Sequence[int],
    count: int,
    positions: slice | None = None,
    progress: Any = False,
    checkpoint: Checkpoint | None = None,
) -> SignificanceMap:
    """Permutation test of Exp 1 at some layers, with so many permutations.

    What is exchanged is told by :class:`experiments.designs.exchange.Exchange`. With
    ``--non-finite omit`` the test is of the sentences that are finite at all of its sites.

    Raises
    ------
    ValueError
        Too few sentences differ, or no labels can change places.
    """
    every, setting = len(setting.labels), finite_everywhere(setting, layers)
    left_out = every - len(setting.labels)
    exchange = Exchange.of(setting)
    if not exchange.movable:
        raise ValueError(
            f"{exchange.facts['units']} sentences that differ are too few to exchange labels: give "
            "more, or more values of the slots beside the label"
        )
    rows = exchange.rows if len(exchange.rows) < len(setting.labels) else None
    found = significance_map(
        Part(setting.states, [setting.layers.index(layer) for layer in layers], positions, rows),
        exchange.labels,
        count,
        manifold=setting.ideal,
        cv=exchange.folds,
        groups=exchange.groups,
        exchange=exchange.how,
        seed=setting.seed or 0,
        device=setting.device,
        memory_budget=setting.memory_budget,
        progress=progress,
        checkpoint=checkpoint,
    )
    facts = exchange.facts | ({"left_out": left_out} if left_out else {})
    return replace(found, metadata={**found.metadata, **facts})


def seconds_of_test(setting: Setting, count: int, sites: int) -> float:
    """Estimate of the time of a test of so many sites, from a few of them."""
    middle = (setting.layers[len(setting.layers) // 2],)

    def seconds(some: int) -> float:
        return seconds_of(
            lambda positions: permutation_test(setting, middle, some, positions), setting, sites
        )

    return seconds_for(seconds, count, THOROUGH // 4, THOROUGH)
