"""Scores over layers × positions as a heatmap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh

from experiments.figures.labels import Positions, fit_labels, positions
from experiments.figures.style import (
    defined,
    dress,
    dress_colorbar,
    hatch_behind,
    landmark_line,
    layer_ticks,
    legend_above,
    new_figure,
    save,
    undefined_handle,
)

#: What the study marks on its maps.
MARKED = ("source", "destination")


def draw_map(
    path: Path | str,
    values: np.ndarray,
    ok: np.ndarray,
    layers: Sequence[int],
    words: Sequence[str],
    tokens: Sequence[str],
    landmarks: Mapping[str, int],
    *,
    cmap: str = "viridis",
    title: str,
    colorbar_label: str = "score",
    caption: str = "",
) -> None:
    """Draw one score per (layer, position), layer 0 at the bottom: the study's Exp 3 and 4.

    Parameters
    ----------
    path
        PNG file to write.
    values, ok
        ``(L, T)``: scores, and whether each is defined.
    layers
        Layer number of each row.
    words, tokens
        Per column, as :func:`experiments.figures.labels.positions` takes them.
    landmarks
        Role (source, destination, distractor) → column; roles may be absent.
    cmap
        Colour map of matplotlib, over 0 to 1.

    Raises
    ------
    ValueError
        Shapes do not fit each other.
    """
    names = positions(words, tokens, landmarks)
    values = checked(values, ok, layers, names)
    figure = new_figure(title, caption, height=6.4)
    ax = figure.subplots()
    mesh = paint_map(ax, values, cmap=cmap)
    layer_ticks(ax.yaxis, layers)
    dress(ax, xlabel="position", ylabel="layer")
    mark(ax, names)
    bar = figure.colorbar(mesh, ax=ax, pad=0.015, aspect=30)
    dress_colorbar(bar, colorbar_label)
    legend_above(figure, legend_of_map(names, words, values))
    fit_labels(figure, [(ax.xaxis, names)])
    save(figure, path)


def paint_map(
    ax: Axes, values: np.ndarray, *, cmap: str = "viridis", rows: np.ndarray | None = None
) -> QuadMesh:
    """Fill a panel with scores ``(L, T)`` from 0 to 1; NaN shows the pattern of undefined sites.

    ``rows`` are the L + 1 edges of the rows; by default row i is at height i.
    """
    n_rows, n_columns = values.shape
    if np.isnan(values).any():
        hatch_behind(ax)
    return ax.pcolormesh(
        np.arange(n_columns + 1) - 0.5,
        np.arange(n_rows + 1) - 0.5 if rows is None else rows,
        np.ma.masked_invalid(values),
        cmap=cmap,
        vmin=0,
        vmax=1,
        antialiased=False,
        zorder=1,
    )


def mark(ax: Axes, names: Positions, roles: Sequence[str] = MARKED) -> None:
    """Draw the lines of the landmarks."""
    for role in roles:
        if role in names.landmarks:
            landmark_line(ax, role, names.landmarks[role])


def legend_of_map(
    names: Positions,
    words: Sequence[str],
    values: np.ndarray,
    roles: Sequence[str] = MARKED,
) -> list[Artist]:
    """Legend entries of the landmarks' lines, and of undefined sites where there are any."""
    handles: list[Artist] = [
        landmark_line(None, role, 0, names.legend(words, role))
        for role in roles
        if role in names.landmarks
    ]
    if np.isnan(values).any():
        handles.append(undefined_handle())
    return handles


def checked(
    values: np.ndarray, ok: np.ndarray | None, layers: Sequence[int], names: Positions
) -> np.ndarray:
    """Return the scores with NaN where undefined.

    Raises
    ------
    ValueError
        They are not one per layer and position.
    """
    expected = (len(layers), len(names.texts))
    shapes = {np.shape(values)} | (set() if ok is None else {np.shape(ok)})
    if shapes != {expected}:
        raise ValueError(f"expected arrays of {expected} (layers, positions), got {shapes}")
    return defined(values, ok)
