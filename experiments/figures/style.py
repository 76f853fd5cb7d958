"""What all figures share: size, fonts, colours, title and caption, and how a file is written.

Nothing here touches matplotlib's global state: figures are built without pyplot, and every size
and colour is given to the artist it is for.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.transforms import offset_copy
from rich.cells import cell_len

from experiments.figures.fonts import drawable, use_fonts
from gpu_smds._files import SOFTWARE, File, is_our_picture

# Inches and points. At a width of 800 pixels the smallest text is still 10 pixels high.
WIDTH = 10.0
DPI = 200
TITLE = 13.0
LABEL = 10.5
TEXT = 9.5
LINE = 1.7

INK = "#222222"
GRID = "#dddddd"
SOURCE = "#e3170d"
DISTRACTOR = "#e07be0"
#: Lines that are told apart; red is the source's.
SERIES = ("#e69f00", "#0072b2", "#5b2a86", "#009e73", "#8c564b", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P")

UNDEFINED_FACE = "#efefef"
UNDEFINED_EDGE = "#9a9a9a"
UNDEFINED_HATCH = "/////"

# In no text that can be drawn, and no place to break a line.
_FILLER = "\x00"


def new_figure(title: str, caption: str = "", *, height: float, width: float = WIDTH) -> Figure:
    """Start a figure (inches) with a title above and a small caption below, both wrapped."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06))
    FigureCanvasAgg(figure)
    left = 0.08 / width
    figure.suptitle(
        wrapped(title, width, 1.08 * TITLE),  # bold letters are wider
        x=left,
        ha="left",
        fontsize=TITLE,
        fontweight="bold",
        color=INK,
        parse_math=False,
        gid="title",
    )
    if caption:
        # A caption is a figure-wide x label, for which the layout leaves room.
        figure.supxlabel(
            wrapped(caption, width, TEXT),
            x=left,
            ha="left",
            fontsize=TEXT,
            color="#444444",
            parse_math=False,
        )
    return figure


def wrapped(text: str, width: float, size: float) -> str:
    """Break text into lines that fit a width in inches at a font size in points."""
    letters = int((width - 0.2) * 72 / (0.54 * size))
    # What is as wide as two letters counts as two.
    spaced = "".join(c + _FILLER * (cell_len(c) - 1) for c in drawable(text))
    filled = "\n".join(textwrap.fill(line, letters) for line in spaced.splitlines())
    return filled.replace(_FILLER, "")


def save(figure: Figure, path: Path | str | File) -> None:
    """Write a PNG file: whole, or not at all.

    Raises
    ------
    OSError
        The file cannot be written; nothing is left of it, and an older one is untouched.
    FilesError
        The name is taken by something that was not drawn here.
    """
    use_fonts(figure)
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=DPI, metadata={"Software": SOFTWARE})
    File.of(path).write(picture.getvalue(), is_our_picture)


def dress(ax: Axes, *, xlabel: str = "", ylabel: str = "", title: str = "") -> None:
    """Give a panel the shared fonts and light spines."""
    ax.tick_params(labelsize=TEXT, length=2.5, width=0.6, color="#777777", labelcolor=INK)
    for spine in ax.spines.values():
        spine.set(linewidth=0.6, color="#777777")
    ax.set_xlabel(xlabel, fontsize=LABEL, color=INK, parse_math=False)
    ax.set_ylabel(ylabel, fontsize=LABEL, color=INK, parse_math=False)
    if title:
        ax.set_title(drawable(title), fontsize=LABEL, color=INK, loc="left", parse_math=False)


def dress_curves(ax: Axes, *, ylabel: str = "score") -> None:
    """Make a panel one of scores over something: 0 to 1, a light grid, open at the top right."""
    ax.set_ylim(0, 1.02)
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.grid(axis="y", color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    dress(ax, ylabel=ylabel)


def dress_colorbar(bar: Colorbar, label: str) -> None:
    """Give a colour bar the shared fonts."""
    bar.set_label(label, fontsize=LABEL, color=INK, parse_math=False)
    bar.ax.tick_params(labelsize=TEXT, length=2.5, width=0.6, color="#777777", labelcolor=INK)
    bar.outline.set(linewidth=0.6, color="#777777")


def legend_above(figure: Figure, handles: Sequence[Artist]) -> None:
    """Put one legend between the title and the panels, in as few rows as the width allows."""
    if not handles:
        return
    title = next(text for text in figure.texts if text.get_gid() == "title")
    for columns in range(len(handles), 0, -1):
        legend = _legend(figure, handles, title.get_text().count("\n") + 1, columns)
        if columns == 1 or legend.get_window_extent().x1 <= figure.bbox.x1:
            break
        legend.remove()
    # Empty last lines of the title are the room that the layout leaves for the legend.
    title.set_text(title.get_text() + "\n\u00a0" * -(-len(handles) // columns))


def _legend(figure: Figure, handles: Sequence[Artist], lines: int, columns: int) -> Legend:
    """Legend below a title of so many lines, wherever the figure's top will be."""
    legend = figure.legend(
        handles=list(handles),
        loc="upper left",
        bbox_to_anchor=(0, 1),
        bbox_transform=offset_copy(
            figure.transFigure, figure, 0.08, -(1.32 * TITLE * lines / 72 + 0.03)
        ),
        ncols=columns,
        frameon=False,
        fontsize=TEXT,
        labelcolor=INK,
        handlelength=2.2,
        columnspacing=1.6,
        borderpad=0.0,
        borderaxespad=0.0,
    )
    legend.set_in_layout(False)
    use_fonts(figure)
    return legend


def hatch_behind(ax: Axes) -> None:
    """Cover a panel with the pattern of undefined sites, to show through where nothing is drawn."""
    ax.add_patch(
        Rectangle(
            (0, 0),
            1,
            1,
            transform=ax.transAxes,
            facecolor=UNDEFINED_FACE,
            edgecolor=UNDEFINED_EDGE,
            hatch=UNDEFINED_HATCH,
            linewidth=0,
            zorder=0,
            gid="undefined",
        )
    )


def undefined_handle() -> Patch:
    """Legend entry of undefined sites."""
    return Patch(
        facecolor=UNDEFINED_FACE,
        edgecolor=UNDEFINED_EDGE,
        hatch=UNDEFINED_HATCH,
        linewidth=0.5,
        label="undefined",
    )


def landmark_line(ax: Axes | None, role: str, position: float, label: str = "") -> Line2D:
    """Mark a landmark's position by a vertical line; without a panel, its legend entry."""
    color, dashes, outline = {
        "source": (SOURCE, None, "white"),  # or it is lost on a map of reds
        # White is the study's; the outline makes it visible on light colours.
        "destination": ("white", (4.0, 1.6), "#111111"),
        "distractor": (DISTRACTOR, (1.2, 1.2), None),
    }[role]
    effects = [withStroke(linewidth=LINE + 1.3, foreground=outline)] if outline else None
    line = Line2D(
        [position, position],
        [0, 1],
        color=color,
        linestyle=(0, dashes) if dashes else "-",
        linewidth=LINE,
        path_effects=effects,
        label=label,
        gid=role,
        zorder=3,
    )
    if ax is not None:
        line.set_transform(ax.get_xaxis_transform())
        ax.add_line(line)
    return line


def layer_ticks(axis: Axis, layers: Sequence[int], *, most: int = 11) -> None:
    """Label rows or columns with round layer numbers, the first and the last ones included."""
    steps = (1, 2, 5, 10, 20, 50, 100)
    last = len(layers) - 1
    for step in steps:
        chosen = [i for i, layer in enumerate(layers) if layer % step == 0]
        chosen = [i for i in chosen if last - i >= 0.6 * step or i == last]
        if last not in chosen:
            chosen.append(last)
        if len(chosen) <= most:
            break
    else:
        chosen = [0, last]
    axis.set_ticks(chosen, labels=[str(layers[i]) for i in chosen])


def defined(values: np.ndarray, ok: np.ndarray | None) -> np.ndarray:
    """Return values as float64 with NaN wherever a site is undefined."""
    values = np.array(values, dtype=np.float64)
    if ok is not None:
        values[~np.asarray(ok, dtype=bool)] = np.nan
    values[~np.isfinite(values)] = np.nan
    return values


def readable_on(color: Sequence[float]) -> str:
    """Black or white, whichever is read more easily on a colour."""
    red, green, blue = color[:3]
    return "#111111" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.55 else "white"
