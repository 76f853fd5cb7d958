"""Similarity of the fitted maps of every pair of positions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.figures.sites import Axes2D, hatch_undefined, label_positions
from experiments.figures.style import SOURCE_COLOUR, draw, frame

#: Cosines below this are left blank, as in the study.
BLANK_BELOW = 0.05


def draw_similarity(
    path: Path, similarity: np.ndarray, sites: Axes2D, title: str, caption: str = ""
) -> None:
    """Exp 2: absolute cosines ``(positions, positions)``.

    Values under 0.05 are blank, the diagonal is masked, undefined rows are hatched, and a box
    names the value of source and destination.
    """
    colours = LinearSegmentedColormap.from_list(
        "white-yellow-green", ["#ffffff", "#ffe873", "#2c7f3f", "#0b3d1a"]
    )

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        undefined = ~np.isfinite(similarity)
        shown = np.ma.masked_where(
            undefined | (similarity < BLANK_BELOW) | np.eye(len(similarity), dtype=bool),
            similarity,
        )
        image = axes.imshow(shown, cmap=colours, vmin=0, vmax=1, interpolation="nearest", zorder=1)
        np.fill_diagonal(undefined, False)
        patches = hatch_undefined(axes, undefined)
        diagonal = np.arange(len(similarity))
        axes.scatter(diagonal, diagonal, marker="s", s=14, color="#d9d9d9", zorder=1.5)
        frame(axes)
        label_positions(axes, sites)
        label_positions(axes, sites, axis="y")
        bar = figure.colorbar(image, ax=axes, pad=0.02, fraction=0.046)
        bar.set_label("absolute cosine of the flattened maps (blank under 0.05)")
        if {"source", "destination"} <= sites.landmarks.keys():
            row, column = sites.landmarks["source"], sites.landmarks["destination"]
            axes.add_patch(
                Rectangle(
                    (column - 0.5, row - 0.5),
                    1,
                    1,
                    fill=False,
                    edgecolor=SOURCE_COLOUR,
                    lw=2,
                    zorder=3,
                )
            )
            left = column > len(similarity) / 2
            axes.annotate(
                f"{sites.name('source')} → {sites.name('destination')}: "
                f"{similarity[row, column]:.3f}",
                (column - 0.5 if left else column + 0.5, row),
                xytext=(-26 if left else 26, 22 if row > 3 else -22),
                textcoords="offset points",
                ha="right" if left else "left",
                va="center",
                color=SOURCE_COLOUR,
                fontweight="bold",
                bbox={"boxstyle": "round,pad=0.25", "fc": "white", "ec": "none", "alpha": 0.9},
                arrowprops={"arrowstyle": "-", "color": SOURCE_COLOUR, "lw": 1},
                zorder=4,
            )
        if patches:
            axes.legend(handles=patches, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)

    side = 2.6 + 0.17 * len(sites.words)
    draw(path, (side + 0.9, side), paint, title, caption)
