"""What a run reads: a model and sentences, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.console import Screen
from experiments.designs.setting import FOLDS, MIN_SENTENCES
from experiments.options import Options
from experiments.runs.periods import check_period
from experiments.runs.room import check_samples
from experiments.runs.sentences import sentences_of, task_name
from extract import ExtractError, Prompts, UsageError
from extract.models import model_device, pinned
from extract.sources import ModelSource, hub_token, resolve_model
from extract.task_files import own_file
from gpu_smds import manifold_names
from gpu_smds.geometry.manifold import resolve_manifold
from gpu_smds.maps.discovery import DEFAULT_MANIFOLDS

#: Bytes of a model whose hash takes several seconds.
_LONG_TO_HASH = 4 * 10**9


@dataclass(frozen=True)
class Inputs:
    """A model and the sentences that it reads, where and how.

    Attributes
    ----------
    model
        As the user named it.
    source, prompts
        The model, a hub model at a commit; the sentences.
    device
        Where the model runs.
    options
        What the user asked for.
    """

    model: str
    source: ModelSource
    prompts: Prompts
    device: torch.device
    options: Options

    @classmethod
    def of(
        cls,
        model: str,
        options: Options,
        folder: Path,
        found: dict[str, Any] | None,
        reads: bool,
        screen: Screen,
    ) -> Inputs:
        """Find the model and read or draw the sentences; nothing is written.

        Parameters
        ----------
        model, options
            As asked for.
        folder, found
            The run's folder and its manifest, if it goes on.
        reads
            Whether the model will be loaded.
        screen
            Where it is told what takes long.

        Raises
        ------
        UsageError, ExtractError
            With what to do about it.
        """
        device = model_device(options.device)
        source = resolve_model(model, options.revision)
        _check_inputs_outside(folder, options, source)
        quantize = options.quantize or source.default_quantize
        source = _pinned(source, found, screen)
        if (size := source.local_bytes) > _LONG_TO_HASH:
            screen.note(
                f"{source.name}: {size / 1e9:.0f} GB of files are hashed, unless they have been"
            )
        check_samples(source, options, quantize, device, folder, screen, reads)
        prompts = sentences_of(options, screen.note_once)
        if len(prompts) < MIN_SENTENCES:
            raise UsageError(
                f"{len(prompts)} sentences are too few: {FOLDS} folds need at least "
                f"{MIN_SENTENCES}, two to score in each"
            )
        return cls(model, source, prompts, device, options)

    @property
    def quantize(self) -> str:
        """Quantisation asked for, or the model's own default."""
        return self.options.quantize or self.source.default_quantize

    def identity(self, of_0_1_0: bool) -> dict[str, Any]:
        """What the states depend on; ``of_0_1_0`` as that version told them apart."""
        options, source = self.options, self.source
        task = task_name(options)
        return {
            **(source.sampled_fingerprint() if of_0_1_0 else source.fingerprint()),
            "prompts": self.prompts.hash,
            # The study's sentences had no name once.
            **({} if task is None else {"task": task}),
            "samples": len(self.prompts),
            "seed": options.seed if options.draws else None,
            "positions": options.positions,
            # No sentence was in a chat template once.
            **({"chat": True} if options.chat else {}),
            "layers": options.layers,
            "quantize": self.quantize,
            "dtype": options.dtype,
            "final_norm": options.final_norm,
        }


def check_manifolds(options: Options) -> None:
    """Refuse shapes that nobody knows."""
    for name in (options.manifold, *(options.manifolds or ())):
        if name not in manifold_names():
            raise UsageError(
                f"unknown manifold {name!r}: choose one of {', '.join(manifold_names())}"
            )


def check_question(command: str, options: Options, prompts: Prompts) -> None:
    """Refuse a question that the sentences and their labels do not fit."""
    if command == "extract":
        return
    if "hold_out" in options.given and options.protocol != "clean":
        raise UsageError("--hold-out is for --protocol clean")
    if command == "discover":
        names = options.manifolds or DEFAULT_MANIFOLDS
        if not any(resolve_manifold(name).takes(prompts.labels) for name in names):
            raise UsageError(f"no manifold takes these labels, of {', '.join(names)}")
    else:
        try:
            resolve_manifold(options.manifold).check(prompts.labels)
        except ValueError as error:
            fit = [
                name for name in manifold_names() if resolve_manifold(name).takes(prompts.labels)
            ]
            among = f"choose --manifold among {', '.join(fit)}" if fit else "choose other labels"
            raise UsageError(f"{error}: {among}") from error
    check_period(command, options, prompts)
    if options.protocol == "clean":
        _check_clean(options, prompts)


def _check_clean(options: Options, prompts: Prompts) -> None:
    """Refuse what the clean protocol cannot hold out."""
    slots = prompts.slots
    asked = options.hold_out is not None and "hold_out" in options.given
    if asked and options.hold_out not in slots:
        raise UsageError(
            f"--hold-out {options.hold_out}: the sentences have no such slot, but "
            f"{', '.join(slots) or 'none'}"
        )
    values = len(set(slots.get(options.hold_out or "", ())))
    if asked and values < FOLDS:
        raise UsageError(
            f"--hold-out {options.hold_out}: the slot has {values} different values, and "
            f"{FOLDS} folds need as many"
        )
    different = len(set(prompts.texts))
    if different < MIN_SENTENCES:
        raise UsageError(
            f"{different} different sentences are too few for --protocol clean, which never splits "
            f"equal ones: at least {MIN_SENTENCES} are needed"
        )
    turns = options.manifold == "circular" and options.period is None
    if turns and (span := np.ptp(prompts.labels)) > 1:
        raise UsageError(
            "--protocol clean takes circular labels as fractions of a turn, and these span "
            f"{span:g}: give their period, such as --period {np.floor(span) + 1:g}"
        )


def _pinned(source: ModelSource, found: dict[str, Any] | None, screen: Screen) -> ModelSource:
    """A hub model at the commit that its branch has now.

    Where the hub cannot be reached, and a finished run is there, at the commit of that run.
    """
    try:
        return pinned(source, hub_token())
    except UsageError:
        raise
    except ExtractError as error:
        commit = found["model"].get("commit") if found and found["extracted"] else None
        if commit is None:
            raise
        screen.warn(f"{error}; the finished run of commit {commit[:12]} is taken for it")
        return replace(source, commit=commit)


def _check_inputs_outside(folder: Path, options: Options, source: ModelSource) -> None:
    """Refuse to write among the files that are read: an input is never an output."""
    given = [
        path
        for path in (options.prompts, options.table, own_file(options.task))
        if path is not None
    ]
    if source.kind != "hub":
        location = Path(source.location)
        given.append(location / source.gguf_file if source.gguf_file else location)
    real = folder.resolve()
    for path in given:
        if path.resolve().is_relative_to(real):
            raise UsageError(
                f"{path} lies in the folder of the run, {folder}: choose another --out"
            )
