"""One map per site, fitted on all samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_smds._labels import as_labels
from gpu_smds._memory import check_fits
from gpu_smds._progress import Progress
from gpu_smds.crossval.fold_fit import bytes_of_rows_fit, fit_rows
from gpu_smds.crossval.folds import Fold, Folds
from gpu_smds.geometry.embedding import Embedding
from gpu_smds.geometry.joined_ends import warn_of_joined_ends
from gpu_smds.geometry.manifold import resolve_manifold
from gpu_smds.maps.fitted_map import FittedMap
from gpu_smds.maps.omitted_rows import Left, Omission, omits
from gpu_smds.sites.array import Block
from gpu_smds.sites.centred import CentredStates
from gpu_smds.sites.checkpoint import Checkpoint, fingerprint, kept
from gpu_smds.sites.job import Job
from gpu_smds.sites.memory import most_sites
from gpu_smds.sites.place import Place
from gpu_smds.sites.rows import Rows
from gpu_smds.sites.status import Status, raise_status, undefined
from gpu_smds.solvers.spec import SolverSpec


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
    solver: Any = None,
    non_finite: str = "undefined",
) -> FittedMap:
    """Fit one SMDS map per site on all samples.

    Arguments are those of :func:`score_map`, with one manifold and one alpha. With
    ``non_finite="omit"``, the map of a site with rows that are not finite is that of a call on its
    other rows; :func:`transfer_map` with ``cv`` refits from all rows, and leaves it undefined.

    Returns
    -------
    FittedMap
        ``W`` of shape ``(*sites, k, d)`` with the mean and scale of the states.
    """
    if isinstance(manifold, list | tuple):
        raise ValueError("fit_map takes one manifold and one alpha, not lists")
    how = SolverSpec.of(alpha, orthonormal, standardize, dtype, solver, single="fit_map")
    place = Place.of(X, device, memory_budget)
    sites = place.sites
    read = as_labels(y, sites.n)
    shape = resolve_manifold(manifold, n_components)
    if read.categories:
        shape.refuse_categories()
    warn_of_joined_ends([shape.source], read)
    labels = read.values
    embedding = shape.embed(labels, place.device)
    if embedding.degenerate:
        raise ValueError(
            f"all labels fall on one point of the {shape.name} manifold, to within 1e-12"
        )
    how.refuse_incomplete(embedding, shape.name)
    omission = Omission.of(place) if omits(non_finite) else None
    with kept(checkpoint) as done:
        maps = fit_sites(place, slice(0, sites.n), embedding, how, progress, done)
        if omission is not None:
            maps = maps.copy()  # a checkpoint holds those of the pass over all sites
        if not embedding.determined:
            maps.status.clamp_(min=int(Status.UNDETERMINED))
        if omission is not None:
            for left in omission.parts(place, labels, maps.status, progress):
                _fit_left(left, shape.embed(labels[left.rows], place.device), how, maps)
    return FittedMap(
        maps.Wt.mT.reshape(*sites.site_shape, maps.Wt.shape[-1], sites.d),
        maps.mean.reshape(*sites.site_shape, sites.d),
        maps.scale.reshape(*sites.site_shape, sites.d),
        embedding.Y,
        maps.status.cpu().numpy().reshape(sites.site_shape),
        shape,
        how,
        source=(X, labels),
        omitted=None if omission is None else omission.at(sites.site_shape),
    )


def _fit_left(left: Left, embedding: Embedding, how: SolverSpec, maps: SiteMaps) -> None:
    """Write the maps of some sites, fitted to the embedding of the rows that are left."""
    if embedding.degenerate:
        maps.status[left.sites] = int(Status.DEGENERATE_LABELS)
        return
    found = fit_sites(left.place, slice(0, len(left.rows)), embedding, how)
    if not embedding.determined:
        found.status.clamp_(min=int(Status.UNDETERMINED))
    maps.Wt[left.sites], maps.status[left.sites] = found.Wt, found.status
    maps.mean[left.sites], maps.scale[left.sites] = found.mean, found.scale


@dataclass(frozen=True)
class SiteMaps:
    """Maps of S sites in flat order.

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

    def copy(self) -> SiteMaps:
        """The same maps in memory of their own."""
        return SiteMaps(self.Wt.clone(), self.mean.clone(), self.scale.clone(), self.status.clone())

    def by_lead(self, n_last: int) -> tuple[Tensor, Tensor]:
        """Maps ``(lead, n_last, d, k)``, zero where undefined, and status ``(lead, n_last)``."""
        Wt = torch.nan_to_num(self.Wt).unflatten(0, (-1, n_last))
        return Wt, self.status.reshape(-1, n_last)


def fit_sites(
    place: Place,
    rows: Rows,
    embedding: Embedding,
    solver: SolverSpec,
    progress: Progress = False,
    checkpoint: str | Path | Checkpoint | None = None,
) -> SiteMaps:
    """Fit one map per site on some rows, with the ideal embedding of their labels.

    Raises
    ------
    ValueError
        The maps do not fit the memory, or the solver does not take the states.
    """
    sites, device = place.sites, place.device
    n_rows, columns = embedding.Y.shape
    k = solver.kind.width(columns) if embedding.incomplete is None else columns
    solver.check(sites.d)
    fold = Fold(rows, rows, n_rows, n_rows)
    fit = Folds([fold], np.arange(sites.n), partition=False)
    count = len(sites)
    check_fits(8 * count * sites.d * (k + 2), f"X of {count:,} sites", "their maps", device)
    Wt = torch.empty(count, sites.d, k, dtype=torch.float64, device=device)
    mean = torch.empty(count, sites.d, dtype=torch.float64, device=device)
    scale = torch.empty_like(mean)
    status = torch.zeros(count, dtype=torch.int8, device=device)

    def visit(block: Block, states: CentredStates) -> None:
        fitted = fit_rows(states, rows, n_rows, embedding, solver)
        none = torch.zeros(len(block), dtype=torch.int8, device=device)
        state = raise_status(none, fitted.causes)
        span = slice(block.start, block.stop)
        Wt[span] = fitted.Wt.masked_fill(undefined(state)[:, None, None], torch.nan)
        mean[span], scale[span], status[span] = fitted.mean, fitted.scale, state

    def key() -> str:
        return fingerprint(rows, embedding.Y, embedding.incomplete, solver)

    per_site = bytes_of_rows_fit(sites, fit, solver, embedding, device)
    most = most_sites(solver.kind.reads_rows)
    job = Job(visit, fit.order, per_site, most, (Wt, mean, scale, status), key)
    place.run([job], "fitting", progress, checkpoint)
    return SiteMaps(Wt, mean, scale, status)
