"""The circle itself: held-out projections around the ideal one, coloured by label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Circle
from numpy.typing import ArrayLike

from experiments.figures.labels import short
from experiments.figures.style import INK, LABEL, TEXT, new_figure, save
from gpu_smds._files import File

# Radii, in units of the ideal circle's.
RING = (1.52, 1.64)
NAMES = 1.87
EDGE = 2.08
# More letters than have room in the middle of NAMES, and where such a name begins.
LONG = 6
BESIDE = 1.72


@dataclass(frozen=True)
class CirclePanel:
    """Projections of one site.

    Attributes
    ----------
    title
        What the site is, such as "Month, layer 15".
    points
        ``(n, 2)`` held-out projections.
    target
        ``(n, 2)`` the ideal points they aim at, in the same frame; None: the labels' own circle.
    labels
        ``(n,)`` in [0, 1), as fractions of a turn.
    score
        The site's score, for the title.
    """

    title: str
    points: np.ndarray
    target: np.ndarray | None
    labels: np.ndarray
    score: float


def draw_circle(
    path: Path | str | File,
    panels: Sequence[CirclePanel],
    tick_labels: Sequence[tuple[str, float]],
    *,
    title: str,
    caption: str = "",
) -> None:
    """Draw square panels, each a calendar: label 0 at the top, labels growing clockwise.

    Every panel is shifted, rotated, mirrored and scaled as a whole for that, none of which changes
    a score. The ring around it is the legend of the colours.

    Parameters
    ----------
    path
        PNG file to write.
    panels
        From left to right, at most three in a row.
    tick_labels
        Names of the circle's sectors and the label at which each begins, in order.

    Raises
    ------
    ValueError
        No panel, or arrays that do not fit each other.
    """
    if not panels:
        raise ValueError("a figure of the circle needs at least one panel")
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    side = {1: 5.4, 2: 4.4, 3: 3.4}[columns]
    figure = new_figure(title, caption, height=0.8 + rows * (side + 0.35), width=side * columns)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, panel in zip(axes, panels, strict=False):
        _paint(ax, panel, tick_labels)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    save(figure, path)


def calendar(
    points: np.ndarray, target: np.ndarray | None, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Turn points and target as one, so that the target lies on the unit circle, 0 at the top.

    Raises
    ------
    ValueError
        Points, target and labels are not ``(n, 2)``, ``(n, 2)`` and ``(n,)``.
    """
    points, labels = np.asarray(points, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    ideal = on_circle(labels)
    aim = points if target is None else np.asarray(target, dtype=np.float64)
    if points.shape != ideal.shape or aim.shape != ideal.shape:
        raise ValueError(f"{points.shape} points, {aim.shape} targets, {labels.shape} labels")
    centre, ideal_centre = aim.mean(axis=0), ideal.mean(axis=0)
    U, s, Vt = np.linalg.svd((aim - centre).T @ (ideal - ideal_centre))
    scale = s.sum() / max(float(((aim - centre) ** 2).sum()), np.finfo(np.float64).tiny)
    turn = scale * U @ Vt
    return (points - centre) @ turn + ideal_centre, (aim - centre) @ turn + ideal_centre


def on_circle(labels: ArrayLike, radius: float = 1.0) -> np.ndarray:
    """Points ``(n, 2)`` of labels on a clock face: 0 at the top, clockwise."""
    angle = 2 * np.pi * np.asarray(labels, dtype=np.float64)
    return radius * np.stack([np.sin(angle), np.cos(angle)], axis=-1)


def cyclic_colours(count: int = 256) -> ListedColormap:
    """Return a perceptually even cyclic colour map: an ellipse in OKLab, by arc length.

    Yellow is light and blue dark, as they are by nature: that keeps the colours strong, and
    opposite ones apart in grey and for colour-blind eyes.
    """
    hue = np.linspace(0, 2 * np.pi, 4096)
    bright = np.deg2rad(100)
    lab = np.stack(
        [0.71 + 0.10 * np.cos(hue - bright), 0.115 * np.cos(hue), 0.115 * np.sin(hue)], axis=1
    )
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(lab, axis=0), axis=1))])
    even = np.linspace(0, length[-1], count, endpoint=False)
    even_lab = np.stack([np.interp(even, length, part) for part in lab.T], axis=1)
    return ListedColormap(_srgb_of_oklab(even_lab), name="cyclic")


def _srgb_of_oklab(lab: np.ndarray) -> np.ndarray:
    """Convert OKLab ``(n, 3)`` to sRGB in [0, 1] (Ottosson 2020)."""
    to_lms = np.array(
        [
            [1, 0.3963377774, 0.2158037573],
            [1, -0.1055613458, -0.0638541728],
            [1, -0.0894841775, -1.2914855480],
        ]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip((lab @ to_lms.T) ** 3 @ to_rgb.T, 0, 1)
    rgb: np.ndarray = np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
    )
    return rgb


def _paint(ax: Axes, panel: CirclePanel, tick_labels: Sequence[tuple[str, float]]) -> None:
    colours = cyclic_colours()
    points, _ = calendar(panel.points, panel.target, panel.labels)
    ax.add_patch(Circle((0, 0), 1, fill=False, edgecolor="#b5b5b5", linewidth=1.0, zorder=1))
    edges = np.linspace(0, 1, 361)
    inner, outer = on_circle(edges, RING[0]), on_circle(edges, RING[1])
    ax.pcolormesh(
        np.stack([inner[:, 0], outer[:, 0]]),
        np.stack([inner[:, 1], outer[:, 1]]),
        ((edges[1:] + edges[:-1]) / 2)[None],
        cmap=colours,
        vmin=0,
        vmax=1,
        edgecolors="face",  # smooth rims without gaps between the cells
        linewidth=0.3,
        antialiased=True,
    )
    _name_sectors(ax, tick_labels)
    # Points beyond the ring would run into the names: they are counted instead of drawn.
    inside = np.hypot(*points.T) < RING[0] - 0.03
    ax.scatter(
        points[inside, 0],
        points[inside, 1],
        c=np.asarray(panel.labels)[inside] % 1,
        cmap=colours,
        vmin=0,
        vmax=1,
        s=9,
        linewidths=0,
        alpha=0.9,
        zorder=2,
    )
    if not inside.all():
        ax.text(
            -EDGE,
            -EDGE,
            f"{(~inside).sum()} of {len(inside)} lie outside",
            fontsize=TEXT,
            color="#444444",
        )
    ax.set_title(
        f"{short(panel.title)}\nscore {panel.score:.2f}",
        fontsize=LABEL,
        color=INK,
        parse_math=False,
    )
    ax.set(xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE), aspect="equal")
    ax.set_axis_off()


def _name_sectors(ax: Axes, tick_labels: Sequence[tuple[str, float]]) -> None:
    """Write each name in the middle of its sector, and divide the ring where sectors begin."""
    starts = np.array([start for _, start in tick_labels])
    ends = np.append(starts[1:], starts[:1] + 1)
    for (name, start), end in zip(tick_labels, ends, strict=True):
        ax.plot(*np.stack([on_circle(start, r) for r in RING]).T, color="white", linewidth=1)
        middle = (start + end) / 2
        x, y = on_circle(middle, BESIDE if len(name) > LONG else NAMES)
        # A long name begins or ends beside the ring, so that it does not run across it.
        ha, va = "center", "center"
        if len(name) > LONG and abs(x) > 0.5:
            ha = "left" if x > 0 else "right"
        elif len(name) > LONG:
            va = "bottom" if y > 0 else "top"
        ax.text(
            x,
            y,
            short(name),
            ha=ha,
            va=va,
            fontsize=TEXT,
            color="#444444",
            parse_math=False,
        )
