"""Is a score more than chance? A permutation test of every site.

How all permutations share one factorisation is the solver's: ``FoldSolver.permuted``, for ridge the
hat matrix of :mod:`gpu_smds.solvers.hat_matrix`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from gpu_smds._arguments import as_integer, check_choice
from gpu_smds._progress import Progress
from gpu_smds.crossval.fold_system import FoldPlan, FoldSystem, bytes_per_site, fold_systems
from gpu_smds.crossval.question import Question
from gpu_smds.inference.permutations import EXCHANGES, Permutations
from gpu_smds.inference.permuted_labels import (
    AcrossParts,
    PermutedLabels,
    WithinParts,
    repeats_rows,
)
from gpu_smds.inference.significance_map import SignificanceMap
from gpu_smds.metrics.scores import bytes_of_pairs, needs_whole
from gpu_smds.sites.array import Block
from gpu_smds.sites.centred import CentredStates
from gpu_smds.sites.checkpoint import Checkpoint, fingerprint
from gpu_smds.sites.job import Job
from gpu_smds.sites.memory import most_sites
from gpu_smds.sites.place import Place
from gpu_smds.sites.status import Status
from gpu_smds.solvers.spec import SolverSpec

# Bytes of the embeddings and projections of the permutations that are processed together.
_CHUNK_BYTES = {"cpu": 4 << 20, "cuda": 512 << 20}
# Number of label sets, the given one included, on which a site's precision is judged.
_TRIALS = 5


def significance_map(
    X: Any,
    y: Any,
    n_permutations: int = 1000,
    seed: int = 0,
    manifold: Any = "circular",
    cv: Any = 3,
    alpha: float = 1.0,
    orthonormal: bool = False,
    standardize: str | None = None,
    metric: Any = "scale_normalized_stress",
    n_components: int | None = None,
    groups: Any = None,
    exchange: str | None = None,
    shuffle: str = "within_folds",
    device: Any = None,
    memory_budget: int | None = None,
    progress: Progress = False,
    checkpoint: str | Path | Checkpoint | None = None,
    solver: Any = None,
    non_finite: str = "undefined",
) -> SignificanceMap:
    """Test the score of every site against its scores under permuted labels.

    Ridge factorises a site's states once per fold, and one hat matrix then projects the test rows
    for all permutations; orthonormal maps share the products between samples. The permutations are
    the same at every site, so that the dependence between sites is kept and costs the family-wise
    correction no power. smds has no counterpart.

    Parameters
    ----------
    X, y, manifold, cv, alpha, orthonormal, standardize, metric, n_components
        As in :func:`gpu_smds.score_map`, one manifold, alpha and metric. The distances must be
        complete (those of chain are not).
    n_permutations
        Number m of permutations; the smallest p is 1 / (m + 1).
    seed
        Seed of the generator that draws them.
    groups
        ``(n_samples,)`` names, for ``exchange``; also passed to the splitter. To split by one
        grouping and exchange by another, give ``cv=list(splitter.split(X, y, others))``.
    exchange
        Units that are exchanged. "rows": single labels. "within_groups": labels move only between
        samples of one group (blocks, such as names). "whole_groups": the labels of a group stay
        together and are exchanged with those of groups of the same size (for samples that are not
        independent). None is "rows", or "within_groups" if groups are given.
    shuffle
        "within_folds": labels move within the test blocks of the cross-validation, so that every
        training and test part keeps its labels, ideal embedding and distances. "global": labels
        move between them, and embeddings and distances are computed for each permutation.
    device, memory_budget, progress, checkpoint
        As in :func:`gpu_smds.score_map`. Arithmetic is float64.
    solver
        As in :func:`gpu_smds.score_map`. "pls" is not linear in the labels and is fitted again for
        every permutation: a warning says so first.
    non_finite
        "undefined" only: sites that hold NaN or inf have no score. Rows cannot be left out, because
        all sites exchange the same rows.

    Returns
    -------
    SignificanceMap
        One entry per site.

    Raises
    ------
    ValueError, TypeError
        Arguments that do not fit each other; incomplete distances; labels that cannot move.
    """
    count = as_integer(n_permutations, "n_permutations", least=1)
    seed = as_integer(seed, "seed", countable=False)
    check_choice(shuffle, ("within_folds", "global"), "shuffle")
    if exchange is None:
        exchange = "rows" if groups is None else "within_groups"
    check_choice(exchange, EXCHANGES, "exchange")
    if non_finite != "undefined":
        raise ValueError(
            "significance_map leaves no rows out at single sites, because all sites exchange the "
            "same rows: leave non_finite out, or drop the samples that are not finite from X and y"
        )
    how = SolverSpec.of(alpha, orthonormal, standardize, None, solver, single="significance_map")
    place = Place.of(X, device, memory_budget)
    with warnings.catch_warnings():
        # The groups may be meant for the exchange only, which a splitter cannot know.
        warnings.filterwarnings("ignore", "The groups parameter is ignored")
        question = Question.of(
            *(place.sites.n, y, manifold, metric, cv, groups, n_components),
            single="significance_map",
        )
    if repeats_rows(question.folds, place.sites.n):
        raise ValueError("cv scores a sample twice in one fold, which no permutation can handle")
    drawn = Permutations.of(question, groups, exchange, shuffle == "global", count, seed, place)
    test = _Test.of(place, question, how, drawn, shuffle == "global")
    if how.kind.refits:
        warnings.warn(
            f"the solver {how.kind.name} is fitted again for each of {count:,} permutations, which "
            f"takes about {count:,} times as long as score_map",
            stacklevel=2,
        )
    place.run([test.job], "permutations", progress, checkpoint)
    scores, status = test.arrays()
    facts = {
        "n_permutations": count,
        "seed": seed,
        "exchange": exchange,
        "shuffle": shuffle,
        "manifold": question.names[0],
        "metric": question.metrics[0],
    }
    return SignificanceMap.of(scores[0], scores[1:], status, drawn.given, facts)


@dataclass(frozen=True)
class _Test:
    """Scores of every site under all permutations, filled by a job.

    Attributes
    ----------
    labels
        The permuted labels; number 0 is the original labels.
    plan
        How the folds are fitted.
    scores
        ``(S, m + 1)`` float64, NaN where undefined.
    status
        ``(S,)`` int8.
    job
        The job to run.
    """

    place: Place
    question: Question
    drawn: Permutations
    labels: PermutedLabels
    plan: FoldPlan
    scores: Tensor
    status: Tensor

    @classmethod
    def of(
        cls,
        place: Place,
        question: Question,
        solver: SolverSpec,
        drawn: Permutations,
        across: bool,
    ) -> Self:
        """Plan the test; ``across`` tells whether labels move between folds.

        Raises
        ------
        ValueError
            Distances are undefined, or the memory budget is too small.
        """
        ideals = question.ideals(solver, place.device, place.budget)
        ideals.refuse_incomplete(
            "and its fit does not use an embedding: there is no permutation test of it here"
        )
        labels: PermutedLabels
        if across:
            labels = AcrossParts(question, solver, drawn.in_order, place.device, place.budget // 2)
        else:
            labels = WithinParts(ideals, question.folds, drawn.in_order, place.device)
        plan = FoldPlan.of(question.folds, solver, labels.observed, place.sites)
        shape = (len(place.sites), len(drawn.in_order))
        scores = torch.full(shape, torch.nan, dtype=torch.float64, device=place.device)
        status = torch.zeros(shape[0], dtype=torch.int8, device=place.device)
        return cls(place, question, drawn, labels, plan, scores, status)

    @property
    def job(self) -> Job:
        """The job to run."""
        question, solver = self.question, self.plan.solver
        per_site, together = self._memory()
        count = len(self.drawn.in_order)
        chunks = [slice(i, min(i + together, count)) for i in range(0, count, together)]

        def visit(block: Block, states: CentredStates) -> None:
            self._visit(block, states, chunks)

        def key() -> str:
            across = isinstance(self.labels, AcrossParts)
            named = (question.names, question.metrics, solver, across, question.folds.order)
            arrays = (self.drawn.in_order, *question.folds.parts, *self.labels.observed.stacked)
            return fingerprint(question.labels, *named, *arrays)

        return Job(
            visit,
            question.folds.order,
            per_site,
            most_sites(True),
            (self.scores, self.status),
            key,
            self.labels.bytes + self.drawn.bytes,
        )

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores ``(m + 1, *sites)`` and status ``(*sites)``, once the job has run."""
        sites = self.place.sites.site_shape
        by_permutation = np.ascontiguousarray(self.scores.cpu().numpy().T)
        found = by_permutation.reshape(len(by_permutation), *sites)
        return found, self.status.cpu().numpy().reshape(sites)

    def _visit(self, block: Block, states: CentredStates, chunks: list[slice]) -> None:
        total = self.scores.new_zeros(len(block), self.scores.shape[1])
        state = self.status.new_zeros(len(block))
        for fold in fold_systems(states, self.plan):
            state = state.maximum(self._add_fold(fold, chunks, total))
        span = slice(block.start, block.stop)
        mean = total / len(self.question.folds)
        self.scores[span] = mean.masked_fill(mean.isnan().any(1, keepdim=True), torch.nan)
        self.status[span] = state

    def _add_fold(self, fold: FoldSystem, chunks: list[slice], total: Tensor) -> Tensor:
        """Add the scores of one fold to ``total (b, m + 1)``; returns its statuses ``(b,)``."""
        f, labels = fold.number, self.labels
        trials = labels.embeddings(f, slice(0, _TRIALS))
        projected = self.plan.solver.kind.permuted(fold, trials, total.shape[1])
        state = self.status.new_zeros(len(total))
        for chunk in chunks:
            Z, undetermined = projected(labels.embeddings(f, chunk))
            causes = {
                Status.UNDETERMINED: undetermined,
                Status.CONSTANT: fold.constant[:, None],
                Status.NON_FINITE: fold.states.non_finite[:, None],
            }
            values, why = labels.score(f, chunk, Z, causes)
            total[:, chunk] += values
            if chunk.start == 0:
                state = state.maximum(why[:, 0])
            # If a permutation has no score, the site cannot be tested.
            state = state.maximum((why * values.isnan()).amax(1))
        return state

    def _memory(self) -> tuple[int, int]:
        """Bytes that a site takes, and the number of permutations that are processed together."""
        place, folds, solver = self.place, self.question.folds, self.plan.solver
        size, count = self.plan.size(place.sites), len(self.drawn.in_order)
        of_solver, again = solver.kind.bytes_of_permutations(size, _TRIALS)
        # Several copies of embeddings and projections, and the row numbers that index them.
        k = max(size.columns, solver.kind.width(size.columns))
        one = 8 * (k * (2 * size.n_train + 4 * size.n_test) + 2 * (size.n_train + size.n_test))
        one += again
        room = min(_CHUNK_BYTES.get(place.device.type, 4 << 20), place.budget // 8)
        together = min(count, max(1, room // one))
        per_site = bytes_per_site(place.sites, folds, solver, size, True, place.device)
        per_site += of_solver + 8 * count + one * together
        if needs_whole(self.question.metrics):
            per_site += bytes_of_pairs(size.n_test)
        return per_site, together
