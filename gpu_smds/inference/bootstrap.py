"""How certain is a score, or a difference of scores? A bootstrap over the held-out samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from gpu_smds._arguments import as_integer, as_share
from gpu_smds._memory import check_fits
from gpu_smds._progress import Progress
from gpu_smds.crossval.fold_fit import bytes_of_fits, fit_folds
from gpu_smds.crossval.fold_system import FoldPlan
from gpu_smds.crossval.folds import Folds
from gpu_smds.crossval.question import Question
from gpu_smds.inference.permutations import as_groups
from gpu_smds.metrics.reference import Ideal
from gpu_smds.sites.array import Block
from gpu_smds.sites.centred import CentredStates
from gpu_smds.sites.checkpoint import Checkpoint, fingerprint
from gpu_smds.sites.job import Job
from gpu_smds.sites.memory import most_sites
from gpu_smds.sites.place import Place
from gpu_smds.sites.rows import take
from gpu_smds.sites.status import undefined
from gpu_smds.solvers.spec import SolverSpec

_METRIC = "scale_normalized_stress"


class Interval(NamedTuple):
    """An estimate with the ends of its interval, arrays of one shape or numbers."""

    estimate: Any
    low: Any
    high: Any


@dataclass(frozen=True)
class BootstrapMap:
    """Scores of the held-out samples and of resamples of them.

    Attributes
    ----------
    score
        Mean score over the folds, that of :func:`gpu_smds.score_map`; axes ``dims``.
    resampled
        ``(R, ...)`` the same for each resample, NaN where undefined. The resamples are the same at
        every site and for every manifold.
    status
        int8 values of :class:`gpu_smds.Status`, the axes of ``score``.
    dims
        ``manifold`` where a list was given, then one name per site axis.
    manifolds
        Names of the manifolds.
    """

    score: np.ndarray
    resampled: np.ndarray
    status: np.ndarray
    dims: tuple[str, ...]
    manifolds: list[str] = field(default_factory=list)

    @property
    def se(self) -> np.ndarray:
        """Standard error of every score: the standard deviation over the resamples."""
        return self.resampled.std(0, ddof=1)

    def interval(self, level: float = 0.95) -> Interval:
        """Percentile interval of every score.

        NaN where a resample has no score, which happens with few groups or few different labels.
        With some tens of samples, resamples score a little higher than the original samples,
        because a sample drawn twice fits itself.
        """
        return Interval(self.score, *_ends(self.resampled, level))

    def difference(self, a: Any, b: Any, level: float = 0.95) -> Interval:
        """Percentile interval of ``score[a] − score[b]``, paired over the resamples.

        ``a`` and ``b`` are indices into ``score``: two sites, two manifolds at a site, or, as
        ``(0,)`` and ``(1,)`` with a list of manifolds, two manifolds at every site.
        """
        a, b = (i if isinstance(i, tuple) else (i,) for i in (a, b))
        resampled = self.resampled[(slice(None), *a)] - self.resampled[(slice(None), *b)]
        return Interval(self.score[a] - self.score[b], *_ends(resampled, level))


def bootstrap_map(
    X: Any,
    y: Any,
    n_resamples: int = 1000,
    seed: int = 0,
    manifold: Any = "circular",
    cv: Any = 3,
    alpha: float = 1.0,
    orthonormal: bool = False,
    standardize: str | None = None,
    n_components: int | None = None,
    groups: Any = None,
    device: Any = None,
    memory_budget: int | None = None,
    progress: Progress = False,
    checkpoint: str | Path | Checkpoint | None = None,
    solver: Any = None,
) -> BootstrapMap:
    """Score resamples of every fold's held-out samples, with unchanged maps and ideal distances.

    Only the scored samples vary, not the training rows: the intervals hold for the scores of the
    given maps on further samples of the same kind. The sums of a resample's score are quadratic
    forms in the counts of its samples, so that all resamples are one matrix product per site.
    Samples that are in several test parts, as in repeated k-fold, are drawn for all parts at once.
    smds has no counterpart.

    Parameters
    ----------
    X, y, manifold, cv, alpha, orthonormal, standardize, n_components, device
        As in :func:`gpu_smds.score_map`, one alpha; a list of manifolds adds a leading axis. The
        score is the default one, ``scale_normalized_stress``.
    n_resamples
        Number R of resamples.
    seed
        Seed of the generator that draws them.
    groups
        ``(n_samples,)`` names: whole groups are resampled. They are also passed to the splitter.
    memory_budget, progress, checkpoint, solver
        As in :func:`gpu_smds.score_map`. No solver is fitted again for a resample.

    Raises
    ------
    ValueError
        Arguments that do not fit each other; incomplete distances.
    """
    n_resamples = as_integer(n_resamples, "n_resamples", least=2)
    seed = as_integer(seed, "seed", countable=False)
    how = SolverSpec.of(alpha, orthonormal, standardize, None, solver, single="bootstrap_map")
    place = Place.of(X, device, memory_budget)
    question = Question.of(place.sites.n, y, manifold, _METRIC, cv, groups, n_components)
    resamples = _Resamples.of(place, question, how, groups, n_resamples, seed)
    place.run([resamples.job], "bootstrap", progress, checkpoint)
    return resamples.result()


@dataclass(frozen=True)
class _Resamples:
    """Scores of every site in all resamples, filled by a job.

    Attributes
    ----------
    plan
        How the folds are fitted.
    weights
        Per fold, the count of each test row in each resample ``(R, n_test)``.
    references
        Per manifold and fold, the ideal distances and their sums over resamples; None if undefined.
    shared_bytes
        Bytes that all sites share.
    scores
        ``(S, manifolds, R + 1)`` float64; index 0 is the score of the held-out samples themselves.
    status
        ``(S, manifolds)`` int8.
    """

    place: Place
    question: Question
    plan: FoldPlan
    weights: list[Tensor]
    references: list[list[_Reference | None]]
    shared_bytes: int
    scores: Tensor
    status: Tensor

    @classmethod
    def of(
        cls,
        place: Place,
        question: Question,
        solver: SolverSpec,
        groups: Any,
        count: int,
        seed: int,
    ) -> Self:
        """Draw the resamples and plan their scores.

        Raises
        ------
        ValueError
            Distances are undefined, or the resamples do not fit the memory.
        """
        sites, folds, device = place.sites, question.folds, place.device
        names = np.arange(sites.n) if groups is None else as_groups(groups, sites.n)
        _check_memory(place, question, count)
        ideals = question.ideals(solver, device, place.budget)
        ideals.refuse_incomplete("and the bootstrap takes complete distances only")
        plan = FoldPlan.of(folds, solver, ideals, sites)
        shared = _shared_bytes(place, question, count)
        weights = [w.to(device) for w in _weights(folds, question.in_order(names), count, seed)]
        references = [
            [_Reference.of(ideals.reference(t, f), w) for f, w in enumerate(weights)]
            for t in range(len(ideals))
        ]
        shape = (len(sites), len(ideals), count + 1)
        scores = torch.full(shape, torch.nan, dtype=torch.float64, device=device)
        status = torch.zeros(shape[:2], dtype=torch.int8, device=device)
        return cls(place, question, plan, weights, references, shared, scores, status)

    @property
    def job(self) -> Job:
        """The job to run."""
        question, solver, ideals = self.question, self.plan.solver, self.plan.ideals
        folds = question.folds

        def key() -> str:
            named = (question.names, solver, folds.order)
            arrays = (*folds.parts, *self.weights, *ideals.stacked)
            return fingerprint(question.labels, *named, *arrays)

        n_test = max(fold.n_test for fold in folds.folds)
        _, manifolds, with_first = self.scores.shape
        per_site = bytes_of_fits(self.place.sites, folds, solver, ideals, self.place.device)
        per_site += 8 * (3 * n_test**2 + (with_first - 1) * (2 * n_test + 8 + manifolds))
        results = (self.scores, self.status)
        most = most_sites(True)
        return Job(self._visit, folds.order, per_site, most, results, key, self.shared_bytes)

    def _visit(self, block: Block, states: CentredStates) -> None:
        ideals = self.plan.ideals
        total = self.scores.new_zeros(len(block), *self.scores.shape[1:])
        state = self.status.new_zeros(len(block), self.status.shape[1])
        for fit in fit_folds(states, self.plan):
            for t, columns in enumerate(ideals.projected):
                Z = fit.Z[..., columns]
                values, why = ideals.score(t, fit.fold, Z, fit.causes(t))
                total[:, t, 0] += values[0]
                state[:, t] = state[:, t].maximum(why)
                reference = self.references[t][fit.fold]
                if reference is not None:
                    total[:, t, 1:] += reference.scores(Z)
        mean = total / len(self.question.folds)
        span = slice(block.start, block.stop)
        self.scores[span] = mean.masked_fill(undefined(state)[..., None], torch.nan)
        self.status[span] = state

    def result(self) -> BootstrapMap:
        """The scores, once the job has run."""
        sites, many = self.place.sites.site_shape, "manifold" in self.question.lists
        axes = ((self.scores.shape[1],) if many else ()) + sites
        by_resample = self.scores.movedim(0, -1).movedim(1, 0).cpu().numpy()
        found = by_resample.reshape(len(by_resample), *axes)
        dims = (("manifold",) if many else ()) + tuple(f"site{i}" for i in range(len(sites)))
        state = self.status.mT.cpu().numpy().reshape(axes)
        return BootstrapMap(found[0], found[1:], state, dims, self.question.names)


def _check_memory(place: Place, question: Question, count: int) -> None:
    """Raise ValueError if the resamples and their scores cannot fit."""
    what, use = f"n_resamples={count:,}", "the resamples and the scores of them"
    scored = 8 * len(place.sites) * len(question.manifolds) * count
    weighed = 8 * sum(fold.n_test for fold in question.folds.folds) * count
    # On the CPU, the scores are in memory twice: as collected and as returned.
    check_fits(weighed + 2 * scored, what, use, torch.device("cpu"))
    check_fits(weighed + scored, what, use, place.device)


def _shared_bytes(place: Place, question: Question, count: int) -> int:
    """Bytes of the weights, the distances and their squares, and the collected scores.

    Raises
    ------
    ValueError
        They exceed the memory budget.
    """
    folds, manifolds = question.folds.folds, len(question.manifolds)
    n_test = max(fold.n_test for fold in folds)
    by_fold = 8 * sum(fold.n_test * (count + fold.n_test) for fold in folds)
    shared = by_fold * manifolds + 8 * (n_test**2 + 2 * len(place.sites) * count * manifolds)
    if shared > place.budget:
        raise ValueError(
            f"memory_budget of {place.budget:,} bytes is too small: the distances of {n_test} "
            f"held-out samples and {count} resamples take {shared:,}"
        )
    return shared


@dataclass(frozen=True)
class _Reference:
    """A test part's distances, and their sums over resamples, for all sites.

    Attributes
    ----------
    D
        ``(n_test, n_test)`` ideal distances.
    weights
        ``(R, n_test)`` count of each sample in each resample.
    squares
        ``(R,)`` Σ wᵢwⱼDᵢⱼ².
    """

    D: Tensor
    weights: Tensor
    squares: Tensor

    @classmethod
    def of(cls, ideal: Ideal | None, weights: Tensor) -> Self | None:
        if ideal is None:
            return None
        D = ideal.matrix
        return cls(D, weights, ((weights @ D.square()) * weights).sum(1))

    def scores(self, Z: Tensor) -> Tensor:
        """Scores ``(b, R)`` of projections ``(b, n_test, k)`` in all resamples."""
        Z = Z - Z.mean(1, keepdim=True)
        w = self.weights
        found = Z.new_empty(len(Z), len(w))
        for out, z in zip(found, Z, strict=True):
            projected = torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist")
            cross = ((w @ projected.mul_(self.D)) * w).sum(1)
            count, first, second = w.sum(1), w @ z, w @ z.square().sum(1)
            squares = 2 * (count * second - first.square().sum(1))
            out.copy_(1 - (1 - cross.square() / (self.squares * squares)).clamp(min=0).sqrt())
        return found


def _weights(folds: Folds, groups: np.ndarray, count: int, seed: int) -> list[Tensor]:
    """Count of each test row in each resample ``(count, n_test)``, per fold.

    If no two test parts share a group, each part is resampled by itself. If some do, as in repeated
    k-fold, all parts share one resample: scoring the same samples twice does not double their
    number.
    """
    generator = np.random.default_rng(seed)
    parts = [take(groups, fold.test) for fold in folds.folds]
    names = [np.unique(part) for part in parts]
    every = np.unique(np.concatenate(names))
    if len(every) < sum(map(len, names)):
        names = [every]
    drawn = [
        generator.multinomial(len(of), np.full(len(of), 1 / max(len(of), 1)), size=count)
        for of in names
    ]
    if len(drawn) < len(parts):
        names, drawn = names * len(parts), drawn * len(parts)
    return [
        torch.from_numpy(times[:, np.searchsorted(of, part)].astype(np.float64))
        for part, of, times in zip(parts, names, drawn, strict=True)
    ]


def _ends(resampled: np.ndarray, level: float) -> Sequence[np.ndarray]:
    level = as_share(level, "level")
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
