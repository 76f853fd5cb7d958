"""Does one position's map decode another? Every fitted site scored on every target position."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from gpu_smds._arguments import shown
from gpu_smds._memory import check_fits
from gpu_smds._progress import Progress
from gpu_smds.crossval.folds import Fold, Folds
from gpu_smds.crossval.ideals import Ideals
from gpu_smds.crossval.question import Question
from gpu_smds.maps.fit import SiteMaps, fit_sites
from gpu_smds.maps.fitted_map import FittedMap
from gpu_smds.maps.score_map import ScoreMap
from gpu_smds.sites.array import Block, Sites
from gpu_smds.sites.centred import CentredStates
from gpu_smds.sites.centred_by_passes import is_streamed
from gpu_smds.sites.checkpoint import fingerprint
from gpu_smds.sites.job import Job
from gpu_smds.sites.memory import most_sites
from gpu_smds.sites.place import Place
from gpu_smds.sites.rows import take
from gpu_smds.sites.status import Status, undefined

# Up to this number of columns, maps are multiplied in one pass over the raw states. With more, it
# is faster to write the centred states for a matrix product.
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
        for the single source of the study).
    X
        States ``(n_samples, *lead, T, d)``, as in :func:`gpu_smds.score_map`.
    y
        Labels of the samples, as in :func:`score_map`.
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
        Shapes do not fit, or ``cv`` is given with a map loaded from a file, which has no states.
    """
    place = Place.of(X, device, memory_budget, _checked(fitted).W.device)
    plan = TransferPlan.of(place, fitted, y, cv, metric, groups)
    place.run([plan.job], "transfer", progress)
    return plan.result()


@dataclass(frozen=True)
class TransferPlan:
    """A transfer map that is not computed yet.

    Attributes
    ----------
    fitted
        The sources.
    question
        Labels and metric by which the targets are scored; its folds number the rows as given.
    ideals
        The ideal distances of its test labels.
    sources
        Per fold the maps that are scored.
    scores, status
        ``(folds, S, sources)`` float64 and int8, filled by the job.
    """

    fitted: FittedMap
    place: Place
    question: Question
    ideals: Ideals
    sources: list[SiteMaps]
    scores: Tensor
    status: Tensor

    @classmethod
    def of(
        cls,
        place: Place,
        fitted: FittedMap,
        y: Any,
        cv: Any = None,
        metric: Any = "scale_normalized_stress",
        groups: Any = None,
    ) -> Self:
        """Check the arguments of :func:`transfer_map`; with ``cv`` the sources are refitted here.

        Raises
        ------
        TypeError, ValueError
            Arguments that do not fit each other.
        """
        sites, device = place.sites, place.device
        asked = Question.of(
            sites.n, y, _checked(fitted).manifold, metric, cv, groups, single="transfer_map"
        )
        _check_sites(fitted, sites)
        # Rows keep their given order, because sources and targets are two arrays.
        rows = [_original_rows(fold, asked.folds.order) for fold in asked.folds.folds]
        plain = Folds(rows, np.arange(sites.n), partition=False)
        question = replace(asked, folds=plain, lists=frozenset())
        ideals = question.ideals(fitted.solver, device, place.budget)
        n_sources = fitted.site_shape[-1]
        check_fits(
            9 * len(rows) * len(sites) * n_sources,
            f"a map from {n_sources:,} to {len(sites):,} sites with {len(rows):,} folds (cv)",
            "its scores",
            device,
        )
        sources = [_sources(fitted, question.labels, cv, fold, place) for fold in rows]
        shape = (len(rows), len(sites), n_sources)
        scores = torch.full(shape, torch.nan, dtype=torch.float64).to(device)
        status = torch.zeros(shape, dtype=torch.int8, device=device)
        return cls(fitted, place, question, ideals, sources, scores, status)

    @property
    def job(self) -> Job:
        """The job to run."""
        sites, folds = self.place.sites, self.question.folds
        k, d = self.fitted.W.shape[-2:]
        maps = [part for source in self.sources for part in (source.Wt, source.status)]
        test = [fold.test for fold in folds.folds]

        def key() -> str:
            named = (self.fitted.manifold.name, list(self.question.metrics), self.fitted.solver)
            return fingerprint(self.question.labels, *named, *test, *maps)

        columns = self.fitted.site_shape[-1] * k
        # The maps, a copy with zeros where undefined, and their means and scales.
        shared = 16 * sum(len(source.Wt) for source in self.sources) * d * (k + 1)
        return Job(
            self._visits(),
            folds.order,
            sites.bytes_per_site(self._written) + 8 * columns * (4 * d + 3 * sites.n),
            most_sites(self._written),
            (self.scores.movedim(1, 0), self.status.movedim(1, 0)),
            key,
            shared + self.ideals.bytes,
        )

    @property
    def _written(self) -> bool:
        """Whether the centred states are written to memory."""
        columns = self.fitted.site_shape[-1] * self.fitted.W.shape[-2]
        return columns > _FEW or not is_streamed(self.place.device)

    def _visits(self) -> Callable[[Block, CentredStates], None]:
        n_sources, n_targets = self.fitted.site_shape[-1], self.place.sites.site_shape[-1]
        by_lead = [source.by_lead(n_sources) for source in self.sources]
        folds = self.question.folds.folds
        written = self._written

        def visit(block: Block, states: CentredStates) -> None:
            if written:
                states.materialise()
            numbers = torch.arange(block.start, block.stop, device=self.place.device)
            of_lead = numbers // n_targets
            span = slice(block.start, block.stop)
            for f, (fold, (Wt, source_status)) in enumerate(zip(folds, by_lead, strict=True)):
                Z = self._projected(states, fold, Wt[of_lead])
                causes = {
                    Status.CONSTANT: states.constant_rows(fold.test, fold.n_test)[:, None],
                    Status.NON_FINITE: states.non_finite[:, None],
                }
                values, state = self.ideals.score(0, f, Z, causes)
                state = torch.maximum(state, source_status[of_lead])
                self.scores[f, span] = values[0].masked_fill(undefined(state), torch.nan)
                self.status[f, span] = state

        return visit

    def _projected(self, states: CentredStates, fold: Fold, W: Tensor) -> Tensor:
        """Test rows projected to ``(b, sources, n_test, k)`` by maps ``(b, sources, d, k)``."""
        scale = _own_scale(states, fold, self.fitted.solver.scaling)
        if scale is not None:
            # The maps are scaled and not the states, which are much larger.
            W = W / scale[:, None, :, None]
        Z = states.project(W.movedim(1, 2).flatten(2), fold.test)
        by_source: Tensor = Z.unflatten(2, (W.shape[1], -1)).movedim(2, 1)
        return by_source

    def result(self) -> ScoreMap:
        """The scores, once the job has run."""
        *lead, n_targets = self.place.sites.site_shape
        axes = (len(self.question.folds), *lead, n_targets, self.fitted.site_shape[-1])
        dims = ("fold", *(f"site{axis}" for axis in range(len(lead))), "source", "target")
        found, why = self.scores.reshape(axes).mT, self.status.reshape(axes).mT
        sizes = self.question.folds.sizes
        return ScoreMap(found.cpu().numpy(), why.cpu().numpy(), dims, fold_sizes=sizes)


def _checked(fitted: Any) -> FittedMap:
    if not isinstance(fitted, FittedMap):
        raise TypeError(f"fitted must be a FittedMap, as fit_map gives, got {shown(fitted)}")
    return fitted


def _check_sites(fitted: FittedMap, sites: Sites) -> None:
    lead = sites.site_shape[:-1]
    if not sites.site_shape or fitted.site_shape[:-1] != lead or not fitted.site_shape:
        raise ValueError(
            f"the fitted map has sites {fitted.site_shape}, X has {sites.site_shape}: all site "
            "axes but the last must agree, and there must be at least one"
        )
    if fitted.W.shape[-1] != sites.d:
        raise ValueError(f"the map takes {fitted.W.shape[-1]} features, X has {sites.d}")


def _original_rows(fold: Fold, order: np.ndarray) -> Fold:
    """A fold of reordered rows, in the numbers of the rows as given."""
    return Fold.of(take(order, fold.train), take(order, fold.test))


def _sources(fitted: FittedMap, labels: np.ndarray, cv: Any, fold: Fold, place: Place) -> SiteMaps:
    """The given maps, flat, or with ``cv`` maps refitted on the training rows."""
    if cv is None:
        status = torch.from_numpy(fitted.status.reshape(-1)).to(place.device)
        k, d = fitted.W.shape[-2:]
        return SiteMaps(
            fitted.W.mT.reshape(-1, d, k).to(place.device),
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
    embedding = fitted.manifold.embed(take(labels, fold.train), place.device)
    return fit_sites(
        Place(Sites(X), place.device, place.budget), fold.train, embedding, fitted.solver
    )


def _own_scale(states: CentredStates, fold: Fold, scaling: str | None) -> Tensor | None:
    """Standard deviations ``(b, d)`` by which targets are z-scored; None without scaling."""
    if scaling is None:
        return None
    shift, variance = states.moments(fold.train if scaling == "train" else None)
    return states.scale(variance, shift)
