"""Scores over layers × positions as a heatmap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.colors import Colormap, Normalize
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

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
from gpu_smds._files import File

#: What the study marks on its maps.
MARKED = ("source", "destination")

SIGNIFICANT = "significant (family-wise 5 %)"
#: The landmarks' lines are red, white and pink.
OUTLINE, OUTLINE_HALO = "#111111", "white"
OUTLINE_WIDTH, HALO_WIDTH = 1.3, 3.0


def draw_map(
    path: Path | str | File,
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
    significant: np.ndarray | None = None,
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
    significant
        ``(L, T)``: 1 where the family-wise test finds a structure, 0 where not, NaN where it was
        not made. What is 1 is outlined.

    Raises
    ------
    ValueError
        Shapes do not fit each other, or an undefined site is significant.
    """
    names = positions(words, tokens, landmarks)
    values = checked(values, ok, layers, names)
    outlined = None if significant is None else checked_significant(significant, values)
    figure = new_figure(title, caption, height=6.4)
    ax = figure.subplots()
    mesh = paint_map(ax, values, cmap=cmap)
    layer_ticks(ax.yaxis, layers)
    dress(ax, xlabel="position", ylabel="layer")
    handles = legend_of_map(names, words, values)
    if outlined is not None:
        handles += outline(ax, outlined)
    mark(ax, names)
    bar = figure.colorbar(mesh, ax=ax, pad=0.015, aspect=30)
    dress_colorbar(bar, colorbar_label)
    legend_above(figure, handles)
    fit_labels(figure, [(ax.xaxis, names)])
    save(figure, path)


def paint_map(
    ax: Axes,
    values: np.ndarray,
    *,
    cmap: str | Colormap = "viridis",
    vmin: float = 0,
    vmax: float = 1,
    rows: np.ndarray | None = None,
) -> QuadMesh:
    """Fill a panel with values ``(L, T)``; NaN shows the pattern of undefined sites.

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
        norm=Normalize(vmin, vmax),
        antialiased=False,
        zorder=1,
    )


def borders(values: np.ndarray) -> np.ndarray:
    """Straight lines between cells of different values, ``(n, 2, 2)`` as (x, y) of both ends.

    The cell in row i and column j is centred on x = j, y = i. Lines are as long as can be: where
    short ones meet, each meeting would show.
    """
    row, start, stop = _runs(values[1:] != values[:-1])
    along = np.array([[start, row + 1], [stop, row + 1]])
    column, start, stop = _runs((values[:, 1:] != values[:, :-1]).T)
    across = np.array([[column + 1, start], [column + 1, stop]])
    return np.concatenate([along, across], axis=2).transpose(2, 0, 1) - 0.5


def _runs(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, start and stop of every longest run of True within a row."""
    steps = np.diff(np.pad(cells, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = np.nonzero(steps == 1)
    return row, start, np.nonzero(steps == -1)[1]


def outline(ax: Axes, significant: np.ndarray) -> list[Artist]:
    """Outline the cells that are 1 along their borders; returns the legend's entry for them.

    Nothing is drawn, and there is no entry, where all are NaN: then nothing was tested.
    """
    if np.isnan(significant).all():
        return []
    inside = np.pad(significant == 1, 1)
    lines = borders(inside) - 1
    # Two collections: path effects would draw each line's halo over the line before it. At the rim
    # of the panel the lines are drawn whole, while a halo there would cover the ticks.
    for color, width, gid in (
        (OUTLINE_HALO, HALO_WIDTH, "significant-halo"),
        (OUTLINE, OUTLINE_WIDTH, "significant"),
    ):
        ax.add_collection(
            LineCollection(
                list(lines),
                colors=color,
                linewidths=width,
                capstyle="projecting",
                clip_on=gid != "significant",
                zorder=2.6,
                gid=gid,
            ),
            autolim=False,
        )
    return [
        Patch(
            facecolor="none",
            edgecolor=OUTLINE,
            linewidth=OUTLINE_WIDTH,
            path_effects=[withStroke(linewidth=HALO_WIDTH, foreground=OUTLINE_HALO)],
            label=SIGNIFICANT if len(lines) else f"{SIGNIFICANT}: nowhere",
        )
    ]


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


def checked_significant(significant: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return what is significant as 1, 0, and NaN where not tested.

    Raises
    ------
    ValueError
        It is not 1, 0 or NaN per site of ``values``, or 1 where these are undefined.
    """
    significant = np.array(significant, dtype=np.float64)
    if significant.shape != values.shape:
        raise ValueError(f"{significant.shape} significant sites of {values.shape}")
    if not np.isin(significant[~np.isnan(significant)], (0, 1)).all():
        raise ValueError("a site is significant (1), not significant (0) or not tested (NaN)")
    if (np.isnan(values) & (significant == 1)).any():
        raise ValueError("an undefined site cannot be significant")
    return significant
