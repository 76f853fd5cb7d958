"""Exp 1: the map of scores, and beside it the score over the positions at three layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

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
    MARKERS,
    SERIES,
    TEXT,
    UNDEFINED_EDGE,
    UNDEFINED_FACE,
    UNDEFINED_HATCH,
    dress,
    dress_colorbar,
    dress_curves,
    layer_ticks,
    legend_above,
    new_figure,
    save,
)
from gpu_smds._files import File

ROLES = ("source", "distractor", "destination")
CHANCE = "#c6c6c6"


def draw_independent(
    path: Path | str | File,
    mean: np.ndarray,
    status_ok: np.ndarray,
    layers: Sequence[int],
    words: Sequence[str],
    tokens: Sequence[str],
    landmarks: Mapping[str, int],
    curve_layers: Sequence[int],
    *,
    title: str,
    caption: str = "",
    significant: np.ndarray | None = None,
    chance: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Draw the study's Exp 1.

    Parameters
    ----------
    path
        PNG file to write.
    mean, status_ok
        ``(L, T)``: mean score over the folds, and whether it is defined.
    layers
        Layer number of each row.
    words, tokens
        Per column, as :func:`experiments.figures.labels.positions` takes them.
    landmarks
        Role (source, destination, distractor) → column; roles may be absent.
    curve_layers
        Layer numbers to draw curves of, each one of ``layers``.
    significant
        ``(L, T)``: 1 where the family-wise test finds a structure, 0 where not, NaN where it was
        not made. What is 1 is outlined on the map.
    chance
        Lower and upper ends, ``(L, T)`` each, of the scores under permuted labels, NaN where not
        tested. One band behind the curves spans those of all their layers.

    Raises
    ------
    ValueError
        Shapes do not fit each other, a curve's layer is not there, an undefined site is
        significant, or a lower end is above its upper end.
    """
    names = positions(words, tokens, landmarks)
    values = checked(mean, status_ok, layers, names)
    if missing := set(curve_layers) - set(layers):
        raise ValueError(f"no scores of layers {sorted(missing)}")
    chosen = [list(layers).index(layer) for layer in curve_layers]
    outlined = None if significant is None else checked_significant(significant, values)
    band = None
    if chance is not None:
        lower, upper = (checked(end, None, layers, names)[chosen] for end in chance)
        band = _span(lower, upper)
    figure = new_figure(title, caption, height=5.6)
    left, right = figure.subplots(1, 2, width_ratios=(1.42, 1))

    mesh = paint_map(left, values)
    layer_ticks(left.yaxis, layers)
    dress(left, ylabel="layer", title="every layer and position")
    handles = legend_of_map(names, words, values, ROLES)
    if outlined is not None:
        handles += outline(left, outlined)
    mark(left, names, ROLES)
    bar = figure.colorbar(mesh, ax=left, pad=0.015, aspect=30)
    dress_colorbar(bar, "score")

    paint_curves(right, values[chosen], curve_layers, band)
    dress_curves(right)
    dress(right, ylabel="score", title=f"the score at {_listed(curve_layers)}")
    mark(right, names, ROLES)

    legend_above(figure, handles)
    fit_labels(figure, [(left.xaxis, names), (right.xaxis, names)])
    save(figure, path)


def paint_curves(
    ax: Axes,
    values: np.ndarray,
    layers: Sequence[int],
    chance: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Draw scores ``(len(layers), T)`` over the positions; positions without any are hatched.

    ``chance`` are the ends of a band behind them, ``(T,)`` each, with gaps at NaN.
    """
    places = np.arange(values.shape[1])
    for index, (layer, scores) in enumerate(zip(layers, values, strict=True)):
        ax.plot(
            places,
            scores,
            color=SERIES[index % len(SERIES)],
            marker=MARKERS[index % len(MARKERS)],
            markersize=3.2,
            linewidth=1.3,
            label=f"layer {layer}",
            zorder=4,
        )
    for place in np.flatnonzero(np.isnan(values).all(axis=0)):
        ax.axvspan(
            place - 0.5,
            place + 0.5,
            facecolor=UNDEFINED_FACE,
            edgecolor=UNDEFINED_EDGE,
            hatch=UNDEFINED_HATCH,
            linewidth=0,
            zorder=1,
        )
    if chance is not None and not np.isnan(chance).all():
        lower, upper = chance
        band = ax.stairs(
            upper,
            np.arange(len(upper) + 1) - 0.5,
            baseline=lower,
            fill=True,
            label="chance (permuted labels)",
            zorder=2,
            gid="chance",
        )
        band.set(facecolor=CHANCE, linewidth=0)
    ax.set_xlim(-0.6, values.shape[1] - 0.4)
    ax.legend(
        loc="lower right",
        fontsize=TEXT,
        framealpha=0.9,
        edgecolor="none",
        borderpad=0.3,
        handlelength=1.8,
    ).set_zorder(5)


def _span(lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest lower and highest upper ends ``(T,)`` over rows ``(n, T)``; NaN where none has both.

    Raises
    ------
    ValueError
        A lower end is above its upper end.
    """
    if (lower > upper).any():
        raise ValueError("a lower end of chance is above its upper end")
    missing = np.isnan(lower) | np.isnan(upper)
    lowest = np.where(missing, np.inf, lower).min(axis=0)
    highest = np.where(missing, -np.inf, upper).max(axis=0)
    nowhere = missing.all(axis=0)
    return np.where(nowhere, np.nan, lowest), np.where(nowhere, np.nan, highest)


def _listed(layers: Sequence[int]) -> str:
    """Name layers in a sentence."""
    numbers = [str(layer) for layer in layers]
    if len(numbers) == 1:
        return f"layer {numbers[0]}"
    return f"layers {', '.join(numbers[:-1])} and {numbers[-1]}"
