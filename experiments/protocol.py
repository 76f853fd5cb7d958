"""The study's experiments as computations: states and labels in, score maps out.

Each runs by one of two protocols: "study", as the study ran it, and "clean", which holds out what
the study did not: every score is of sentences that neither the map nor the z-score has seen, equal
sentences are never split, and circular labels are taken as fractions of a turn instead of being
stretched so that the first and the last day coincide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import GroupKFold, KFold

from gpu_smds import (
    Checkpoint,
    CircularShape,
    OnePass,
    ScoreMap,
    fit_map,
    score_map,
    similarity_map,
)

PROTOCOLS = ("study", "clean")

#: The study's cross-validation: three folds, shuffled with this seed.
FOLDS = 3
FOLD_SEED = 42
#: Every training part of Exp 1 and 4 and every test part must hold at least two sentences.
MIN_SENTENCES = 2 * FOLDS

_OF_THE_STUDY = ("independent", "reuse", "rigid")
#: Layers of which the study draws curves.
CURVES = 3
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
    protocol
        "study" or "clean".
    sentences
        ``(n,)`` numbers that equal sentences share, for the clean protocol.
    held_out
        Further experiments of the clean protocol: name → ``(n,)`` numbers of the values of which a
        third is held out at a time.
    hold_out
        Slot whose values are those of "unseen_names".
    """

    states: Any
    labels: np.ndarray
    layers: tuple[int, ...]
    n_states: int
    source: int
    manifold: str = "circular"
    device: torch.device | None = None
    memory_budget: int | None = None
    protocol: str = "study"
    sentences: np.ndarray | None = None
    held_out: Mapping[str, np.ndarray] = field(default_factory=dict)
    hold_out: str | None = None

    @property
    def clean(self) -> bool:
        """Whether the protocol is the clean one."""
        return self.protocol == "clean"

    @property
    def experiments(self) -> list[str]:
        """Experiments on all sites that the protocol has."""
        return [name for name in ON_ALL_SITES if name in self.held_out or name in _OF_THE_STUDY]

    @property
    def ideal(self) -> Any:
        """The manifold as :func:`gpu_smds.score_map` takes it."""
        unstretched = self.clean and self.manifold == "circular"
        return CircularShape(normalize_labels=False) if unstretched else self.manifold


def named(protocol: str) -> str:
    """Which protocol a figure is of, for the end of its caption."""
    return f" Protocol: {protocol}."


def folds() -> KFold:
    """The study's splitter."""
    return KFold(FOLDS, shuffle=True, random_state=FOLD_SEED)


def cross_validation(setting: Setting) -> Any:
    """Folds of Exp 1: the study's, or as many that never split equal sentences."""
    if not setting.clean:
        return folds()
    assert setting.sentences is not None
    return grouped(setting.sentences)


def grouped(groups: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Index pairs of as many folds as the study's that never split groups ``(n,)``."""
    splitter = GroupKFold(FOLDS, shuffle=True, random_state=FOLD_SEED)
    return list(splitter.split(groups[:, None], groups=groups))


def curve_layers(setting: Setting) -> tuple[int, ...]:
    """Layers of the study's curves: int(0.25·S), int(0.5·S), int(0.75·S) of S states."""
    wanted = [int((i + 1) / (CURVES + 1) * setting.n_states) for i in range(CURVES)]
    return tuple(dict.fromkeys(_nearest(setting.layers, layer) for layer in wanted))


def similarity_layer(setting: Setting) -> int:
    """Layer of Exp 2: int(0.6·S) of S states, at most S − 2; the nearest one at hand."""
    wanted = min(int(0.6 * setting.n_states), setting.n_states - 2)
    return _nearest(setting.layers, wanted)


def _plan_independent(setting: Setting, once: OnePass) -> Callable[[], ScoreMap]:
    """Exp 1, is there a circle at each site? Ridge, 3-fold, on the states as they are."""
    return _plan_ridge(setting, once, cross_validation(setting))


def _plan_ridge(setting: Setting, once: OnePass, cv: Any) -> Callable[[], ScoreMap]:
    scores = once.score_map(setting.labels, manifold=setting.ideal, cv=cv)
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
        Part(setting.states, [layer]),
        setting.labels,
        manifold=setting.ideal,
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
    position's own z-scored states of the same samples, clipped to [0, 1]. Clean: map and z-scores
    are fitted on each training part, and scored on the held-out sentences.
    """
    fitted = fit_map(
        Part(setting.states, None, slice(setting.source, setting.source + 1)),
        setting.labels,
        manifold=setting.ideal,
        standardize="train" if setting.clean else "all",
        device=setting.device,
        memory_budget=setting.memory_budget,
    )
    cv = cross_validation(setting) if setting.clean else None
    planned = once.transfer_map(fitted, setting.labels, cv=cv)

    def result() -> ScoreMap:
        found = planned()
        of_source = replace(
            found, scores=found.scores[:, :, 0], status=found.status[:, :, 0], dims=_DIMS
        )
        return of_source if setting.clean else _clipped(of_source)

    return result


def _plan_rigid(setting: Setting, once: OnePass) -> Callable[[], ScoreMap]:
    """Exp 4, is it a rigid circle? Orthonormal map of z-scored states, last fifth held out.

    The z-score is fitted on all samples, as in the study; the score is clipped to [0, 1]. Clean:
    the folds of Exp 1, z-scores of the training part.
    """
    n = len(setting.labels)
    split = int(0.8 * n)
    held_out = [(np.arange(split), np.arange(split, n))]
    planned = once.score_map(
        setting.labels,
        manifold=setting.ideal,
        cv=cross_validation(setting) if setting.clean else held_out,
        alpha=0,
        orthonormal=True,
        standardize="train" if setting.clean else "all",
    )

    def result() -> ScoreMap:
        found = replace(planned(), dims=_DIMS)
        return found if setting.clean else _clipped(found)

    return result


def _plan_held_out(name: str) -> Callable[[Setting, OnePass], Callable[[], ScoreMap]]:
    """Exp 1 with folds of unseen values: is it geometry, or are single values memorised?"""
    return lambda setting, once: _plan_ridge(setting, once, grouped(setting.held_out[name]))


#: Experiments on all sites, which share one pass over the states; the last two are clean only.
ON_ALL_SITES = {
    "independent": _plan_independent,
    "reuse": _plan_reuse,
    "rigid": _plan_rigid,
    "unseen_labels": _plan_held_out("unseen_labels"),
    "unseen_names": _plan_held_out("unseen_names"),
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
class ProjectedCircle:
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


def circle(setting: Setting, layer: int, position: int) -> ProjectedCircle:
    """Held-out projections of one site with the folds of Exp 1.

    A fold's embedding is determined up to rotation and reflection; each fold's projections are
    turned so that its embedding lies on the points that the labels name.
    """
    here = setting.states[:, layer, position : position + 1]
    states = np.asarray(here.double().cpu())[:, 0]
    labels = setting.labels
    points = np.full((len(labels), 2), np.nan)
    shape = CircularShape(normalize_labels=not setting.clean)
    cv = cross_validation(setting)
    for train, test in cv if isinstance(cv, list) else cv.split(states):
        fitted = fit_map(states[train], labels[train], manifold=shape)
        # The ideal points of the training labels, for which Y stands up to a rigid motion.
        ideal = shape.points(torch.from_numpy(labels[train])).numpy()
        centre = ideal.mean(0)
        U, _, Vt = np.linalg.svd(fitted.Y.cpu().numpy().T @ (ideal - centre))
        points[test] = fitted.transform(states[test]) @ (U @ Vt) + centre
    score = float(score_map(states, labels, manifold=shape, cv=cv).mean)
    return ProjectedCircle(points, labels, score)


@dataclass(frozen=True)
class Part:
    """Some layers and positions of a state array, itself readable as ``X[:, l, a:b]``.

    Attributes
    ----------
    states
        ``(n, layers, positions, d)``: an array or a lazy store.
    layers
        Indices along the layer axis; None is all.
    positions
        Consecutive positions; None is all.
    """

    states: Any
    layers: Sequence[int] | None = None
    positions: slice | None = None

    @property
    def _positions(self) -> range:
        every = range(self.states.shape[2])
        return every if self.positions is None else every[self.positions]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(n, layers, positions, d)`` of the part."""
        n, n_layers, _, d = self.states.shape
        return n, n_layers if self.layers is None else len(self.layers), len(self._positions), d

    @property
    def dtype(self) -> Any:
        """That of the states."""
        return self.states.dtype

    def __getitem__(self, index: tuple[Any, int, slice]) -> Any:
        rows, layer, wanted = index
        if self.layers is not None:
            layer = self.layers[layer]
        positions = self._positions[wanted]
        return self.states[rows, layer, positions.start : positions.stop]


def _nearest(layers: tuple[int, ...], wanted: int) -> int:
    return min(layers, key=lambda layer: (abs(layer - wanted), layer))


def _clipped(scores: ScoreMap) -> ScoreMap:
    return replace(scores, scores=np.clip(scores.scores, 0, 1))
