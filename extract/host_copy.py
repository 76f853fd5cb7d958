"""Copies of tensors from a GPU to the host, made beside what the GPU computes."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


class HostCopy:
    """A tensor on its way to the host; one that is on the host already is not copied."""

    def __init__(self, tensor: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._tensor = tensor
        if tensor.device.type != "cuda":
            return
        stream = _side_stream(tensor.device)
        stream.wait_stream(torch.cuda.current_stream(tensor.device))
        with torch.cuda.stream(stream):
            self._tensor = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._tensor.copy_(tensor, non_blocking=True)
            # The memory is not given to another tensor before it has been read.
            tensor.record_stream(stream)
            self._event = stream.record_event()

    def arrived(self) -> Tensor:
        """Wait for it; contiguous, on the CPU."""
        if self._event is not None:
            self._event.synchronize()
        return self._tensor.contiguous()


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
