"""Which labels the permutation test exchanges, of which sentences and on which folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import lgamma, log
from typing import Any, Self

import numpy as np

from experiments.designs.setting import Setting, cross_validation, folds
from gpu_smds.crossval.folds import resolve_folds
from gpu_smds.inference.permutations import exchange_blocks, exchangeable

#: Share of labels that may stay what they are under a permutation, unsaid.
STUCK = 0.3
#: Labels are exchanged within values of another slot only where so many of them can still move.
MOST_STUCK = 0.5


@dataclass(frozen=True)
class Exchange:
    """What a permutation test may exchange.

    Equal sentences have equal states. Taken apart by permutations, but together in truth on both
    sides of the folds, they would make chance look smaller than it is: their labels stay together,
    or each sentence is taken once.

    In a table where each value of a slot stands with each label equally often, the held-out labels
    of a value are those that its training part lacks. A map that knows the value alone predicts
    away from them, which a score of distances takes for a good prediction. Permutations within the
    values of the slot keep that balance, so that the site scores as high under them.

    Attributes
    ----------
    rows
        Numbers of the sentences that the test is of.
    labels
        Theirs, ``(n,)`` or ``(n, k)``.
    folds
        Splitter or index pairs, over ``rows``.
    sentences
        ``(n,)`` numbers that equal sentences of the rows share; None where they are all different,
        or taken to be.
    within
        Slots within whose values labels are exchanged.
    values
        ``(n,)`` numbers of the combinations of their values.
    every
        Number of all sentences.
    """

    rows: np.ndarray
    labels: np.ndarray
    folds: Any
    sentences: np.ndarray | None
    within: tuple[str, ...] = ()
    values: np.ndarray | None = None
    every: int = 0

    @classmethod
    def of(cls, setting: Setting) -> Self:
        """The exchange of a test of Exp 1.

        That of the study's own sentences, which are drawn at random, is of whole groups of equal
        ones. It is of the others as well unless too few labels could move, or a slot stands beside
        the label.
        """
        every = np.arange(len(setting.labels))
        whole = cls(
            *(every, setting.labels, cross_validation(setting), setting.sentences),
            every=len(every),
        )
        if setting.beside is None:
            return whole
        single = cls._of_different(setting)._within(setting.beside)
        as_it_is = not single.within and whole.unchanged <= max(STUCK, single.unchanged)
        return whole if as_it_is else single

    @classmethod
    def _of_different(cls, setting: Setting) -> Self:
        """Of each different sentence once; on the folds of Exp 1 where all are different."""
        labels = setting.labels
        kinds = labels.reshape(len(labels), -1)
        if setting.sentences is not None:
            kinds = np.column_stack([setting.sentences, kinds])
        rows = np.sort(np.unique(kinds, axis=0, return_index=True)[1])
        split = cross_validation(setting) if len(rows) == len(labels) else folds(setting.seed)
        return cls(rows, labels[rows], split, None, every=len(labels))

    def _within(self, beside: Mapping[str, np.ndarray]) -> Self:
        """Within the values of as many slots as leave labels that move, the coarsest first."""
        found = self
        of_rows = {slot: of[self.rows] for slot, of in beside.items()}
        for slot in sorted(of_rows, key=lambda slot: len(np.unique(of_rows[slot]))):
            before = np.zeros_like(self.rows) if found.values is None else found.values
            both = np.column_stack([before, of_rows[slot]])
            values = np.unique(both, axis=0, return_inverse=True)[1].reshape(-1)
            finer = replace(found, within=(*found.within, slot), values=values)
            if finer.unchanged <= MOST_STUCK:
                found = finer
        return found

    @property
    def groups(self) -> np.ndarray | None:
        """As :func:`gpu_smds.significance_map` takes them."""
        return self.values if self.within else self.sentences

    @property
    def how(self) -> str:
        """The ``exchange`` of :func:`gpu_smds.significance_map`."""
        if self.within:
            return "within_groups"
        return "rows" if self.sentences is None else "whole_groups"

    @cached_property
    def movable(self) -> Sequence[np.ndarray]:
        """Rows ``(units, rows of a unit)`` that may change places; empty where none may."""
        blocks = exchange_blocks(resolve_folds(self.folds, self.labels), len(self.labels))
        try:
            return exchangeable(blocks, self.groups, self.how)
        except ValueError:  # every label is alone in its block
            return []

    @cached_property
    def unchanged(self) -> float:
        """Share of labels that a random permutation is expected to leave what they are."""
        stay = float(len(self.labels) - sum(map(np.size, self.movable)))
        for units in self.movable:
            counts = np.unique(self.labels[units[:, 0]], axis=0, return_counts=True)[1]
            stay += float((counts**2).sum()) / len(units) * units.shape[1]
        return stay / len(self.labels)

    @property
    def facts(self) -> dict[str, Any]:
        """What was exchanged, for the report.

        Returns
        -------
        dict
            ``units``, the number of labels that are exchanged, one for all equal sentences;
            ``repeated``, whether sentences repeat others; ``once``, whether each different one is
            taken once for that; ``within``, the slots within whose values labels move;
            ``log10_exchanges``, the number of ways; ``unchanged``.
        """
        units = len(self.rows if self.sentences is None else np.unique(self.sentences))
        once = len(self.rows) < self.every
        return {
            "units": units,
            "repeated": once or units < len(self.rows),
            "once": once,
            "within": list(self.within),
            "log10_exchanges": sum(lgamma(len(rows) + 1) for rows in self.movable) / log(10),
            "unchanged": self.unchanged,
        }
