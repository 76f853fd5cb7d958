"""Several models side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.figures.heatmap import heat
from experiments.figures.sites import (
    Axes2D,
    hatch_undefined,
    label_layers,
    label_positions,
    mark_landmarks,
)
from experiments.figures.style import draw, frame


@dataclass(frozen=True)
class ModelScores:
    """One model's map of scores ``(layers, positions)``."""

    name: str
    scores: np.ndarray
    sites: Axes2D


def draw_comparison(
    path: Path, models: Sequence[ModelScores], title: str, caption: str = ""
) -> None:
    """Maps of Exp 1 beside each other with one colour scale; below, the landmarks' best scores."""

    def paint(figure: Figure) -> None:
        widths = [len(model.sites.words) for model in models]
        top, bottom = figure.subfigures(2, 1, height_ratios=[2.2, 1])
        row = np.atleast_1d(top.subplots(1, len(models), width_ratios=widths))
        for axes, model in zip(row, models, strict=True):
            image = heat(axes, model.scores)
            undefined = hatch_undefined(axes, ~np.isfinite(model.scores))
            frame(axes)
            lines = mark_landmarks(axes, model.sites)
            label_positions(axes, model.sites)
            label_layers(axes, model.sites.layers)
            axes.set_title(model.name, pad=20)
            axes.legend(
                handles=[*lines, *undefined],
                loc="lower left",
                bbox_to_anchor=(0, 1),
                ncols=2,
                borderaxespad=0.2,
            )
        top.colorbar(image, ax=row, pad=0.01, fraction=0.03).set_label("score")
        _bars(bottom, models)

    width = 2.6 * len(models) + 0.16 * sum(len(model.sites.words) for model in models)
    draw(path, (max(width, 6.5), 7.2), paint, title, caption)


def _bars(figure: object, models: Sequence[ModelScores]) -> None:
    axes = figure.subplots()  # type: ignore[attr-defined]
    roles = [
        role
        for role in ("source", "distractor", "destination")
        if all(role in model.sites.landmarks for model in models)
    ]
    shades = ("#08306b", "#4292c6", "#9ecae1", "#fd8d3c", "#a63603", "#636363")
    width = 0.8 / len(models)
    for i, model in enumerate(models):
        best = [_best(model.scores[:, model.sites.landmarks[role]]) for role in roles]
        x = np.arange(len(roles)) + (i - (len(models) - 1) / 2) * width
        bars = axes.bar(x, best, width * 0.92, color=shades[i % len(shades)], label=model.name)
        axes.bar_label(bars, fmt="%.2f", fontsize=8, padding=1)
    axes.set_xticks(range(len(roles)), [models[0].sites.name(role) for role in roles])
    axes.set_ylim(0, 1.12)
    axes.set_ylabel("score at best layer")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _best(column: np.ndarray) -> float:
    return float(np.nanmax(column)) if np.isfinite(column).any() else np.nan
