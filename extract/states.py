"""Hidden states of all sentences, layers and positions: in memory or as safetensors files.

One file per layer, ``layer_00.safetensors``, holds the tensor ``hidden_states`` (samples,
positions, features); ``index.json`` holds their sizes and checksums. ``writer.py`` writes them,
``layer_file.py`` reads one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from extract.errors import ExtractError
from extract.hashes import digest
from extract.layer_file import LayerFile
from gpu_smds._files import FilesError, Folder

FORMAT_VERSION = 1
INDEX = "index.json"
_NAME = re.compile(r"layer_(\d{2,})\.safetensors", re.ASCII)
_AGAIN = "remove the states (gpu-smds remove RUN --states), so that they are read again"


@dataclass
class HiddenStates:
    """Hidden states ``(n, layers, positions, d)``, read like an array: ``X[:, l, a:b]``.

    Attributes
    ----------
    tensors
        Per layer ``(n, positions, d)``: in memory, or files that are read where they are indexed.
    layers
        Layer numbers: index into the model's hidden states, 0 the embeddings.
    metadata
        Facts about model, prompts and positions.
    nonfinite
        ``(layers, positions)`` number of NaN and inf.
    """

    tensors: Sequence[Tensor | LayerFile]
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

    def __getitem__(self, index: Any) -> Tensor:
        """Index as numpy does: integers, slices and ``...``, and a list or mask on one axis.

        Only the layers that are asked for are read: ``X[:, 7]`` reads one, ``X[0]`` a row of each.

        Raises
        ------
        IndexError
            More than four indices, two lists, a new axis, or beyond the states.
        """
        rows, layers, *rest = _selectors(index)
        if isinstance(layers, int):
            return self.tensors[layers][(rows, *rest)]
        chosen = np.arange(len(self.tensors))[layers].tolist()
        parts = [self.tensors[number][(rows, *rest)] for number in chosen or [0]]
        found = torch.stack(parts, dim=0 if isinstance(rows, int) else 1)
        return found if chosen else found.narrow(0 if isinstance(rows, int) else 1, 0, 0)

    @classmethod
    def open(cls, folder: Path | str | Folder, verify: bool = True) -> Self:
        """Open the files of a finished extraction.

        Parameters
        ----------
        folder
            The folder ``states`` of a run.
        verify
            Compare SHA-256 with those noted when the files were written; sizes and shapes are
            compared in any case.

        Raises
        ------
        ExtractError
            A file is missing, cut short or altered, or does not belong to the others; the message
            names it.
        """
        try:
            opened = folder if isinstance(folder, Folder) else Folder.at(folder)
            index = _Index.read(opened)
        except (OSError, FilesError) as error:
            path = folder.path if isinstance(folder, Folder) else folder
            raise ExtractError(
                f"{path}/{INDEX} cannot be read ({_reason(error)}): {_AGAIN}"
            ) from error
        files = [_open_listed(opened, name, facts["bytes"]) for name, facts in index.files.items()]
        if verify:
            _verify(files, [facts["sha256"] for facts in index.files.values()])
        _check_alike(files)
        layers = tuple(facts["layer"] for facts in index.files.values())
        nonfinite = np.array(index.nonfinite, dtype=np.int64)
        if nonfinite.shape != (len(layers), files[0].shape[1]):
            raise ExtractError(f"{opened.path / INDEX} is of other states: {_AGAIN}")
        return cls(files, layers, files[-1].metadata, nonfinite)


def _open_listed(folder: Folder, name: str, size: int) -> LayerFile:
    """Open a file that should have so many bytes."""
    path = folder.path / name
    try:
        found = folder.size(name)
        if found != size:
            raise ExtractError(
                f"{path} was cut short or altered ({found:,} bytes, not {size:,}): {_AGAIN}"
            )
        return LayerFile.open(folder, name)
    except FileNotFoundError as error:
        raise ExtractError(f"{path} is missing: {_AGAIN}") from error
    except (OSError, FilesError) as error:
        raise ExtractError(f"{path} cannot be read ({_reason(error)})") from error


def _verify(files: Sequence[LayerFile], noted: Sequence[str]) -> None:
    """Compare the files with their SHA-256."""
    for file, found, sha256 in zip(files, layer_hashes(files), noted, strict=True):
        if found != sha256:
            raise ExtractError(
                f"{file.path} was altered (its SHA-256 differs from the one noted): {_AGAIN}"
            )


def _check_alike(files: Sequence[LayerFile]) -> None:
    """Make sure that all layers have states of one shape and dtype."""
    first = files[0]
    for file in files:
        if file.shape != first.shape or file.dtype != first.dtype:
            raise ExtractError(
                f"{file.path} holds states {file.shape} of {file.dtype}, {first.path.name} "
                f"{first.shape} of {first.dtype}, so they are not of one extraction: {_AGAIN}"
            )


@dataclass(frozen=True)
class _Index:
    """What ``index.json`` says: per file its layer, bytes and SHA-256."""

    files: dict[str, dict[str, Any]]
    nonfinite: list[Any]

    @classmethod
    def read(cls, folder: Folder) -> Self:
        """Raises FilesError where the file is forged or damaged."""
        try:
            content = json.loads(folder.read(INDEX, most=1 << 26))
            files, nonfinite = content["files"], content["nonfinite"]
            for name, facts in files.items():
                match = _NAME.fullmatch(name)
                if match is None:
                    raise FilesError(f"{name!r} is not the name of a layer's file")
                if not (type(facts["layer"]) is int and facts["layer"] == int(match[1])):
                    raise FilesError(f"{name} is said to be layer {facts['layer']!r}")
                if type(facts["bytes"]) is not int or not isinstance(facts["sha256"], str):
                    raise FilesError(f"size or checksum of {name} are missing")
            np.array(nonfinite, dtype=np.int64)
        except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise FilesError(f"it is no index of states: {_reason(error)}") from error
        except ValueError as error:
            raise FilesError(_reason(error)) from error
        if not files:
            raise FilesError("it names no files")
        return cls(files, nonfinite)


def listed_files(folder: Folder) -> list[str]:
    """Names of the layers' files that the index of a folder lists; none where there is no index."""
    try:
        return list(_Index.read(folder).files)
    except (OSError, FilesError):
        return []


def layer_hashes(files: Sequence[LayerFile]) -> list[str]:
    """SHA-256 of whole files, several at a time."""

    def sha256(file: LayerFile) -> str:
        with file.reader() as stream:
            return digest(stream)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(sha256, files))


def layer_name(layer: int) -> str:
    """Name of a layer's file."""
    return f"layer_{layer:02d}.safetensors"


def _reason(error: BaseException) -> str:
    text = (error.strerror or "") if isinstance(error, OSError) else " ".join(str(error).split())
    return (text or type(error).__name__)[:200]


def _selectors(index: Any) -> list[Any]:
    """One index for each of the four axes; integers as ``int``."""
    given = list(index) if isinstance(index, tuple) else [index]
    dots = [i for i, one in enumerate(given) if one is Ellipsis]
    if len(dots) > 1 or len(given) - len(dots) > 4:
        raise IndexError("hidden states have four axes: samples, layers, positions, features")
    missing = [slice(None)] * (4 - len(given) + len(dots))
    at = dots[0] if dots else len(given)
    given = [*given[:at], *missing, *given[at + 1 :]]
    if any(one is None for one in given):
        raise IndexError("hidden states take no new axis: index the tensor that they give")
    found = [int(one) if isinstance(one, int | np.integer) else one for one in given]
    lists = [i for i, one in enumerate(found) if not isinstance(one, int | slice)]
    taken = [i for i, one in enumerate(found) if not isinstance(one, slice)]
    # Where integers and a list are apart, numpy moves the axis of the list to the front.
    if len(lists) > 1 or (lists and taken[-1] - taken[0] >= len(taken)):
        raise IndexError(
            "hidden states take a list or a mask on one axis: index the tensor that they give"
        )
    return found
