"""What plain token positions do to a score: aligned and raw columns of the source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.figures.sites import Axes2D, label_positions
from experiments.figures.style import SOURCE_COLOUR, draw


def draw_misalignment(
    path: Path,
    aligned: tuple[np.ndarray, Axes2D],
    raw: tuple[np.ndarray, Axes2D],
    source_columns: Mapping[int, int],
    layer: int,
    title: str,
    caption: str = "",
) -> None:
    """Exp 1 by word and by plain token index.

    Parameters
    ----------
    path, title, caption
        As everywhere.
    aligned, raw
        Scores ``(layers, positions)`` with their axes.
    source_columns
        Raw column of the source → number of sentences that have it there.
    layer
        Layer of the right panel.
    """

    def paint(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=[1, 1.5])
        scores, sites = aligned
        raw_scores, raw_sites = raw
        total = sum(source_columns.values())
        left.plot(
            sites.layers,
            scores[:, sites.landmarks["source"]],
            color=SOURCE_COLOUR,
            linewidth=2,
            label=f"{sites.name('source')}, aligned by word",
        )
        ordered = sorted(source_columns, key=lambda c: -source_columns[c])
        for shade, column in zip(
            ("#08306b", "#4292c6", "#9ecae1", "#c6dbef"), ordered, strict=False
        ):
            left.plot(
                raw_sites.layers,
                raw_scores[:, column],
                color=shade,
                label=f"token {column}: the month in {source_columns[column] / total:.0%}",
            )
        left.set_xlabel("layer")
        left.set_ylabel("score")
        left.set_ylim(0, 1.02)
        left.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
        row = list(sites.layers).index(layer)
        right.plot(scores[row], color=SOURCE_COLOUR, marker="o", markersize=3, linewidth=1.6)
        # Raw columns on the scale of the aligned ones: both run from the first to the last token.
        raw_row = raw_scores[list(raw_sites.layers).index(layer)]
        x = np.linspace(0, len(sites.words) - 1, len(raw_row))
        right.plot(x, raw_row, color="#08306b", marker="s", markersize=3, linewidth=1.2)
        right.set_ylim(0, 1.02)
        right.set_title(f"layer {layer}, by word (red) and by token index (blue)")
        label_positions(right, sites)

    draw(path, (11.5, 4.6), paint, title, caption)
