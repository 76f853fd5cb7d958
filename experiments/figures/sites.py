"""Layers and positions as the axes of a figure: labels, landmarks, undefined sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from experiments.figures.style import (
    SOURCE_COLOUR,
    UNDEFINED_EDGE,
    UNDEFINED_FACE,
    UNDEFINED_HATCH,
)


@dataclass(frozen=True)
class Axes2D:
    """What the layer and position axes of a map show.

    Attributes
    ----------
    layers
        Layer numbers.
    words, tokens
        Per position the word or slot and the first sentence's token.
    landmarks
        Positions of "source", "destination" and "distractor".
    """

    layers: Sequence[int]
    words: Sequence[str]
    tokens: Sequence[str]
    landmarks: dict[str, int]

    def labels(self) -> list[str]:
        """One label per position: the word, and the piece of it where it has several tokens."""
        labels = []
        for i, (word, token) in enumerate(zip(self.words, self.tokens, strict=True)):
            neighbours = [self.words[j] for j in (i - 1, i + 1) if 0 <= j < len(self.words)]
            pieces = word in neighbours and token != word
            labels.append(f"{word} ({token})" if pieces else word)
        # A dollar sign would start a formula.
        return [label.replace("$", r"\$") for label in labels]

    def name(self, role: str) -> str:
        """Word at a landmark."""
        return self.labels()[self.landmarks[role]]


def label_positions(axes: Axes, sites: Axes2D, axis: str = "x") -> None:
    """Name every position, the landmarks in bold."""
    labels = sites.labels()
    if axis == "x":
        axes.set_xticks(range(len(labels)), labels, rotation=90)
        ticks = axes.get_xticklabels()
    else:
        axes.set_yticks(range(len(labels)), labels)
        ticks = axes.get_yticklabels()
    for tick, position in zip(ticks, range(len(labels)), strict=True):
        if position in sites.landmarks.values():
            tick.set_fontweight("bold")


def label_layers(axes: Axes, layers: Sequence[int]) -> None:
    """Name the layers, thinned so that they can be read."""
    step = max(1, -(-len(layers) // 16))
    rows = range(0, len(layers), step)
    axes.set_yticks(list(rows), [str(layers[row]) for row in rows])
    axes.set_ylabel("layer (0 = embeddings)")


def mark_landmarks(axes: Axes, sites: Axes2D, colour: str = SOURCE_COLOUR) -> list[Line2D]:
    """Source as a line, destination as a white dashed one; returns legend entries."""
    handles = []
    if "source" in sites.landmarks:
        axes.axvline(
            sites.landmarks["source"],
            color=colour,
            linewidth=1.6,
            path_effects=[withStroke(linewidth=2.6, foreground="white")],
        )
        handles.append(Line2D([], [], color=colour, label=sites.name("source")))
    if "destination" in sites.landmarks:
        outline = [withStroke(linewidth=3.0, foreground="black")]
        style = {"color": "white", "linewidth": 1.6, "linestyle": (0, (3, 2))}
        axes.axvline(sites.landmarks["destination"], path_effects=outline, **style)
        handles.append(
            Line2D([], [], path_effects=outline, label=sites.name("destination"), **style)
        )
    return handles


def hatch_undefined(axes: Axes, undefined: np.ndarray) -> list[Patch]:
    """Hatch undefined cells ``(rows, columns)``; returns the legend entry if there are any."""
    if not undefined.any():
        return []
    mask = np.ma.masked_where(~undefined, np.zeros(undefined.shape))
    rows, columns = undefined.shape
    axes.pcolor(
        np.arange(columns + 1) - 0.5,
        np.arange(rows + 1) - 0.5,
        mask,
        cmap=ListedColormap([UNDEFINED_FACE]),
        hatch=UNDEFINED_HATCH,
        edgecolor=UNDEFINED_EDGE,
        linewidth=0.0,
        zorder=0.5,
    )
    return [
        Patch(
            facecolor=UNDEFINED_FACE,
            edgecolor=UNDEFINED_EDGE,
            hatch=UNDEFINED_HATCH,
            label="undefined (states do not vary, or are not finite)",
        )
    ]
