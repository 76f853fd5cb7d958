"""Embeddings to fit to and ideal distances to score against, computed from the labels alone.

Nothing here depends on the hidden states, so all sites share it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gpu_smds._memory import check_fits
from gpu_smds.crossval.folds import Folds
from gpu_smds.geometry.defined_pairs import DefinedPairs
from gpu_smds.geometry.embedding import Embedding
from gpu_smds.geometry.manifold import Manifold
from gpu_smds.metrics.reference import Ideal
from gpu_smds.metrics.scores import METRICS, needs_whole, prepare, score_projections
from gpu_smds.sites.rows import take
from gpu_smds.sites.status import Status, raise_status, undefined
from gpu_smds.solvers.spec import SolverSpec


@dataclass(frozen=True)
class Target:
    """One manifold in every fold: embeddings to fit to and ideal distances to score against.

    Attributes
    ----------
    manifold
        The manifold.
    embeddings
        Embedding of the training labels per fold; None if the fold cannot be fitted or scored.
    ideals
        Ideal distances of the test labels per fold; None if the fold cannot be fitted or scored.
    status
        Status per fold.
    metrics
        Metrics by which it is scored: the first ones of all metrics.
    """

    manifold: Manifold
    embeddings: list[Embedding | None]
    ideals: list[Ideal | None]
    status: list[Status]
    metrics: Sequence[str]

    @classmethod
    def of(
        cls,
        manifold: Manifold,
        folds: Folds,
        labels: np.ndarray,
        device: torch.device,
        keep_bytes: int,
        metrics: Sequence[str],
    ) -> Target:
        """Embed and measure labels ``(n,)`` or ``(n, k)`` given in the folds' order of rows.

        Raises
        ------
        ValueError
            Labels that the manifold does not take.
        """
        rows = sum(fold.n_train for fold in folds.folds if min(fold.n_train, fold.n_test) > 1)
        check_fits(
            8 * rows * manifold.n_components,
            f"cv of {len(folds):,} folds with {manifold.n_components:,} components",
            "the ideal embeddings",
            device,
        )
        target = cls(manifold, [], [], [], metrics)
        whole = needs_whole(metrics)
        for fold in folds.folds:
            embedding, ideal, status = None, None, Status.OK
            if fold.n_train < 2 or fold.n_test < 2:
                status = Status.TOO_FEW
            else:
                embedding = manifold.embed(take(labels, fold.train), device)
                ideal = Ideal(manifold, take(labels, fold.test), device, keep_bytes, whole)
                if embedding.degenerate or ideal.degenerate:
                    embedding, ideal, status = None, None, Status.DEGENERATE_LABELS
                else:
                    status = Status.OK if embedding.determined else Status.UNDETERMINED
                    if any(METRICS[m].ranks for m in metrics) and ideal.all_equal:
                        status = Status.EQUAL_DISTANCES
            if ideal is not None:
                prepare(ideal, metrics)
            target.embeddings.append(embedding)
            target.ideals.append(ideal)
            target.status.append(status)
        return target

    @property
    def bytes(self) -> int:
        """Approximate bytes of the ideal distances and of what metrics derive from them."""
        whole = needs_whole(self.metrics)
        return sum(ideal.bytes(whole) for ideal in self.ideals if ideal is not None)

    @property
    def n_components(self) -> int:
        """Columns of the embedding."""
        known = [e.Y.shape[1] for e in self.embeddings if e is not None]
        return known[0] if known else max(self.manifold.n_components, 1)


@dataclass(frozen=True)
class Incomplete:
    """A manifold whose map is fitted to incomplete distances in one fold.

    Attributes
    ----------
    target
        Index of the manifold.
    n_components
        Columns of the map.
    projected
        Its columns among the projections of all manifolds.
    pairs
        The training samples' defined pairs.
    """

    target: int
    n_components: int
    projected: slice
    pairs: DefinedPairs


class Ideals:
    """Several manifolds in every fold, their embeddings side by side.

    Parameters
    ----------
    targets
        One per manifold.
    metrics
        Names of the metrics.
    folds
        The folds.
    solver
        The solver; it determines the width of the projections.
    device
        Where to compute.

    Attributes
    ----------
    columns
        The columns of each manifold's embedding among the K columns of all.
    projected
        The columns of each manifold's projection among those of all.
    stacked
        Per fold the centred embeddings ``(n_train, K)`` of all manifolds.
    incomplete
        Per fold, the manifolds whose maps are fitted to distances instead.

    Raises
    ------
    ValueError
        Distances are undefined, and the solver cannot fit to them.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        metrics: Sequence[str],
        folds: Folds,
        solver: SolverSpec,
        device: torch.device,
    ) -> None:
        self._targets = targets
        self._metrics = metrics
        widths = [target.n_components for target in targets]
        self.columns = _side_by_side(widths)
        self.projected = _side_by_side([solver.kind.width(width) for width in widths])
        self.stacked: list[Tensor] = []
        self.incomplete: list[list[Incomplete]] = []
        for f, fold in enumerate(folds.folds):
            Y = torch.zeros(fold.n_train, sum(widths), dtype=torch.float64, device=device)
            iterative = []
            for t, (target, columns) in enumerate(zip(targets, self.columns, strict=True)):
                embedding = target.embeddings[f]
                if embedding is None:
                    continue
                solver.refuse_incomplete(embedding, target.manifold.name)
                if embedding.incomplete is None:
                    Y[:, columns] = embedding.Y - embedding.Y.mean(0)
                else:
                    iterative.append(Incomplete(t, widths[t], self.projected[t], embedding.pairs))
            self.stacked.append(Y)
            self.incomplete.append(iterative)

    def __len__(self) -> int:
        return len(self._targets)

    @property
    def names(self) -> list[str]:
        """Names of the manifolds."""
        return [target.manifold.name for target in self._targets]

    @property
    def width(self) -> int:
        """Columns K of all embeddings."""
        return int(self.columns[-1].stop)

    @property
    def bytes(self) -> int:
        """Approximate bytes of the ideal distances of all manifolds."""
        return sum(target.bytes for target in self._targets)

    @property
    def fitted_to(self) -> list[Tensor]:
        """Embeddings and distances that maps are fitted to, for a checkpoint."""
        distances = [
            embedding.incomplete
            for target in self._targets
            for embedding in target.embeddings
            if embedding is not None and embedding.incomplete is not None
        ]
        return [*self.stacked, *distances]

    def refuse_incomplete(self, reason: str) -> None:
        """Raise ValueError, with the reason, if a manifold leaves distances undefined."""
        for target in self._targets:
            embeddings = [e for e in target.embeddings if e is not None]
            if any(e.incomplete is not None for e in embeddings) or not all(
                ideal.complete for ideal in target.ideals if ideal is not None
            ):
                raise ValueError(f"{target.manifold.name} leaves distances undefined, {reason}")

    def reference(self, target: int, fold: int) -> Ideal | None:
        """Ideal distances of the test labels; None if there is nothing to score."""
        return self._targets[target].ideals[fold]

    def score(
        self, target: int, fold: int, Z: Tensor, causes: Mapping[Status, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Score projections, with statuses that say where and why that is not possible.

        Parameters
        ----------
        target, fold
            Their indices.
        Z
            ``(*batch, n_test, k)`` test rows, projected for that target.
        causes
            Further statuses and where they apply, bool tensors that broadcast to ``(*batch)``.

        Returns
        -------
        scores : Tensor
            ``(metrics, *batch)``, NaN where undefined or not asked for.
        status : Tensor
            ``(*batch)`` int8.
        """
        of, batch = self._targets[target], Z.shape[:-2]
        ideal = of.ideals[fold]
        status = Z.new_full(batch, int(of.status[fold]), dtype=torch.int8)
        scores = Z.new_full((len(self._metrics), *batch), torch.nan)
        if ideal is not None:
            found, collapsed = score_projections(Z.flatten(0, -3), ideal, of.metrics)
            scores[: len(found)] = found.unflatten(1, batch)
            status = raise_status(status, {Status.NO_PROJECTION: collapsed.reshape(batch)})
        status = raise_status(status, causes)
        return scores.masked_fill(undefined(status), torch.nan), status


def _side_by_side(widths: Sequence[int]) -> list[slice]:
    stops = np.cumsum(widths).tolist()
    return [slice(stop - width, stop) for width, stop in zip(widths, stops, strict=True)]
