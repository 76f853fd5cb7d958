"""Scores over layers and positions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from experiments.figures.sites import (
    Axes2D,
    hatch_undefined,
    label_layers,
    label_positions,
    mark_landmarks,
)
from experiments.figures.style import LANDMARK_COLOURS, draw, frame


def draw_independent(
    path: Path,
    scores: np.ndarray,
    sites: Axes2D,
    curve_layers: Sequence[int],
    title: str,
    caption: str = "",
) -> None:
    """Exp 1: the map ``(layers, positions)`` and beside it the curves of some layers.

    NaN is drawn as undefined.
    """

    def paint(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=[1.35, 1])
        _heatmap(figure, left, scores, sites, "viridis", "score")
        _curves(right, scores, sites, curve_layers)

    width = 5.5 + 0.22 * len(sites.words)
    draw(path, (width, 5.2), paint, title, caption)


def draw_map(
    path: Path,
    scores: np.ndarray,
    sites: Axes2D,
    title: str,
    cmap: str = "viridis",
    caption: str = "",
    label: str = "score",
) -> None:
    """Draw one map ``(layers, positions)`` of scores in [0, 1]; NaN is drawn as undefined."""

    def paint(figure: Figure) -> None:
        _heatmap(figure, figure.subplots(), scores, sites, cmap, label)

    draw(path, (3.0 + 0.17 * len(sites.words), 5.0), paint, title, caption)


def heat(axes: Axes, scores: np.ndarray, cmap: str = "viridis") -> AxesImage:
    """Draw the cells of a map, layer 0 at the bottom."""
    return axes.imshow(
        np.ma.masked_invalid(scores),
        cmap=cmap,
        vmin=0,
        vmax=1,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        zorder=1,
    )


def _heatmap(
    figure: Figure, axes: Axes, scores: np.ndarray, sites: Axes2D, cmap: str, label: str
) -> None:
    image = heat(axes, scores, cmap)
    undefined = hatch_undefined(axes, ~np.isfinite(scores))
    frame(axes)
    lines = mark_landmarks(axes, sites)
    label_positions(axes, sites)
    label_layers(axes, sites.layers)
    bar = figure.colorbar(image, ax=axes, pad=0.02, fraction=0.05)
    bar.set_label(label)
    axes.legend(
        handles=[*lines, *undefined],
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=3,
        borderaxespad=0.2,
        columnspacing=1.2,
    )


def _curves(axes: Axes, scores: np.ndarray, sites: Axes2D, curve_layers: Sequence[int]) -> None:
    shades = ("#9ecae1", "#4292c6", "#08306b")
    for shade, layer in zip(shades, curve_layers, strict=False):
        row = scores[list(sites.layers).index(layer)]
        axes.plot(row, color=shade, marker="o", markersize=2.5, label=f"layer {layer}")
    for role, position in sites.landmarks.items():
        dashed = "-" if role == "source" else "--" if role == "destination" else ":"
        axes.axvline(
            position, color=LANDMARK_COLOURS[role], linewidth=1, linestyle=dashed, zorder=0
        )
    axes.set_ylim(0, 1.02)
    axes.set_xlim(-0.6, len(sites.words) - 0.4)
    axes.set_ylabel("score")
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    label_positions(axes, sites)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, borderaxespad=0.2)
