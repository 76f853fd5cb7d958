"""Large temporary arrays that are reused from one block of sites to the next.

On the CPU, the page faults of a new array of some megabytes take as long as a pass over it. On a
GPU, torch's caching allocator reuses memory.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

from torch import Tensor

_local = threading.local()


def keep_workspace() -> None:
    """Keep this thread's workspace until :func:`drop_workspace` or the end of the thread."""
    _local.buffers = {}


def drop_workspace() -> None:
    """Release this thread's workspace."""
    _local.buffers = None


def workspace(name: str, shape: Sequence[int], like: Tensor) -> Tensor:
    """Uninitialised tensor of the dtype and device of ``like``.

    While the workspace is kept, the tensor is valid until the thread asks for the same name again.
    """
    buffers: dict[str, Tensor] | None = getattr(_local, "buffers", None)
    if buffers is None or like.device.type != "cpu":
        return like.new_empty(shape)
    size = math.prod(shape)
    key = f"{name} {like.dtype}"
    if key not in buffers or buffers[key].numel() < size:
        buffers[key] = like.new_empty(size)
    return buffers[key][:size].view(*shape)
