"""Hidden states as an array of sites, read block by block.

``Sites.raw`` is the only reader of X. Only :mod:`gpu_smds.sites.run_jobs` calls it, and, for sites
of which rows are left out, :mod:`gpu_smds.sites.finite_rows`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_smds.sites.given import (
    as_states,
    as_tensor,
    check_part,
    float_dtype,
    shape_of,
    without_float8,
)


@dataclass(frozen=True)
class Block:
    """Consecutive sites in row-major order: flat site numbers ``start`` to ``stop``."""

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
        X = as_states(X)
        shape = shape_of(X)
        if len(shape) < 2:
            raise ValueError(f"X must be (n_samples, *sites, n_features), got shape {shape}")
        self.n, self.d = shape[0], shape[-1]
        self.site_shape = shape[1:-1]
        self.dtype = float_dtype(X.dtype)
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

    def raw(
        self,
        block: Block,
        device: torch.device,
        seen: Callable[[Tensor], None] | None = None,
    ) -> list[Tensor]:
        """States ``(n, d)`` of each site of a block, as stored (float8 as float32), on the device.

        They are views of X if possible and must not be written to. ``seen`` is called with all
        states ``(n, b, d)`` when they are read.
        """
        found: list[Tensor] = []
        for index in self._runs(block):
            # Several threads read, but not every store can be read by two at once.
            with self._lock:
                part = self._X[index]
            check_part(part, index, self.n, self.d)
            run = as_tensor(part)
            if not self.site_shape:
                run = run[:, None]
            if seen is not None:
                seen(run)
            found.extend(without_float8(run.to(device)).unbind(1))
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
        """Bytes of a site's raw states, if they are copies and not views of X."""
        widened = 4 if self.dtype.itemsize < 4 else 0
        return self.n * self.d * (self.dtype.itemsize + widened)

    def bytes_per_site(self, written: bool) -> int:
        """Bytes of a site's centred states; ``written`` tells whether all are written to memory."""
        return 8 * self.n * self.d * written + 64 * self.d + 16 * self.n
