"""How sure is a score, and a difference of scores? A bootstrap over the held-out samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gpu_smds._progress import Meter, Progress
from gpu_smds._validation import (
    as_alphas,
    as_flag,
    as_integer,
    as_labels,
    as_list,
    as_share,
    check_choice,
    resolve_device,
)
from gpu_smds.budget import check_fits, most_sites, resolve_budget
from gpu_smds.checkpoint import Checkpoint, fingerprint, kept
from gpu_smds.exchange import as_groups
from gpu_smds.fitting import bytes_per_site, fit_folds
from gpu_smds.folds import Folds, resolve_folds, take
from gpu_smds.ideal import Ideal
from gpu_smds.manifolds import resolve_manifold
from gpu_smds.sites import Block, Sites
from gpu_smds.states import CentredStates
from gpu_smds.status import Status, undefined
from gpu_smds.sweep import Job, sweep
from gpu_smds.systems import STANDARDIZE, Plan, Solver
from gpu_smds.targets import Target, Targets

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
        Their names.
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

        NaN where a resample has no score, as happens where a few groups, or labels, are drawn from.
        With some tens of samples resamples score a little higher than what they are drawn from: a
        sample drawn twice fits itself.
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
) -> BootstrapMap:
    """Score resamples of every fold's held-out samples; maps and ideal distances stay as they are.

    What varies is which samples are scored, not which are fitted on: the intervals are those of
    the given maps' scores on further samples of the same kind. A resample's score is a quadratic
    form in how often it holds each sample, so that all of them are one matrix product a site.
    Samples that several test parts hold, as in repeated k-fold, are drawn for all of them at once.
    smds has no counterpart.

    Parameters
    ----------
    X, y, manifold, cv, alpha, orthonormal, standardize, n_components, device
        As in :func:`gpu_smds.score_map`, one alpha; a list of manifolds adds a leading axis. The
        score is the default one, ``scale_normalized_stress``.
    n_resamples
        Number R of resamples.
    seed
        Of the generator that draws them.
    groups
        ``(n_samples,)`` names: whole groups are resampled, and passed to the splitter.
    memory_budget, progress, checkpoint
        As in :func:`gpu_smds.score_map`.

    Raises
    ------
    ValueError
        Arguments that do not fit each other; incomplete distances.
    """
    n_resamples = as_integer(n_resamples, "n_resamples", least=2)
    seed = as_integer(seed, "seed", countable=False)
    rigid = as_flag(orthonormal, "orthonormal")
    check_choice(standardize, STANDARDIZE, "standardize")
    alphas, is_list = as_alphas(alpha)
    if is_list:
        raise ValueError("bootstrap_map takes one alpha, not a list")
    sites = Sites(X)
    where = resolve_device(device, sites.device)
    budget = resolve_budget(memory_budget, where)
    labels = as_labels(y, sites.n)
    listed, many = as_list(manifold, "manifold")
    shapes = [resolve_manifold(value, n_components) for value in listed]
    folds = resolve_folds(cv, labels, groups)
    names = np.arange(sites.n) if groups is None else as_groups(groups, sites.n)
    # Weights, and scores where they are collected and where they are given out.
    what, use = f"n_resamples={n_resamples:,}", "the resamples and the scores of them"
    scored = 8 * len(sites) * len(shapes) * n_resamples
    weighed = 8 * sum(fold.n_test for fold in folds.folds) * n_resamples
    check_fits(weighed + 2 * scored, what, use, torch.device("cpu"))
    check_fits(weighed + scored, what, use, where)
    ordered = labels[folds.order]
    keep = budget // (8 * len(shapes) * len(folds))
    targets = [Target.of(shape, folds, ordered, where, keep, [_METRIC]) for shape in shapes]
    together = Targets(targets, [_METRIC], folds, where)
    if any(together.incomplete):
        raise ValueError("the bootstrap takes complete distances only, which chain has not")
    solver = Solver(alphas, rigid, standardize)
    plan = Plan.of(folds, solver, together, sites.n)
    n_test = max(fold.n_test for fold in folds.folds)
    # Weights, distances and their squares, and the scores, where they are collected.
    shared = 8 * sum(fold.n_test * (n_resamples + fold.n_test) for fold in folds.folds)
    shared = shared * len(targets) + 8 * (n_test**2 + 2 * len(sites) * n_resamples * len(targets))
    if shared > budget:
        raise ValueError(
            f"memory_budget of {budget:,} bytes is too small: the distances of {n_test} held-out "
            f"samples and {n_resamples} resamples take {shared:,}"
        )
    weights = [w.to(where) for w in _weights(folds, names[folds.order], n_resamples, seed)]
    references = [
        [None if i is None else _Reference.of(i, w) for i, w in zip(t.ideals, weights, strict=True)]
        for t in targets
    ]
    shape = (len(sites), len(targets), n_resamples + 1)
    scores = torch.full(shape, torch.nan, dtype=torch.float64, device=where)
    status = torch.zeros(shape[:2], dtype=torch.int8, device=where)

    def visit(block: Block, states: CentredStates) -> None:
        total = torch.zeros(len(block), *shape[1:], dtype=torch.float64, device=where)
        state = torch.zeros(len(block), len(targets), dtype=torch.int8, device=where)
        for fit in fit_folds(states, plan):
            for t in range(len(targets)):
                causes = {
                    Status.UNDETERMINED: fit.undetermined[t],
                    Status.CONSTANT: fit.constant,
                    Status.NON_FINITE: states.non_finite,
                }
                values, why = together.score(t, fit.fold, fit.Z, causes)
                total[:, t, 0] += values[0]
                state[:, t] = state[:, t].maximum(why)
                reference = references[t][fit.fold]
                if reference is not None:
                    total[:, t, 1:] += reference.scores(fit.Z[..., together.columns[t]])
        mean = total / len(folds)
        span = slice(block.start, block.stop)
        scores[span] = mean.masked_fill(undefined(state)[..., None], torch.nan)
        status[span] = state

    columns = together.stacked[0].shape[1]
    per_site = bytes_per_site(sites, folds, solver, columns, where)
    per_site += 8 * (3 * n_test**2 + n_resamples * (2 * n_test + 8 + shape[1]))

    def key() -> str:
        named = [target.manifold.name for target in targets]
        return fingerprint(
            labels, named, solver, folds.order, *folds.parts, *weights, *together.stacked
        )

    most = most_sites(True)
    job = Job(visit, folds.order, per_site, most, (scores, status), key, shared)
    with kept(checkpoint) as done:
        sweep(sites, [job], where, budget, Meter(progress, len(sites), "bootstrap"), done)
    axes = ((len(targets),) if many else ()) + sites.site_shape
    found = scores.movedim(0, -1).movedim(1, 0).cpu().numpy().reshape(shape[2], *axes)
    dims = (("manifold",) if many else ()) + tuple(f"site{i}" for i in range(len(sites.site_shape)))
    state = status.mT.cpu().numpy().reshape(axes)
    return BootstrapMap(found[0], found[1:], state, dims, [s.name for s in shapes])


@dataclass(frozen=True)
class _Reference:
    """A test part's distances, and what all sites' resampled scores need of them.

    Attributes
    ----------
    D
        ``(n_test, n_test)`` ideal distances.
    weights
        ``(R, n_test)`` how often each resample holds each sample.
    squares
        ``(R,)`` Σ wᵢwⱼDᵢⱼ².
    """

    D: Tensor
    weights: Tensor
    squares: Tensor

    @classmethod
    def of(cls, ideal: Ideal, weights: Tensor) -> _Reference:
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
    """How often each resample holds each test row ``(count, n_test)``, per fold.

    Test parts that share no group are resampled each by itself. Where some do, as those of repeated
    k-fold, all are one resample: the same samples scored twice are not twice as many.
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
