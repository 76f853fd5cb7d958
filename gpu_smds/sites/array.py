"""Hidden states as an array of sites, read block by block.

``Sites.raw`` is the only reader of X, and only :mod:`gpu_smds.sites.run_jobs` calls it.
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

from gpu_smds._arguments import one_line, refuse_masked, refuse_special, shown


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
        shape = _shape(X)
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

    def raw(
        self,
        block: Block,
        device: torch.device,
        seen: Callable[[Tensor], None] | None = None,
    ) -> list[Tensor]:
        """States ``(n, d)`` of each site of a block, as stored, on the device.

        They are views of X if possible and must not be written to. ``seen`` is called with all
        states ``(n, b, d)`` when they are read.
        """
        found: list[Tensor] = []
        for index in self._runs(block):
            # Several threads read, but not every store can be read by two at once.
            with self._lock:
                part = self._X[index]
            check_part(part, index, self.n, self.d)
            run = _as_tensor(part)
            if not self.site_shape:
                run = run[:, None]
            if seen is not None:
                seen(run)
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
        """Bytes of a site's raw states, if they are copies and not views of X."""
        widened = 4 if self.dtype.itemsize < 4 else 0
        return self.n * self.d * (self.dtype.itemsize + widened)

    def bytes_per_site(self, written: bool) -> int:
        """Bytes of a site's centred states; ``written`` tells whether all are written to memory."""
        return 8 * self.n * self.d * written + 64 * self.d + 16 * self.n


def as_states(X: Any) -> Any:
    """States as given, or a list of them as an array.

    Raises
    ------
    TypeError, ValueError
        X is not an array and cannot be read like one; it is sparse, quantized, nested or without
        values; or it has masked entries, which would be used as states.
    """
    refuse_special(X, "X")
    refuse_masked(X, "X")
    if isinstance(X, list | tuple):
        try:
            return np.asarray(X)
        except (TypeError, ValueError) as error:
            raise ValueError(f"X must be an array: {one_line(error)}") from error
    if isinstance(X, type) or not hasattr(X, "shape") or not hasattr(X, "dtype"):
        hint = ": pass X.to_numpy()" if hasattr(X, "to_numpy") else ""
        raise TypeError(
            "X must be a torch tensor, a numpy array or an object with shape, dtype and "
            f"X[:, sites], got {type(X).__name__}{hint}"
        )
    return X


def check_part(part: Any, index: tuple[Any, ...], n: int, d: int) -> None:
    """Raise ValueError if the array that a store returned for ``X[index]`` is not as expected.

    Parameters
    ----------
    part
        The array that the store returned.
    index
        ``(:,)`` of a single site, else ``(:, ..., a:b)`` of sites a to b.
    n, d
        Samples and features by ``X.shape``.
    """
    expected = (n, d) if len(index) == 1 else (n, index[-1].stop - index[-1].start, d)
    array = part if hasattr(part, "shape") and hasattr(part, "dtype") else np.asarray(part)
    found = tuple(array.shape)
    if found != expected:
        *lead, last = [str(i) if isinstance(i, int) else ":" for i in index]
        last = last if len(index) == 1 else f"{index[-1].start}:{index[-1].stop}"
        raise ValueError(
            f"X[{', '.join([*lead, last])}] gave shape {found}, expected {expected} by X.shape"
        )
    refuse_special(array, "X")
    refuse_masked(array, "X")
    dtype = array.dtype
    floating = dtype.is_floating_point if isinstance(dtype, torch.dtype) else dtype.kind == "f"
    if not floating:
        raise ValueError(f"X[...] gave {dtype}, expected floating point by X.dtype")


def _shape(X: Any) -> tuple[int, ...]:
    try:
        shape = tuple(int(size) for size in X.shape)
    except (TypeError, ValueError):
        raise TypeError(f"X.shape must be integers, got {shown(X.shape)}") from None
    if any(size < 0 for size in shape):
        raise ValueError(f"X.shape must not be negative, got {shape}")
    return shape


def _float_dtype(dtype: Any) -> torch.dtype:
    if not isinstance(dtype, torch.dtype):
        try:
            kind = np.dtype(dtype)
            plain = torch.from_numpy(np.empty(0, dtype=kind.newbyteorder("="))).dtype
        except TypeError:
            plain = None
        # numpy interprets None as float64.
        if dtype is None or plain is None:
            raise TypeError(
                f"X must be floating point of at most 64 bits, got {shown(dtype)}: convert it "
                "with X.astype(float)"
            )
        dtype = plain
    if dtype.is_complex:
        raise TypeError(f"X must be real, got {dtype}: pass the real part, or both as features")
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
