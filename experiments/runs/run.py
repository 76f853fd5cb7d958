"""One model's run: its inputs, its folder, and what is known of its states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from experiments.console import Screen
from experiments.options import Options
from experiments.runs.folder import RunFolder
from experiments.runs.inputs import Inputs
from experiments.runs.plan import Plan
from experiments.runs.sentences import task_name
from extract import Prompts
from extract.capture import parse_layers
from extract.sources import ModelSource, resolve_model
from gpu_smds._arguments import resolve_budget


@dataclass
class Run:
    """A model, its sentences and the folder of its states and results.

    Attributes
    ----------
    inputs
        What to read and with which model.
    folder
        Where everything is kept.
    fresh
        Whether what the folder holds, of another run, is to be replaced.
    screen
        Where it is told what happens.
    plan
        Of the extraction; None where finished states are used.
    begins_with
        Settings of the questions that are asked of a fresh run, by the names of their analyses.
    unsaved
        Waits until the files of the states are complete; None where they are.
    """

    inputs: Inputs
    folder: RunFolder
    fresh: bool
    screen: Screen
    plan: Plan | None = None
    begins_with: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unsaved: Callable[[], None] | None = None

    @property
    def source(self) -> ModelSource:
        """The model."""
        return self.inputs.source

    @property
    def prompts(self) -> Prompts:
        """The sentences."""
        return self.inputs.prompts

    @property
    def device(self) -> torch.device:
        """Where model and experiments run."""
        return self.inputs.device

    @property
    def options(self) -> Options:
        """What the user asked for; settings of an analysis are those of its inquiry."""
        return self.inputs.options

    @property
    def manifest(self) -> dict[str, Any] | None:
        """That of the folder, if it is of this run."""
        return None if self.fresh else self.folder.manifest

    @property
    def is_of_0_1_0(self) -> bool:
        """Whether the folder's states were told from others as version 0.1.0 did."""
        return self.manifest is not None and self.manifest.get("identity_of") == "0.1.0"

    @property
    def has_states(self) -> bool:
        """Whether the folder holds them, complete."""
        return self.manifest is not None and bool(self.manifest["extracted"])

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the states depend on; two runs with the same one may be mixed."""
        return self.inputs.identity(self.is_of_0_1_0)

    def budget(self, noted: int | None) -> int | None:
        """Bytes for the experiments: those asked for, or those that were noted at first.

        They decide on the blocks. Where far less is free now, it is less.
        """
        if self.options.memory_budget is not None:
            return self.options.memory_budget
        budget = resolve_budget(None, self.device)
        return int(noted) if noted and noted <= 1.5 * budget else budget

    @property
    def memory_budget(self) -> int | None:
        """Bytes for the experiments, where nothing is noted of the analysis."""
        return self.budget((self.manifest or {}).get("memory_budget"))

    @property
    def shape(self) -> tuple[int, int, int, int] | None:
        """``(n, layers, positions, d)`` of the states; None where nothing says it."""
        if self.plan is not None:
            return self.plan.shape
        if self.manifest is None or "shape" not in self.manifest:
            return None
        n, layers, positions, d = map(int, self.manifest["shape"])
        return n, layers, positions, d

    @property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the hidden states that are kept."""
        if self.plan is not None:
            return self.plan.layers
        assert self.manifest is not None
        kept: Any = self.manifest["identity"]["states"].get("layers")
        return parse_layers(kept, int(self.manifest["n_states"]))


def run_folder(model: str, options: Options) -> Path:
    """Folder of a model's run: ``runs/<model>``, ``--out``, or a folder in it for several.

    That of another task than the study's is ``runs/<model>-<task>``.
    """
    # A file called "...gguf" must not become the folder above.
    name = resolve_model(model, options.revision).name.lstrip(".") or "model"
    if options.out is None:
        task = task_name(options)
        return Path("runs") / (name if task is None else f"{name}-{task}")
    return options.out / name if len(options.models) > 1 else options.out
