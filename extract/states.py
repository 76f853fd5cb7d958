"""Hidden states of all sentences, layers and positions: in memory or as safetensors files.

One file per layer, ``layer_00.safetensors``, holds the tensor ``hidden_states`` (samples,
positions, features); ``index.json`` holds their sizes and checksums. ``writer.py`` writes them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from extract.errors import ExtractError

FORMAT_VERSION = 1
TENSOR = "hidden_states"
INDEX = "index.json"

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
            tensor, metadata = map_file(folder / name)
            tensors.append(tensor)
        return cls(tensors, tuple(layers), metadata, nonfinite)


def map_file(path: Path) -> tuple[Tensor, dict[str, str]]:
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
        raw = np.memmap(path, np.uint8, "c", offset=8 + length + begin, shape=end - begin)
    except (ValueError, KeyError, OSError) as error:
        raise ExtractError(
            f"{path} is not a file of hidden states ({error}): extract again with --force"
        ) from error
    return torch.from_numpy(raw).view(dtype).view(shape), header.get("__metadata__", {})


def header(shape: Sequence[int], dtype: torch.dtype, metadata: dict[str, str]) -> bytes:
    """Head of a safetensors file that holds one tensor of hidden states."""
    tensor = {
        "dtype": _SAFETENSORS_NAMES[dtype],
        "shape": list(shape),
        "data_offsets": [0, int(np.prod(shape)) * dtype.itemsize],
    }
    text = json.dumps({"__metadata__": metadata, TENSOR: tensor}).encode()
    text += b" " * (-len(text) % 64)  # data aligned for the memory map
    return len(text).to_bytes(8, "little") + text


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


def layer_name(layer: int) -> str:
    """Name of a layer's file."""
    return f"layer_{layer:02d}.safetensors"
