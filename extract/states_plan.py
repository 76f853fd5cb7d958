"""What the files of an extraction will hold, and how large they will be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from extract.layer_file import header


@dataclass(frozen=True)
class StatesPlan:
    """The states that an extraction writes; only a call with an equal plan goes on with it.

    Attributes
    ----------
    layers
        Layer numbers; every layer has a file.
    shape
        (samples, positions, features) of a layer.
    dtype
        Dtype the model computes in.
    metadata
        Written into the header of every file.
    """

    layers: tuple[int, ...]
    shape: tuple[int, int, int]
    dtype: torch.dtype
    metadata: dict[str, str]

    def facts(self) -> dict[str, Any]:
        """JSON-able description, the first line of the progress log."""
        return {
            "metadata": self.metadata,
            "layers": list(self.layers),
            "shape": list(self.shape),
            "dtype": str(self.dtype),
        }

    def header(self, layer: int) -> bytes:
        """Head of a layer's file, before the states."""
        return header(self.shape, self.dtype, self.metadata | {"layer": str(layer)})

    def file_bytes(self, layer: int) -> int:
        """Size of a layer's file."""
        return len(self.header(layer)) + self._layer_bytes

    @property
    def all_file_bytes(self) -> int:
        """Size of all files together."""
        return sum(map(self.file_bytes, self.layers))

    @property
    def state_bytes(self) -> int:
        """Bytes of the states of all layers, without headers."""
        return len(self.layers) * self._layer_bytes

    @property
    def _layer_bytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize
