"""States and labels of a finished run."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from extract import HiddenStates


def states_and_labels(folder: Path) -> tuple[HiddenStates, np.ndarray]:
    """Hidden states ``(n, layers, positions, d)``, read lazily, and labels ``(n,)``."""
    states = HiddenStates.open(folder / "states", verify=False)
    with (folder / "prompts.csv").open(encoding="utf-8") as file:
        return states, np.array([float(row["label"]) for row in csv.DictReader(file)])
