"""One look for all figures, without touching matplotlib's global state."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 160
SOURCE_COLOUR = "#d62728"
DESTINATION_COLOUR = "#1f4e9c"
DISTRACTOR_COLOUR = "#7a7a7a"
LANDMARK_COLOURS = {
    "source": SOURCE_COLOUR,
    "destination": DESTINATION_COLOUR,
    "distractor": DISTRACTOR_COLOUR,
}
UNDEFINED_FACE, UNDEFINED_EDGE, UNDEFINED_HATCH = "#e4e4e4", "#a8a8a8", "////"

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "hatch.linewidth": 0.5,
}


def draw(
    path: Path,
    size: tuple[float, float],
    paint: Callable[[Figure], None],
    title: str = "",
    caption: str = "",
) -> None:
    """Make a figure of a size in inches, let ``paint`` fill it, and write it atomically."""
    with rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        if caption:
            figure.supxlabel(caption, x=0.01, ha="left", fontsize=8, color="#444444")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            figure.savefig(partial, dpi=DPI, format="png")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def frame(axes: Axes) -> None:
    """Close the frame of a heatmap."""
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.6)
