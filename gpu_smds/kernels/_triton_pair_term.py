"""The pair term on CUDA: one program for each site and tile of rows, in float64.

Imported only where Triton is installed. In the tests, Triton's interpreter runs it on the CPU.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_TILE = 32


@triton.jit  # type: ignore[untyped-decorator]
def _pair_tiles(
    Z: Any,
    ideal: Any,
    partial: Any,
    n: Any,
    stride: Any,
    k: tl.constexpr,
    p: tl.constexpr,
    tile: tl.constexpr,
) -> None:
    """Write a tile's Σ over i < j of ‖pᵢ − pⱼ‖‖zᵢ − zⱼ‖, or of Dᵢⱼ‖zᵢ − zⱼ‖ where p is 0.

    Z ``(b, k, n)``; ``ideal`` is ``(p, n)`` points or ``(n, n)`` distances.
    """
    site, block = tl.program_id(1), tl.program_id(0)
    z = Z + site.to(tl.int64) * k * n
    i = block * tile + tl.arange(0, tile)
    sums = tl.zeros((tile, tile), dtype=tl.float64)
    for start in range(block * tile, n, tile):
        j = start + tl.arange(0, tile)
        pairs = (i[:, None] < j[None, :]) & (j[None, :] < n)
        projected = tl.zeros((tile, tile), dtype=tl.float64)
        for c in tl.static_range(k):
            a = tl.load(z + c * n + i, mask=i < n, other=0.0)
            b = tl.load(z + c * n + j, mask=j < n, other=0.0)
            difference = a[:, None] - b[None, :]
            projected += difference * difference
        if p > 0:
            distances = tl.zeros((tile, tile), dtype=tl.float64)
            for c in tl.static_range(p):
                a = tl.load(ideal + c * stride + i, mask=i < n, other=0.0)
                b = tl.load(ideal + c * stride + j, mask=j < n, other=0.0)
                difference = a[:, None] - b[None, :]
                distances += difference * difference
            terms = tl.sqrt(projected * distances)
        else:
            rows = i.to(tl.int64)[:, None] * stride
            terms = tl.load(ideal + rows + j[None, :], mask=pairs, other=0.0) * tl.sqrt(projected)
        sums += tl.where(pairs, terms, 0.0)
    tl.store(partial + site.to(tl.int64) * tl.num_programs(0) + block, tl.sum(sums))


def cross_terms(Zt: Tensor, points: Tensor | None, D: Tensor | None) -> Tensor:
    """Σ over pairs i < j of each site ``(b,)``; Zt ``(b, k, n)``, points or D as in the kernel.

    Tiles are summed in a fixed order, so that equal input gives equal bits.
    """
    b, k, n = Zt.shape
    ideal = points if points is not None else D
    assert ideal is not None
    tiles = triton.cdiv(n, _TILE)
    partial = torch.empty(b, tiles, dtype=torch.float64, device=Zt.device)
    # The first axis of a CUDA grid may be long; the second has at most 65535 places.
    with torch.cuda.device_of(Zt):
        for start in range(0, b, 65535):
            part = Zt[start : start + 65535]
            _pair_tiles[(tiles, len(part))](
                part,
                ideal,
                partial[start : start + 65535],
                n,
                ideal.stride(0),
                k=k,
                p=0 if points is None else len(points),
                tile=_TILE,
            )
    return partial.sum(1)
