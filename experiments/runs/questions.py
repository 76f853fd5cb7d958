"""What is known of the questions that a folder's analyses answer, before one more is asked."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from experiments.designs.held_out import NAME_SLOT, UNSEEN_NAMES
from experiments.options import DECLARED, Options
from experiments.runs.analysis import (
    agree,
    known_analyses,
    refusal,
    stored_name,
)
from experiments.runs.folder import RunFolder
from experiments.runs.run import Run
from extract import Prompts, UsageError
from gpu_smds import ScoreMap

#: Results of an earlier version that say what it held out.
_OF_CLEAN = f"results/clean/{UNSEEN_NAMES.name}.safetensors"


def known_in(run: Run) -> dict[str, dict[str, Any]]:
    """Settings of the analyses of a run, by name."""
    return {} if run.fresh else known_in_folder(run.folder, run.prompts)


def known_in_folder(folder: RunFolder, prompts: Prompts) -> dict[str, dict[str, Any]]:
    """Settings of the analyses of a folder, by name; it may be one of another run."""
    files = (folder.manifest or {}).get("files", ())
    slot = default_slot(prompts)
    if _OF_CLEAN in files:
        with suppress(OSError, ValueError):  # which are refused when it is used
            slot = ScoreMap.load(folder.path / _OF_CLEAN).metadata.get("hold_out", slot)
    return known_analyses(folder.manifest, slot)


def held_out_slot(options: Options, prompts: Prompts) -> str | None:
    """Slot whose values the clean protocol holds out."""
    if options.protocol != "clean":
        return None
    return options.hold_out or default_slot(prompts)


def default_slot(prompts: Prompts) -> str | None:
    """Slot whose values are held out where none is named."""
    return NAME_SLOT if NAME_SLOT in prompts.slots else None


def with_settings_of_name(
    command: str, options: Options, known: Mapping[str, Mapping[str, Any]]
) -> Options:
    """The options with the settings of the analysis that ``--as`` names, if it is there.

    Settings that have no effect on the command stay as they are.

    Raises
    ------
    UsageError
        Others were given.
    """
    name = options.as_name
    settings = None if name is None else known.get(stored_name(name))
    if name is None or settings is None:
        return options
    given = {key: getattr(options, key) for key in settings if key in options.given}
    if isinstance(given.get("manifolds"), tuple):
        given["manifolds"] = list(given["manifolds"])
    if not agree(settings, given):
        raise UsageError(refusal(name, settings, given))
    brought = {
        key: value
        for key, value in settings.items()
        if key != "permutations" and command in DECLARED[key].commands
    }
    if isinstance(brought.get("manifolds"), list):
        brought["manifolds"] = tuple(brought["manifolds"])
    return replace(options, **brought)
