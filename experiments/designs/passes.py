"""Experiments that share one pass over the states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.designs.experiment import Experiment
from experiments.designs.setting import Progress, Setting

if TYPE_CHECKING:
    from gpu_smds import Checkpoint, ScoreMap


def on_all_sites(
    experiments: Sequence[Experiment],
    setting: Setting,
    progress: Progress = False,
    checkpoint: Checkpoint | None = None,
) -> dict[str, tuple[ScoreMap, float]]:
    """Experiments that have a ``plan``: scores by name, with their part of the time."""
    import gpu_smds

    once = gpu_smds.OnePass(setting.states, setting.device, setting.memory_budget)
    planned = {}
    for experiment in experiments:
        assert experiment.plan is not None, f"{experiment.name} has a pass of its own"
        planned[experiment.name] = experiment.plan(setting, once)
    once.run(progress, checkpoint)
    return {
        name: (scores(), share)
        for (name, scores), share in zip(planned.items(), once.shares, strict=True)
    }
