"""The four experiments of the study, as computations: states and labels in, score maps out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import KFold

from gpu_smds import Checkpoint, OnePass, ScoreMap, fit_map, score_map, similarity_map

#: The study's cross-validation: three folds, shuffled with this seed.
FOLDS = 3
FOLD_SEED = 42
#: Every training part of Exp 1 and 4 and every test part must hold at least two sentences.
MIN_SENTENCES = 2 * FOLDS

_DIMS = ("fold", "layer", "position")

Progress = Callable[[int, int], None] | bool


@dataclass(frozen=True)
class Setting:
    """What all experiments share.

    Attributes
    ----------
    states
        Hidden states ``(n, layers, positions, d)``: an array or a lazy store.
    labels
        ``(n,)`` or ``(n, k)``.
    layers
        Layer numbers (index into hidden_states, 0 the embeddings) along the layer axis.
    n_states
        Number of hidden states of the model, blocks + 1.
    source
        Position whose map Exp 3 reuses.
    manifold, device, memory_budget
        As in :func:`gpu_smds.score_map`.
    """

    states: Any
    labels: np.ndarray
    layers: tuple[int, ...]
    n_states: int
    source: int
    manifold: str = "circular"
    device: torch.device | None = None
    memory_budget: int | None = None


def folds() -> KFold:
    """The study's splitter."""
    return KFold(FOLDS, shuffle=True, random_state=FOLD_SEED)


def curve_layers(setting: Setting) -> tuple[int, ...]:
    """Layers of the study's curves: int(0.25·S), int(0.5·S), int(0.75·S) of S states."""
    wanted = [int(share * setting.n_states) for share in (0.25, 0.5, 0.75)]
    return tuple(dict.fromkeys(_nearest(setting.layers, layer) for layer in wanted))


def similarity_layer(setting: Setting) -> int:
    """Layer of Exp 2: int(0.6·S) of S states, at most S − 2; the nearest one at hand."""
    wanted = min(int(0.6 * setting.n_states), setting.n_states - 2)
    return _nearest(setting.layers, wanted)


def _plan_independent(setting: Setting, once: OnePass) -> Callable[[], ScoreMap]:
    """Exp 1, is there a circle at each site? Ridge, 3-fold, on the states as they are."""
    scores = once.score_map(setting.labels, manifold=setting.manifold, cv=folds())
    return lambda: replace(scores(), dims=_DIMS)


def similarity(
    setting: Setting, progress: Progress = False, checkpoint: Checkpoint | None = None
) -> ScoreMap:
    """Exp 2: is it the same subspace at every position?

    At one layer, maps fitted on z-scored states of all samples; the result holds the absolute
    cosine of every pair of flattened maps, axes ``(fold, layer, position, position)`` of lengths
    1, 1, T, T.
    """
    layer = setting.layers.index(similarity_layer(setting))
    fitted = fit_map(
        _Part(setting.states, [layer], None),
        setting.labels,
        manifold=setting.manifold,
        standardize="all",
        device=setting.device,
        memory_budget=setting.memory_budget,
        progress=progress,
        checkpoint=checkpoint,
    )
    status = np.maximum(fitted.status[:, :, None], fitted.status[:, None, :])
    dims = ("fold", "layer", "position_a", "position_b")
    return ScoreMap(similarity_map(fitted)[None], status[None], dims)


def _plan_reuse(setting: Setting, once: OnePass) -> Callable[[], ScoreMap]:
    """Exp 3: does the source's map decode the other positions?

    Per layer one map, fitted on the z-scored source states of all samples and scored on every
    position's own z-scored states of the same samples, clipped to [0, 1].
    """
    fitted = fit_map(
        _Part(setting.states, None, setting.source),
        setting.labels,
        manifold=setting.manifold,
        standardize="all",
        device=setting.device,
        memory_budget=setting.memory_budget,
    )
    planned = once.transfer_map(fitted, setting.labels)

    def result() -> ScoreMap:
        found = planned()
        return _clipped(found.scores[:, :, 0], found.status[:, :, 0])

    return result


def _plan_rigid(setting: Setting, once: OnePass) -> Callable[[], ScoreMap]:
    """Exp 4, is it a rigid circle? Orthonormal map of z-scored states, last fifth held out.

    The z-score is fitted on all samples, as in the study; the score is clipped to [0, 1].
    """
    n = len(setting.labels)
    split = int(0.8 * n)
    planned = once.score_map(
        setting.labels,
        manifold=setting.manifold,
        cv=[(np.arange(split), np.arange(split, n))],
        alpha=0,
        orthonormal=True,
        standardize="all",
    )

    def result() -> ScoreMap:
        found = planned()
        return _clipped(found.scores, found.status)

    return result


#: Experiments on all sites, which share one pass over the states.
ON_ALL_SITES = {
    "independent": _plan_independent,
    "reuse": _plan_reuse,
    "rigid": _plan_rigid,
}


def on_all_sites(
    names: Sequence[str],
    setting: Setting,
    progress: Progress = False,
    checkpoint: Checkpoint | None = None,
) -> dict[str, tuple[ScoreMap, float]]:
    """Experiments of :data:`ON_ALL_SITES` in one pass, each with its part of the time."""
    once = OnePass(setting.states, setting.device, setting.memory_budget)
    planned = {name: ON_ALL_SITES[name](setting, once) for name in names}
    once.run(progress, checkpoint)
    return {
        name: (scores(), share)
        for (name, scores), share in zip(planned.items(), once.shares, strict=True)
    }


@dataclass(frozen=True)
class Projections:
    """Held-out projections of one site, turned onto the ideal circle.

    Attributes
    ----------
    points
        ``(n, 2)``; NaN where the site is undefined in the fold.
    labels
        ``(n,)``.
    score
        Mean score over the folds.
    """

    points: np.ndarray
    labels: np.ndarray
    score: float


def circle(setting: Setting, layer: int, position: int) -> Projections:
    """Held-out projections of one site with the folds of Exp 1.

    A fold's embedding is determined up to rotation and reflection; each fold's projections are
    turned so that its embedding lies on the points that the labels name.
    """
    from gpu_smds.shapes import CircularShape

    states = np.asarray(_Part(setting.states, [layer], position)[:, 0, 0:1].double().cpu())[:, 0]
    labels = setting.labels
    points = np.full((len(labels), 2), np.nan)
    for train, test in folds().split(states):
        fitted = fit_map(states[train], labels[train], manifold="circular")
        # The ideal points of the training labels, for which Y stands up to a rigid motion.
        ideal = CircularShape().points(torch.from_numpy(labels[train])).numpy()
        centre = ideal.mean(0)
        U, _, Vt = np.linalg.svd(fitted.Y.cpu().numpy().T @ (ideal - centre))
        points[test] = fitted.transform(states[test]) @ (U @ Vt) + centre
    score = float(score_map(states, labels, cv=folds()).mean)
    return Projections(points, labels, score)


@dataclass(frozen=True)
class _Part:
    """Some layers and one position of a state array, itself readable as ``X[:, l, a:b]``."""

    states: Any
    layers: list[int] | None
    position: int | None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        n, n_layers, n_positions, d = self.states.shape
        return (
            n,
            n_layers if self.layers is None else len(self.layers),
            n_positions if self.position is None else 1,
            d,
        )

    @property
    def dtype(self) -> Any:
        return self.states.dtype

    def __getitem__(self, index: tuple[Any, int, slice]) -> Any:
        rows, layer, positions = index
        if self.layers is not None:
            layer = self.layers[layer]
        if self.position is not None:
            positions = slice(self.position, self.position + 1)
        return self.states[rows, layer, positions]


def _nearest(layers: tuple[int, ...], wanted: int) -> int:
    return min(layers, key=lambda layer: (abs(layer - wanted), layer))


def _clipped(scores: np.ndarray, status: np.ndarray) -> ScoreMap:
    return ScoreMap(np.clip(scores, 0, 1), status, _DIMS)
