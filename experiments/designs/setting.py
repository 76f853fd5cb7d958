"""What all experiments share: states, labels, folds, and which layers are looked at.

Each experiment runs by one of two protocols: "study", as the study ran it, and "clean", which holds
out what the study did not: every score is of sentences that neither the map nor the z-score has
seen, equal sentences are never split, and circular labels are taken as fractions of a turn instead
of being stretched so that the first and the last day coincide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

#: The study's cross-validation: three folds, shuffled with this seed.
FOLDS = 3
FOLD_SEED = 42
#: Every training part of Exp 1 and 4 and every test part must hold at least two sentences.
MIN_SENTENCES = 2 * FOLDS

#: Layers of which the study draws curves.
CURVES = 3

Progress = Callable[[int, int], None] | bool


@dataclass(frozen=True)
class Setting:
    """States and labels with everything that an experiment is told about them.

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
        What further experiments of the clean protocol hold out: "labels", "slot" → ``(n,)`` numbers
        of the values of which a third is held out at a time.
    hold_out
        Slot whose values are those of "slot".
    seed
        Of the folds, of permutations and of shuffles; None is the study's.
    asked
        The options on which results depend, by name.
    beside
        ``(n,)`` numbers of the values of slots that do not hold the label, by slot; None for the
        study's own sentences, in which they are drawn at random.
    period
        Of the labels, in their units, on a manifold that closes on itself; None for none.
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
    seed: int | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, np.ndarray] | None = None
    period: float | None = None

    @property
    def non_finite(self) -> str:
        """What is done about sentences that are not finite, as in :func:`gpu_smds.score_map`."""
        return str(self.asked.get("non_finite", "undefined"))

    @property
    def clean(self) -> bool:
        """Whether the protocol is the clean one."""
        return self.protocol == "clean"

    @property
    def ideal(self) -> Any:
        """The manifold as :func:`gpu_smds.score_map` takes it."""
        if self.period is not None:
            from gpu_smds.geometry.manifold import resolve_manifold

            return resolve_manifold(self.manifold).with_period(self.period)
        if self.clean and self.manifold == "circular":
            from gpu_smds import CircularShape

            return CircularShape(normalize_labels=False)
        return self.manifold


def numbered(values: np.ndarray) -> np.ndarray:
    """Numbers ``(n,)`` that equal values, or rows of values, share."""
    return np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)


def said_of(protocol: str) -> str:
    """Which protocol a figure is of, for the end of its caption."""
    return f" Protocol: {protocol}."


def folds(seed: int | None = None) -> Any:
    """The study's splitter."""
    from sklearn.model_selection import KFold

    return KFold(FOLDS, shuffle=True, random_state=FOLD_SEED if seed is None else seed)


def cross_validation(setting: Setting) -> Any:
    """Folds of Exp 1: the study's, or as many that never split equal sentences."""
    if not setting.clean:
        return folds(setting.seed)
    assert setting.sentences is not None
    return grouped(setting.sentences, setting.seed)


def grouped(groups: np.ndarray, seed: int | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Index pairs of as many folds as the study's that never split groups ``(n,)``."""
    from sklearn.model_selection import GroupKFold

    splitter = GroupKFold(FOLDS, shuffle=True, random_state=FOLD_SEED if seed is None else seed)
    return list(splitter.split(groups[:, None], groups=groups))


def curve_layers(setting: Setting) -> tuple[int, ...]:
    """Layers of the study's curves: int(0.25·S), int(0.5·S), int(0.75·S) of S states."""
    wanted = [int((i + 1) / (CURVES + 1) * setting.n_states) for i in range(CURVES)]
    return tuple(dict.fromkeys(_nearest(setting.layers, layer) for layer in wanted))


def similarity_layer(setting: Setting) -> int:
    """Layer of Exp 2: int(0.6·S) of S states, at most S − 2; the nearest one at hand."""
    wanted = min(int(0.6 * setting.n_states), setting.n_states - 2)
    return _nearest(setting.layers, wanted)


def _nearest(layers: tuple[int, ...], wanted: int) -> int:
    return min(layers, key=lambda layer: (abs(layer - wanted), layer))


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
    samples
        Numbers of the samples; None is all.
    """

    states: Any
    layers: Sequence[int] | None = None
    positions: slice | None = None
    samples: np.ndarray | None = None

    @property
    def _positions(self) -> range:
        every = range(self.states.shape[2])
        return every if self.positions is None else every[self.positions]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(n, layers, positions, d)`` of the part."""
        n, n_layers, _, d = self.states.shape
        n = n if self.samples is None else len(self.samples)
        return n, n_layers if self.layers is None else len(self.layers), len(self._positions), d

    @property
    def dtype(self) -> Any:
        """That of the states."""
        return self.states.dtype

    def __getitem__(self, index: tuple[Any, int, slice]) -> Any:
        rows, layer, wanted = index
        if self.layers is not None:
            layer = self.layers[layer]
        if self.samples is not None:
            rows = self.samples[rows]
        positions = self._positions[wanted]
        return self.states[rows, layer, positions.start : positions.stop]
