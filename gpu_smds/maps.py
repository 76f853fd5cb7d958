"""Maps over all sites: scores by cross-validation, and one fitted map per site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_smds._progress import Meter, Progress
from gpu_smds._validation import (
    as_alphas,
    as_dtype,
    as_flag,
    as_labels,
    as_list,
    check_choice,
    resolve_device,
)
from gpu_smds.budget import check_fits, most_sites, resolve_budget
from gpu_smds.checkpoint import Checkpoint, fingerprint, kept
from gpu_smds.fitted import FittedMap
from gpu_smds.fitting import bytes_per_site, fit_rows
from gpu_smds.folds import Fold, Folds, Rows, resolve_folds
from gpu_smds.manifolds import Embedding, resolve_manifold
from gpu_smds.results import ScoreMap
from gpu_smds.scoring import Scoring
from gpu_smds.sites import Block, Sites
from gpu_smds.states import CentredStates
from gpu_smds.status import Status, raise_status, undefined
from gpu_smds.stress import metric_name
from gpu_smds.sweep import Job, sweep
from gpu_smds.systems import STANDARDIZE, Solver
from gpu_smds.targets import Target


def score_map(
    X: Any,
    y: Any,
    manifold: Any = "circular",
    cv: Any = 3,
    alpha: Any = 1.0,
    orthonormal: bool = False,
    standardize: str | None = None,
    metric: Any = "scale_normalized_stress",
    n_components: int | None = None,
    groups: Any = None,
    device: Any = None,
    dtype: torch.dtype | None = None,
    memory_budget: int | None = None,
    progress: Progress = False,
    checkpoint: str | Path | Checkpoint | None = None,
) -> ScoreMap:
    """Cross-validated SMDS score of every site.

    The counterpart of fitting ``smds.SupervisedMDS(manifold=..., alpha=...)`` on each training
    part and calling ``score`` on each test part, at every site by itself.

    Parameters
    ----------
    X
        Hidden states ``(n_samples, *sites, n_features)``: torch tensor or numpy array of any
        float dtype, with any number of site axes, or an object with ``shape``, ``dtype`` and
        ``X[:, i, j, a:b]`` that reads lazily.
    y
        Labels ``(n_samples,)`` or ``(n_samples, k)``.
    manifold
        A name, a shape object (ours or of smds), a parametrization, or a callable labels →
        distance matrix; the last and foreign shapes with ``n_components``.
    cv
        An int, a scikit-learn splitter, an iterable of (train, test) indices, or None to fit
        and score on all samples.
    alpha
        Ridge penalty; 0 is minimum-norm least squares. The default is that of smds 1.6.6. Of a
        list each takes a factorisation, but from 16 on all share one eigendecomposition.
    orthonormal
        Orthonormal Procrustes instead of ridge; ``alpha`` is then without effect.
    standardize
        None, "train" (z-score fitted on the training part) or "all" (on all samples).
    metric
        Name of a stress metric (:data:`gpu_smds.METRICS`) or a ``StressMetrics`` value.
    n_components
        Components of the embedding; None takes the manifold's own number.
    groups
        Passed to the splitter.
    device
        Where to compute; None is where X is (the CPU for numpy and lazy stores).
    dtype
        None or torch.float64: all arithmetic is float64. torch.float32, for GPUs whose float64
        is slow: the ridge's large matrix products and factors are float32, and its solution is
        refined on the float64 states until it is as good. Sites where that does not converge are
        fitted in float64. Without effect on orthonormal maps and alpha = 0.
    memory_budget
        Bytes to allocate beyond the input; None takes a share of what is free.
    progress
        True for a bar on standard error, or a callable (done sites, all sites).
    checkpoint
        A file that keeps what is done: the same call goes on from there after an interruption of
        any kind. It is removed at the end (see :class:`gpu_smds.Checkpoint`).

    Lists of manifolds, metrics or alphas each add a leading axis and share one Gram matrix.

    Returns
    -------
    ScoreMap
        Axes ``(manifold, metric, alpha, fold, *sites)``, the first three only for lists.

    Raises
    ------
    ValueError, TypeError
        Arguments that do not fit each other, with what to pass instead. A site that cannot be
        scored is no error: its score is NaN and its status says why.
    """
    sites = Sites(X)
    where = resolve_device(device, sites.device)
    budget = resolve_budget(memory_budget, where)
    job, result = plan_scores(
        sites,
        where,
        budget,
        y,
        manifold,
        cv,
        alpha,
        orthonormal,
        standardize,
        metric,
        n_components,
        groups,
        dtype,
    )
    meter = Meter(progress, len(sites), "scoring")
    with kept(checkpoint) as done:
        sweep(sites, [job], where, budget, meter, done)
        return result()


def plan_scores(
    sites: Sites,
    where: torch.device,
    budget: int,
    y: Any,
    manifold: Any = "circular",
    cv: Any = 3,
    alpha: Any = 1.0,
    orthonormal: bool = False,
    standardize: str | None = None,
    metric: Any = "scale_normalized_stress",
    n_components: int | None = None,
    groups: Any = None,
    dtype: torch.dtype | None = None,
) -> tuple[Job, Callable[[], ScoreMap]]:
    """The job of :func:`score_map`, and what to call for its result once it is done."""
    precision = as_dtype(dtype)
    rigid = as_flag(orthonormal, "orthonormal")
    check_choice(standardize, STANDARDIZE, "standardize")
    labels = as_labels(y, sites.n)
    manifolds, many_manifolds = as_list(manifold, "manifold")
    metrics, many_metrics = as_list(metric, "metric")
    metrics = [metric_name(value) for value in metrics]
    alphas, many_alphas = as_alphas(alpha)
    shapes = [resolve_manifold(value, n_components) for value in manifolds]
    folds = resolve_folds(cv, labels, groups)
    keep = budget // (8 * len(shapes) * len(folds))
    targets = [
        Target.of(shape, folds, labels[folds.order], where, keep, metrics) for shape in shapes
    ]
    solver = Solver(alphas, rigid, standardize, precision)
    scoring = Scoring.of(sites, folds, solver, targets, metrics, labels, where)

    def result() -> ScoreMap:
        # An axis for each list that was given; the others have length 1 and go.
        scores, status = scoring.scores.cpu().numpy(), scoring.status.cpu().numpy()
        listed = {"manifold": many_manifolds, "metric": many_metrics, "alpha": many_alphas}
        coords = {"manifold": [s.name for s in shapes], "metric": metrics, "alpha": list(alphas)}
        dims = (
            *(name for name, is_list in listed.items() if is_list),
            "fold",
            *(f"site{axis}" for axis in range(len(sites.site_shape))),
        )
        sizes = dict(zip(("manifold", "metric", "alpha", "fold"), scores.shape, strict=False))
        kept = [sizes[dim] for dim in dims if dim in sizes]
        kept_status = [sizes[dim] for dim in dims if dim in sizes and dim != "metric"]
        return ScoreMap(
            scores.reshape(*kept, *sites.site_shape),
            status.reshape(*kept_status, *sites.site_shape),
            dims,
            coords,
            fold_sizes=folds.sizes,
        )

    return scoring.job, result


def fit_map(
    X: Any,
    y: Any,
    manifold: Any = "circular",
    alpha: float = 1.0,
    orthonormal: bool = False,
    standardize: str | None = None,
    n_components: int | None = None,
    device: Any = None,
    dtype: torch.dtype | None = None,
    memory_budget: int | None = None,
    progress: Progress = False,
    checkpoint: str | Path | Checkpoint | None = None,
) -> FittedMap:
    """Fit one SMDS map per site on all samples.

    Arguments are those of :func:`score_map`, one manifold and one alpha.

    Returns
    -------
    FittedMap
        ``W`` of shape ``(*sites, k, d)`` with the mean and scale it applies to.
    """
    precision = as_dtype(dtype)
    rigid = as_flag(orthonormal, "orthonormal")
    check_choice(standardize, STANDARDIZE, "standardize")
    alphas, is_list = as_alphas(alpha)
    if is_list or isinstance(manifold, list | tuple):
        raise ValueError("fit_map takes one manifold and one alpha, not lists")
    sites = Sites(X)
    labels = as_labels(y, sites.n)
    shape = resolve_manifold(manifold, n_components)
    solver = Solver(alphas, rigid, standardize, precision)
    where = resolve_device(device, sites.device)
    embedding = shape.embed(labels, where)
    if embedding.degenerate:
        raise ValueError(
            f"all labels fall on one point of the {shape.name} manifold, to within 1e-12"
        )
    rows = slice(0, sites.n)
    with kept(checkpoint) as done:
        maps = fit_sites(sites, rows, embedding, solver, where, memory_budget, progress, done)
    if not embedding.determined:
        maps.status.clamp_(min=int(Status.UNDETERMINED))
    return FittedMap(
        maps.Wt.mT.reshape(*sites.site_shape, embedding.Y.shape[1], sites.d),
        maps.mean.reshape(*sites.site_shape, sites.d),
        maps.scale.reshape(*sites.site_shape, sites.d),
        embedding.Y,
        maps.status.cpu().numpy().reshape(sites.site_shape),
        shape,
        solver,
        source=(X, labels),
    )


@dataclass(frozen=True)
class SiteMaps:
    """Maps of S sites, flat.

    Attributes
    ----------
    Wt
        ``(S, d, k)``, NaN where the status says that the site is undefined.
    mean, scale
        ``(S, d)``.
    status
        ``(S,)`` int8.
    """

    Wt: Tensor
    mean: Tensor
    scale: Tensor
    status: Tensor

    def by_lead(self, n_last: int) -> tuple[Tensor, Tensor]:
        """Maps ``(lead, n_last, d, k)``, zero where undefined, and status ``(lead, n_last)``."""
        Wt = torch.nan_to_num(self.Wt).unflatten(0, (-1, n_last))
        return Wt, self.status.reshape(-1, n_last)


def fit_sites(
    sites: Sites,
    rows: Rows,
    embedding: Embedding,
    solver: Solver,
    device: torch.device,
    memory_budget: int | None,
    progress: Progress = False,
    checkpoint: Checkpoint | None = None,
) -> SiteMaps:
    """Fit one map per site on some rows, with the ideal embedding of their labels."""
    n_rows, k = embedding.Y.shape
    fold = Fold(rows, rows, n_rows, n_rows)
    fit = Folds([fold], np.arange(sites.n), partition=False)
    budget = resolve_budget(memory_budget, device)
    incomplete = embedding.incomplete is not None
    per_site = bytes_per_site(sites, fit, solver, k, device, incomplete, written=True)
    count = len(sites)
    check_fits(8 * count * sites.d * (k + 2), f"X of {count:,} sites", "their maps", device)
    Wt = torch.empty(count, sites.d, k, dtype=torch.float64, device=device)
    mean = torch.empty(count, sites.d, dtype=torch.float64, device=device)
    scale = torch.empty_like(mean)
    status = torch.zeros(count, dtype=torch.int8, device=device)

    def fit_block(block: Block, states: CentredStates) -> None:
        fitted = fit_rows(states, rows, n_rows, embedding, solver)
        state = raise_status(
            torch.zeros(len(block), dtype=torch.int8, device=device),
            {
                Status.UNDETERMINED: fitted.undetermined,
                Status.NOT_CONVERGED: fitted.unconverged,
                Status.CONSTANT: fitted.constant,
                Status.NON_FINITE: states.non_finite,
            },
        )
        span = slice(block.start, block.stop)
        Wt[span] = fitted.Wt.masked_fill(undefined(state)[:, None, None], torch.nan)
        mean[span], scale[span], status[span] = fitted.mean, fitted.scale, state

    results = (Wt, mean, scale, status)

    def key() -> str:
        return fingerprint(rows, embedding.Y, embedding.incomplete, solver)

    job = Job(fit_block, fit.order, per_site, most_sites(not solver.orthonormal), results, key)
    sweep(sites, [job], device, budget, Meter(progress, count, "fitting"), checkpoint)
    return SiteMaps(Wt, mean, scale, status)
