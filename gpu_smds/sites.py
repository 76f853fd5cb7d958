"""Hidden states as an array of sites, read block by block."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Block:
    """Consecutive sites in row-major order: flat numbers ``start`` to ``stop``."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


class Sites:
    """States ``(n_samples, *sites, n_features)`` of any kind, seen as a list of flat sites.

    Parameters
    ----------
    X
        A torch tensor, a numpy array, or an object with ``shape``, ``dtype`` and basic indexing
        ``X[:, i, j, a:b]`` (integers on the leading site axes, a slice on the last), which is
        read only where needed.

    Raises
    ------
    TypeError, ValueError
        No floating-point dtype; fewer than two axes; no samples or features.
    """

    def __init__(self, X: Any) -> None:
        if isinstance(X, (list, tuple)):
            X = np.asarray(X)
        if not hasattr(X, "shape") or not hasattr(X, "dtype"):
            raise TypeError(
                "X must be a torch tensor, a numpy array or an object with shape, dtype and "
                f"X[:, sites], got {type(X).__name__}"
            )
        shape = tuple(int(size) for size in X.shape)
        if len(shape) < 2:
            raise ValueError(f"X must be (n_samples, *sites, n_features), got shape {shape}")
        self.n, self.d = shape[0], shape[-1]
        self.site_shape = shape[1:-1]
        self.dtype = _float_dtype(X.dtype)
        if self.n < 2:
            raise ValueError(f"X has {self.n} sample(s); at least 2 are needed")
        if self.d < 1:
            raise ValueError(f"X has no features: its shape is {shape}")
        self._X = X
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return math.prod(self.site_shape)

    @property
    def device(self) -> torch.device:
        """Where X is; the CPU for numpy arrays and lazily read stores."""
        return self._X.device if isinstance(self._X, Tensor) else torch.device("cpu")

    def blocks(self, size: int) -> list[Block]:
        """Blocks of at most ``size`` sites that together cover all."""
        return [Block(i, min(i + size, len(self))) for i in range(0, len(self), size)]

    def raw(self, block: Block, device: torch.device) -> list[Tensor]:
        """Per site of a block its states ``(n, d)`` as stored, on the device.

        Views of X where that is possible; not to be written to.
        """
        found: list[Tensor] = []
        for index in self._runs(block):
            # Several threads read; not every store can be read by two at once.
            with self._lock:
                part = self._X[index]
            run = _as_tensor(part)
            if not self.site_shape:
                run = run[:, None]
            found.extend(run.to(device).unbind(1))
        return found

    def _runs(self, block: Block) -> Iterator[tuple[Any, ...]]:
        """Basic indices of a block: one per stretch along the last site axis."""
        if not self.site_shape:
            yield (slice(None),)
            return
        *leading, last = self.site_shape
        start = block.start
        while start < block.stop:
            row, a = divmod(start, last)
            b = min(last, a + block.stop - start)
            lead = tuple(int(i) for i in np.unravel_index(row, leading)) if leading else ()
            yield (slice(None), *lead, slice(a, b))
            start += b - a

    @property
    def raw_bytes_per_site(self) -> int:
        """Bytes of a site's raw states, where X is no tensor that they are views of."""
        widened = 4 if self.dtype.itemsize < 4 else 0
        return self.n * self.d * (self.dtype.itemsize + widened)

    def bytes_per_site(self, written: bool) -> int:
        """Bytes of a site's centred states: ``written`` where all of them are."""
        return 8 * self.n * self.d * written + 64 * self.d + 16 * self.n


def _float_dtype(dtype: Any) -> torch.dtype:
    if not isinstance(dtype, torch.dtype):
        try:
            dtype = torch.from_numpy(np.empty(0, dtype=np.dtype(dtype).newbyteorder("="))).dtype
        except TypeError as error:
            raise TypeError(f"X must be floating point, got {dtype}") from error
    if not dtype.is_floating_point:
        raise TypeError(f"X must be floating point, got {dtype}: convert it with X.astype(float)")
    result: torch.dtype = dtype
    return result


def _as_tensor(array: Any) -> Tensor:
    if isinstance(array, Tensor):
        return array.detach()
    array = np.asarray(array)
    native = array.dtype.newbyteorder("=")
    if not array.flags.writeable or array.dtype != native or min(array.strides, default=0) < 0:
        array = array.astype(native, copy=True)
    return torch.from_numpy(array)
