"""Does one position's map decode another? Every fitted site scored on every target position."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_smds._progress import Progress, report
from gpu_smds._validation import as_labels, resolve_device
from gpu_smds.budget import resolve_budget, sites_per_block
from gpu_smds.fitted import FittedMap
from gpu_smds.folds import Fold, Folds, resolve_folds, take
from gpu_smds.maps import SiteMaps, fit_sites
from gpu_smds.results import ScoreMap
from gpu_smds.sites import Block, Sites
from gpu_smds.states import CentredStates
from gpu_smds.status import Status, undefined
from gpu_smds.stress import metric_name
from gpu_smds.targets import Target, Targets


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
    metrics = [metric_name(metric)]
    sites = Sites(X)
    labels = as_labels(y, sites.n)
    lead, n_targets = sites.site_shape[:-1], sites.site_shape[-1:]
    if not n_targets or fitted.site_shape[:-1] != lead or not fitted.site_shape:
        raise ValueError(
            f"the fitted map has sites {fitted.site_shape}, X has {sites.site_shape}: all site "
            "axes but the last must agree, and there must be at least one"
        )
    if fitted.W.shape[-1] != sites.d:
        raise ValueError(f"the map takes {fitted.W.shape[-1]} features, X has {sites.d}")
    where = resolve_device(device, fitted.W.device)
    folds = resolve_folds(cv, labels, groups)
    # Rows stay in their own order: sources and targets are two arrays.
    rows = [_original_rows(fold, folds.order) for fold in folds.folds]
    plain = Folds(rows, np.arange(sites.n), partition=False)
    budget = resolve_budget(memory_budget, where)
    targets = _one_target(fitted, plain, labels, metrics, where, budget)
    n_sources = fitted.site_shape[-1]
    shape = (len(folds), *lead, n_sources, *n_targets)
    scores = torch.full(shape, torch.nan, dtype=torch.float64, device=where)
    status = torch.zeros(shape, dtype=torch.int8, device=where)

    per_site = sites.n * (sites.d * (16 + 2 * sites.dtype.itemsize) + 24 * n_sources * 2)
    per_site += 8 * n_sources * fitted.W.shape[-2] * sites.d
    blocks = sites.blocks(sites_per_block(budget, per_site, where))
    work = [Block(b.start, b.stop) for _ in rows for b in blocks]
    turns = report(work, progress, len(sites) * len(rows), "transfer")
    for f, fold in enumerate(plain.folds):
        maps = _sources(fitted, labels, cv, fold, where, memory_budget)
        Wt = maps.Wt.reshape(*lead, n_sources, *maps.Wt.shape[1:])
        source_status = maps.status.reshape(*lead, n_sources)
        for _ in blocks:
            block = next(turns)
            raw = sites.read(block, plain.order, where)
            states = CentredStates.of(raw, torch.finfo(sites.dtype).eps)
            test, constant = _test_rows(states, fold)
            scale = _own_scale(states, fold, fitted.solver.standardize)
            for index, stretch, part in sites.lead_runs(block):
                W = torch.nan_to_num(Wt[index])  # undefined sources are masked by their status
                if scale is None:
                    Z = torch.einsum("bnd,sdk->sbnk", test[part], W)
                else:
                    # The maps are scaled and not the states, which are much larger.
                    Z = torch.einsum(
                        "bnd,sbdk->sbnk", test[part], W[:, None] / scale[part, :, None]
                    )
                values, state = targets.score(
                    0,
                    f,
                    Z,
                    {
                        Status.CONSTANT: constant[part],
                        Status.NON_FINITE: states.non_finite[part],
                    },
                )
                state = torch.maximum(state, source_status[index][:, None])
                where_to: Any = (f, *index, slice(None), stretch)
                scores[where_to] = values[0].masked_fill(undefined(state), torch.nan)
                status[where_to] = state
    for _ in turns:  # lets the bar close
        pass
    dims = ("fold", *(f"site{axis}" for axis in range(len(lead))), "source", "target")
    return ScoreMap(scores.cpu().numpy(), status.cpu().numpy(), dims)


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
    per_site = sites.n * sites.d * (16 + 2 * sites.dtype.itemsize)
    for block in sites.blocks(sites_per_block(budget, per_site, where)):
        span = slice(block.start, block.stop)
        raw = sites.read(block, folds.order, where)
        states = CentredStates.of(raw, torch.finfo(sites.dtype).eps)
        test, constant = _test_rows(states, folds.folds[0])
        Z = test @ torch.nan_to_num(Wt[span] / scale[span, :, None])
        values, state = targets.score(
            0, 0, Z, {Status.CONSTANT: constant, Status.NON_FINITE: states.non_finite}
        )
        state = torch.maximum(state, source_status[span])
        scores[span] = values[0].masked_fill(undefined(state), torch.nan)
        status[span] = state
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


def _test_rows(states: CentredStates, fold: Fold) -> tuple[Tensor, Tensor]:
    """Rows to score ``(b, n_test, d)`` and where they are constant ``(b,)``."""
    test = states.x[:, fold.test]
    return test, states.constant(fold.test, fold.n_test, states.row_energy(), test.mean(1))


def _own_scale(states: CentredStates, fold: Fold, standardize: str | None) -> Tensor | None:
    """Standard deviations ``(b, d)`` by which targets are z-scored; None for states as they are."""
    if standardize == "train":
        return states.scale_of(fold.train, states.x[:, fold.train].mean(1))
    return states.scale_of() if standardize == "all" else None
