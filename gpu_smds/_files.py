"""Atomic safetensors files with JSON in the header."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

_SUM = "gpu_smds.sha256"


def save_tensors(
    path: str | Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Write beside the target and rename, so that a reader never sees half a file."""
    from safetensors.numpy import save

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
        # Not save_file, whose errors do not say that a disk is full.
        partial.write_bytes(save(arrays, dict(metadata) | {_SUM: _checksum(arrays, metadata)}))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_tensors(path: str | Path, kind: str) -> tuple[dict[str, np.ndarray], str]:
    """Read all tensors of a file and the header entry ``kind``.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        The file is cut short or altered, not safetensors, or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from error
    noted = metadata.pop(_SUM, None)
    if noted is not None and noted != _checksum(tensors, metadata):
        raise ValueError(f"{path} is damaged: its SHA-256 is not the one noted in it")
    if kind not in metadata:
        raise ValueError(f"{path} does not hold a {kind.rpartition('.')[2]}")
    return tensors, metadata[kind]


def _checksum(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """SHA-256 of all that a file holds."""
    digest = hashlib.sha256(json.dumps(dict(sorted(metadata.items()))).encode())
    for name, array in sorted(tensors.items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
