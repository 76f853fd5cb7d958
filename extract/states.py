"""Hidden states of all sentences, layers and positions: in memory or as safetensors files.

One file per layer, ``layer_00.safetensors``, holds the tensor ``hidden_states`` (samples,
positions, features). While a model runs, the files are filled in place under the name
``….partial`` through a memory map and get their final name when they are complete, so a file
with its final name is always whole and an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
import torch
from torch import Tensor

from extract.errors import ExtractError

FORMAT_VERSION = 1
TENSOR = "hidden_states"
INDEX, PROGRESS = "index.json", "progress.json"

_SAFETENSORS_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}
_DTYPES = {name: dtype for dtype, name in _SAFETENSORS_NAMES.items()}


@dataclass
class HiddenStates:
    """Hidden states ``(n, layers, positions, d)``, read like an array: ``X[:, l, a:b]``.

    Attributes
    ----------
    tensors
        Per layer ``(n, positions, d)``: in memory, or views of memory-mapped files.
    layers
        Layer numbers: index into the model's hidden states, 0 the embeddings.
    metadata
        Facts about model, prompts and positions.
    nonfinite
        ``(layers, positions)`` number of NaN and inf.
    """

    tensors: list[Tensor]
    layers: tuple[int, ...]
    metadata: dict[str, str] = field(default_factory=dict)
    nonfinite: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Samples, layers, positions, features."""
        n, positions, d = self.tensors[0].shape
        return n, len(self.tensors), positions, d

    @property
    def dtype(self) -> torch.dtype:
        """Dtype the states were computed in."""
        return self.tensors[0].dtype

    def __getitem__(self, index: tuple[Any, ...]) -> Tensor:
        """Basic indexing: rows, one layer, then positions and features."""
        rows, layer, *rest = index
        if not isinstance(layer, int | np.integer):
            raise IndexError("hidden states are read one layer at a time: X[:, layer, a:b]")
        return self.tensors[int(layer)][(rows, *rest)]

    @classmethod
    def open(cls, folder: Path | str, verify: bool = True) -> Self:
        """Open the files of a finished extraction.

        Parameters
        ----------
        folder
            The folder ``states`` of a run.
        verify
            Compare sizes and SHA-256 with those noted when the files were written.

        Raises
        ------
        ExtractError
            A file is missing, cut short or altered; the message names it.
        """
        folder = Path(folder)
        try:
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            entries = list(index["files"].items())
            nonfinite = np.array(index["nonfinite"], dtype=np.int64)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ExtractError(
                f"{folder / INDEX} cannot be read ({error}): extract again with --force"
            ) from error
        for name, facts in entries:
            path = folder / name
            if not path.is_file():
                raise ExtractError(f"{path} is missing: extract again with --force")
            if path.stat().st_size != facts["bytes"]:
                raise ExtractError(
                    f"{path} was cut short or altered ({path.stat().st_size:,} bytes, not "
                    f"{facts['bytes']:,}): extract again with --force"
                )
        if verify:
            paths = [folder / name for name, _ in entries]
            for (name, facts), digest in zip(entries, hash_files(paths), strict=True):
                if digest != facts["sha256"]:
                    raise ExtractError(
                        f"{folder / name} was altered (its SHA-256 differs from the one noted): "
                        "extract again with --force"
                    )
        tensors: list[Tensor] = []
        layers: list[int] = []
        metadata: dict[str, str] = {}
        for name, facts in entries:
            layers.append(int(facts["layer"]))
            tensor, metadata = map_file(folder / name, writable=False)
            tensors.append(tensor)
        return cls(tensors, tuple(layers), metadata, nonfinite)


class StatesWriter:
    """Fill the files of all layers batch by batch.

    Parameters
    ----------
    folder
        Where the files go; None keeps the states in memory.
    layers
        Layer numbers.
    shape
        (samples, positions, features).
    dtype
        Dtype the model computes in.
    metadata
        Written into the header of every file.

    Attributes
    ----------
    rows_done
        Samples finished by an earlier, interrupted call with the same plan.

    Raises
    ------
    ExtractError
        The disk is full or the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path | None,
        layers: Sequence[int],
        shape: tuple[int, int, int],
        dtype: torch.dtype,
        metadata: dict[str, str],
    ) -> None:
        self.folder, self.layers, self.shape, self.dtype = folder, tuple(layers), shape, dtype
        self.metadata = metadata
        self.rows_done = 0
        self.nonfinite = np.zeros((len(layers), shape[1]), dtype=np.int64)
        if folder is None:
            try:
                self.tensors = [torch.empty(shape, dtype=dtype) for _ in layers]
            except (MemoryError, RuntimeError) as error:  # torch's for the CPU is a RuntimeError
                raise ExtractError(
                    f"{len(layers) * self._bytes() / 1e9:.2f} GB of states do not fit the memory: "
                    "leave out --no-save, or keep fewer --layers"
                ) from error
            return
        self._plan = hashlib.sha256(
            json.dumps([metadata, self.layers, shape, str(dtype)]).encode()
        ).hexdigest()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not self._resume():
                self._allocate()
            self.tensors = [map_file(path, writable=True)[0] for path in self._partials()]
        except OSError as error:
            self._give_up(error)

    def write(self, start: int, batch: Sequence[Tensor]) -> None:
        """Write the states of some samples: per layer ``(b, positions, d)``."""
        stop = start + len(batch[0])
        for i, (target, states) in enumerate(zip(self.tensors, batch, strict=True)):
            target[start:stop].copy_(states)
            bad = (~target[start:stop].isfinite()).sum((0, 2))
            self.nonfinite[i] += bad.cpu().numpy()
        if self.folder is not None:
            facts = {
                "plan": self._plan,
                "rows_done": stop,
                "nonfinite": self.nonfinite.tolist(),
            }
            try:
                write_json(self.folder / PROGRESS, facts)
            except OSError as error:
                self._give_up(error)
        self.rows_done = stop

    def finish(self) -> HiddenStates:
        """Give the files their final names and return the states."""
        if self.folder is None:
            return HiddenStates(self.tensors, self.layers, self.metadata, self.nonfinite)
        try:
            self._flush()
            files = {}
            partials = self._partials()
            for layer, partial, digest in zip(
                self.layers, partials, hash_files(partials), strict=True
            ):
                files[_name(layer)] = {
                    "layer": layer,
                    "bytes": partial.stat().st_size,
                    "sha256": digest,
                }
            for layer, partial in zip(self.layers, partials, strict=True):
                partial.replace(self.folder / _name(layer))
            facts = {"files": files, "nonfinite": self.nonfinite.tolist()}
            write_json(self.folder / INDEX, facts)
            # Last: as long as it is there, the next call takes the files up again.
            (self.folder / PROGRESS).unlink(missing_ok=True)
        except OSError as error:
            self._give_up(error)
        # The maps stay valid: renaming does not touch what they show.
        return HiddenStates(self.tensors, self.layers, self.metadata, self.nonfinite)

    def _partials(self) -> list[Path]:
        assert self.folder is not None
        return [self.folder / (_name(layer) + ".partial") for layer in self.layers]

    def _flush(self) -> None:
        for path in self._partials():
            with path.open("rb+") as file:
                os.fsync(file.fileno())

    def _resume(self) -> bool:
        """Take up an interrupted extraction with the same plan; True if there is one."""
        assert self.folder is not None
        try:
            facts = json.loads((self.folder / PROGRESS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        if facts.get("plan") != self._plan:
            return False
        for layer, partial in zip(self.layers, self._partials(), strict=True):
            # Interrupted while the files got their final names: they are partial ones again.
            final = self.folder / _name(layer)
            if final.is_file() and not partial.exists():
                final.replace(partial)
            if not partial.is_file() or partial.stat().st_size != self._size(layer):
                return False
        self.rows_done = int(facts["rows_done"])
        self.nonfinite = np.array(facts["nonfinite"], dtype=np.int64)
        return True

    def _allocate(self) -> None:
        assert self.folder is not None
        replaced = list(self.folder.glob("layer_*.safetensors*"))
        needed, free = self._needed(), shutil.disk_usage(self.folder).free
        free += sum(path.stat().st_size for path in replaced)
        if needed > free:
            self._too_full()
        for old in [*replaced, self.folder / INDEX, self.folder / PROGRESS]:
            old.unlink(missing_ok=True)
        for layer, path in zip(self.layers, self._partials(), strict=True):
            with path.open("wb") as file:
                # Reserved now, so that a full disk shows before the model runs and not as a
                # crash of a write into the map.
                os.posix_fallocate(file.fileno(), 0, self._size(layer))
                file.write(self._header(layer))

    def _bytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def _size(self, layer: int) -> int:
        return len(self._header(layer)) + self._bytes()

    def _needed(self) -> int:
        return sum(self._size(layer) for layer in self.layers)

    def _header(self, layer: int) -> bytes:
        """The header of a safetensors file that holds one tensor."""
        tensor = {
            "dtype": _SAFETENSORS_NAMES[self.dtype],
            "shape": list(self.shape),
            "data_offsets": [0, self._bytes()],
        }
        metadata = self.metadata | {"layer": str(layer)}
        text = json.dumps({"__metadata__": metadata, TENSOR: tensor}).encode()
        text += b" " * (-len(text) % 64)  # data aligned for the memory map
        return len(text).to_bytes(8, "little") + text

    def _give_up(self, error: OSError) -> NoReturn:
        assert self.folder is not None
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ExtractError(f"{self.folder} cannot be written: {error.strerror}") from error
        if self.rows_done:
            raise ExtractError(
                f"the disk of {self.folder} is full: free some space and give the same command "
                f"again, it goes on after sentence {self.rows_done}"
            ) from error
        for partial in self._partials():
            partial.unlink(missing_ok=True)
        self._too_full(error)

    def _too_full(self, error: OSError | None = None) -> NoReturn:
        raise ExtractError(
            f"the disk of {self.folder} is too full for {self._needed() / 1e9:.2f} GB of "
            "states: free some space, choose --out on another disk, fewer --layers or "
            "--no-save"
        ) from error


def map_file(path: Path, writable: bool) -> tuple[Tensor, dict[str, str]]:
    """Memory-map the tensor of a safetensors file; returns it with the file's metadata.

    Raises
    ------
    ExtractError
        Not a safetensors file of hidden states.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > path.stat().st_size:
                raise ValueError("the header is longer than the file")
            header = json.loads(file.read(length))
        facts = header[TENSOR]
        dtype, shape = _DTYPES[facts["dtype"]], tuple(facts["shape"])
        begin, end = facts["data_offsets"]
        raw = np.memmap(
            path, np.uint8, "r+" if writable else "c", offset=8 + length + begin, shape=end - begin
        )
    except (ValueError, KeyError, OSError) as error:
        raise ExtractError(
            f"{path} is not a file of hidden states ({error}): extract again with --force"
        ) from error
    return torch.from_numpy(raw).view(dtype).view(shape), header.get("__metadata__", {})


def hash_files(paths: Sequence[Path]) -> list[str]:
    """SHA-256 of files, several at a time."""

    def digest(path: Path) -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(digest, paths))


def write_json(path: Path, facts: Any) -> None:
    """Write JSON beside its target and rename it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _name(layer: int) -> str:
    return f"layer_{layer:02d}.safetensors"
