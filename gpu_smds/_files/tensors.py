"""Safetensors files with JSON in the header and a checksum of their whole content."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gpu_smds._files.file import File
from gpu_smds._files.kinds import metadata_of, tensors_of

_SUM = "gpu_smds.sha256"
_MOST_BYTES = 1 << 40
#: Errors that parsing a forged or damaged file may raise.
_DAMAGE = (
    *(KeyError, TypeError, ValueError, AttributeError, IndexError),
    *(OverflowError, RecursionError, AssertionError),
)


def save_tensors(
    path: str | Path | File, kind: str, tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any]
) -> None:
    """Write arrays and facts to a file of this kind, atomically.

    Raises
    ------
    FilesError
        A file of another kind has this name.
    OSError
        The file cannot be written.
    """
    File.of(path).write(tensor_bytes(kind, tensors, facts), tensors_of(kind))


def tensor_bytes(kind: str, tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> bytes:
    """Content of a file of this kind: named arrays, and facts as JSON."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    metadata = {kind: json.dumps(facts)}
    content: bytes = save(arrays, metadata | {_SUM: _checksum(arrays, metadata)})
    return content


@contextmanager
def read_tensors(
    path: str | Path | File, kind: str
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, Any]]]:
    """Arrays and facts of a file of this kind, to be parsed inside the ``with`` block.

    A forged file may hold anything: errors inside the block become a ValueError of one line.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        The file is cut short or altered, not safetensors, or of another kind.
    """
    try:
        file = path if isinstance(path, File) else File.at(os.path.realpath(path))
        content = file.read(most=_MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"{path} does not exist") from error
    except MemoryError as error:
        raise ValueError(f"{path} does not fit the memory") from error
    tensors, facts = _parsed(path, kind, content)
    try:
        yield tensors, facts
    except _DAMAGE as error:
        raise ValueError(f"{path} is damaged: {_short(error)}") from error


def _parsed(
    path: str | Path | File, kind: str, content: bytes
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(content)
        metadata = metadata_of(content)
    except (SafetensorError, *_DAMAGE) as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {_short(error)}") from error
    noted = metadata.pop(_SUM, None)
    if noted is not None and noted != _checksum(tensors, metadata):
        raise ValueError(f"{path} is damaged: its SHA-256 is not the one noted in it")
    if kind not in metadata:
        raise ValueError(f"{path} does not hold a {kind.rpartition('.')[2]}")
    try:
        facts = json.loads(metadata[kind])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {_short(error)}") from error
    if not isinstance(facts, dict):
        raise ValueError(f"{path} is damaged: its facts are not a JSON object")
    return tensors, facts


def _short(error: BaseException) -> str:
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return line if len(line) <= 200 else line[:199] + "…"


def _checksum(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """SHA-256 of the arrays and the metadata of a file."""
    digest = hashlib.sha256(json.dumps(dict(sorted(metadata.items()))).encode())
    for name, array in sorted(tensors.items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
