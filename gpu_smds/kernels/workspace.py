"""Large temporary arrays that are used again from one block of sites to the next.

A fresh array of some megabytes costs the CPU as much in page faults as a pass over it. A GPU has
torch's caching allocator for that.
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
    """Let go of this thread's workspace."""
    _local.buffers = None


def workspace(name: str, shape: Sequence[int], like: Tensor) -> Tensor:
    """Uninitialised tensor of the dtype and device of ``like``.

    Where the workspace is kept the tensor is valid until the thread asks for the same name again.
    """
    buffers: dict[str, Tensor] | None = getattr(_local, "buffers", None)
    if buffers is None or like.device.type != "cpu":
        return like.new_empty(shape)
    size = math.prod(shape)
    key = f"{name} {like.dtype}"
    if key not in buffers or buffers[key].numel() < size:
        buffers[key] = like.new_empty(size)
    return buffers[key][:size].view(*shape)
