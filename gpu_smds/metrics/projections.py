"""Distances between projected samples, batched over sites."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from gpu_smds.kernels.pair_term import fits_fused, fused_cross
from gpu_smds.metrics.reference import Ideal

# Bytes of one block of projected distances. On the CPU it should stay in cache.
_BLOCK_BYTES = {"cpu": 4 << 20, "cuda": 256 << 20}


class Projections:
    """Distances between the projected samples of b sites, each computed at most once.

    Parameters
    ----------
    Z
        ``(b, n, k)`` float64.
    ideal
        Ideal distances with which they are compared.
    """

    def __init__(self, Z: Tensor, ideal: Ideal) -> None:
        self.Z = Z - Z.mean(1, keepdim=True)
        self.ideal = ideal

    @cached_property
    def matrix(self) -> Tensor:
        """All distances ``(b, n, n)``."""
        return _distances(self.Z, self.Z)

    @cached_property
    def pairs(self) -> Tensor:
        """Distances ``(b, P)`` of the pairs with a defined ideal distance."""
        return self.matrix.flatten(1)[:, self.ideal.pair_index]

    @cached_property
    def sums(self) -> tuple[Tensor, Tensor]:
        """ΣDD̂ and ΣD̂², each ``(b,)``, over ordered pairs.

        Only the first needs the pairs: ΣD̂² over all ordered pairs is 2n Σ‖z − z̄‖².
        """
        if not self.ideal.complete:
            return 2 * self.pairs @ self.ideal.pairs, 2 * self.pairs.square().sum(1)
        squares = 2 * self.ideal.n * self.Z.square().sum((1, 2))
        if "matrix" not in self.__dict__ and fits_fused(self.Z, self.ideal.points):
            return fused_cross(self.Z, self.ideal.points, self.ideal.kept), squares
        cross = torch.zeros_like(squares)
        for rows, distances in self._blocks(slice(None)):
            cross += torch.einsum("brn,rn->b", distances, self.ideal.rows(rows))
        return cross, squares

    def residual(self, sites: Tensor, scale: Tensor) -> Tensor:
        """Σ(D − scale·D̂)² over ordered pairs, for some sites, each with its own scale."""
        if not self.ideal.complete:
            return 2 * (self.ideal.pairs - scale[:, None] * self.pairs[sites]).square().sum(1)
        total = torch.zeros_like(scale)
        for rows, distances in self._blocks(sites):
            difference = self.ideal.rows(rows) - scale[:, None, None] * distances
            total += difference.square().sum((1, 2))
        return total

    def _blocks(self, sites: Tensor | slice) -> Iterator[tuple[slice, Tensor]]:
        """Distances ``(b, r, n)`` in blocks of r rows."""
        if "matrix" in self.__dict__:
            yield slice(0, self.ideal.n), self.matrix[sites]
            return
        Z = self.Z[sites]
        b, n, _ = Z.shape
        step = max(1, block_bytes(Z) // (8 * n * max(b, 1)))
        for start in range(0, n, step):
            rows = slice(start, min(start + step, n))
            yield rows, _distances(Z[:, rows], Z)


def block_bytes(Z: Tensor) -> int:
    """Bytes of projected distances that are processed together."""
    return _BLOCK_BYTES.get(Z.device.type, 4 << 20)


def _distances(A: Tensor, B: Tensor) -> Tensor:
    # The matmul form loses digits for close points; this one subtracts first.
    return torch.cdist(A, B, compute_mode="donot_use_mm_for_euclid_dist")
