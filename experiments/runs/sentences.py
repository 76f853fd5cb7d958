"""Which sentences a run reads, those of a task or the user's own, and what the task asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from experiments.designs.experiment import ROLES
from experiments.options import Options, period_of
from extract import Prompts, UsageError, fill_template, read_prompts
from extract.prompts import STUDY_TASK, study_prompts
from extract.task import Task
from extract.task_files import own_file, read_task
from gpu_smds import manifold_names
from gpu_smds.geometry.shapes import periodic_names


def sentences_of(options: Options, say: Callable[[str], None] | None = None) -> Prompts:
    """Draw the sentences or read them from their file; ``say`` is told how it was read.

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
    columns: dict[str, Any] = {"label": options.label, "ignore": options.ignore, "say": say}
    if options.template is not None:
        assert options.table is not None
        return fill_template(options.template, options.table, **columns)
    assert options.prompts is not None
    columns["text"] = options.text
    if options.positions == "slots":
        return read_prompts(options.prompts, slots_only=True, **columns)
    if options.positions == "raw":
        try:
            return read_prompts(options.prompts, **columns)
        except UsageError:
            return read_prompts(options.prompts, align=False, **columns)
    return read_prompts(options.prompts, **columns)


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
    if options.positions == "slots":  # where other words have no column
        asked = {
            role: word for role, word in asked.items() if role == "source" or word in task.values
        }
    asked["manifold"] = task.manifold
    if command == "discover":
        asked["manifolds"] = tuple(task.shapes)
    found = replace(options, **{k: v for k, v in asked.items() if k not in options.given})
    return found if "period" in options.given else replace(found, period=_period(found, task))


def _period(options: Options, task: Task) -> float | None:
    """The period of a task's labels, where a shape that is asked of them closes on itself."""
    shapes = options.manifolds or (options.manifold,)
    if task.period is None or not {*shapes} & {*periodic_names()}:
        return None
    try:
        return period_of(task.period)
    except UsageError as error:
        reason = str(error).partition(": ")[2]
        raise UsageError(f"{options.task}: period: {task.period!r}: {reason}") from error


def task_name(options: Options) -> str | None:
    """Name of the task, for the folder of its run; None for the study's and for own sentences."""
    if options.task == STUDY_TASK or not options.draws:
        return None
    path = own_file(options.task)
    return options.task if path is None else path.stem
