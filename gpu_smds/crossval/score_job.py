"""The job that scores every manifold, metric, alpha and fold at every site."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gpu_smds._memory import check_fits
from gpu_smds.crossval.fold_fit import bytes_of_fits, fit_folds
from gpu_smds.crossval.fold_system import FoldPlan
from gpu_smds.crossval.ideals import Ideals
from gpu_smds.crossval.question import Question
from gpu_smds.metrics.scores import bytes_of_pairs, needs_whole
from gpu_smds.sites.array import Block
from gpu_smds.sites.centred import CentredStates
from gpu_smds.sites.checkpoint import fingerprint
from gpu_smds.sites.job import Job
from gpu_smds.sites.memory import most_sites
from gpu_smds.sites.place import Place
from gpu_smds.solvers.spec import SolverSpec


@dataclass(frozen=True)
class ScoreJob:
    """Scores of every site, filled by a job.

    Attributes
    ----------
    plan, ideals
        How the folds are fitted, and the ideal distances to score against.
    scores
        ``(targets, metrics, alphas, folds, S)`` float64, NaN where undefined.
    status
        ``(targets, alphas, folds, S)`` int8.
    """

    plan: FoldPlan
    ideals: Ideals
    scores: Tensor
    status: Tensor

    @classmethod
    def of(cls, place: Place, question: Question, solver: SolverSpec, ideals: Ideals) -> ScoreJob:
        """Plan the fits, which depend on the labels only.

        Raises
        ------
        ValueError
            The scores do not fit the memory.
        """
        plan = FoldPlan.of(question.folds, solver, ideals, place.sites)
        shape = (
            *(len(ideals), len(question.metrics), len(solver.alphas)),
            *(len(question.folds), len(place.sites)),
        )
        check_fits(
            9 * math.prod(shape),
            f"a map of {shape[-1]:,} sites, {shape[3]:,} folds (cv), {shape[2]:,} penalties "
            f"(alpha) and {shape[0]:,} manifolds",
            "its scores",
            place.device,
        )
        scores = torch.full(shape, torch.nan, dtype=torch.float64, device=place.device)
        status = torch.zeros((shape[0], *shape[2:]), dtype=torch.int8, device=place.device)
        return cls(plan, ideals, scores, status)

    def job(self, place: Place, question: Question) -> Job:
        """The job to run; it fills ``scores`` and ``status``."""
        solver, folds = self.plan.solver, question.folds

        def key() -> str:
            named = (self.ideals.names, list(question.metrics), solver, folds.order)
            return fingerprint(question.labels, *named, *folds.parts, *self.ideals.fitted_to)

        return Job(
            self.visit,
            folds.order,
            self._bytes_per_site(place, question),
            most_sites(solver.kind.reads_rows),
            (self.scores.movedim(-1, 0), self.status.movedim(-1, 0)),
            key,
            self.ideals.bytes,
        )

    def visit(self, block: Block, states: CentredStates) -> None:
        """Score a block of sites."""
        span = slice(block.start, block.stop)
        for fit in fit_folds(states, self.plan):
            for t, columns in enumerate(self.ideals.projected):
                values, state = self.ideals.score(t, fit.fold, fit.Z[..., columns], fit.causes(t))
                self.scores[t, :, fit.alpha, fit.fold, span] = values
                self.status[t, fit.alpha, fit.fold, span] = state

    def empty_like(self) -> ScoreJob:
        """The same job with results of its own.

        Raises
        ------
        ValueError
            They do not fit the memory beside those of this one.
        """
        needed = self.scores.nbytes + self.status.nbytes
        check_fits(needed, "non_finite='omit'", "a copy of the scores", self.scores.device)
        return replace(
            self, scores=torch.empty_like(self.scores), status=torch.empty_like(self.status)
        )

    def take(self, sites: Tensor | slice, part: ScoreJob) -> None:
        """Write what another job of the same targets found, in the place of some sites."""
        self.scores[..., sites] = part.scores
        self.status[..., sites] = part.status

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores and statuses, once the job has run."""
        return self.scores.cpu().numpy(), self.status.cpu().numpy()

    def _bytes_per_site(self, place: Place, question: Question) -> int:
        folds, solver = question.folds, self.plan.solver
        total = bytes_of_fits(place.sites, folds, solver, self.ideals, place.device)
        if needs_whole(question.metrics) or any(self.ideals.incomplete):
            total += bytes_of_pairs(max(fold.n_test for fold in folds.folds))
        return total
