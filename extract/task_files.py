"""Files of tasks: those that come with the package, in ``extract/tasks``, and the user's own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from extract.errors import UsageError
from extract.prompts import STUDY_TASK, TEMPLATE
from extract.slots import read_value
from extract.task import Task
from extract.templates import parse_template
from extract.toml_table import read_toml

_FOLDER = Path(__file__).parent / "tasks"


def task_names() -> list[str]:
    """Names of the tasks that come with the package, the study's first."""
    names = sorted(path.stem for path in _FOLDER.glob("*.toml"))
    return sorted(names, key=lambda name: name != STUDY_TASK)


def own_file(task: str) -> Path | None:
    """The file of a task of the user's own; None for one that comes with the package."""
    is_path = task.endswith(".toml") or any(sep in task for sep in (os.sep, os.altsep) if sep)
    return Path(task) if is_path else None


def read_task(task: str) -> Task:
    """Read a task by its name, or from a file of the user's own.

    Parameters
    ----------
    task
        One of :func:`task_names`, or a path, which ends in ``.toml`` or has a folder.

    Raises
    ------
    UsageError
        No such task, or a file that cannot be used: the message names file and key.
    """
    path = own_file(task)
    if path is None:
        if task not in task_names():
            raise UsageError(
                f"unknown task {task!r}: choose one of {', '.join(task_names())}, or a path to a "
                ".toml file"
            )
        path = _FOLDER / f"{task}.toml"
    found = read_toml(path)
    try:
        read = Task.model_validate(found)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        # A misspelt key is missing and unknown: what stands in the file is the clearer of the two.
        first = min(faults, key=lambda fault: fault["type"] != "extra_forbidden")
        key = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path}: {key}: {_reason(first)}") from error
    for key, reason in _faults(read):
        raise UsageError(f"{path}: {key}: {reason}")
    return read


def _reason(error: Mapping[str, Any]) -> str:
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "extra_forbidden":
        return "is no key of a task"
    message = str(error["msg"])
    return f"{message[0].lower()}{message[1:]}, got {error['input']!r}"


def _faults(task: Task) -> Iterator[tuple[str, str]]:
    """Keys that do not fit the others, each with what is wrong."""
    for key, text in (("template", task.template), ("question.text", _text_of_question(task))):
        try:
            parse_template(text)
        except UsageError as error:
            yield key, str(error)
            return
    yield from _of_label(task)
    yield from _of_template(task)
    units = {name for name, _ in parse_template(task.template).words}
    for role in ("source", "destination", "distractor"):
        if (word := getattr(task, role)) not in units:
            yield role, f"the template has no word or slot {word!r}"
    if task.period is not None and not isinstance(task.period, str) and not task.period > 0:
        yield "period", f"must be above 0, got {task.period:g}"
    if (asked := task.question) is not None:
        for name in (*parse_template(asked.text).slots, asked.slot):
            if name not in task.values:
                yield "question", f"the template has no slot {name!r}"
        lacking = [v for v in task.values[asked.slot] if asked.answers and v not in asked.answers]
        if lacking:
            yield "question.answers", f"has no answer for {lacking[0]!r}"


def _text_of_question(task: Task) -> str:
    return "" if task.question is None else task.question.text


def _of_template(task: Task) -> Iterator[tuple[str, str]]:
    named = parse_template(task.template).slots
    known = {*task.slots, *([task.label.slot] if task.label else ())}
    for name in named:
        if name not in known:
            yield f"slots.{name}", "is missing: the template has a slot of that name"
    for name in known - set(named):
        yield f"slots.{name}", "the template has no such slot"
    for name, values in task.slots.items():
        if not values or len(set(values)) < len(values):
            yield f"slots.{name}", "must be different texts, at least one"
    texts = chain(*task.slots.values(), task.label.values if task.label else ())
    for text in texts:
        if not text or text != read_value(text):
            yield "slots", f"a value is empty or has white space around it: {text!r}"


def _of_label(task: Task) -> Iterator[tuple[str, str]]:
    if task.sentences == "study":
        if task.label is not None or task.template != TEMPLATE:
            yield "sentences", "the study's have its template, and no [label]"
        return
    if task.label is None:
        yield "label", "is missing"
        return
    of = task.label
    if of.slot in task.slots:
        yield f"slots.{of.slot}", "is the slot of the label: its values stand in [label.values]"
    if len(set(of.categories)) < len(of.categories):
        yield "label.categories", "has a name twice"
    widths = set()
    for value, label in of.values.items():
        key = f"label.values.{value}"
        if of.categories:
            if label not in of.categories:
                yield key, f"{label!r} is none of {', '.join(of.categories)}"
            continue
        parts = label if isinstance(label, list) else [label]
        numbers = [isinstance(part, int | float) and not isinstance(part, bool) for part in parts]
        if not numbers or not all(numbers) or not np.isfinite(parts).all():
            yield key, f"must be a number, or a list of numbers, got {label!r}"
        widths.add(len(parts) if isinstance(label, list) else 0)
    if len(widths) > 1:
        yield "label.values", "some labels have more numbers than others"
    if len({str(label) for label in of.values.values()}) < 2:
        yield "label.values", "all labels are equal, there is no geometry to find"
