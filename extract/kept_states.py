"""States that are kept in memory, on the host or on a GPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from extract.errors import ExtractError, out_of_memory
from extract.layer_file import LayerFile
from extract.states_plan import StatesPlan


class KeptStates:
    """Memory for the states of all samples and layers.

    Parameters
    ----------
    plan
        Layers, shape and dtype.
    device
        Where they are kept.
    to_gpu
        Whether they will be copied to a GPU.

    Attributes
    ----------
    tensors
        Per layer ``(n, positions, d)``.

    Raises
    ------
    ExtractError
        They do not fit.
    """

    def __init__(self, plan: StatesPlan, device: torch.device, to_gpu: bool) -> None:
        self.device = device
        # From page-locked memory copies to a GPU take a fraction of the time.
        pinned = to_gpu and device.type == "cpu" and torch.cuda.is_available()
        try:
            self.tensors = [
                torch.empty(plan.shape, dtype=plan.dtype, device=device, pin_memory=pinned)
                for _ in plan.layers
            ]
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise ExtractError(
                f"{plan.state_bytes / 1e9:.2f} GB of states do not fit the memory: leave out "
                "--no-save, or keep fewer --layers"
            ) from error

    @property
    def on_host(self) -> bool:
        """Whether they are in the memory of the host."""
        return self.device.type == "cpu"

    def put(self, number: int, rows: Tensor, states: Tensor) -> None:
        """Keep a layer's states ``(b, positions, d)``; the rows ``(b,)`` are on this device."""
        self.tensors[number].index_copy_(0, rows, states.to(self.device))

    def load(self, rows: Sequence[int], layers: Sequence[LayerFile]) -> None:
        """Keep the states of some samples that are in the layers' files already."""
        index = torch.tensor(rows).to(self.device)
        for number, layer in enumerate(layers):
            self.put(number, index, layer.rows(rows))
