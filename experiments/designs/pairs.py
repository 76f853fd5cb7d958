"""``gpu-smds transfer``: does the map of one site decode another, for all pairs of sites?

Exp 3 of the study asks that of one source. Here every position is a source for every position of
its layer, and every layer is one for every layer at one word.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.designs.setting import Part, Progress, Setting, similarity_layer
from gpu_smds import (
    Checkpoint,
    OnePass,
    ScoreMap,
    fit_map,
    principal_angles,
    similarity_map,
)


def position_pairs(
    setting: Setting,
    cv: Any = None,
    progress: Progress = False,
    checkpoint: Checkpoint | None = None,
) -> ScoreMap:
    """Per layer, the map of every position scored on every position.

    Parameters
    ----------
    setting
        States, labels, layers and manifold.
    cv
        None is the study's way: maps fitted on the z-scored states of all sentences, and scored on
        every position's own z-scored states of the same sentences. Otherwise folds, such as
        :func:`experiments.designs.setting.folds`: maps and z-scores are fitted on each training
        part and scored on the held-out sentences.
    progress
        As in :func:`gpu_smds.score_map`; what ``cv`` refits is not counted.
    checkpoint
        Keeps the scores; maps are fitted again where the work goes on.

    Returns
    -------
    ScoreMap
        Axes ``(fold, layer, source, target)`` of lengths 1 or the number of folds, L, T, T. With
        ``cv`` None its row of the study's source is Exp 3. NaN with a status where the source or
        the target is undefined.
    """
    scores = _pairs(setting.states, setting, cv, progress, checkpoint)
    return replace(scores, dims=("fold", "layer", "source", "target"))


def layer_pairs(
    setting: Setting,
    position: int,
    cv: Any = None,
    progress: Progress = False,
    checkpoint: Checkpoint | None = None,
) -> ScoreMap:
    """At one position, the map of every layer scored on every layer.

    Arguments are those of :func:`position_pairs`, and the position.

    Returns
    -------
    ScoreMap
        Axes ``(fold, source, target)`` of lengths 1 or the number of folds, L, L.

    Raises
    ------
    ValueError
        There is no such position.
    """
    n_positions = setting.states.shape[2]
    if not 0 <= position < n_positions:
        raise ValueError(f"there is no position {position}: the last one is {n_positions - 1}")
    return _pairs(_OnePosition(setting.states, position), setting, cv, progress, checkpoint)


@dataclass(frozen=True)
class Subspaces:
    """What the maps of all positions of a layer have in common.

    Attributes
    ----------
    layer
        Layer number.
    cosines
        ``(T, T)`` absolute cosine of the flattened maps, as in Exp 2. It depends on the scale of
        the maps' rows and on the basis of the embedding.
    angles
        ``(T, T, k)`` principal angles in radians, rising, which do not; see
        :func:`gpu_smds.principal_angles`.
    status
        ``(T, T)``.
    """

    layer: int
    cosines: np.ndarray
    angles: np.ndarray
    status: np.ndarray


def subspaces(setting: Setting, layer: int | None = None, progress: Progress = False) -> Subspaces:
    """Compare the maps of all positions at one layer.

    Parameters
    ----------
    setting
        States, labels, layers and manifold.
    layer
        Layer number; None is that of Exp 2, whose maps these are: fitted on z-scored states of all
        sentences.
    progress
        As in :func:`gpu_smds.score_map`.

    Raises
    ------
    ValueError
        The layer is not among those of the setting.
    """
    number = similarity_layer(setting) if layer is None else layer
    if number not in setting.layers:
        raise ValueError(f"layer {number} is not among the layers {list(setting.layers)}")
    fitted = fit_map(
        Part(setting.states, [setting.layers.index(number)]),
        setting.labels,
        manifold=setting.ideal,
        standardize="all",
        device=setting.device,
        memory_budget=setting.memory_budget,
        progress=progress,
    )
    status = np.maximum(fitted.status[0, :, None], fitted.status[0, None, :])
    return Subspaces(number, similarity_map(fitted)[0], principal_angles(fitted)[0], status)


def _pairs(
    states: Any, setting: Setting, cv: Any, progress: Progress, checkpoint: Checkpoint | None
) -> ScoreMap:
    """Maps of all sites of ``(n, *sites, d)``, each scored on all along the last site axis."""
    fitted = fit_map(
        states,
        setting.labels,
        manifold=setting.ideal,
        standardize="all" if cv is None else "train",
        device=setting.device,
        memory_budget=setting.memory_budget,
        progress=_half(progress, 0),
    )
    once = OnePass(states, setting.device, setting.memory_budget)
    scores = once.transfer_map(fitted, setting.labels, cv=cv)
    once.run(_half(progress, 1), checkpoint)
    return scores()


def _half(progress: Progress, number: int) -> Progress:
    """One bar for two passes over the same sites."""
    if isinstance(progress, bool):
        return progress
    return lambda done, total: progress((number * total + done) // 2, total)


@dataclass(frozen=True)
class _OnePosition:
    """The states ``(n, layers, d)`` of one position, itself readable as ``X[:, a:b]``."""

    states: Any
    position: int

    @property
    def shape(self) -> tuple[int, int, int]:
        n, n_layers, _, d = self.states.shape
        return n, n_layers, d

    @property
    def dtype(self) -> Any:
        return self.states.dtype

    def __getitem__(self, index: tuple[Any, slice]) -> Any:
        rows, layers = index
        here = slice(self.position, self.position + 1)
        parts = [self.states[rows, layer, here] for layer in range(*layers.indices(self.shape[1]))]
        if isinstance(parts[0], Tensor):
            return torch.cat(parts, dim=1)
        return np.concatenate(parts, axis=1)
