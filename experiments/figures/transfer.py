"""Does the map fitted at one site decode another? Matrices of positions, or of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from experiments.figures.heatmap import paint_map
from experiments.figures.labels import Positions, fit_labels, positions, short
from experiments.figures.style import (
    SOURCE,
    WIDTH,
    defined,
    dress,
    dress_colorbar,
    layer_ticks,
    legend_above,
    new_figure,
    save,
    undefined_handle,
)
from gpu_smds._files import File

#: More matrices in a row are too small to read.
MOST_OF_POSITIONS, MOST_OF_LAYERS = 3, 4
#: Inches: a single matrix, and what the labels take on the left and below.
LARGEST = 5.6
WORDS_TAKE, NUMBERS_TAKE = 1.35, 0.3
#: Points: width of a box's line, and what its halo adds on both sides together.
BOX, HALO = 1.1, 1.0


def draw_transfer(
    path: Path | str | File,
    panels: Sequence[tuple[int | str, np.ndarray]],
    words: Sequence[str],
    tokens: Sequence[str],
    landmarks: Mapping[str, int],
    *,
    title: str,
    caption: str = "",
    axes_labels: tuple[str, str] = ("map fitted at", "applied at"),
    colorbar_label: str = "score",
) -> None:
    """Draw position × position scores of maps fitted at the row's position, used at the column's.

    A box goes around the row of the source, and one around the column of the destination.

    Parameters
    ----------
    path
        PNG file to write.
    panels
        One to three: layer number or name, and its scores ``(T, T)`` from 0 to 1, NaN where
        undefined.
    words, tokens
        Per position, as :func:`experiments.figures.labels.positions` takes them.
    landmarks
        Role (source, destination, distractor) → position; roles may be absent.
    axes_labels
        What rows and columns are.

    Raises
    ------
    ValueError
        Shapes do not fit each other, or no panel or more than three.
    """
    names = positions(words, tokens, landmarks)
    matrices = _checked(panels, len(names.texts), MOST_OF_POSITIONS)
    titles = [name if isinstance(name, str) else f"layer {name}" for name, _ in panels]
    side = _side(len(matrices), WORDS_TAKE)
    figure, axes = _row(
        matrices, titles, title, caption, colorbar_label, side=side, labels=WORDS_TAKE
    )
    axes[0].set_ylabel(axes_labels[0])
    handles: list[Artist] = []
    for ax in axes:
        ax.invert_yaxis()
        ax.set_xlabel(axes_labels[1])
        ax.set_yticks([])
        handles = _box(ax, names, words, 72 * side / len(names.texts), axes_labels)
    legend_above(figure, handles + _undefined(matrices))
    fit_labels(figure, [(axes[0].yaxis, names), *((ax.xaxis, names) for ax in axes)])
    _trim(figure, axes)
    save(figure, path)


def draw_layer_transfer(
    path: Path | str | File,
    panels: Sequence[tuple[str, np.ndarray]],
    layers: Sequence[int],
    *,
    title: str,
    caption: str = "",
) -> None:
    """Draw layer × layer scores of maps fitted at the row's layer, used at the column's.

    Parameters
    ----------
    path
        PNG file to write.
    panels
        One to four: word, and its scores ``(L, L)`` from 0 to 1, NaN where undefined.
    layers
        Layer number of each row and column; the first is at the bottom left.

    Raises
    ------
    ValueError
        Shapes do not fit each other, or no panel or more than four.
    """
    matrices = _checked(panels, len(layers), MOST_OF_LAYERS)
    titles = [short(word) for word, _ in panels]
    side = _side(len(matrices), NUMBERS_TAKE)
    figure, axes = _row(matrices, titles, title, caption, "score", side=side, labels=NUMBERS_TAKE)
    axes[0].set_ylabel("map fitted at layer")
    for ax in axes:
        layer_ticks(ax.xaxis, layers, most=8)
        layer_ticks(ax.yaxis, layers, most=8)
        ax.set_xlabel("applied at layer")
        if ax is not axes[0]:
            ax.set_yticklabels([])
    legend_above(figure, _undefined(matrices))
    _trim(figure, axes)
    save(figure, path)


def _checked(
    panels: Sequence[tuple[int | str, np.ndarray]], count: int, most: int
) -> list[np.ndarray]:
    """Return the matrices with NaN where undefined.

    Raises
    ------
    ValueError
        They are too few or too many, or not ``(count, count)``.
    """
    if not 1 <= len(panels) <= most:
        raise ValueError(f"needs one to {most} matrices, got {len(panels)}")
    if shapes := {np.shape(values) for _, values in panels} - {(count, count)}:
        raise ValueError(f"expected matrices of {(count, count)}, got {shapes}")
    return [defined(values, None) for _, values in panels]


def _side(count: int, labels: float) -> float:
    """Inches of a matrix's side, where so many stand beside labels of that width."""
    return min(LARGEST, (WIDTH - labels - 1.3) / count - 0.12)


def _row(
    matrices: Sequence[np.ndarray],
    titles: Sequence[str],
    title: str,
    caption: str,
    colorbar_label: str,
    *,
    side: float,
    labels: float,
) -> tuple[Figure, list[Axes]]:
    """Start a figure of square matrices side by side with one colour bar.

    ``side`` is that of a matrix, and ``labels`` the room that the ticks' labels take on the left
    and below; both are in inches.
    """
    figure = new_figure(title, caption, height=side + labels + 1.75)
    axes = list(figure.subplots(1, len(matrices), squeeze=False)[0])
    for ax, values, name in zip(axes, matrices, titles, strict=True):
        mesh = paint_map(ax, values)
        ax.set_aspect("equal")
        dress(ax, title=name)
    below = any((values < 0).any() for values in matrices)
    # Inside the last panel's frame: a bar of the figure would be higher than square panels are.
    bar = figure.colorbar(
        mesh,
        cax=axes[-1].inset_axes((1.0 + 0.1 / side, 0.0, 0.15 / side, 1.0)),
        extend="min" if below else "neither",
    )
    dress_colorbar(bar, colorbar_label)
    return figure, axes


def _trim(figure: Figure, axes: Sequence[Axes]) -> None:
    """Take off the height that the layout leaves free above and below square panels."""
    figure.draw_without_rendering()
    given = axes[0].get_position(original=True).transformed(figure.transFigure)
    used = Bbox.union([box for ax in axes if (box := ax.get_tightbbox()) is not None])
    spare = max(0.0, given.y1 - used.y1) + max(0.0, used.y0 - given.y0)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, np.ceil(height * figure.dpi - spare) / figure.dpi)


def _undefined(matrices: Sequence[np.ndarray]) -> list[Artist]:
    return [undefined_handle()] if any(np.isnan(m).any() for m in matrices) else []


def _box(
    ax: Axes, names: Positions, words: Sequence[str], cell: float, axes_labels: tuple[str, str]
) -> list[Artist]:
    """Box the source's row and the destination's column; returns the legend's entries for them.

    Boxes, since lines through small cells would hide the very values that they point at; these lie
    just outside of the row and the column for the same reason. ``cell`` is a cell's side in points.
    """
    count = len(names.texts)
    out = 0.5 * (BOX + HALO) / cell
    handles: list[Artist] = []
    for role, color, halo, dashes, said in (
        ("source", SOURCE, "white", None, axes_labels[0]),
        ("destination", "white", "#111111", (4.0, 1.6), axes_labels[1]),
    ):
        if role not in names.landmarks:
            continue
        start, thick = names.landmarks[role] - 0.5 - out, 1 + 2 * out
        corner, width, height = (
            ((-0.5, start), count, thick) if role == "source" else ((start, -0.5), thick, count)
        )
        effects = [withStroke(linewidth=BOX + HALO, foreground=halo)]
        ax.add_patch(
            Rectangle(
                corner,
                width,
                height,
                fill=False,
                edgecolor=color,
                linewidth=BOX,
                linestyle=(0, dashes) if dashes else "-",
                path_effects=effects,
                zorder=3,
                gid=role,
            )
        )
        handles.append(
            Line2D(
                [],
                [],
                color=color,
                linewidth=BOX,
                linestyle=(0, dashes) if dashes else "-",
                path_effects=effects,
                label=f"{said} {names.legend(words, role)}",
            )
        )
    return handles
