"""Many label sets of the same samples: their embeddings, and scores against their distances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from gpu_smds.crossval.folds import Folds
from gpu_smds.crossval.ideals import Ideals, Target
from gpu_smds.crossval.question import Question
from gpu_smds.sites.rows import Rows
from gpu_smds.sites.status import Status
from gpu_smds.solvers.spec import SolverSpec


class PermutedLabels(Protocol):
    """Permuted labels; number 0 is the original labels."""

    #: The original labels.
    observed: Ideals
    #: Bytes held for all sites.
    bytes: int

    def embeddings(self, fold: int, numbers: slice) -> Tensor:
        """Centred embeddings ``(c, k, n_train)`` of the permuted training labels."""
        ...

    def score(
        self, fold: int, numbers: slice, Z: Tensor, causes: Mapping[Status, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Scores and statuses ``(b, c)`` of projected test rows ``(b, c, k, n_test)``.

        ``causes`` are further statuses, bool tensors that broadcast to ``(b, c)``.
        """
        ...


class WithinParts:
    """Labels that are permuted only within the training and test parts.

    Embeddings and ideal distances are then those of the original labels, with rows exchanged.

    Parameters
    ----------
    observed
        The manifold with the original labels.
    folds
        The folds.
    permutations
        ``(m, n)`` integers, the first one the identity, over the folds' order of rows.
    """

    def __init__(
        self, observed: Ideals, folds: Folds, permutations: Tensor, device: torch.device
    ) -> None:
        self.observed = observed
        self._permutations = permutations.to(device)
        n = permutations.shape[1]
        every = torch.arange(n, device=device)
        # On the device, since they are used for every chunk of permutations.
        self._train = [_on(device, fold.train) for fold in folds.folds]
        self._test = [_on(device, fold.test) for fold in folds.folds]
        self._by_row = []
        self._place = []
        for fold, Y in zip(folds.folds, self.observed.stacked, strict=True):
            by_row = Y.new_zeros(n, Y.shape[1])
            by_row[every[fold.train]] = Y
            place = torch.zeros_like(every)
            place[every[fold.test]] = torch.arange(fold.n_test, device=device)
            self._by_row.append(by_row.mT.contiguous())
            self._place.append(place)
        self.bytes = observed.bytes + 8 * n * sum(len(columns) + 1 for columns in self._by_row)

    def embeddings(self, fold: int, numbers: slice) -> Tensor:
        """As :meth:`PermutedLabels.embeddings`."""
        rows = self._permutations[numbers][:, self._train[fold]]
        return torch.stack([column[rows] for column in self._by_row[fold]], dim=1)

    def score(
        self, fold: int, numbers: slice, Z: Tensor, causes: Mapping[Status, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`PermutedLabels.score`."""
        # The projection of a row is compared with the distances of the row whose label it has.
        to = self._place[fold][self._permutations[numbers][:, self._test[fold]]]
        placed = torch.empty_like(Z).scatter_(-1, to[None, :, None].expand_as(Z), Z)
        values, status = self.observed.score(0, fold, placed.mT, causes)
        return values[0], status


class AcrossParts:
    """Labels that move between all parts: every permutation has its own embeddings and distances.

    Parameters
    ----------
    question
        The original labels, one manifold and metric, and the folds.
    solver
        The solver.
    permutations
        ``(m, n)`` integers, the first one the identity, over the folds' order of rows.
    budget
        Bytes that the distances of all permutations may take.

    Raises
    ------
    ValueError
        The distances take more.
    """

    def __init__(
        self,
        question: Question,
        solver: SolverSpec,
        permutations: Tensor,
        device: torch.device,
        budget: int,
    ) -> None:
        folds, metrics = question.folds, question.metrics
        labels = question.in_order(question.labels)
        self._targets: list[Ideals] = []
        self.bytes = 0
        keep = budget // (len(permutations) * len(folds))
        for permutation in permutations.numpy():
            permuted = labels[permutation]
            target = Target.of(question.manifolds[0], folds, permuted, device, keep, metrics)
            one = Ideals([target], metrics, folds, solver, device)
            # The embedding, centred and not centred, and the points of the test part.
            self.bytes += target.bytes + 24 * sum(Y.numel() for Y in one.stacked)
            self._targets.append(one)
            needed = self.bytes * len(permutations) // len(self._targets)
            if needed > budget:
                raise ValueError(
                    f"the distances of {len(permutations) - 1} global shuffles take {needed:,} "
                    f"bytes, and {budget:,} are left for them: take fewer, raise memory_budget, or "
                    "shuffle within the folds"
                )
        self.observed = self._targets[0]

    def embeddings(self, fold: int, numbers: slice) -> Tensor:
        """As :meth:`PermutedLabels.embeddings`."""
        return torch.stack([targets.stacked[fold].mT for targets in self._targets[numbers]])

    def score(
        self, fold: int, numbers: slice, Z: Tensor, causes: Mapping[Status, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`PermutedLabels.score`."""
        found = [
            targets.score(0, fold, Z[:, c].mT, {s: _column(a, c) for s, a in causes.items()})
            for c, targets in enumerate(self._targets[numbers])
        ]
        values = torch.stack([values[0] for values, _ in found], dim=1)
        return values, torch.stack([status for _, status in found], dim=1)


def repeats_rows(folds: Folds, n: int) -> bool:
    """Whether a fold scores a row twice, as a bootstrap does."""
    every = torch.arange(n)
    return any(len(every[fold.test].unique()) < fold.n_test for fold in folds.folds)


def _on(device: torch.device, rows: Rows) -> Rows:
    return rows if isinstance(rows, slice) else rows.to(device)


def _column(applies: Tensor, c: int) -> Tensor:
    return applies[:, 0 if applies.shape[1] == 1 else c]
