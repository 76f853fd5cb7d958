"""Matrix products and factorisations of many sites; symmetric products take about half the work.

On a GPU, torch computes all products. On a CPU, the BLAS of numpy and scipy is faster, has a
symmetric product and factorises in place. But its threads compete with torch's threads for the
cores, so it is used only by threads that have one core each, such as those that process blocks of
sites.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_smds.kernels.workspace import workspace

# Number of panels of a symmetric product where no library offers one: 5/8 of the work.
_PANELS = 4
_SMALL = 64


def _on_one_core(x: Tensor) -> bool:
    return x.device.type == "cpu" and torch.get_num_threads() == 1


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """``a b`` of matrices with leading batch axes that broadcast."""
    if _on_one_core(a):
        return torch.from_numpy(np.matmul(a.numpy(), b.numpy()))
    return a @ b


def gram(x: Tensor, name: str = "gram") -> Tensor:
    """``x xᵀ`` of ``(b, n, d)`` float64 or float32, all n × n entries, in a workspace."""
    n = x.shape[-2]
    K = workspace(name, (*x.shape[:-1], n), x)
    if _on_one_core(x):
        rows = x.numpy()
        # numpy uses the symmetric product (syrk) for a matrix times its own transpose.
        np.matmul(rows, rows.swapaxes(-1, -2), out=K.numpy())
        return K
    step = max(_SMALL, -(-n // _PANELS))
    for start in range(0, n, step):
        stop = min(start + step, n)
        K[..., start:stop, :stop] = x[..., start:stop, :] @ x[..., :stop, :].mT
        K[..., :start, start:stop] = K[..., start:stop, :start].mT
    return K


def scatter(x: Tensor, name: str = "gram") -> Tensor:
    """``xᵀx`` of ``(b, n, d)``, all d × d entries, as :func:`gram`."""
    return gram(x.mT, name)


def cholesky_(C: Tensor) -> tuple[Tensor, Tensor]:
    """Lower factors ``(b, m, m)``, and ``(b,)`` bool where there is none. C may be overwritten.

    Entries above the diagonal of a factor are arbitrary. Never raises and never waits for a GPU.
    """
    takes = _on_one_core(C) and C.dtype == torch.float64 and C.shape[-1] > 0
    potrf = _potrf() if takes else None
    if potrf is None:
        factor, info = torch.linalg.cholesky_ex(C)
        return factor, info != 0
    C = C.contiguous()
    m, failure, upper = ctypes.c_int(C.shape[-1]), ctypes.c_int(), ctypes.c_char(b"U")
    failed = torch.zeros(len(C), dtype=torch.bool)
    for b, matrix in enumerate(C):
        # LAPACK reads by columns, so the lower triangle of the rows is its upper triangle.
        place = ctypes.c_void_p(matrix.data_ptr())
        order = ctypes.byref(m)
        potrf(ctypes.byref(upper), order, place, order, ctypes.byref(failure))
        failed[b] = failure.value != 0
    return C, failed


def eigh(C: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues ``(b, m)``, ascending, and eigenvectors ``(b, m, m)`` of symmetric matrices."""
    if _on_one_core(C):
        values, vectors = np.linalg.eigh(C.numpy())
        return torch.from_numpy(values), torch.from_numpy(vectors)
    found = torch.linalg.eigh(C)
    return found.eigenvalues, found.eigenvectors


@cache
def _potrf() -> Callable[..., Any] | None:
    """LAPACK's dpotrf from scipy's C interface: it works in place and lets other threads run.

    torch and numpy copy the matrix twice, and scipy's Python function holds the interpreter lock.
    """
    try:
        from numba.extending import get_cython_function_address
    except ImportError:
        return None
    address = get_cython_function_address("scipy.linalg.cython_lapack", "dpotrf")
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 5)(address)
