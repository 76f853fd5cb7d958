"""The pair term ΣDD̂ in one pass, without the distances in memory.

The kernel is compiled by numba for the CPU and by Triton for CUDA. Where neither is installed,
:mod:`gpu_smds.metrics.projections` sums blocks of distances in plain torch; the tests compare both
kernels with that.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

# Longer loops over components are not unrolled, and the kernel has no advantage.
_MOST_COMPONENTS = 16


def has_fused(device: torch.device) -> bool:
    """Whether there is a compiled kernel for a device."""
    if device.type == "cpu":
        return _numba_installed()
    return device.type == "cuda" and _triton_runs(device)


@cache
def _numba_installed() -> bool:
    return find_spec("numba") is not None


@cache
def _triton_runs(device: torch.device) -> bool:
    """Whether Triton is installed and can compile, which needs a C compiler."""
    try:
        from gpu_smds.kernels._triton_pair_term import cross_terms

        ones = torch.ones(1, 1, 2, dtype=torch.float64, device=device)
        return bool(cross_terms(ones, ones[0], None).isfinite().all())
    except Exception:  # of many types; plain torch computes the same
        return False


def fits_fused(Z: Tensor, points: Tensor | None) -> bool:
    """Whether the kernel of the device takes projections ``(b, n, k)`` and points ``(p, n)``."""
    widths = (Z.shape[2], 0 if points is None else len(points))
    return max(widths) <= _MOST_COMPONENTS and has_fused(Z.device)


def fused_cross(Z: Tensor, points: Tensor | None, D: Tensor | None) -> Tensor:
    """Σ DD̂ over ordered pairs of each site ``(b,)``.

    Parameters
    ----------
    Z
        ``(b, n, k)`` float64 projections.
    points
        ``(p, n)`` float64 points whose distances are D; if None, ``D`` is used.
    D
        ``(n, n)`` float64 ideal distances, used only if ``points`` is None.
    """
    Zt = Z.mT.contiguous()
    if Z.device.type == "cpu":
        # numba takes a third of a second to import.
        from gpu_smds.kernels._numba_pair_term import cross_distances, cross_points

        cross = np.empty(len(Z))
        if points is not None:
            cross_points(Z.shape[2], len(points))(Zt.numpy(), points.numpy(), cross)
        else:
            assert D is not None
            cross_distances(Z.shape[2])(Zt.numpy(), D.numpy(), cross)
        return torch.from_numpy(2 * cross)
    from gpu_smds.kernels._triton_pair_term import cross_terms

    return 2 * cross_terms(Zt, points, D)
