"""The progress log of an extraction: its plan, then a line for every batch that is written.

As long as the log is in a folder, the extraction there is not finished, and the next call with the
same plan goes on with the batches that it lacks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from extract.states_plan import StatesPlan
from gpu_smds._files import FilesError, Folder

PROGRESS = "progress.jsonl"


@dataclass
class Batch:
    """Samples that are being written, and what the log will say of them.

    Attributes
    ----------
    rows
        ``(b,)`` numbers of the samples.
    taken
        Number of layers whose states have been taken.
    crc32
        Of the states written so far, layer after layer: it guards against damage, at a few GB a
        second.
    nonfinite
        (index of the layer, position, number of NaN and inf) where there are any.
    """

    rows: np.ndarray
    taken: int = 0
    crc32: int = 0
    nonfinite: list[tuple[int, int, int]] = field(default_factory=list)

    def count_nonfinite(self, number: int, states: Tensor) -> None:
        """Count NaN and inf in the states ``(b, positions, d)`` of a layer."""
        # NaN and inf show in a sum, which is quick; it may also be too large by itself.
        if not bool(states.sum(dtype=torch.float32).isfinite()):
            counts = (~states.isfinite()).sum((0, 2))
            self.nonfinite += [(number, int(t), int(counts[t])) for t in counts.nonzero()]

    def note(self) -> dict[str, Any]:
        """JSON-able description, a line of the log."""
        return {"rows": self.rows.tolist(), "crc32": self.crc32, "nonfinite": self.nonfinite}


def start_log(folder: Folder, plan: StatesPlan, notes: Iterable[dict[str, Any]] = ()) -> None:
    """Write a log with a plan and notes in place of the one that is there."""
    lines = [json.dumps(entry) for entry in (plan.facts(), *notes)]
    folder.replace(PROGRESS, ("\n".join(lines) + "\n").encode())


def append_note(folder: Folder, batch: Batch) -> None:
    """Note that a batch is written."""
    folder.append(PROGRESS, (json.dumps(batch.note()) + "\n").encode())


def read_notes(folder: Folder) -> tuple[Any, list[dict[str, Any]]]:
    """Plan and finished batches of an interrupted extraction; (None, []) where there is none.

    A last line that was cut off is left out.
    """
    try:
        lines = folder.read(PROGRESS).decode().split("\n")
    except (OSError, FilesError, UnicodeDecodeError):
        return None, []
    found: list[Any] = []
    for line in lines[:-1]:
        try:
            found.append(json.loads(line))
        except (ValueError, RecursionError):
            break
    return (found[0], found[1:]) if found else (None, [])


def is_plan(found: Any) -> bool:
    """Whether the first line of a file is the plan of an extraction."""
    return (
        isinstance(found, dict)
        and found.keys() == {"metadata", "layers", "shape", "dtype"}
        and isinstance(found["layers"], list)
    )
