"""The question: labels, the manifolds they may lie on, metrics, and how samples are held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch

from gpu_smds._arguments import as_list
from gpu_smds._labels import as_labels
from gpu_smds.crossval.folds import Folds, counts_folds, resolve_folds
from gpu_smds.crossval.ideals import Ideals, Target
from gpu_smds.crossval.sorted_rows import shuffled, warn_if_sorted
from gpu_smds.geometry.joined_ends import warn_of_joined_ends
from gpu_smds.geometry.manifold import Manifold, resolve_manifold
from gpu_smds.metrics.scores import metric_name
from gpu_smds.solvers.spec import SolverSpec


@dataclass(frozen=True)
class Question:
    """Labels to be compared with manifolds, by metrics, over folds.

    Attributes
    ----------
    labels
        ``(n,)`` or ``(n, k)`` in the order of the samples. The folds read the rows in another
        order; only this class brings labels into that order.
    manifolds, metrics
        Manifolds with which the labels are compared, and metrics. A target that does not use all
        metrics uses the first ones.
    folds
        How samples are held out.
    lists
        Which of "manifold" and "metric" were given as lists and are therefore axes of the result.
    categories
        Whether the labels were text, which only some manifolds take.
    """

    labels: np.ndarray
    manifolds: tuple[Manifold, ...]
    metrics: tuple[str, ...]
    folds: Folds
    lists: frozenset[str] = frozenset()
    categories: bool = False

    @classmethod
    def of(
        cls,
        n: int,
        y: Any,
        manifold: Any,
        metric: Any,
        cv: Any,
        groups: Any = None,
        n_components: int | None = None,
        single: str = "",
    ) -> Self:
        """Check the arguments of a public function for ``n`` samples.

        ``single`` is the name of the function if it takes only one manifold and metric.

        Raises
        ------
        TypeError, ValueError
            Arguments that are out of range or do not fit the number of samples.
        """
        labels = as_labels(y, n)
        manifolds, many_manifolds = as_list(manifold, "manifold")
        metrics, many_metrics = as_list(metric, "metric")
        if single and (many_manifolds or many_metrics):
            raise ValueError(f"{single} takes one manifold and metric, not lists")
        resolved = tuple(resolve_manifold(value, n_components) for value in manifolds)
        warn_of_joined_ends((of.source for of in resolved if of.takes(labels.values)), labels)
        question = cls(
            labels.values,
            resolved,
            tuple(metric_name(value) for value in metrics),
            resolve_folds(cv, labels.values, groups),
            frozenset(
                name
                for name, many in (("manifold", many_manifolds), ("metric", many_metrics))
                if many
            ),
            labels.categories,
        )
        if counts_folds(cv):
            warn_if_sorted(labels, question.folds.tests, shuffled("cv", cv))
        return question

    def keeping(self, rows: np.ndarray) -> Self:
        """The same question of some of the samples, whose numbers are ``rows``."""
        return replace(self, labels=self.labels[rows], folds=self.folds.keeping(rows))

    @property
    def names(self) -> list[str]:
        """Names of the manifolds."""
        return [manifold.name for manifold in self.manifolds]

    def in_order(self, values: np.ndarray) -> np.ndarray:
        """Values of the samples ``(n, ...)`` in the order in which the folds read the rows."""
        ordered: np.ndarray = values[self.folds.order]
        return ordered

    def share(self, budget: int, targets: int) -> int:
        """Bytes that the ideal distances of one target may take in one fold.

        All of them together take an eighth of the memory budget.
        """
        return budget // (8 * targets * len(self.folds))

    def target(
        self,
        manifold: Manifold,
        device: torch.device,
        keep_bytes: int,
        labels: np.ndarray | None = None,
        metrics: Sequence[str] | None = None,
    ) -> Target:
        """One manifold in every fold, for the labels or for others of the same samples.

        ``keep_bytes`` is the number of bytes that its ideal distances in one fold may take.

        Raises
        ------
        ValueError
            Labels that the manifold does not take.
        """
        if self.categories:
            manifold.refuse_categories()
        given = self.labels if labels is None else labels
        asked = self.metrics if metrics is None else metrics
        return Target.of(manifold, self.folds, self.in_order(given), device, keep_bytes, asked)

    def ideals(self, solver: SolverSpec, device: torch.device, budget: int) -> Ideals:
        """All manifolds in every fold, with distances that share a memory budget."""
        keep = self.share(budget, len(self.manifolds))
        targets = [self.target(manifold, device, keep) for manifold in self.manifolds]
        return Ideals(targets, self.metrics, self.folds, solver, device)
