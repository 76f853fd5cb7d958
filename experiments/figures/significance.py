"""The permutation test of every site: how far its score is from chance, and where that counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from experiments.figures.heatmap import (
    checked,
    checked_significant,
    legend_of_map,
    mark,
    outline,
    paint_map,
)
from experiments.figures.labels import fit_labels, positions
from experiments.figures.style import (
    dress,
    dress_colorbar,
    layer_ticks,
    legend_above,
    new_figure,
    save,
)
from gpu_smds._files import File

#: Family-wise p from which on, downwards, a site is significant.
LEVEL = 0.05
#: White at 0; purple above, on which the landmarks' red and white lines are seen.
COLOURS = "PuOr"
#: Values beyond these percentiles have the colours of the ends, but no end is nearer to 0 than 3.
ROBUST = (2, 98)
NEAREST = 3.0
UNTESTED = "#dcdcdc"
#: Also where a word before the label has one state per value of what labels move within.
NO_Z = "not tested, or alike under every permutation"


def draw_significance(
    path: Path | str | File,
    z: np.ndarray,
    p_family: np.ndarray,
    ok: np.ndarray,
    layers: Sequence[int],
    words: Sequence[str],
    tokens: Sequence[str],
    landmarks: Mapping[str, int],
    *,
    title: str,
    caption: str = "",
) -> None:
    """Draw how far every score is from chance, with the sites of p at most 0.05 outlined.

    Parameters
    ----------
    path
        PNG file to write.
    z
        ``(L, T)``: (score - mean) / standard deviation, both under permuted labels; NaN where not
        tested. Infinite ones have the colours of the ends.
    p_family
        ``(L, T)``: family-wise p of each site, NaN where not tested.
    ok
        ``(L, T)``: whether the score is defined.
    layers
        Layer number of each row.
    words, tokens
        Per column, as :func:`experiments.figures.labels.positions` takes them.
    landmarks
        Role (source, destination, distractor) → column; roles may be absent.

    Raises
    ------
    ValueError
        Shapes do not fit each other, a p is not from 0 to 1, or a site without z is significant.
    """
    names = positions(words, tokens, landmarks)
    for values in (z, p_family):
        checked(values, ok, layers, names)
    ok = np.asarray(ok, dtype=bool)
    z = np.where(ok, np.asarray(z, dtype=np.float64), np.nan)
    p_family = np.asarray(p_family, dtype=np.float64)
    known = ~np.isnan(p_family)
    if not ((p_family[known] >= 0) & (p_family[known] <= 1)).all():
        raise ValueError("a family-wise p is from 0 to 1, or NaN")
    significant = checked_significant(np.where(known, p_family <= LEVEL, np.nan), z)
    untested = ok & np.isnan(z)
    low, high = ends(z)

    figure = new_figure(title, caption, height=6.4)
    ax = figure.subplots()
    shown = np.nan_to_num(z, nan=np.nan, posinf=high + 1, neginf=low - 1)
    mesh = paint_map(ax, shown, cmap=_colours(low, high), vmin=low, vmax=high)
    layer_ticks(ax.yaxis, layers)
    dress(ax, xlabel="position", ylabel="layer")
    handles = legend_of_map(names, words, np.where(ok, 0, np.nan))
    if untested.any():
        handles.append(_cover(ax, untested))
    handles += outline(ax, significant)
    mark(ax, names)
    below, above = bool((z < low).any()), bool((z > high).any())
    extend = {(1, 1): "both", (1, 0): "min", (0, 1): "max"}.get((below, above), "neither")
    bar = figure.colorbar(mesh, ax=ax, pad=0.015, aspect=30, extend=extend)
    _tick(bar, low, high, below, above)
    dress_colorbar(bar, "z = (score − mean) / sd under permuted labels")
    legend_above(figure, handles)
    fit_labels(figure, [(ax.xaxis, names)])
    save(figure, path)


def ends(z: np.ndarray) -> tuple[float, float]:
    """Range of the colours, round numbers around 0: what few values go beyond."""
    known = z[np.isfinite(z)]
    low, high = np.percentile(known, ROBUST) if known.size else (0.0, 0.0)
    top = _round_up(max(float(high), NEAREST))
    # The lower end must leave room for its number below that of 0.
    return -_round_up(max(-float(low), NEAREST, top / 12)), top


def _round_up(value: float) -> float:
    """Round a positive number up to a multiple of half its power of ten."""
    step = 0.5 * 10.0 ** np.floor(np.log10(value))
    return float(step * np.ceil(value / step))


def _colours(low: float, high: float) -> ListedColormap:
    """Colours from ``low`` to ``high`` with white at 0, as strong on one side as on the other."""
    reach = max(-low, high)
    places = np.linspace(0.5 + 0.5 * low / reach, 0.5 + 0.5 * high / reach, 512)
    return ListedColormap(matplotlib.colormaps[COLOURS].resampled(1024)(places))


def _cover(ax: Axes, cells: np.ndarray) -> Artist:
    """Cover cells without z; returns the legend's entry for them."""
    n_rows, n_columns = cells.shape
    ax.pcolormesh(
        np.arange(n_columns + 1) - 0.5,
        np.arange(n_rows + 1) - 0.5,
        np.ma.masked_where(~cells, np.zeros(cells.shape)),
        cmap=ListedColormap([UNTESTED]),
        antialiased=False,
        zorder=1.2,
        gid="untested",
    )
    return Patch(facecolor=UNTESTED, edgecolor="#777777", linewidth=0.5, label=NO_Z)


def _tick(bar: Colorbar, low: float, high: float, below: bool, above: bool) -> None:
    """Number the bar's round values and its ends, with a sign where values go beyond."""
    inner = MaxNLocator(6).tick_values(low, high)
    room = 0.05 * (high - low)
    ticks = [low, *(t for t in inner if low + room <= t <= high - room), high]
    texts = [f"{t:g}".replace("-", "−") for t in ticks]
    texts[0] = f"≤ {texts[0]}" if below else texts[0]
    texts[-1] = f"≥ {texts[-1]}" if above else texts[-1]
    bar.set_ticks(ticks, labels=texts)
    bar.minorticks_off()
