"""Which slot of the user's own sentences holds the label, and how words are named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from experiments.designs.experiment import ROLES
from experiments.options import Options, spellings
from experiments.runs.categories import quantities
from extract import Prompts, UsageError, numerals
from extract.landmarks import LAST, slots_in_order
from extract.words import folded

#: Two slots whose held-out scores are closer than this may both hold the label.
CLOSE = 0.1
#: Folds of the held-out scores, and neighbours by which a number predicts.
_FOLDS, _NEIGHBOURS = 5, 3


def with_words(options: Options, prompts: Prompts) -> Options:
    """The options with the words of landmarks as the sentences have them, whatever the case."""
    found: dict[str, Any] = {}
    for role in ROLES:
        word = getattr(options, role)
        alike = {unit for unit in prompts.units if folded(unit) == folded(word)}
        if word not in prompts.units and len(alike) == 1:
            (found[role],) = alike
        elif not alike and word.casefold() in (LAST, "last"):
            found[role] = LAST
    return replace(options, **found)


def with_source(options: Options, prompts: Prompts) -> tuple[Options, str | None]:
    """The options with the slot that holds the label as the source, and what is said of it.

    It is looked for where sentences are the user's own and no source is named; a task names it.

    Raises
    ------
    UsageError
        Two slots may hold it.
    """
    slots = list(dict.fromkeys(slots_in_order(prompts)))
    if options.draws or "source" in options.given or not slots:
        return options, None
    if len(slots) == 1:
        return replace(options, source=slots[0]), None
    scores = {slot: predicts(prompts.slots[slot], quantities(prompts)) for slot in slots}
    best, second, *_ = sorted(slots, key=lambda slot: -scores[slot])
    figures = ", ".join(f"{slot} {scores[slot]:.2f}" for slot in slots)
    if scores[best] - scores[second] < CLOSE:
        raise UsageError(
            f"{best} and {second} predict the label about equally well on rows held out (R²: "
            f"{figures}): name the one that is the source, such as {spellings('source')[0]} {best}"
        )
    return replace(options, source=best), (
        f"source: {best}, which predicts the label best on rows held out (R²: {figures})"
    )


def slots_beside(source: str, prompts: Prompts) -> list[str]:
    """Slots that do not hold the label: the source does, or another that predicts it."""
    others = [slot for slot in prompts.slots if slot != source]
    labels = quantities(prompts)
    return [slot for slot in others if predicts(prompts.slots[slot], labels) < CLOSE]


def predicts(values: tuple[str, ...], labels: np.ndarray) -> float:
    """How well a slot's values predict the labels on rows held out: R², 0 where they do not.

    As categories, by the mean label of equal values; as numbers, by the labels of the nearest ones;
    the better of the two.
    """
    from sklearn.model_selection import KFold
    from sklearn.neighbors import KNeighborsRegressor

    y = labels.reshape(len(labels), -1)
    y = (y - y.mean(0)) / np.where(y.std(0) > 0, y.std(0), 1)
    numbers = _numbers(values)
    kinds = np.unique(np.array(values), return_inverse=True)[1].reshape(-1)
    by_kind, by_number = np.zeros_like(y), np.zeros_like(y)
    folds = min(_FOLDS, len(y))
    for train, test in KFold(folds, shuffle=True, random_state=0).split(y):
        by_kind[test] = _means(kinds[train], y[train], kinds[test])
        if numbers is not None:
            nearest = KNeighborsRegressor(min(_NEIGHBOURS, len(train)))
            by_number[test] = nearest.fit(numbers[train], y[train]).predict(numbers[test])
    total = (y**2).sum()
    shares = [1 - ((y - found) ** 2).sum() / total for found in (by_kind, by_number)]
    return float(max(0.0, *shares))


def _means(known: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Mean label of each category; that of all rows for one that is not known."""
    count = int(max(known.max(), asked.max())) + 1
    sums = np.zeros((count, labels.shape[1]))
    np.add.at(sums, known, labels)
    sizes = np.bincount(known, minlength=count)[:, None]
    means = np.where(sizes > 0, sums / np.maximum(sizes, 1), labels.mean(0))
    found: np.ndarray = means[asked]
    return found


def _numbers(values: tuple[str, ...]) -> np.ndarray | None:
    """Numbers ``(n, k)`` in the values, each scaled to [0, 1]; None unless all are alike in k."""
    rows = [numerals.values(value) for value in values]
    counts = {len(row) for row in rows}
    found = np.array(rows) if len(counts) == 1 else np.zeros((0, 0))
    if not found.size or not np.isfinite(found).all():
        return None
    span = np.ptp(found, axis=0)
    scaled: np.ndarray = (found - found.min(0)) / np.where(span > 0, span, 1)
    return scaled
