"""Which sentences a run reads, those of a task or the user's own, and what the task asks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from experiments.designs.experiment import ROLES
from experiments.options import Options
from extract import Prompts, UsageError, read_prompts
from extract.prompts import STUDY_TASK, study_prompts
from extract.task_files import own_file, read_task
from gpu_smds import manifold_names


def sentences_of(options: Options) -> Prompts:
    """Draw the sentences or read them from their file.

    Raises
    ------
    UsageError
        With what to do about it.
    """
    if options.draws:
        if options.samples < 1:
            raise UsageError("--samples must be at least 1")
        if options.task == STUDY_TASK:
            return study_prompts(options.samples, options.seed)
        return read_task(options.task).prompts(options.samples, options.seed)
    assert options.prompts is not None
    if options.positions == "raw":
        try:
            return read_prompts(options.prompts)
        except UsageError:
            return read_prompts(options.prompts, align=False)
    return read_prompts(options.prompts)


def with_task(command: str, options: Options) -> Options:
    """The options with the words and the shapes of the task, where no others are given.

    Raises
    ------
    UsageError
        No such task, or a file that cannot be used.
    """
    if options.task == STUDY_TASK or not options.draws:
        return options
    task = read_task(options.task)
    for key, names in (("manifold", [task.manifold]), ("shapes", task.shapes)):
        for name in names:
            if name not in manifold_names():
                raise UsageError(
                    f"{options.task}: {key}: unknown manifold {name!r}: choose one of "
                    f"{', '.join(manifold_names())}"
                )
    asked: dict[str, Any] = {role: getattr(task, role) for role in ROLES}
    asked["manifold"] = task.manifold
    if command == "discover":
        asked["manifolds"] = tuple(task.shapes)
    return replace(options, **{k: v for k, v in asked.items() if k not in options.given})


def task_name(options: Options) -> str | None:
    """Name of the task, for the folder of its run; None for the study's and for own sentences."""
    if options.task == STUDY_TASK or not options.draws:
        return None
    path = own_file(options.task)
    return options.task if path is None else path.stem
