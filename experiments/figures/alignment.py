"""What plain token positions do to a score: the source aligned by word, and by token index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axes._secondary_axes import SecondaryAxis
from matplotlib.lines import Line2D

from experiments.figures.heatmap import checked
from experiments.figures.labels import fit_labels, positions
from experiments.figures.style import (
    INK,
    SOURCE,
    TEXT,
    dress,
    dress_curves,
    new_figure,
    save,
)
from gpu_smds._files import File

#: Raw columns, from the commonest to the rarest.
RAW = ("#0b3c6f", "#2f7fc1", "#6aaed6", "#8d8d8d")
MOST_COLUMNS = 4


def draw_alignment(
    path: Path | str | File,
    aligned: np.ndarray,
    raw: np.ndarray,
    layers: Sequence[int],
    *,
    words: Sequence[str],
    tokens: Sequence[str],
    landmarks: Mapping[str, int],
    raw_tokens: Sequence[str],
    raw_landmarks: Mapping[str, int],
    month_columns: Mapping[int, int],
    layer: int,
    title: str,
    caption: str = "",
) -> None:
    """Draw Exp 1 by word and by token index: over the layers at the source, over positions at one.

    Parameters
    ----------
    path
        PNG file to write.
    aligned, raw
        ``(L, T)`` and ``(L, T_raw)`` scores, NaN where undefined.
    layers
        Layer number of each row of both.
    words, tokens, landmarks
        Of the aligned columns; landmarks must name the source.
    raw_tokens, raw_landmarks
        Of the raw columns, in the first sentence.
    month_columns
        Raw column → number of sentences whose source is there.
    layer
        Layer of the right panel.

    Raises
    ------
    ValueError
        Shapes do not fit each other, or no such layer or column.
    """
    names = positions(words, tokens, landmarks)
    raw_names = positions(raw_tokens, raw_tokens, raw_landmarks)
    aligned = checked(aligned, None, layers, names)
    raw = checked(raw, None, layers, raw_names)
    if layer not in layers or "source" not in landmarks or not month_columns:
        raise ValueError("needs a layer that is there, a source, and the raw columns it falls on")
    if not all(0 <= column < raw.shape[1] for column in month_columns):
        raise ValueError(f"columns {sorted(month_columns)} of {raw.shape[1]}")
    commonest = sorted(month_columns, key=lambda c: (-month_columns[c], c))[:MOST_COLUMNS]
    colours = dict(zip(commonest, RAW, strict=False))
    row = list(layers).index(layer)

    figure = new_figure(title, caption, height=6.2)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    total = sum(month_columns.values())
    lines = [(f"{names.word(words, 'source')},\naligned", SOURCE, aligned[:, landmarks["source"]])]
    lines += [
        (f"token {c}:\n{month_columns[c] / total:.0%} of rows", colours[c], raw[:, c])
        for c in commonest
    ]
    _over_layers(left, layers, lines, names.word(words, "source"))
    top = _over_positions(right, aligned[row], raw[row], landmarks["source"], colours)
    dress(right, ylabel=f"score at layer {layer}")
    fit_labels(figure, [(right.xaxis, names), (top.xaxis, raw_names)])
    save(figure, path)


def _over_layers(
    ax: Axes, layers: Sequence[int], lines: Sequence[tuple[str, str, np.ndarray]], source: str
) -> None:
    """Draw a line per column, named at its right end."""
    ends = []
    for i, (_, color, scores) in enumerate(lines):
        ax.plot(layers, scores, color=color, linewidth=2.2 if i == 0 else 1.6, zorder=4 - 0.1 * i)
        known = scores[~np.isnan(scores)]
        ends.append(float(known[-1]) if len(known) else 0.0)
    for (name, color, _), height in zip(lines, spread(ends, gap=0.085), strict=True):
        ax.annotate(
            name,
            xy=(1.0, height),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=TEXT,
            linespacing=1.0,
            color=color,
            fontweight="bold" if color == SOURCE else "normal",
            parse_math=False,
            annotation_clip=False,
        )
    ax.set_xlim(min(layers), max(layers))
    dress_curves(ax)
    dress(ax, xlabel="layer", ylabel="score", title=f"at {source}")


def _over_positions(
    ax: Axes, aligned: np.ndarray, raw: np.ndarray, source: int, colours: Mapping[int, str]
) -> SecondaryAxis:
    """Draw both scores over their own columns; words below, raw tokens above."""
    ax.plot(aligned, color=SOURCE, linewidth=1.8, marker="o", markersize=3, zorder=4)
    ax.plot(raw, color=RAW[0], linewidth=1.2, marker="s", markersize=2.6, zorder=3)
    ax.plot([source], [aligned[source]], "o", color=SOURCE, markersize=8, zorder=6)
    for column, color in colours.items():
        ax.plot(
            [column],
            [raw[column]],
            "s",
            color=color,
            markersize=7.5,
            markeredgecolor="white",
            zorder=5,
        )
    ax.set_xlim(-0.6, max(len(aligned), len(raw)) - 0.4)
    dress_curves(ax)
    ax.legend(
        handles=[
            Line2D([], [], color=SOURCE, marker="o", markersize=4, label="aligned by word (below)"),
            Line2D([], [], color=RAW[0], marker="s", markersize=4, label="by token index (above)"),
        ],
        loc="lower right",
        fontsize=TEXT,
        labelcolor=INK,
        framealpha=0.9,
        edgecolor="none",
    )
    top = ax.secondary_xaxis("top")
    top.tick_params(labelsize=TEXT, length=2.5, width=0.6, color="#777777")
    top.spines["top"].set(linewidth=0.6, color="#777777")
    return top


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move labels apart, keeping their order, so that neighbours are at least ``gap`` apart."""
    order = np.argsort(heights, kind="stable")
    placed = np.asarray(heights, dtype=np.float64)[order]
    # Each overlapping run of labels is centred on the mean of where its members belong.
    groups = [[height] for height in placed]
    merged = True
    while merged:
        merged = False
        for i in range(len(groups) - 1):
            lower, upper = groups[i], groups[i + 1]
            reach = gap * (len(lower) + len(upper)) / 2
            if np.mean(upper) - np.mean(lower) < reach - 1e-12:
                groups[i : i + 2] = [lower + upper]
                merged = True
                break
    ordered = [
        float(np.mean(group)) + gap * (k - (len(group) - 1) / 2)
        for group in groups
        for k in range(len(group))
    ]
    result = [0.0] * len(ordered)
    for place, height in zip(order, ordered, strict=True):
        result[place] = height
    return result
