"""Exp 2: the similarity of the fitted maps of every pair of positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Patch, Rectangle
from rich.cells import chop_cells

from experiments.figures.labels import Positions, fit_labels, positions
from experiments.figures.style import (
    LABEL,
    SOURCE,
    TEXT,
    defined,
    dress,
    dress_colorbar,
    hatch_behind,
    legend_above,
    new_figure,
    readable_on,
    save,
    undefined_handle,
)
from gpu_smds._files import File

#: Cosines below this are left blank, as in the study.
BLANK_BELOW = 0.05
#: With more positions there is no room for numbers.
MOST_WITH_NUMBERS = 20

COLOURS = LinearSegmentedColormap.from_list(
    "white-yellow-green", ["#ffffff", "#fff3a3", "#b9dd6f", "#4fae4a", "#0d5a2b"]
)
DIAGONAL = "#c4c4c4"
#: Letters that have room beside the matrix.
MARGIN = 12


def draw_similarity(
    path: Path | str | File,
    values: np.ndarray,
    words: Sequence[str],
    tokens: Sequence[str],
    landmarks: Mapping[str, int],
    layer: int,
    *,
    title: str,
    caption: str = "",
) -> None:
    """Draw position × position absolute cosines, with a box on (source, destination).

    Parameters
    ----------
    path
        PNG file to write.
    values
        ``(T, T)``, NaN where undefined. The diagonal is masked.
    words, tokens
        Per column, as :func:`experiments.figures.labels.positions` takes them.
    landmarks
        Role (source, destination, distractor) → column; roles may be absent.
    layer
        Layer number the maps are of.

    Raises
    ------
    ValueError
        Shapes do not fit each other.
    """
    names = positions(words, tokens, landmarks)
    count = len(names.texts)
    if np.shape(values) != (count, count):
        raise ValueError(f"expected {(count, count)} values, got {np.shape(values)}")
    values = defined(values, None)
    undefined = np.isnan(values)
    np.fill_diagonal(undefined, False)

    figure = new_figure(title, caption, height=9.4)
    ax = figure.subplots()
    if undefined.any():
        hatch_behind(ax)
    shown = np.where(values < BLANK_BELOW, 0, values)
    np.fill_diagonal(shown, np.nan)
    edges = np.arange(count + 1) - 0.5
    mesh = ax.pcolormesh(
        edges,
        edges,
        np.ma.masked_invalid(shown),
        cmap=COLOURS,
        vmin=0,
        vmax=1,
        antialiased=False,
        zorder=1,
    )
    for place in range(count):
        ax.add_patch(
            Rectangle((place - 0.5, place - 0.5), 1, 1, facecolor=DIAGONAL, linewidth=0, zorder=1.5)
        )
    ax.set_aspect("equal")
    ax.invert_yaxis()
    dress(ax, title=f"layer {layer}")
    if count <= MOST_WITH_NUMBERS:
        _print_values(ax, shown)
    # The lower part of the margin: the upper one is for the note.
    bar = figure.colorbar(mesh, cax=ax.inset_axes((1.03, 0.0, 0.028, 0.62)))
    dress_colorbar(bar, f"absolute cosine (blank below {BLANK_BELOW})")
    if {"source", "destination"} <= landmarks.keys():
        _box(ax, names, words, values[landmarks["source"], landmarks["destination"]])
    handles: list[Artist] = [Patch(facecolor=DIAGONAL, label="the same position")]
    legend_above(figure, [*handles, undefined_handle()] if undefined.any() else handles)
    fit_labels(figure, [(ax.xaxis, names), (ax.yaxis, names)])
    save(figure, path)


def _print_values(ax: Axes, shown: np.ndarray) -> None:
    """Write the values that are not blank into their cells."""
    size = min(TEXT, 150 / len(shown))
    for (row, column), value in np.ndenumerate(shown):
        if value >= BLANK_BELOW:
            ax.text(
                column,
                row,
                f"{value:.2f}",
                ha="center",
                va="center",
                fontsize=size,
                color=readable_on(COLOURS(value)),
                gid="value",
                zorder=2,
            )


def _box(ax: Axes, names: Positions, words: Sequence[str], value: float) -> None:
    """Box the cell of source and destination, and name its value in the margin beside it."""
    row, column = names.landmarks["source"], names.landmarks["destination"]
    ax.add_patch(
        Rectangle(
            (column - 0.5, row - 0.5),
            1,
            1,
            fill=False,
            edgecolor=SOURCE,
            linewidth=2,
            zorder=4,
            gid="source-destination",
        )
    )
    said = "undefined" if np.isnan(value) else f"{value:.3f}"
    height = 1 - (row + 0.5) / len(names.texts)
    ax.annotate(
        f"{_broken(names.word(words, 'source'))} –\n"
        f"{_broken(names.word(words, 'destination'))}:\n{said}",
        xy=(column + 0.5, row),
        xytext=(1.03, float(np.clip(height, 0.72, 0.95))),
        textcoords="axes fraction",
        ha="left",
        va="center",
        fontsize=LABEL,
        fontweight="bold",
        color=SOURCE,
        parse_math=False,
        arrowprops={
            "arrowstyle": "-",
            "color": SOURCE,
            "linewidth": 1,
            "shrinkA": 2,
            "shrinkB": 0,
            "relpos": (0, 0.5),
        },
        zorder=5,
    )


def _broken(word: str) -> str:
    """Break a word into lines that fit the margin."""
    return "\n".join(chop_cells(word, MARGIN))
