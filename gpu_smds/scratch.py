"""Large temporaries that the blocks of a sweep use one after the other.

A fresh array of some megabytes costs the CPU as much in page faults as a pass over it. A GPU has
torch's caching allocator for that.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

from torch import Tensor

_local = threading.local()


def keep_scratch() -> None:
    """From now on keep this thread's scratch, until :func:`drop_scratch` or the thread's end."""
    _local.buffers = {}


def drop_scratch() -> None:
    """Let go of this thread's scratch."""
    _local.buffers = None


def scratch(name: str, shape: Sequence[int], like: Tensor) -> Tensor:
    """Uninitialised tensor of the dtype and device of ``like``.

    Where scratch is kept it is valid until the thread asks for the same name again.
    """
    buffers: dict[str, Tensor] | None = getattr(_local, "buffers", None)
    if buffers is None or like.device.type != "cpu":
        return like.new_empty(shape)
    size = math.prod(shape)
    key = f"{name} {like.dtype}"
    if key not in buffers or buffers[key].numel() < size:
        buffers[key] = like.new_empty(size)
    return buffers[key][:size].view(*shape)
