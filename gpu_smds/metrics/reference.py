"""Ideal distances of one set of labels, and the data that metrics derive from them, once."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gpu_smds.geometry.manifold import Manifold
from gpu_smds.geometry.shapes import PointShape
from gpu_smds.kernels.pair_term import has_fused
from gpu_smds.metrics.isotonic import Groups

# Bytes of ideal distances computed at a time if the whole matrix is not kept.
_ROW_BYTES = 32 << 20

# Floor of the probabilities in the KL divergence, as in smds.
_FLOOR = 1e-12


class Ideal:
    """Ideal distances to score against, shared by every site.

    As in smds, only the upper triangle is read; negative distances are undefined.

    Parameters
    ----------
    manifold, y
        The manifold and labels ``(n,)`` or ``(n, k)``.
    device
        Where to keep them.
    keep_bytes
        Bytes that all distances may take. If they take more, distances of points are computed in
        blocks of rows. Other manifolds, and metrics that sort the pairs, keep all distances anyway.
    whole
        Keep all distances in any case.

    Attributes
    ----------
    points
        ``(p, n)`` points whose Euclidean distances are the ideal ones, up to rounding; None if the
        manifold is not a set of points or a metric needs distances exact to the last bit.
    """

    def __init__(
        self,
        manifold: Manifold,
        y: np.ndarray,
        device: torch.device,
        keep_bytes: int,
        whole: bool = True,
    ) -> None:
        self.n = len(y)
        self.points: Tensor | None = None
        self._matrix: Tensor | None = None
        self.complete = True
        if not whole and isinstance(manifold.source, PointShape):
            self.points = manifold.points(y, device).mT.contiguous()
        if self.points is None or (8 * self.n**2 <= keep_bytes and not has_fused(device)):
            upper = np.triu(manifold.distances(y), 1)
            self.complete = not bool((upper < 0).any())
            self._matrix = torch.from_numpy(upper + upper.T).to(device)

    @property
    def kept(self) -> Tensor | None:
        """All distances ``(n, n)`` if they are in memory, else None."""
        return self._matrix

    def bytes(self, whole: bool) -> int:
        """Bytes held: all distances if they are kept, and the data of metrics over pairs.

        ``whole`` tells whether there are such metrics.
        """
        return 0 if self._matrix is None else 8 * (5 if whole else 1) * self.n**2

    def rows(self, rows: slice) -> Tensor:
        """Distances ``(len(rows), n)`` from the samples in ``rows`` to all."""
        if self._matrix is not None:
            return self._matrix[rows]
        assert self.points is not None
        points = self.points.mT
        return torch.cdist(points[rows], points, compute_mode="donot_use_mm_for_euclid_dist")

    @property
    def matrix(self) -> Tensor:
        """All distances ``(n, n)``."""
        return self.rows(slice(0, self.n))

    @cached_property
    def sum_of_squares(self) -> float:
        """Σ D² over all ordered pairs with a defined distance."""
        if not self.complete:
            return 2 * float(self.pairs.square().sum())
        if self.points is not None:
            centred = self.points - self.points.mean(1, keepdim=True)
            return 2 * self.n * float(centred.square().sum())
        step = max(1, _ROW_BYTES // (8 * max(self.n, 1)))
        return sum(
            float(self.rows(slice(i, min(i + step, self.n))).square().sum())
            for i in range(0, self.n, step)
        )

    @property
    def degenerate(self) -> bool:
        """True if all labels fall on one point, or no pair has a defined distance."""
        return self.sum_of_squares <= 1e-24 * self.n**2

    @property
    def all_equal(self) -> bool:
        """True if all pairs have the same distance, so that ranks are not defined."""
        return bool((self.pairs == self.pairs[0]).all())

    @cached_property
    def pair_index(self) -> Tensor:
        """Flat indices ``(P,)`` into ``(n, n)`` of the pairs i < j with a defined distance."""
        above = torch.ones(self.n, self.n, dtype=torch.bool, device=self.matrix.device).triu_(1)
        return (above & (self.matrix >= 0)).flatten().nonzero()[:, 0]

    @cached_property
    def pairs(self) -> Tensor:
        """Distances ``(P,)`` of the pairs in :attr:`pair_index`."""
        return self.matrix.flatten()[self.pair_index]

    @cached_property
    def ranks(self) -> Tensor:
        """Ranks ``(P,)`` of the pairs' distances, ties averaged, scaled to mean 0 and norm 1.

        NaN if all distances are equal.
        """
        _, members, counts = self.pairs.unique(return_inverse=True, return_counts=True)
        last = counts.cumsum(0).double()
        ranks = (last - (counts - 1) / 2)[members] - (len(members) + 1) / 2
        norm = torch.linalg.vector_norm(ranks)
        unit: Tensor = ranks / torch.where(norm > 0, norm, torch.nan)
        return unit

    @cached_property
    def groups(self) -> Groups:
        """Pairs of equal distance, for isotonic regression."""
        return Groups.of(self.pairs)

    @cached_property
    def probabilities(self) -> Tensor:
        """Joint probabilities ``(n, n)`` of the pairs, for the KL divergence."""
        return probabilities(self.matrix[None])[0]


def probabilities(D: Tensor) -> Tensor:
    """Gaussian neighbour probabilities ``(b, n, n)`` of distances, symmetric, as in smds.

    Undefined distances (negative) have probability 0 before the floor of 1e-12.
    """
    P = torch.where(D < 0, torch.inf, D).square_().mul_(-0.5).exp_()
    P.diagonal(dim1=-2, dim2=-1).zero_()
    P /= P.sum(-1, keepdim=True).clamp(min=_FLOOR)
    joint: Tensor = (P + P.mT) / (2 * P.shape[-1])
    return joint.clamp_(min=_FLOOR)
