"""Which manifold wins at which site, and by how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from experiments.figures.heatmap import borders, checked, legend_of_map, mark
from experiments.figures.labels import Positions, fit_labels, positions, short
from experiments.figures.style import (
    INK,
    LABEL,
    TEXT,
    dress,
    hatch_behind,
    layer_ticks,
    legend_above,
    new_figure,
    save,
)
from gpu_smds._files import File

#: In place of a winner: no manifold beats the baseline; the site cannot be scored.
NOBODY, UNDEFINED = -1, -2

ROLES = ("source", "distractor", "destination")
#: Margin over the second best from which on a colour is full, and how much of it is left at 0.
FULL, FAINTEST = 0.2, 0.35

#: The shapes that smds has. Okabe and Ito's colours come first; with deficient colour vision no two
#: of the sixteen are closer than the closest of theirs.
COLOURS = {
    "circular": "#e69f00",
    "euclidean": "#0072b2",
    "log_linear": "#56b4e9",
    "semicircular": "#009e73",
    "discrete_circular": "#f0e442",
    "cluster": "#5b2a86",
    "chain": "#cc79a7",
    "spiral": "#782d00",
    "hierarchical": "#a52d4b",
    "spherical": "#78d296",
    "cylindrical": "#5a2dff",
    "torus": "#c31e96",
    "geodesic": "#5a87ff",
    "graph_geodesic": "#780f4b",
    "klein_bottle": "#1e0fc3",
    "polytope": "#ff4b5a",
}
NOBODY_FACE = "#e4e4e4"
NOBODY_DOT = "#8c8c8c"
NOBODY_SAYS = "nothing beats\nshuffled labels"

#: Rows that the bars have room for; fewer are not made thicker.
ROWS = 17
#: Colours in the legend of the shades.
SHADES = 6

type Colour = tuple[float, float, float]


def draw_winners(
    path: Path | str | File,
    winner: np.ndarray,
    margin: np.ndarray,
    manifolds: Sequence[str],
    layers: Sequence[int],
    words: Sequence[str],
    tokens: Sequence[str],
    landmarks: Mapping[str, int],
    *,
    title: str,
    caption: str = "",
) -> None:
    """Draw the best manifold per (layer, position), paler the closer the second; counts beside it.

    Parameters
    ----------
    path
        PNG file to write.
    winner
        ``(L, T)`` integers: index into ``manifolds``, -1 where none beats the baseline (shuffled
        labels), -2 where undefined.
    margin
        ``(L, T)``: score of the winner minus that of the second best. Read where there is a winner;
        infinite where there is no second.
    manifolds
        At most 16 names. Those of smds always have the same colour, others as far as it is free.
    layers
        Layer number of each row.
    words, tokens
        Per column, as :func:`experiments.figures.labels.positions` takes them.
    landmarks
        Role (source, destination, distractor) → column; roles may be absent.

    Raises
    ------
    ValueError
        Shapes do not fit each other, a winner is not among the manifolds, a margin is negative or
        NaN, or names repeat or are too many.
    """
    names = positions(words, tokens, landmarks)
    winner, margin = np.asarray(winner), np.asarray(margin, dtype=np.float64)
    shown = np.where(winner == UNDEFINED, np.nan, 0.0)
    for values in (shown, margin):
        checked(values, None, layers, names)
    if not np.issubdtype(winner.dtype, np.integer) or (
        winner.size and not UNDEFINED <= winner.min() <= winner.max() < len(manifolds)
    ):
        raise ValueError(f"winners must be integers from -2 to {len(manifolds) - 1}")
    if not (margin[winner >= 0] >= 0).all():
        raise ValueError("the margin of a winner must be 0 or more")
    colours = colours_of(manifolds)

    figure = new_figure(title, caption, height=6.4)
    grid = figure.add_gridspec(2, 2, width_ratios=(2.55, 1), height_ratios=(1, 0.07))
    ax = figure.add_subplot(grid[:, 0])
    _paint(ax, winner, margin, colours)
    layer_ticks(ax.yaxis, layers)
    dress(ax, xlabel="position", ylabel="layer")
    mark(ax, names, ROLES)
    bars, strip = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1])
    won = _count(bars, winner, manifolds, colours)
    _explain_shades(strip, [colours[i] for i in won[:SHADES]])
    legend_above(figure, legend_of_map(names, words, shown, ROLES))
    fit_labels(figure, [(ax.xaxis, names)])
    _name_regions(figure, ax, names, winner, manifolds)
    save(figure, path)


def colours_of(manifolds: Sequence[str]) -> list[Colour]:
    """One colour per name, all different: the name's own, else a free one that its letters choose.

    Raises
    ------
    ValueError
        Names repeat, or are more than there are colours.
    """
    if len(set(manifolds)) < len(manifolds) or len(manifolds) > len(COLOURS):
        raise ValueError(f"up to {len(COLOURS)} manifolds can be told apart, each named once")
    taken = {name: COLOURS[name] for name in manifolds if name in COLOURS}
    palette = list(COLOURS.values())
    for name in sorted(set(manifolds) - taken.keys()):
        start = crc32(name.encode()) % len(palette)
        turned = palette[start:] + palette[:start]
        taken[name] = next(c for c in turned if c not in taken.values())
    return [to_rgb(taken[name]) for name in manifolds]


def shade(color: Colour, margin: np.ndarray) -> np.ndarray:
    """Blend a colour to white by the margins; ``(*margin.shape, 3)``."""
    share = FAINTEST + (1 - FAINTEST) * np.clip(np.asarray(margin) / FULL, 0, 1)
    blended: np.ndarray = 1 - share[..., None] * (1 - np.asarray(color))
    return blended


def _paint(ax: Axes, winner: np.ndarray, margin: np.ndarray, colours: Sequence[Colour]) -> None:
    """Fill the cells; dots where nobody wins, the hatching of the panel where undefined."""
    n_rows, n_columns = winner.shape
    rgba = np.zeros((n_rows, n_columns, 4))
    for i, color in enumerate(colours):
        rgba[winner == i, :3] = shade(color, margin[winner == i])
    rgba[winner == NOBODY, :3] = to_rgb(NOBODY_FACE)
    rgba[winner != UNDEFINED, 3] = 1
    if (winner == UNDEFINED).any():
        hatch_behind(ax)
    ax.pcolormesh(
        np.arange(n_columns + 1) - 0.5,
        np.arange(n_rows + 1) - 0.5,
        rgba,
        antialiased=False,
        zorder=1,
    )
    _dot(ax, winner == NOBODY)
    thin = min(0.9, 60 / n_columns, 45 / n_rows)
    ax.add_collection(
        LineCollection(
            list(borders(winner)), colors="white", linewidths=thin, zorder=2, gid="borders"
        )
    )


def _dot(ax: Axes, cells: np.ndarray) -> None:
    """Strew dots evenly over cells: one in each, or, where cells are large, an even number a side.

    An even number leaves the middle, where lines of landmarks run, free.
    """
    n_rows, n_columns = cells.shape
    down, across = (2 * round(10 / n) if n <= 10 else 1 for n in (n_rows, n_columns))
    rows, columns = np.nonzero(np.kron(cells, np.ones((down, across), dtype=bool)))
    side = min(60 / n_columns, 50 / n_rows, 2.0)
    ax.scatter(
        (columns + 0.5) / across - 0.5,
        (rows + 0.5) / down - 0.5,
        s=side**2,
        color=NOBODY_DOT,
        linewidths=0,
        zorder=2,
        gid="nobody",
    )


def _count(
    ax: Axes,
    winner: np.ndarray,
    manifolds: Sequence[str],
    colours: Sequence[Colour],
) -> list[int]:
    """Draw a bar per manifold that wins somewhere, the legend at once; returns them in order."""
    total = int((winner != UNDEFINED).sum())
    counts = {i: int((winner == i).sum()) for i in range(NOBODY, len(manifolds))}
    won = sorted((i for i in counts if i >= 0 and counts[i]), key=lambda i: (-counts[i], i))
    rows = won + [NOBODY] * bool(counts[NOBODY])
    # The name of nobody has two lines.
    heights = [h + 0.3 * (i == NOBODY) for h, i in enumerate(rows)]
    most = max((counts[i] for i in rows), default=1)
    for height, i in zip(heights, rows, strict=True):
        color = NOBODY_FACE if i == NOBODY else colours[i]
        ax.barh(height, counts[i], height=0.62, color=color, linewidth=0, gid="won")
        # The swatch names the colour even where the bar is too short to be seen.
        _swatch(ax, height, 95, color)
        if i == NOBODY:
            _swatch(ax, height, 3, NOBODY_DOT)
        ax.annotate(
            f"{counts[i]} ({_percent(counts[i], total)})",
            xy=(counts[i], height),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=TEXT,
            color=INK,
        )
    said = [NOBODY_SAYS if i == NOBODY else _said(manifolds[i]) for i in rows]
    ax.set_yticks(heights, said)
    dress(ax)
    ax.set_xticks([])
    ax.set_xlim(0, 1.9 * most)
    ax.set_ylim(max(len(rows), ROWS) - 0.4, -1.8)
    # Inside: a title above the panel would push the map down.
    ax.text(
        0,
        -1.2,
        f"sites won, of {total}" if total else "no site is defined",
        va="center",
        fontsize=LABEL,
        color=INK,
    )
    ax.tick_params(axis="y", length=0, pad=17)
    for label in ax.get_yticklabels():
        label.set(parse_math=False, linespacing=0.95, va="center")
    ax.spines[:].set_visible(False)
    return won


def _swatch(ax: Axes, height: float, area: float, color: str | Colour) -> None:
    ax.scatter(
        -0.06,
        height,
        s=area,
        marker="s",
        color=[to_rgb(color)],
        linewidths=0,
        clip_on=False,
        transform=ax.get_yaxis_transform(),
    )


def _percent(part: int, whole: int) -> str:
    return "<1\u00a0%" if 0 < part < whole / 100 else f"{100 * part / whole:.0f}\u00a0%"


def _said(name: str) -> str:
    return short(name.replace("_", " "))


def _explain_shades(ax: Axes, colours: Sequence[Colour]) -> None:
    """Draw the legend of the margins: a strip per colour, from pale to full."""
    if not colours:
        ax.set_axis_off()
        return
    steps = np.linspace(0, FULL, 65)
    strips = np.stack([shade(color, (steps[1:] + steps[:-1]) / 2) for color in colours[::-1]])
    ax.pcolormesh(steps, np.linspace(0, 1, len(colours) + 1), strips, antialiased=False)
    ax.set_xticks([0, FULL / 2, FULL], ["0", f"{FULL / 2:g}", f"≥ {FULL:g}"])
    ax.set_yticks([])
    dress(ax, xlabel="margin over the second best")


def _name_regions(
    figure: Figure,
    ax: Axes,
    names: Positions,
    winner: np.ndarray,
    manifolds: Sequence[str],
) -> None:
    """Write each winner's name into its largest block of cells that has room for it."""
    figure.draw_without_rendering()
    cell_width = ax.bbox.width / winner.shape[1]
    cell_height = ax.bbox.height / winner.shape[0]
    lines = [names.landmarks[role] for role in ROLES if role in names.landmarks]
    for i in np.unique(winner[winner >= 0]):
        mine = winner == i
        mine[:, lines] = False
        text = ax.text(
            0,
            0,
            _said(manifolds[i]),
            ha="center",
            va="center",
            fontsize=TEXT,
            fontweight="bold",
            color=INK,
            path_effects=[withStroke(linewidth=2.2, foreground="white")],
            parse_math=False,
            gid="region",
            zorder=5,
        )
        box = text.get_window_extent()
        found = []
        for turned in (False, True):
            width, height = (box.height, box.width) if turned else (box.width, box.height)
            columns, rows = -(-width * 1.1 // cell_width), -(-height * 1.1 // cell_height)
            block = _largest_block(mine, int(rows), int(columns))
            if block is not None:
                found.append((turned, block))
        if not found:
            text.remove()
            continue
        turned, (top, bottom, left, right) = found[0]
        text.set(position=((left + right) / 2, (top + bottom) / 2), rotation=90 if turned else 0)


def _largest_block(mine: np.ndarray, rows: int, columns: int) -> tuple[int, int, int, int] | None:
    """First and last row and column of the largest block of at least this size within ``mine``."""
    best, area = None, 0
    for top in range(len(mine)):
        full = np.ones(mine.shape[1], dtype=bool)
        for bottom in range(top, len(mine)):
            full &= mine[bottom]
            if not full.any():
                break
            ends = np.flatnonzero(np.diff(np.concatenate([[0], full, [0]])))
            starts, stops = ends[::2], ends[1::2]
            widest = int(np.argmax(stops - starts))
            width, height = int((stops - starts)[widest]), bottom - top + 1
            if height >= rows and width >= columns and width * height > area:
                area = width * height
                best = (top, bottom, int(starts[widest]), int(stops[widest]) - 1)
    return best
