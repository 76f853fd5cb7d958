"""The states of one layer in a safetensors file, read where they are indexed.

Not through a memory map: a file that is cut short while it is mapped ends the process with SIGBUS,
while a read that comes up short is an error like any other.
"""

from __future__ import annotations

import io
import json
import math
import os
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

import torch
from torch import Tensor

from extract.errors import ExtractError
from gpu_smds._files import Folder

TENSOR = "hidden_states"

_SAFETENSORS_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}
_DTYPES = {name: dtype for dtype, name in _SAFETENSORS_NAMES.items()}
#: Bytes of a header that the format allows.
_MOST_HEADER = 100_000_000
#: Layers up to so many bytes are read whole, and the last one is kept: its blocks are asked for
#: one after another, and many short reads take longer than one long one.
_WHOLE = 96 << 20
#: Bytes that one call of the operating system reads at most; Linux allows a little more.
_MOST_READ = 1 << 30


class LayerFile:
    """States ``(n, positions, d)`` in an open file; ``file[rows, a:b]`` reads them.

    Attributes
    ----------
    path
        Where the file was when it was opened; for messages.
    shape, dtype
        As of a tensor.
    metadata
        Of the file's header.
    """

    def __init__(
        self,
        file: BinaryIO,
        path: Path,
        begin: int,
        shape: tuple[int, int, int],
        dtype: torch.dtype,
        metadata: dict[str, str],
    ) -> None:
        self.path, self.shape, self.dtype, self.metadata = path, shape, dtype, metadata
        self._begin = begin
        self._descriptor = os.dup(file.fileno())
        self._closing = weakref.finalize(self, os.close, self._descriptor)

    @classmethod
    def open(cls, folder: Folder, name: str) -> Self:
        """Open a file and check its header.

        Raises
        ------
        FileNotFoundError
            There is none.
        ExtractError, FilesError
            Not a safetensors file of hidden states; a link or no file at all.
        """
        path = folder.path / name
        with folder.open(name) as file:
            try:
                begin, shape, dtype, metadata = _header(file)
            except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
                reason = " ".join(f"{error}".split())[:200]
                raise ExtractError(
                    f"{path} is not a file of hidden states ({reason}): remove the states "
                    "(gpu-smds remove RUN --states), so that they are read again"
                ) from error
            return cls(file, path, begin, shape, dtype, metadata)

    @property
    def nbytes(self) -> int:
        """Bytes of all states."""
        return math.prod(self.shape) * self.dtype.itemsize

    def reader(self) -> io.RawIOBase:
        """The whole file from its beginning, for a reader of its own."""
        return _Positioned(self._descriptor)

    def __getitem__(self, index: Any) -> Tensor:
        """Basic indexing: rows, positions, features."""
        parts = index if isinstance(index, tuple) else (index,)
        rows, columns = (*parts, slice(None), slice(None))[:2]
        if self.nbytes <= _WHOLE or not isinstance(rows, slice) or not isinstance(columns, slice):
            return self._whole()[index]
        wanted, positions = range(self.shape[0])[rows], range(self.shape[1])[columns]
        if positions.step != 1 or not positions:
            return self._whole()[index]
        states = self._read(wanted, positions.start, positions.stop)
        return states[(slice(None), slice(None), *parts[2:])]

    def rows(self, numbers: Sequence[int]) -> Tensor:
        """States ``(rows, positions, d)`` of some samples, as the file holds them now.

        Raises
        ------
        IndexError
            There are no such samples.
        """
        if any(not 0 <= number < self.shape[0] for number in numbers):
            raise IndexError(f"rows must be from 0 to {self.shape[0] - 1}")
        return self._read(numbers, 0, self.shape[1])

    def _whole(self) -> Tensor:
        """All states; kept until another layer is read whole."""
        with _kept_lock:
            kept = _kept.get("layer")
        if kept is not None and kept[0]() is self:
            return kept[1]
        states = self._read(range(self.shape[0]), 0, self.shape[1])
        if self.nbytes <= _WHOLE:
            with _kept_lock:
                _kept["layer"] = (weakref.ref(self, _forget), states)
        return states

    def _read(self, rows: Sequence[int], start: int, stop: int) -> Tensor:
        """States ``(rows, stop − start, d)``."""
        _, positions, d = self.shape
        states = torch.empty(len(rows), stop - start, d, dtype=self.dtype)
        if not states.numel():
            return states
        target = raw_bytes(states)
        width = d * self.dtype.itemsize
        if isinstance(rows, range) and rows.step == 1 and (start, stop) == (0, positions):
            self._fill(target, self._begin + rows.start * positions * width)
            return states
        size = (stop - start) * width
        for i, row in enumerate(rows):
            place = self._begin + (row * positions + start) * width
            self._fill(target[i * size : (i + 1) * size], place)
        return states

    def _fill(self, target: memoryview, place: int) -> None:
        while target:
            count = os.preadv(self._descriptor, [target[:_MOST_READ]], place)
            if not count:
                raise ExtractError(
                    f"{self.path} was cut short while it was read: remove the states (gpu-smds "
                    "remove RUN --states), so that they are read again"
                )
            target, place = target[count:], place + count


# The layer that was read last, by whom, and its states.
_kept: dict[str, tuple[weakref.ref[LayerFile], Tensor]] = {}
_kept_lock = threading.Lock()


def _forget(gone: weakref.ref[LayerFile]) -> None:
    """Free the states of a file that nobody has any more."""
    kept = _kept.get("layer")
    if kept is not None and kept[0] is gone:
        _kept.pop("layer", None)


class _Positioned(io.RawIOBase):
    """Reads an open file from its beginning, wherever others read it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._place = descriptor, 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        count = os.preadv(self._descriptor, [target], self._place)
        self._place += count
        return count


def header(shape: Sequence[int], dtype: torch.dtype, metadata: dict[str, str]) -> bytes:
    """Head of a safetensors file that holds one tensor of hidden states."""
    tensor = {
        "dtype": _SAFETENSORS_NAMES[dtype],
        "shape": list(shape),
        "data_offsets": [0, math.prod(shape) * dtype.itemsize],
    }
    text = json.dumps({"__metadata__": metadata, TENSOR: tensor}).encode()
    text += b" " * (-len(text) % 64)  # data aligned for those who map the file
    return len(text).to_bytes(8, "little") + text


def raw_bytes(states: Tensor) -> memoryview:
    """Bytes of states on the CPU as a file holds them; not copied where they are contiguous."""
    return states.flatten().view(torch.uint8).numpy().data


def dtype_named(name: str) -> torch.dtype:
    """Dtype of states by the name that torch prints, such as ``torch.float16``.

    Raises
    ------
    ValueError
        States are never of that dtype.
    """
    for dtype in _SAFETENSORS_NAMES:
        if str(dtype) == name:
            return dtype
    raise ValueError(f"states are never of dtype {name!r}")


def _header(file: BinaryIO) -> tuple[int, tuple[int, int, int], torch.dtype, dict[str, str]]:
    """Where the states begin, their shape and dtype, and the metadata of the file."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, _MOST_HEADER):
        raise ValueError("the header is longer than the file, or than it may be")
    content = json.loads(file.read(length))
    facts, metadata = content[TENSOR], content.get("__metadata__", {})
    dtype = _DTYPES[facts["dtype"]]
    n, positions, d = facts["shape"]
    begin, end = facts["data_offsets"]
    if any(type(number) is not int or number < 0 for number in (n, positions, d, begin, end)):
        raise ValueError("its shape or offsets are not whole numbers from 0 on")
    if end - begin != n * positions * d * dtype.itemsize or 8 + length + end > size:
        raise ValueError("its states have another size than its shape")
    if not n * positions * d:
        raise ValueError("it holds no states")
    if not all(isinstance(text, str) for item in metadata.items() for text in item):
        raise ValueError("its metadata are not text")
    return 8 + length + begin, (n, positions, d), dtype, metadata
