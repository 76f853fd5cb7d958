"""Maps over all sites: scores by cross-validation, and one fitted map per site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_smds._progress import Progress, report
from gpu_smds._validation import (
    as_alphas,
    as_labels,
    as_list,
    check_choice,
    check_dtype,
    resolve_device,
)
from gpu_smds.budget import resolve_budget, sites_per_block
from gpu_smds.fitted import FittedMap
from gpu_smds.fitting import (
    STANDARDIZE,
    Plan,
    Solver,
    bytes_per_site,
    fit_folds,
    fit_rows,
)
from gpu_smds.folds import Fold, Folds, Rows, resolve_folds
from gpu_smds.results import ScoreMap
from gpu_smds.shapes import resolve_manifold
from gpu_smds.sites import Sites
from gpu_smds.states import CentredStates
from gpu_smds.status import Status
from gpu_smds.stress import METRICS
from gpu_smds.targets import Targets, embed, raise_status


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
        A name, a shape object, or a callable labels → distance matrix (with ``n_components``).
    cv
        An int, a scikit-learn splitter, an iterable of (train, test) indices, or None to fit
        and score on all samples.
    alpha
        Ridge penalty; 0 is minimum-norm least squares. The default is that of smds 1.6.6.
    orthonormal
        Orthonormal Procrustes instead of ridge; ``alpha`` is then without effect.
    standardize
        None, "train" (z-score fitted on the training part) or "all" (on all samples).
    metric
        Name of the stress metric.
    n_components
        Components of the embedding; None takes the manifold's own number.
    groups
        Passed to the splitter.
    device
        Where to compute; None is where X is (the CPU for numpy and lazy stores).
    dtype
        None or torch.float64: all arithmetic is float64.
    memory_budget
        Bytes to allocate beyond the input; None takes a share of what is free.
    progress
        True for a bar on standard error, or a callable (done sites, all sites).

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
    check_dtype(dtype)
    check_choice(standardize, STANDARDIZE, "standardize")
    sites = Sites(X)
    labels = as_labels(y, sites.n)
    manifolds, many_manifolds = as_list(manifold, "manifold")
    metrics, many_metrics = as_list(metric, "metric")
    for name in metrics:
        check_choice(name, tuple(METRICS), "metric")
    alphas, many_alphas = as_alphas(alpha)
    shapes = [resolve_manifold(value, n_components) for value in manifolds]
    where = resolve_device(device, sites.device)
    folds = resolve_folds(cv, labels, groups)
    solver = Solver(alphas, bool(orthonormal), standardize)

    budget = resolve_budget(memory_budget, where)
    per_site = bytes_per_site(sites.n, sites.d, folds, solver, sites.dtype.itemsize)
    size = sites_per_block(budget, per_site, where)
    targets = Targets(shapes, folds, labels, metrics, where, keep_bytes=budget // 8)
    plan = Plan.of(folds, solver, targets.stacked, sites.n)

    shape = (len(shapes), len(metrics), len(alphas), len(folds), len(sites))
    scores = torch.full(shape, torch.nan, dtype=torch.float64, device=where)
    status = torch.zeros((shape[0], *shape[2:]), dtype=torch.int8, device=where)
    blocks = sites.blocks(size)
    for block in report(blocks, progress, len(sites), "scoring"):
        raw = sites.read(block, folds.order, where)
        states = CentredStates.of(raw, torch.finfo(sites.dtype).eps)
        span = slice(block.start, block.stop)
        for fit in fit_folds(states, plan):
            for m in range(len(shapes)):
                values, state = targets.score(
                    m,
                    fit.fold,
                    fit.Z,
                    {
                        Status.UNDETERMINED: fit.undetermined,
                        Status.CONSTANT: fit.constant,
                        Status.NON_FINITE: states.non_finite,
                    },
                )
                scores[m, :, fit.alpha, fit.fold, span] = values
                status[m, fit.alpha, fit.fold, span] = state

    # An axis for each list that was given; the others have length 1 and go.
    listed = {"manifold": many_manifolds, "metric": many_metrics, "alpha": many_alphas}
    coords = {"manifold": [s.name for s in shapes], "metric": metrics, "alpha": list(alphas)}
    dims = (
        *(name for name, is_list in listed.items() if is_list),
        "fold",
        *(f"site{axis}" for axis in range(len(sites.site_shape))),
    )
    sizes = {"manifold": shape[0], "metric": shape[1], "alpha": shape[2], "fold": shape[3]}
    kept = [sizes[dim] for dim in dims if dim in sizes]
    kept_status = [sizes[dim] for dim in dims if dim in sizes and dim != "metric"]
    return ScoreMap(
        scores.cpu().numpy().reshape(*kept, *sites.site_shape),
        status.cpu().numpy().reshape(*kept_status, *sites.site_shape),
        dims,
        coords,
    )


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
) -> FittedMap:
    """Fit one SMDS map per site on all samples.

    Arguments are those of :func:`score_map`, one manifold and one alpha.

    Returns
    -------
    FittedMap
        ``W`` of shape ``(*sites, k, d)`` with the mean and scale it applies to.
    """
    check_dtype(dtype)
    check_choice(standardize, STANDARDIZE, "standardize")
    alphas, is_list = as_alphas(alpha)
    if is_list or isinstance(manifold, list | tuple):
        raise ValueError("fit_map takes one manifold and one alpha, not lists")
    sites = Sites(X)
    labels = as_labels(y, sites.n)
    shape = resolve_manifold(manifold, n_components)
    solver = Solver(alphas, bool(orthonormal), standardize)
    where = resolve_device(device, sites.device)
    embedding = embed(shape, torch.from_numpy(labels).to(where))
    if embedding.degenerate:
        raise ValueError(f"all labels fall on one point of the {shape.name} manifold")
    maps = fit_sites(sites, slice(0, sites.n), embedding.Y, solver, where, memory_budget, progress)
    if not embedding.determined:
        maps.status.clamp_(min=int(Status.UNDETERMINED))
    return FittedMap(
        maps.Wt.mT.reshape(*sites.site_shape, shape.n_components, sites.d),
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


def fit_sites(
    sites: Sites,
    rows: Rows,
    Y: Tensor,
    solver: Solver,
    device: torch.device,
    memory_budget: int | None,
    progress: Progress = False,
) -> SiteMaps:
    """Fit one map per site on some rows, with their centred ideal embedding ``(n_rows, k)``."""
    fold = Fold(rows, rows, len(Y), len(Y))
    fit = Folds([fold], np.arange(sites.n), partition=False)
    budget = resolve_budget(memory_budget, device)
    per_site = bytes_per_site(sites.n, sites.d, fit, solver, sites.dtype.itemsize)
    count, k = len(sites), Y.shape[1]
    Wt = torch.empty(count, sites.d, k, dtype=torch.float64, device=device)
    mean = torch.empty(count, sites.d, dtype=torch.float64, device=device)
    scale = torch.empty_like(mean)
    status = torch.zeros(count, dtype=torch.int8, device=device)
    size = sites_per_block(budget, per_site, device)
    for block in report(sites.blocks(size), progress, count, "fitting"):
        raw = sites.read(block, fit.order, device)
        states = CentredStates.of(raw, torch.finfo(sites.dtype).eps)
        fitted = fit_rows(states, rows, len(Y), Y, solver)
        state = raise_status(
            torch.zeros(len(block), dtype=torch.int8, device=device),
            {
                Status.UNDETERMINED: fitted.undetermined,
                Status.CONSTANT: fitted.constant,
                Status.NON_FINITE: states.non_finite,
            },
        )
        undefined = state > Status.UNDETERMINED
        span = slice(block.start, block.stop)
        Wt[span] = fitted.Wt.masked_fill(undefined[:, None, None], torch.nan)
        mean[span], scale[span], status[span] = fitted.mean, fitted.scale, state
    return SiteMaps(Wt, mean, scale, status)
