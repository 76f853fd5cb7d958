"""Which manifold is it? Many shapes scored at every layer and word, on the folds of Exp 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.designs.setting import Setting, folds
from gpu_smds import Checkpoint, Discovery, discover


def score_shapes(
    setting: Setting,
    manifolds: Sequence[str] | None,
    shuffles: int,
    progress: Any = False,
    checkpoint: Checkpoint | None = None,
) -> Discovery:
    """Scores of manifolds, by default those that take the labels, and of shuffled labels.

    Raises
    ------
    ValueError
        No manifold takes the labels.
    """
    return discover(
        setting.states,
        setting.labels,
        manifolds,
        cv=folds(setting.seed),
        n_shuffles=shuffles,
        seed=setting.seed or 0,
        device=setting.device,
        memory_budget=setting.memory_budget,
        progress=progress,
        checkpoint=checkpoint,
        period=setting.period,
        non_finite=setting.non_finite,
    )
