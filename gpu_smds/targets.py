"""What the labels alone determine: embeddings to fit and ideal distances to score against.

Nothing here depends on the hidden states, so every site shares it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gpu_smds.folds import Folds
from gpu_smds.mds import classical_mds, embed_points
from gpu_smds.shapes import Manifold, PointShape
from gpu_smds.status import Status
from gpu_smds.stress import METRICS

# Rows of ideal distances computed at a time when the whole matrix is not kept.
_ROW_BYTES = 32 << 20


@dataclass(frozen=True)
class Embedding:
    """Ideal embedding of the training labels.

    Attributes
    ----------
    Y
        ``(n_train, k)`` float64, centred.
    determined
        False where tied eigenvalues make Y one of many.
    degenerate
        True where all labels fall on one point.
    """

    Y: Tensor
    determined: bool
    degenerate: bool


def embed(manifold: Manifold, y: Tensor) -> Embedding:
    """Embed labels ``(n,)`` or ``(n, k)`` by classical MDS of their ideal distances."""
    if isinstance(manifold.shape, PointShape):
        Y, determined = embed_points(manifold.shape.points(y), manifold.n_components)
    else:
        D = torch.from_numpy(_distance_matrix(manifold, y)).to(y.device)
        Y, determined = classical_mds(D, manifold.n_components)
    Y = Y - Y.mean(0)
    # Points that differ by rounding only (two labels a whole turn apart) count as one.
    return Embedding(Y, determined, bool(Y.abs().max() <= 1e-12))


class Ideal:
    """Ideal distances of labels to score against, in blocks of rows (see ``IdealDistances``).

    Kept whole where they fit ``keep_bytes``, recomputed by blocks otherwise; a foreign callable
    gives the whole matrix at once, so that is always kept.
    """

    def __init__(self, manifold: Manifold, y: Tensor, keep_bytes: int) -> None:
        self.n = len(y)
        self._shape = manifold.shape
        self._y = y
        self._whole: Tensor | None = None
        if not isinstance(manifold.shape, PointShape):
            self._whole = torch.from_numpy(_distance_matrix(manifold, y)).to(y.device)
        elif 8 * self.n**2 <= keep_bytes:
            self._whole = manifold.shape.distances(y, slice(None))
        step = max(1, _ROW_BYTES // (8 * max(self.n, 1)))
        self.sum_of_squares = sum(
            float(self.rows(slice(i, min(i + step, self.n))).square().sum())
            for i in range(0, self.n, step)
        )

    @property
    def degenerate(self) -> bool:
        """True where all labels fall on one point."""
        return self.sum_of_squares <= 1e-24 * self.n**2

    def rows(self, rows: slice) -> Tensor:
        """Distances ``(len(rows), n)`` from the samples in ``rows`` to all."""
        if self._whole is not None:
            return self._whole[rows]
        assert isinstance(self._shape, PointShape)
        return self._shape.distances(self._y, rows)


class Targets:
    """Embeddings and ideal distances of every manifold and fold.

    Parameters
    ----------
    manifolds
        Shapes, whose embeddings stand side by side in ``stacked``.
    folds
        The folds.
    labels
        ``(n,)`` or ``(n, k)`` in the given order of samples.
    metrics
        Names of the stress metrics.
    device
        Where to compute.
    keep_bytes
        Bytes that ideal distances may occupy in all.
    """

    def __init__(
        self,
        manifolds: list[Manifold],
        folds: Folds,
        labels: np.ndarray,
        metrics: list[str],
        device: torch.device,
        keep_bytes: int,
    ) -> None:
        y = torch.from_numpy(labels[folds.order]).to(device)
        keep = keep_bytes // (len(manifolds) * len(folds))
        self._metrics = [METRICS[name] for name in metrics]
        self._status = np.zeros((len(manifolds), len(folds)), dtype=np.int8)
        self._ideals: list[list[Ideal | None]] = []
        self._columns: list[slice] = []
        embeddings: list[list[Tensor]] = []
        width = 0
        for m, manifold in enumerate(manifolds):
            k = manifold.n_components
            self._columns.append(slice(width, width + k))
            width += k
            self._ideals.append([])
            embeddings.append([])
            for f, fold in enumerate(folds.folds):
                status = Status.OK
                Y, ideal = y.new_zeros(fold.n_train, k), None
                if fold.n_train < 2 or fold.n_test < 2:
                    status = Status.TOO_FEW
                else:
                    embedding = embed(manifold, y[fold.train])
                    Y, ideal = embedding.Y, Ideal(manifold, y[fold.test], keep)
                    if embedding.degenerate or ideal.degenerate:
                        status, ideal = Status.DEGENERATE_LABELS, None
                    elif not embedding.determined:
                        status = Status.UNDETERMINED
                self._status[m, f] = status
                self._ideals[-1].append(ideal)
                embeddings[-1].append(Y)
        #: Per fold the centred embeddings ``(n_train, Σ k)`` of all manifolds.
        self.stacked = [torch.cat(columns, dim=1) for columns in zip(*embeddings, strict=True)]

    def score(
        self, manifold: int, fold: int, Z: Tensor, causes: Mapping[Status, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Score projections and say where and why that is not possible.

        Parameters
        ----------
        manifold, fold
            Their numbers.
        Z
            ``(*batch, n_test, Σ k)`` projected test rows of all manifolds.
        causes
            Further statuses and where they apply, bool tensors that broadcast to ``(*batch)``.

        Returns
        -------
        scores : Tensor
            ``(metrics, *batch)``, NaN where undefined.
        status : Tensor
            ``(*batch)`` int8.
        """
        ideal, batch = self._ideals[manifold][fold], Z.shape[:-2]
        status = Z.new_full(batch, int(self._status[manifold, fold]), dtype=torch.int8)
        scores = Z.new_full((len(self._metrics), *batch), torch.nan)
        if ideal is not None:
            flat = Z[..., self._columns[manifold]].flatten(0, -3)
            scores = torch.stack([metric(flat, ideal).reshape(batch) for metric in self._metrics])
            status = raise_status(status, {Status.NO_PROJECTION: scores.isnan().any(0)})
        status = raise_status(status, causes)
        return scores.masked_fill(status > Status.UNDETERMINED, torch.nan), status


def raise_status(status: Tensor, causes: Mapping[Status, Tensor]) -> Tensor:
    """Raise each status to the causes that apply to it: the most serious one stays."""
    for cause, applies in causes.items():
        status = torch.maximum(status, applies.to(torch.int8) * int(cause))
    return status


def _distance_matrix(manifold: Manifold, y: Tensor) -> np.ndarray:
    """Call a foreign shape and take its upper triangle, as smds' score does."""
    shape = manifold.shape
    assert not isinstance(shape, PointShape)
    n = len(y)
    D = np.asarray(shape(y.cpu().numpy()), dtype=np.float64)
    if D.shape != (n, n):
        raise ValueError(
            f"manifold {manifold.name} gave distances of shape {D.shape} for {n} labels, "
            f"expected ({n}, {n})"
        )
    if not np.isfinite(D).all():
        raise ValueError(f"manifold {manifold.name} gave NaN or infinite distances")
    upper = np.triu(D, 1)
    if (upper < 0).any():
        raise ValueError(
            f"manifold {manifold.name} leaves some distances undefined (negative); "
            "only complete distance matrices can be fitted"
        )
    return upper + upper.T
