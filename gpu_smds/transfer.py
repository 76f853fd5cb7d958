"""Does one position's map decode another? Every fitted site scored on every target position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_smds._progress import Meter, Progress
from gpu_smds._validation import as_labels, resolve_device, shown
from gpu_smds.budget import check_fits, most_sites, resolve_budget
from gpu_smds.checkpoint import fingerprint
from gpu_smds.fitted import FittedMap
from gpu_smds.folds import Fold, Folds, resolve_folds, take
from gpu_smds.maps import SiteMaps, fit_sites
from gpu_smds.results import ScoreMap
from gpu_smds.sites import Block, Sites
from gpu_smds.states import CentredStates
from gpu_smds.status import Status, undefined
from gpu_smds.streamed import is_streamed
from gpu_smds.stress import metric_name
from gpu_smds.sweep import Job, sweep
from gpu_smds.targets import Target, Targets

# Up to so many columns of maps are multiplied in one pass over the raw states; with more it pays
# to write the centred states for a matrix product.
_FEW = 8


def transfer_map(
    fitted: FittedMap,
    X: Any,
    y: Any,
    cv: Any = None,
    metric: str = "scale_normalized_stress",
    groups: Any = None,
    device: Any = None,
    memory_budget: int | None = None,
    progress: Progress = False,
) -> ScoreMap:
    """Score the maps of every fitted position on every position of X.

    Parameters
    ----------
    fitted
        Maps of sites ``(*lead, S)``: all positions, or some (``fit_map(X[..., s:s+1, :], y)``
        for the study's one source).
    X
        States ``(n_samples, *lead, T, d)``, as in :func:`gpu_smds.score_map`.
    y
        Labels of the samples.
    cv
        None scores the given maps on all samples. Otherwise the sources are refitted on each
        training part, from the states that ``fitted`` was fitted on, and scored on the held-out
        rows.
    metric, groups, device, memory_budget, progress
        As in :func:`gpu_smds.score_map`; the device defaults to that of the fitted map.

    Returns
    -------
    ScoreMap
        Axes ``(fold, *lead, S, T)``. Where the maps were fitted on z-scored states, every target
        is z-scored by its own statistics: over all samples, or with ``cv`` and
        ``standardize="train"`` over its training rows.

    Raises
    ------
    ValueError
        Shapes that do not fit, or ``cv`` with a map whose states are gone (loaded from a file).
    """
    _check_fitted(fitted)
    sites = Sites(X)
    where = resolve_device(device, fitted.W.device)
    budget = resolve_budget(memory_budget, where)
    job, result = plan_transfer(sites, where, budget, fitted, y, cv, metric, groups)
    sweep(sites, [job], where, budget, Meter(progress, len(sites), "transfer"))
    return result()


def plan_transfer(
    sites: Sites,
    where: torch.device,
    budget: int,
    fitted: FittedMap,
    y: Any,
    cv: Any = None,
    metric: str = "scale_normalized_stress",
    groups: Any = None,
) -> tuple[Job, Callable[[], ScoreMap]]:
    """The job of :func:`transfer_map`, and what to call for its result once it is done.

    With ``cv`` the sources are refitted here.
    """
    _check_fitted(fitted)
    metrics = [metric_name(metric)]
    labels = as_labels(y, sites.n)
    lead = sites.site_shape[:-1]
    if not sites.site_shape or fitted.site_shape[:-1] != lead or not fitted.site_shape:
        raise ValueError(
            f"the fitted map has sites {fitted.site_shape}, X has {sites.site_shape}: all site "
            "axes but the last must agree, and there must be at least one"
        )
    if fitted.W.shape[-1] != sites.d:
        raise ValueError(f"the map takes {fitted.W.shape[-1]} features, X has {sites.d}")
    folds = resolve_folds(cv, labels, groups)
    # Rows stay in their own order: sources and targets are two arrays.
    rows = [_original_rows(fold, folds.order) for fold in folds.folds]
    plain = Folds(rows, np.arange(sites.n), partition=False)
    targets = _one_target(fitted, plain, labels, metrics, where, budget)
    n_sources, n_targets = fitted.site_shape[-1], sites.site_shape[-1]
    check_fits(
        9 * len(folds) * len(sites) * n_sources,
        f"a map from {n_sources:,} to {len(sites):,} sites with {len(folds):,} folds (cv)",
        "its scores",
        where,
    )
    sources = [_sources(fitted, labels, cv, fold, where, budget) for fold in rows]
    by_lead = [source.by_lead(n_sources) for source in sources]
    scores = torch.full((len(folds), len(sites), n_sources), torch.nan, dtype=torch.float64)
    scores = scores.to(where)
    status = torch.zeros(scores.shape, dtype=torch.int8, device=where)
    columns = n_sources * fitted.W.shape[-2]
    written = columns > _FEW or not is_streamed(where)

    def visit(block: Block, states: CentredStates) -> None:
        if written:
            states.materialise()
        of_lead = torch.arange(block.start, block.stop, device=where) // n_targets
        span = slice(block.start, block.stop)
        for f, (fold, (Wt, source_status)) in enumerate(zip(rows, by_lead, strict=True)):
            W = Wt[of_lead]
            scale = _own_scale(states, fold, fitted.solver.standardize)
            if scale is not None:
                # The maps are scaled and not the states, which are much larger.
                W = W / scale[:, None, :, None]
            Z = states.project(W.movedim(1, 2).flatten(2), fold.test)
            values, state = targets.score(
                0,
                f,
                Z.unflatten(2, (n_sources, -1)).movedim(2, 1),
                {
                    Status.CONSTANT: _constant(states, fold)[:, None],
                    Status.NON_FINITE: states.non_finite[:, None],
                },
            )
            state = torch.maximum(state, source_status[of_lead])
            scores[f, span] = values[0].masked_fill(undefined(state), torch.nan)
            status[f, span] = state

    def result() -> ScoreMap:
        axes = (len(folds), *lead, n_targets, n_sources)
        dims = ("fold", *(f"site{axis}" for axis in range(len(lead))), "source", "target")
        found, why = scores.reshape(axes).mT, status.reshape(axes).mT
        return ScoreMap(found.cpu().numpy(), why.cpu().numpy(), dims, fold_sizes=folds.sizes)

    per_site = sites.bytes_per_site(written) + 8 * columns * (4 * sites.d + 3 * sites.n)
    results = (scores.movedim(1, 0), status.movedim(1, 0))
    maps = [part for source in sources for part in (source.Wt, source.status)]
    test = [fold.test for fold in rows]

    def key() -> str:
        return fingerprint(labels, fitted.manifold.name, metrics, fitted.solver, *test, *maps)

    # The maps, with and without zeros where undefined, and their means and scales.
    d, k = fitted.W.shape[-1], fitted.W.shape[-2]
    shared = 16 * sum(source.Wt.shape[0] for source in sources) * d * (k + 1) + targets.bytes
    return Job(visit, plain.order, per_site, most_sites(written), results, key, shared), result


def _check_fitted(fitted: Any) -> None:
    if not isinstance(fitted, FittedMap):
        raise TypeError(f"fitted must be a FittedMap, as fit_map gives, got {shown(fitted)}")


def score_projections(fitted: FittedMap, X: Any, y: Any, metric: str) -> ScoreMap:
    """Score each site of X by the map of the same site; see :meth:`FittedMap.score`."""
    metrics = [metric_name(metric)]
    sites = Sites(X)
    if sites.site_shape != fitted.site_shape or sites.d != fitted.W.shape[-1]:
        raise ValueError(
            f"X has sites and features {(*sites.site_shape, sites.d)}, the map was fitted on "
            f"{(*fitted.site_shape, fitted.W.shape[-1])}"
        )
    labels = as_labels(y, sites.n)
    where = fitted.W.device
    folds = resolve_folds(None, labels)
    budget = resolve_budget(None, where)
    targets = _one_target(fitted, folds, labels, metrics, where, budget)
    Wt = fitted.W.mT.flatten(0, -3) if sites.site_shape else fitted.W.mT[None]
    scale = fitted.scale.reshape(-1, sites.d)
    source_status = torch.from_numpy(fitted.status.reshape(-1)).to(where)
    scores = torch.full((len(sites),), torch.nan, dtype=torch.float64, device=where)
    status = torch.zeros(len(sites), dtype=torch.int8, device=where)

    def visit(block: Block, states: CentredStates) -> None:
        span = slice(block.start, block.stop)
        fold = folds.folds[0]
        W = torch.nan_to_num(Wt[span] / scale[span, :, None])
        causes = {Status.CONSTANT: _constant(states, fold), Status.NON_FINITE: states.non_finite}
        values, state = targets.score(0, 0, states.project(W, fold.test), causes)
        state = torch.maximum(state, source_status[span])
        scores[span] = values[0].masked_fill(undefined(state), torch.nan)
        status[span] = state

    per_site = sites.bytes_per_site(not is_streamed(where))
    job = Job(visit, folds.order, per_site, most_sites(False), (scores, status), key=str)
    sweep(sites, [job], where, budget, Meter(False, len(sites), "scoring"))
    dims = ("fold", *(f"site{axis}" for axis in range(len(sites.site_shape))))
    return ScoreMap(
        scores.cpu().numpy().reshape(1, *sites.site_shape),
        status.cpu().numpy().reshape(1, *sites.site_shape),
        dims,
    )


def _one_target(
    fitted: FittedMap,
    folds: Folds,
    labels: np.ndarray,
    metrics: list[str],
    device: torch.device,
    budget: int,
) -> Targets:
    keep = budget // (8 * len(folds))
    target = Target.of(fitted.manifold, folds, labels[folds.order], device, keep, metrics)
    return Targets([target], metrics, folds, device)


def _original_rows(fold: Fold, order: np.ndarray) -> Fold:
    """A fold of reordered rows, in the numbers of the rows as given."""
    return Fold.of(take(order, fold.train), take(order, fold.test))


def _sources(
    fitted: FittedMap,
    labels: np.ndarray,
    cv: Any,
    fold: Fold,
    device: torch.device,
    memory_budget: int | None,
) -> SiteMaps:
    """The given maps, flat, or with ``cv`` maps refitted on the training rows."""
    if cv is None:
        status = torch.from_numpy(fitted.status.reshape(-1)).to(device)
        d, k = fitted.W.shape[-1], fitted.W.shape[-2]
        return SiteMaps(
            fitted.W.mT.reshape(-1, d, k).to(device),
            fitted.mean.reshape(-1, d),
            fitted.scale.reshape(-1, d),
            status,
        )
    if fitted.source is None:
        raise ValueError(
            "cv refits the sources, but this map no longer has the states it was fitted on: "
            "call fit_map again"
        )
    X, source_labels = fitted.source
    if not np.array_equal(source_labels, labels):
        raise ValueError("with cv, y must be the labels that the map was fitted on")
    embedding = fitted.manifold.embed(take(labels, fold.train), device)
    return fit_sites(Sites(X), fold.train, embedding, fitted.solver, device, memory_budget)


def _constant(states: CentredStates, fold: Fold) -> Tensor:
    """Where the rows to score do not vary ``(b,)``."""
    shift, variance = states.moments(fold.test)
    return states.constant(fold.n_test * variance.sum(1), shift, fold.n_test, fold.test)


def _own_scale(states: CentredStates, fold: Fold, standardize: str | None) -> Tensor | None:
    """Standard deviations ``(b, d)`` by which targets are z-scored; None for states as they are."""
    if standardize is None:
        return None
    shift, variance = states.moments(fold.train if standardize == "train" else None)
    return states.scale(variance, shift)
