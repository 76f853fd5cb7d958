"""Results of finished blocks in a file, so that an interrupted call can be continued."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from torch import Tensor

from gpu_smds._files import File, metadata_of, read_tensors, save_tensors, tensors_of
from gpu_smds.sites.array import Sites

_KIND = "gpu_smds.Checkpoint"
#: Seconds between two writes: an interruption loses at most this much work, or one block.
_EVERY = 1.0
#: Bytes of states that are hashed at a time: a copy of this size stays in the cache.
_PIECE = 1 << 20


class Digest:
    """Hash of the states of a block as they are stored (XXH3, 128 bits).

    It detects states that were changed by mistake, not deliberate forgery. It is as fast as the
    memory; every computation on a block takes many times longer.
    """

    def __init__(self) -> None:
        self._hash = xxhash.xxh3_128()

    def add(self, states: Tensor) -> None:
        """Add states ``(n, b, d)``, on any device, to the hash."""
        self._hash.update(f"{states.dtype} {tuple(states.shape)} ".encode())
        states = states.cpu()
        rows = max(1, _PIECE * len(states) // max(1, states.numel() * states.itemsize))
        for begin in range(0, len(states), rows):
            piece = states[begin : begin + rows].contiguous()
            self._hash.update(piece.view(torch.uint8).numpy().data)

    def bytes(self) -> np.ndarray:
        """The hash, ``(16,)`` uint8."""
        return np.frombuffer(self._hash.digest(), dtype=np.uint8)


class Checkpoint:
    """A file that holds the results of finished blocks.

    A continued call uses the blocks of the first call, even if another amount of memory is free, so
    that results are the same to the last bit on the same number of cores.

    Parameters
    ----------
    path
        The file is written under a temporary name and renamed, at most once a second. A checkpoint
        of other labels or arguments, or a damaged one, is overwritten. The results are stored with
        hashes of the states from which they were computed: when a call is continued, the states of
        the finished blocks are read and hashed again, and blocks whose states have changed are
        computed again. A function that is given a path removes the file at its end. A caller that
        gives a Checkpoint must call :meth:`remove` once the results are saved.
    """

    def __init__(self, path: str | Path | File) -> None:
        self._given = path
        self.path = path.path if isinstance(path, File) else Path(path)
        self._results: list[Tensor] = []
        self._done = np.zeros(0, dtype=bool)
        self._digests = np.zeros((0, 16), dtype=np.uint8)
        self._facts: dict[str, Any] = {}
        self._saved = 0.0

    def begin(
        self,
        sites: Sites,
        keys: Sequence[str],
        results: Sequence[Tensor],
        size: int,
        most: int,
    ) -> int:
        """Load the results of finished blocks into ``results``, each ``(sites, ...)``.

        Returns the number of sites in a block: that of the continued call, or ``size`` if no call
        is continued. A checkpoint with blocks of more than ``most`` sites, which fit the memory
        now, is not continued.

        Raises
        ------
        FilesError
            The file exists and is not a checkpoint.
        """
        self._file.check(tensors_of(_KIND))
        self._results = list(results)
        shapes = [list(result.shape) for result in results]
        of_states = (sites.n, sites.site_shape, sites.d, sites.dtype)
        self._facts = {"key": fingerprint(of_states, *keys), "shapes": shapes, "size": size}
        if not self._load(len(sites), most):
            blocks = -(-len(sites) // size)
            self._done = np.zeros(blocks, dtype=bool)
            self._digests = np.zeros((blocks, 16), dtype=np.uint8)
        self._saved = time.monotonic()
        return int(self._facts["size"])

    def holds(self, number: int, digest: Digest) -> bool:
        """Whether the checkpoint has the results of a block for states with this hash."""
        return bool(self._done[number]) and bool((self._digests[number] == digest.bytes()).all())

    def finished(self, number: int, digest: Digest) -> None:
        """Mark a block as finished, and write the file unless it was written a moment ago."""
        self._digests[number] = digest.bytes()
        self._done[number] = True
        if time.monotonic() - self._saved >= _EVERY:
            self.save()

    def save(self) -> None:
        """Write the results of the finished blocks, if there are any."""
        if not self._done.any():
            return
        # Copies, because other threads fill blocks while these are hashed and written.
        tensors = {"done": self._done.copy(), "digests": self._digests.copy()}
        for i, result in enumerate(self._results):
            tensors[f"result_{i}"] = np.array(result.cpu().numpy())
        save_tensors(self._file, _KIND, tensors, self._facts)
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Delete the file if it belongs to this call; its results must be saved elsewhere."""
        if self._facts:
            self._file.remove_if(self._is_own)

    @cached_property
    def _file(self) -> File:
        return File.of(self._given)

    def _is_own(self, head: bytes) -> bool:
        """Whether a file with these first bytes holds the results of this call."""
        try:
            facts = json.loads(metadata_of(head)[_KIND])
            return bool(facts["key"] == self._facts["key"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return False

    def _load(self, n_sites: int, most: int) -> bool:
        """Load the results of the finished blocks; False if the file does not fit this call."""
        try:
            with read_tensors(self._file, _KIND) as (tensors, facts):
                if facts | {"size": 0} != self._facts | {"size": 0}:
                    return False
                found = _Held.of(tensors, int(facts["size"]), n_sites, self._results)
        except (FileNotFoundError, ValueError):
            return False
        if found.size > most:
            return False
        self._facts = facts
        self._done, self._digests = found.done, found.digests
        for result, values in zip(self._results, found.results, strict=True):
            result.copy_(values)
        return True


@dataclass(frozen=True)
class _Held:
    """Content of a checkpoint file that fits the call."""

    size: int
    done: np.ndarray
    digests: np.ndarray
    results: list[Tensor]

    @classmethod
    def of(
        cls, tensors: Mapping[str, np.ndarray], size: int, n_sites: int, results: Sequence[Tensor]
    ) -> _Held:
        """Read the arrays of a file; raises ValueError if they do not fit."""
        done, digests = tensors["done"], tensors["digests"]
        values = [torch.from_numpy(tensors[f"result_{i}"]) for i in range(len(results))]
        blocks = -(-n_sites // size) if size >= 1 else -1
        alike = all(
            v.shape == r.shape and v.dtype == r.dtype for v, r in zip(values, results, strict=True)
        )
        if done.shape != (blocks,) or done.dtype != bool or not alike:
            raise ValueError("its arrays are of other sites")
        if digests.shape != (blocks, 16) or digests.dtype != np.uint8:
            raise ValueError("its hashes are of other blocks")
        return cls(size, done, digests, values)


@contextmanager
def kept(checkpoint: str | Path | Checkpoint | None) -> Iterator[Checkpoint | None]:
    """Save the checkpoint if the work is interrupted; at the end, remove one given by path."""
    if checkpoint is None:
        yield None
        return
    given = isinstance(checkpoint, Checkpoint)
    found = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
    try:
        yield found
    except BaseException:
        with suppress(OSError):  # the original error is more important
            found.save()
        raise
    if not given:
        found.remove()


def fingerprint(*parts: Any) -> str:
    """SHA-256 of arrays and tensors, and of the ``repr`` of anything else."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            digest.update(f"{part.dtype} {tuple(part.shape)}".encode())
            # An empty tensor has strides that cannot be viewed as bytes.
            flat = part.detach().cpu().flatten() if part.numel() else torch.empty(0)
            part = flat.view(torch.uint8).numpy()
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype} {part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(repr(part).encode())
        digest.update(b"\n")
    return digest.hexdigest()
