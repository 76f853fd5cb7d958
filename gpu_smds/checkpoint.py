"""What is done of a sweep, in a file, so that an interrupted call goes on after it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_smds._files import load_tensors, save_tensors
from gpu_smds.sites import Block, Sites

_KIND = "gpu_smds.Checkpoint"
#: Seconds between two writes: as much work is lost at most, or one block.
_EVERY = 1.0


class Checkpoint:
    """A file that holds the results of finished blocks.

    The blocks are those of the first call, whatever memory is free later: so that results are the
    same to the last bit, on the same number of cores.

    Parameters
    ----------
    path
        Written beside its place and renamed, at most once a second. A file of other labels or
        arguments, or a damaged one, is begun afresh; so is one of other states, which are told by
        their shape and by one site of every layer. Functions that are given a path
        remove the file at their end; who gives a Checkpoint calls :meth:`remove` himself, once the
        results are safe.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._results: list[Tensor] = []
        self._done = np.zeros(0, dtype=bool)
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
        """Take up the results of finished blocks, ``(sites, ...)`` each.

        Returns the number of sites in a block: ``size``, or that of the call that is continued,
        unless it is more than the ``most`` that fit the memory now.
        """
        self._results = list(results)
        shapes = [list(result.shape) for result in results]
        self._facts = {"key": fingerprint(_of_states(sites), *keys), "shapes": shapes, "size": size}
        found = self._load(most)
        if found is None:
            self._done = np.zeros(-(-len(sites) // size), dtype=bool)
        self._saved = time.monotonic()
        return int(self._facts["size"])

    def is_done(self, number: int) -> bool:
        """Whether a block is finished."""
        return bool(self._done[number])

    def finished(self, number: int) -> None:
        """Note a block, and write all that is done, unless that was a moment ago."""
        self._done[number] = True
        if time.monotonic() - self._saved >= _EVERY:
            self.save()

    def save(self) -> None:
        """Write what is done, if anything is."""
        if not self._done.any():
            return
        # Copies: other blocks are being filled while this is hashed and written.
        tensors = {"done": self._done.copy()}
        for i, result in enumerate(self._results):
            tensors[f"result_{i}"] = np.array(result.cpu().numpy())
        save_tensors(self.path, tensors, {_KIND: json.dumps(self._facts)})
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Delete the file, whose results are kept elsewhere now."""
        self.path.unlink(missing_ok=True)

    def _load(self, most: int) -> np.ndarray | None:
        """Blocks that are done, whose results are filled in; None where there are none."""
        try:
            tensors, header = load_tensors(self.path, _KIND)
            facts = json.loads(header)
        except (FileNotFoundError, ValueError):
            return None
        if facts | {"size": 0} != self._facts | {"size": 0} or facts["size"] > most:
            return None
        self._facts, self._done = facts, tensors["done"]
        for i, result in enumerate(self._results):
            result.copy_(torch.from_numpy(tensors[f"result_{i}"]))
        return self._done


@contextmanager
def kept(checkpoint: str | Path | Checkpoint | None) -> Iterator[Checkpoint | None]:
    """Write what is done where the work ends early; at its end remove what was given by path."""
    if checkpoint is None:
        yield None
        return
    given = isinstance(checkpoint, Checkpoint)
    found = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
    try:
        yield found
    except BaseException:
        with suppress(OSError):  # the error that is under way says more
            found.save()
        raise
    if not given:
        found.remove()


def fingerprint(*parts: Any) -> str:
    """SHA-256 of arrays, tensors and of anything else by its ``repr``."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            digest.update(f"{part.dtype} {tuple(part.shape)}".encode())
            part = part.detach().cpu().flatten().view(torch.uint8).numpy()
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype} {part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(repr(part).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def _of_states(sites: Sites) -> str:
    """What tells states from others: their shape, and the last site of every layer."""
    # The last word has seen all others. Of very many layers, some.
    lead = sites.site_shape[-1] if sites.site_shape else 1
    last = range(lead - 1, len(sites), lead) if len(sites) else range(0)
    cpu = torch.device("cpu")
    raw = [sites.raw(Block(site, site + 1), cpu)[0] for site in last[:: -(-len(last) // 100) or 1]]
    return fingerprint(sites.n, sites.site_shape, sites.d, *raw)
