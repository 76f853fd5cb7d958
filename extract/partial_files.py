"""The layers' files while they are filled, in place, under the name ``….partial``."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from torch import Tensor

from extract.layer_file import LayerFile, raw_bytes
from extract.progress import Batch
from extract.states import layer_name
from extract.states_plan import StatesPlan
from gpu_smds._files import Folder


def partial_name(layer: int) -> str:
    """Name of a layer's file while it is being filled."""
    return layer_name(layer) + ".partial"


class PartialFiles:
    """Open files that have their headers and whole sizes already.

    Attributes
    ----------
    folder
        Where they are.
    layers
        Per layer the file for reading. It stays valid when the file gets its final name.

    Raises
    ------
    OSError, FilesError, ExtractError
        A file cannot be opened, is no regular file, or does not hold hidden states.
    """

    def __init__(self, folder: Folder, plan: StatesPlan) -> None:
        names = [partial_name(layer) for layer in plan.layers]
        self.folder = folder
        self.layers = [LayerFile.open(folder, name) for name in names]
        self._positions = plan.shape[1]
        self._begins = [len(plan.header(layer)) for layer in plan.layers]
        self._files = [folder.open(name, write=True) for name in names]

    def write(self, batch: Batch, number: int, states: Tensor) -> None:
        """Write the states ``(b, positions, d)`` of a layer, and add them to the checksum."""
        content = raw_bytes(states)
        batch.crc32 = zlib.crc32(content, batch.crc32)
        size = len(content) // len(batch.rows)
        begin = self._begins[number]
        # Row by row, in place: the file has its whole size already.
        for i, row in enumerate(batch.rows.tolist()):
            part, place = content[i * size : (i + 1) * size], begin + row * size
            while part:
                written = os.pwrite(self._files[number].fileno(), part, place)
                part, place = part[written:], place + written

    def verify(self, notes: Sequence[dict[str, Any]]) -> list[bool]:
        """Per note of the log, whether the states of its batch are still those that were noted."""
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            return list(pool.map(self._is_sound, notes))

    def close(self) -> None:
        """Stop writing; the files can still be read."""
        for file in self._files:
            file.close()

    def _is_sound(self, note: dict[str, Any]) -> bool:
        try:
            crc32 = 0
            for layer in self.layers:
                crc32 = zlib.crc32(raw_bytes(layer.rows(note["rows"])), crc32)
            possible = all(
                0 <= i < len(self.layers) and 0 <= t < self._positions and count > 0
                for i, t, count in note["nonfinite"]
            )
            return bool(note["crc32"] == crc32 and possible)
        except (KeyError, TypeError, ValueError, IndexError, RuntimeError):
            return False  # the note itself is damaged
