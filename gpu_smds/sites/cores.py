"""The CPU's cores, split among the threads that process blocks of sites."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from threadpoolctl import ThreadpoolController

from gpu_smds.kernels.workspace import keep_workspace

# One entry per run in progress (the caller may run several threads): the number of cores before the
# first run, and the limit that it set.
_lock = threading.Lock()
_running: list[tuple[int, Any]] = []


@contextmanager
def shared_cores(workers: int, device: torch.device) -> Iterator[Callable[[], None]]:
    """Split the CPU's cores among workers; yields a function that each worker must call first."""
    if device.type != "cpu":
        yield lambda: None
        return
    with _lock:
        # numpy and scipy have one number of threads per process; torch has one per thread and a
        # default for new threads. The first run changes them, and the last run restores them.
        if not _running:
            limited = _pools().limit(limits=1, user_api="blas")
            _running.append((torch.get_num_threads(), limited))
        else:
            _running.append(_running[0])
        cores = _running[0][0]
    each = max(1, cores // workers)

    def begin() -> None:
        torch.set_num_threads(each)
        keep_workspace()

    try:
        yield begin
    finally:
        with _lock:
            torch.set_num_threads(cores)
            _, limited = _running.pop()
            if not _running:
                limited.restore_original_limits()


@cache
def _pools() -> ThreadpoolController:
    import scipy.linalg.lapack  # noqa: F401  it has its own threads, which must be found

    return ThreadpoolController()
