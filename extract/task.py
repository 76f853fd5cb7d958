"""A task: a feature, the sentences that hold it, and what is asked of them.

Tasks are files (:mod:`extract.task_files`), whose keys are the attributes of these classes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from extract.prompts import Prompts, fill, study_prompts
from extract.templates import parse_template
from extract.words import composed

#: A slot's value, in the form in which those of tables are filled in.
Value = Annotated[str, AfterValidator(composed)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Label(_Part):
    """The slot that holds the label.

    Attributes
    ----------
    slot
        Its name in the template.
    values
        Text of the slot → label: a number, several numbers, or the name of a category.
    unit
        What the numbers count.
    categories
        Names of the categories, whose places in the list are the labels; empty where labels are
        numbers.
    """

    slot: str = Field(min_length=1)
    values: dict[Value, Any] = Field(min_length=2)
    unit: str = Field(min_length=1)
    categories: list[str] = []


class Question(_Part):
    """What shows whether the model knows the feature.

    Attributes
    ----------
    text
        Beginning of a sentence that follows on the task's, with slots; the model goes on.
    slot
        Whose value decides on the answer.
    answers
        The right continuation for each value, where it is neither the value itself nor, for the
        slot of a label that is a category, the category's name.
    """

    text: str = Field(min_length=1)
    slot: str = Field(min_length=1)
    answers: dict[Value, str] = {}


class Published(_Part):
    """What was found before: which shape fits best, and who says so."""

    winner: str = Field(min_length=1)
    reference: str = Field(min_length=1)


class Task(_Part):
    """A feature with the sentences that hold it.

    Attributes
    ----------
    title
        What the sentences are about, in one line.
    template
        The sentence, with ``{slots}``.
    slots
        Values of the slots beside the label, drawn independently of it and of each other.
    label
        The slot that holds the label; None where the sentences are the study's.
    manifold, period, shapes
        The ideal shape, the period of the labels in their unit, and shapes to compare it with.
    source, destination, distractor
        Words or slots: where the label is read, where it is needed, and an unrelated one.
    question
        What the model is asked to see whether it knows the feature.
    published
        Who found which shape; None where nobody is known to have looked.
    sentences
        "drawn" from the slots, or those of the "study".
    """

    title: str = Field(min_length=1)
    template: str = Field(min_length=1)
    slots: dict[str, list[Value]]
    label: Label | None = None
    manifold: str = Field(min_length=1)
    period: float | str | None = None
    shapes: list[str] = Field(min_length=1)
    source: str
    destination: str
    distractor: str
    question: Question | None = None
    published: Published | None = None
    sentences: Literal["drawn", "study"] = "drawn"

    @cached_property
    def values(self) -> dict[str, list[str]]:
        """Values of every slot, that of the label included, in the order of the template."""
        every = dict(self.slots)
        if self.label is not None:
            every[self.label.slot] = list(self.label.values)
        return {name: every[name] for name in dict.fromkeys(parse_template(self.template).slots)}

    @cached_property
    def labels(self) -> dict[str, Any]:
        """Label of each value of the slot that holds it."""
        if self.label is None:
            return {}
        of = self.label
        if of.categories:
            return {value: float(of.categories.index(name)) for value, name in of.values.items()}
        return {
            value: [float(part) for part in label] if isinstance(label, list) else float(label)
            for value, label in of.values.items()
        }

    @cached_property
    def answers(self) -> dict[str, str]:
        """The right continuation of the question for each value of its slot."""
        asked, of = self.question, self.label
        if asked is None:
            return {}
        found = {value: value for value in self.values[asked.slot]}
        if of is not None and of.categories and of.slot == asked.slot:
            found |= of.values
        return found | asked.answers

    def prompts(self, n_samples: int = 1000, seed: int = 42) -> Prompts:
        """Draw sentences: each value of a slot about equally often, all slots independently."""
        of = self.label
        if of is None:
            return study_prompts(n_samples, seed)
        rng = np.random.default_rng(seed)
        drawn = {}
        for name, values in self.values.items():
            # Where the number of sentences is no multiple, chance decides which values come once
            # more.
            order = rng.permutation(len(values))[rng.permutation(n_samples) % len(values)]
            drawn[name] = tuple(values[i] for i in order.tolist())
        labels = np.array([self.labels[value] for value in drawn[of.slot]])
        names = (tuple(of.categories),) if of.categories else ()
        found = fill(self.template, drawn, labels)
        return replace(found, label_names=names, template=self.template)
