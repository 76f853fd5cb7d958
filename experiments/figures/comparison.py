"""Exp 1 of several models side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from experiments.figures.fonts import drawable
from experiments.figures.heatmap import checked, legend_of_map, mark, paint_map
from experiments.figures.labels import Positions, fit_labels, positions
from experiments.figures.style import (
    INK,
    LABEL,
    MARKERS,
    SERIES,
    TEXT,
    WIDTH,
    dress,
    dress_colorbar,
    dress_curves,
    legend_above,
    new_figure,
    readable_on,
    save,
)
from experiments.visible import visible
from gpu_smds._files import File

ROLES = ("source", "distractor", "destination")
PER_ROW = 3
#: Inches: what the lower panel's title leaves for the names of the models, and an entry's mark.
BESIDE_TITLE, HANDLE = 6.0, 0.55


class Model(TypedDict):
    """One model's Exp 1: a name, scores ``(L, T)`` with ``ok``, and what its axes are."""

    name: str
    mean: np.ndarray
    ok: np.ndarray
    layers: Sequence[int]
    words: Sequence[str]
    landmarks: dict[str, int]


def draw_comparison(
    path: Path | str | File, models: Sequence[Model], *, title: str, caption: str = ""
) -> None:
    """Draw the maps over relative depth (0 embeddings, 1 last layer), and the best scores below.

    Below are curves over the positions where all models have the same words, else bars of the
    landmarks.

    Raises
    ------
    ValueError
        No model, or shapes that do not fit each other.
    """
    if not models:
        raise ValueError("a comparison needs at least one model")
    names = [positions(m["words"], m["words"], m["landmarks"]) for m in models]
    maps = [checked(m["mean"], m["ok"], m["layers"], n) for m, n in zip(models, names, strict=True)]
    rows, columns = -(-len(models) // PER_ROW), min(len(models), PER_ROW)
    figure = new_figure(title, caption, height=3.9 + 3.3 * rows)
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=[1.05] * rows + [1])
    tops = [figure.add_subplot(grid[i // columns, i % columns]) for i in range(len(models))]
    room = (WIDTH - 1.4) / columns
    for i, (ax, model, values) in enumerate(zip(tops, models, maps, strict=True)):
        mesh = paint_map(ax, values, rows=_edges(_depth(model["layers"])))
        ax.set_yticks(np.linspace(0, 1, 6) if i % columns == 0 else [])
        dress(
            ax,
            ylabel="relative depth" if i % columns == 0 else "",
            title=_cut(model["name"], LABEL, room),
        )
        mark(ax, names[i], ROLES)
    dress_colorbar(figure.colorbar(mesh, ax=tops, pad=0.01, aspect=25 * rows), "score")

    below = figure.add_subplot(grid[rows, :])
    best = [_best(values) for values in maps]
    labelled = [(ax.xaxis, n) for ax, n in zip(tops, names, strict=True)]
    if all(list(m["words"]) == list(models[0]["words"]) for m in models):
        _curves(below, models, best)
        mark(below, names[0], ROLES)
        labelled.append((below.xaxis, names[0]))
    else:
        _bars(below, models, names, best)
    dress(below, ylabel="score", title="best score over the layers")
    every = np.concatenate([values.ravel() for values in maps])
    legend_above(figure, legend_of_map(names[0], models[0]["words"], every, ROLES))
    fit_labels(figure, labelled)
    save(figure, path)


def _depth(layers: Sequence[int]) -> np.ndarray:
    """Layer numbers as fractions of the highest."""
    return np.asarray(layers, dtype=np.float64) / max(1, *layers)


def _edges(depth: np.ndarray) -> np.ndarray:
    """Row edges half-way between depths, the outer ones at 0 and 1 or beyond by half a row."""
    if len(depth) == 1:
        return np.array([depth[0] - 0.5, depth[0] + 0.5])
    middle = (depth[1:] + depth[:-1]) / 2
    first, last = depth[0] - (middle[0] - depth[0]), depth[-1] + (depth[-1] - middle[-1])
    return np.concatenate([[first], middle, [last]])


def _best(values: np.ndarray) -> np.ndarray:
    """Highest defined score of each position; NaN where none is."""
    best: np.ndarray = np.where(np.isnan(values), -np.inf, values).max(axis=0)
    return np.where(np.isfinite(best), best, np.nan)


def _curves(ax: Axes, models: Sequence[Model], best: Sequence[np.ndarray]) -> None:
    for i, (model, scores) in enumerate(zip(models, best, strict=True)):
        ax.plot(
            scores,
            color=SERIES[i % len(SERIES)],
            marker=MARKERS[i % len(MARKERS)],
            markersize=3.5,
            linewidth=1.4,
            label=_cut(model["name"]),
            zorder=4,
        )
    ax.set_xlim(-0.6, len(best[0]) - 0.4)
    _finish(ax)


def _bars(
    ax: Axes, models: Sequence[Model], names: Sequence[Positions], best: Sequence[np.ndarray]
) -> None:
    roles = [role for role in ROLES if any(role in n.landmarks for n in names)]
    width = 0.8 / len(models)
    for i, (model, labels, scores) in enumerate(zip(models, names, best, strict=True)):
        shift = (i - (len(models) - 1) / 2) * width
        for place, role in enumerate(roles):
            if role not in labels.landmarks:
                continue
            score = scores[labels.landmarks[role]]
            undefined = np.isnan(score)
            ax.bar(
                place + shift,
                0 if undefined else score,
                width=0.92 * width,
                color=SERIES[i % len(SERIES)],
                label=_cut(model["name"]) if place == 0 else None,
            )
            ax.text(
                place + shift,
                0.02 if undefined else score - 0.02,
                "undefined" if undefined else f"{score:.2f}",
                rotation=90 if undefined else 0,
                ha="center",
                va="bottom" if undefined else "top",
                fontsize=TEXT,
                color=INK if undefined else readable_on(to_rgb(SERIES[i % len(SERIES)])),
                fontweight="normal" if undefined else "bold",
            )
    said = [
        next(
            n.legend(m["words"], role)
            for m, n in zip(models, names, strict=True)
            if role in n.landmarks
        )
        for role in roles
    ]
    ax.set_xticks(range(len(roles)), said)
    _finish(ax)


def _cut(name: str, size: float = TEXT, room: float = BESIDE_TITLE - HANDLE) -> str:
    """Cut a name in the middle, where it has no room of so many inches."""
    return visible(drawable(name), int(room * 72 / (0.56 * size)))


def _finish(ax: Axes) -> None:
    dress_curves(ax)
    names = ax.get_legend_handles_labels()[1]
    widest = HANDLE + 0.56 * TEXT / 72 * max(map(len, names), default=0)
    legend = ax.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        borderaxespad=0.1,
        ncols=max(1, min(PER_ROW, int(BESIDE_TITLE / widest))),
        fontsize=TEXT,
        labelcolor=INK,
        frameon=False,
        handlelength=1.6,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
