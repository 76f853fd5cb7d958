"""The sentences of a permutation test whose states hold NaN or inf at some sites.

A test exchanges the same labels at all sites, since its family-wise p compares them. Where
sentences may be left out (``--non-finite omit``), it is therefore of those that are finite at every
site.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from experiments.designs.setting import MIN_SENTENCES, Part, Setting


def finite_everywhere(setting: Setting, layers: Sequence[int]) -> Setting:
    """The setting of the sentences that are finite at all sites of some layers, if that is asked.

    Sites where too few sentences are finite stay undefined and cost no sentence. Where too few
    sentences were left, or all with one label, none is left out.
    """
    if setting.non_finite != "omit":
        return setting
    rows = _rows(setting, layers)
    few = len(rows) < MIN_SENTENCES or len(np.unique(setting.labels[rows], axis=0)) < 2
    if few or len(rows) == len(setting.labels):
        return setting

    def of(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[rows]

    return replace(
        setting,
        states=Part(setting.states, samples=rows),
        labels=setting.labels[rows],
        sentences=of(setting.sentences),
        held_out={name: values[rows] for name, values in setting.held_out.items()},
        beside=setting.beside and {slot: of_slot[rows] for slot, of_slot in setting.beside.items()},
    )


def _rows(setting: Setting, layers: Sequence[int]) -> np.ndarray:
    """Numbers of the sentences; the states of one layer are read at a time."""
    import torch

    missing = np.zeros(len(setting.labels), dtype=bool)
    for layer in layers:
        states = setting.states[:, setting.layers.index(layer), 0 : setting.states.shape[2]]
        lacks = ~torch.as_tensor(states).isfinite().all(-1).cpu().numpy()
        scored = (~lacks).sum(0) >= MIN_SENTENCES
        missing |= lacks[:, scored].any(1)
    return np.flatnonzero(~missing)
