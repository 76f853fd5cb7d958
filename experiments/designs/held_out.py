"""Exp 1a and 1b: Exp 1 on folds of unseen labels, or of unseen values of a slot; clean only.

Is it geometry, or are single values memorised?
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from experiments.designs.experiment import Experiment
from experiments.designs.independent import HOW, plan_ridge
from experiments.designs.setting import Setting, grouped

if TYPE_CHECKING:
    from gpu_smds import OnePass, ScoreMap

#: The study's slot of names.
NAME_SLOT = "Name"
#: What names of files, which a slot may have any characters in, are left with.
_NOT_IN_FILES = re.compile(r"[^A-Za-z0-9_-]+", re.ASCII)


def _plan(holds_out: str) -> Callable[[Setting, OnePass], Callable[[], ScoreMap]]:
    return lambda setting, once: plan_ridge(
        setting, once, grouped(setting.held_out[holds_out], setting.seed)
    )


UNSEEN_LABELS = Experiment(
    number="1a",
    name="unseen_labels",
    question="is it there for labels that the map has not seen?",
    title="is it there for labels that the map has not seen?",
    captions={"clean": f"{HOW}; sentences of one label are all in one fold."},
    plan=_plan("labels"),
    holds_out="labels",
)

UNSEEN_NAMES = Experiment(
    number="1b",
    name="unseen_names",
    question="is it there for names that the map has not seen?",
    title="is it there for names that the map has not seen?",
    captions={"clean": f"{HOW}; sentences of one name are all in one fold."},
    plan=_plan("slot"),
    holds_out="slot",
)


def named_after(experiment: Experiment, slot: str | None) -> Experiment:
    """The experiment as it is called, and asks, where the values of this slot are held out."""
    if experiment.holds_out != "slot" or slot in (None, NAME_SLOT):
        return experiment
    # Braces would be places to fill in.
    question = f"is it there for values of {slot} that the map has not seen?"
    return replace(
        experiment,
        name=_file_name(str(slot)),
        question=question,
        title=question.replace("{", "{{").replace("}", "}}"),
        captions={"clean": f"{HOW}; sentences of one {slot} are all in one fold."},
    )


def _file_name(slot: str) -> str:
    safe = _NOT_IN_FILES.sub("_", slot).strip("_-")[:40]
    taken = (UNSEEN_LABELS.name, UNSEEN_NAMES.name)
    name = f"unseen_{safe or 'values'}"
    return f"unseen_slot_{safe}" if name.lower() in taken else name
