"""Atomic safetensors files with JSON in the header."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def save_tensors(
    path: str | Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Write beside the target and rename, so that a reader never sees half a file."""
    from safetensors.numpy import save_file

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        save_file(
            {name: np.ascontiguousarray(array) for name, array in tensors.items()},
            partial,
            metadata=dict(metadata),
        )
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
        The file is cut short, not safetensors, or of another kind.
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
    if kind not in metadata:
        raise ValueError(f"{path} does not hold a {kind.rpartition('.')[2]}")
    return tensors, metadata[kind]
