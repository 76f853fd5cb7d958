"""The circle itself: held-out projections coloured by label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from experiments.figures.style import draw


@dataclass(frozen=True)
class CirclePanel:
    """Projections ``(n, 2)`` of one site with labels ``(n,)`` as fractions of a turn."""

    title: str
    points: np.ndarray
    labels: np.ndarray
    score: float


def draw_circle(
    path: Path,
    panels: Sequence[CirclePanel],
    ticks: Sequence[tuple[float, str]],
    title: str,
    caption: str = "",
) -> None:
    """Square panels with the ideal circle, its ticks (label, name) around it."""
    colours = cyclic_colours()

    def paint(figure: Figure) -> None:
        row = np.atleast_1d(figure.subplots(1, len(panels)))
        for axes, panel in zip(row, panels, strict=True):
            _panel(axes, panel, ticks, colours)

    draw(path, (3.6 * len(panels) + 0.2, 4.6), paint, title, caption)


def cyclic_colours() -> ListedColormap:
    """A cyclic colour map of constant lightness: a circle in the CIE L*C*h space."""
    hue = np.linspace(0, 2 * np.pi, 256, endpoint=False)
    lightness, chroma = 68.0, 42.0
    fy = np.full_like(hue, (lightness + 16) / 116)
    fx, fz = fy + chroma * np.cos(hue) / 500, fy - chroma * np.sin(hue) / 200
    inverse = [np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) for f in (fx, fy, fz)]
    xyz = np.stack(inverse, axis=1) * [0.95047, 1.0, 1.08883]
    to_rgb = np.array(
        [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
    )
    linear = np.clip(xyz @ to_rgb.T, 0, 1)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return ListedColormap(rgb, name="cyclic")


def _panel(
    axes: Axes, panel: CirclePanel, ticks: Sequence[tuple[float, str]], colours: ListedColormap
) -> None:
    turn = np.linspace(0, 2 * np.pi, 361)
    axes.plot(np.cos(turn), np.sin(turn), color="#bbbbbb", linewidth=1, zorder=1)
    for k, (label, name) in enumerate(ticks):
        following = ticks[(k + 1) % len(ticks)][0] + (k + 1 == len(ticks))
        middle = np.pi * (label + following)
        axes.text(
            1.42 * np.cos(middle),
            1.42 * np.sin(middle),
            name,
            ha="center",
            va="center",
            fontsize=8,
            color=colours((label + following) / 2 % 1.0),
            fontweight="bold",
        )
        x, y = np.cos(2 * np.pi * label), np.sin(2 * np.pi * label)
        axes.plot([1.18 * x, 1.26 * x], [1.18 * y, 1.26 * y], color="#bbbbbb", linewidth=0.8)
    # A projection that fails may scatter far; the frame shows it clipped to the edge.
    radius = np.linalg.norm(panel.points, axis=1, keepdims=True)
    shown = panel.points * np.minimum(1, 1.15 / np.maximum(radius, 1e-12))
    axes.scatter(
        *shown.T, c=panel.labels, cmap=colours, vmin=0, vmax=1, s=9, linewidths=0, zorder=2
    )
    axes.set_title(f"{panel.title}: score {panel.score:.2f}", loc="center", pad=8)
    axes.set_aspect("equal")
    axes.set_xlim(-1.62, 1.62)
    axes.set_ylim(-1.55, 1.55)
    axes.axis("off")
