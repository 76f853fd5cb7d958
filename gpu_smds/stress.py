"""Stress: how well projected distances match the ideal ones, batched over sites."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

# 1 − S = sqrt(1 − ρ²) loses half the digits near a perfect fit: below this stress the residuals
# are summed themselves. At the border the closed form still errs by under 1e-12.
_NEAR_PERFECT = 1e-3

# Bytes of one block of projected distances. On the CPU it should stay in cache.
_BLOCK_BYTES = {"cpu": 4 << 20, "cuda": 256 << 20}


class IdealDistances(Protocol):
    """Ideal distances of one set of labels, served in blocks of rows."""

    n: int

    def rows(self, rows: slice) -> Tensor:
        """Distances ``(len(rows), n)`` from some samples to all, float64."""
        ...

    @property
    def sum_of_squares(self) -> float:
        """Σ D² over all ordered pairs."""
        ...


def scale_normalized_score(Z: Tensor, ideal: IdealDistances) -> Tensor:
    """Score 1 − sqrt(Σ(D − aD̂)² / ΣD²) with the best scale a = ΣDD̂ / ΣD̂².

    The default metric of smds (Smelser, Miller & Kobourov 2024). Sums run over all ordered
    pairs, which leaves the score unchanged. Only ΣDD̂ needs the pairs; ΣD̂² over ordered pairs
    is 2n Σ‖z − z̄‖².

    Parameters
    ----------
    Z
        Projected states ``(b, n, k)`` float64.
    ideal
        Ideal distances of the n samples.

    Returns
    -------
    scores : Tensor
        ``(b,)``; NaN where all samples are projected to one point.
    """
    Z = Z - Z.mean(1, keepdim=True)
    projected = 2 * ideal.n * Z.square().sum((1, 2))
    cross = torch.zeros_like(projected)
    for rows, distances in _projected_distances(Z):
        cross += torch.einsum("brn,rn->b", distances, ideal.rows(rows))
    cosine_squared = cross.square() / (ideal.sum_of_squares * projected)
    stress = (1 - cosine_squared).clamp(min=0).sqrt()
    close = stress < _NEAR_PERFECT
    if bool(close.any()):
        scale = (cross / projected)[close, None, None]
        residual = torch.zeros_like(scale[:, 0, 0])
        for rows, distances in _projected_distances(Z[close]):
            residual += (ideal.rows(rows) - scale * distances).square().sum((1, 2))
        stress[close] = (residual / ideal.sum_of_squares).sqrt()
    return torch.where(projected > 0, 1 - stress, torch.nan)


METRICS: dict[str, Callable[[Tensor, IdealDistances], Tensor]] = {
    "scale_normalized_stress": scale_normalized_score
}


def _projected_distances(Z: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Distances between projected samples ``(b, r, n)``, by blocks of r rows."""
    b, n, _ = Z.shape
    step = max(1, _BLOCK_BYTES.get(Z.device.type, 4 << 20) // (8 * n * max(b, 1)))
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        # The matmul form cancels for near points; this one subtracts first.
        yield (
            rows,
            torch.cdist(Z[:, rows], Z, compute_mode="donot_use_mm_for_euclid_dist"),
        )
