"""The figure of a task: a third of its sentences, projected by a map of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from benchmarks.output import write_figure
from experiments.figures.circle import cyclic_colours
from experiments.figures.style import SERIES, dress, dress_colorbar
from extract import HiddenStates
from extract.task import Task
from gpu_smds import SignificanceMap, fit_map
from gpu_smds.geometry.manifold import resolve_manifold

FOLDER = Path(__file__).parent.parent / "docs" / "images" / "tasks"
_DPI = 100


def draw_task(
    name: str, states: HiddenStates, samples: int, tested: SignificanceMap, task: Task
) -> None:
    """Draw source and destination, each at its best layer, on the task's own shape."""
    prompts = task.prompts(samples)
    facts = tested.metadata
    figure = Figure(figsize=(7.4, 3.1), facecolor="white")
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.05))
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    colours = _colours(task, prompts.labels)
    for ax, role in zip(axes, ("source", "destination"), strict=True):
        position = facts["landmarks"][role]
        layer = int(np.nanargmax(tested.score[:, position]))
        X = np.asarray(states[:, layer, position : position + 1].double().cpu())[:, 0]
        points, labels = _held_out(X, prompts.labels, task)
        _scatter(ax, points, labels, colours, task)
        score = tested.score[layer, position]
        title = f"{facts['words'][position]}, layer {facts['layers'][layer]}: score {score:.2f}"
        line = points.shape[1] == 1
        dress(ax, title=title, xlabel="projection" * line, ylabel="label" * line)
    bar = figure.colorbar(ScalarMappable(*colours), ax=axes, fraction=0.04, pad=0.01)
    _ticks(bar, task)
    write_figure(FOLDER / f"{name}.png", figure, _DPI)


def _held_out(X: np.ndarray, labels: np.ndarray, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Projections ``(m, k)`` of the last third of the sentences, and their labels."""
    first = 2 * len(X) // 3
    manifold = resolve_manifold(task.manifold)
    if task.period is not None and task.manifold == "circular":
        manifold = manifold.with_period(task.period)
    fitted = fit_map(X[:first], labels[:first], manifold=manifold)
    return np.asarray(fitted.transform(X[first:])), labels[first:]


def _colours(task: Task, labels: np.ndarray) -> tuple[Any, Any]:
    """Norm and colours of the labels; longitudes of places."""
    if task.label is not None and task.label.categories:
        count = len(task.label.categories)
        return BoundaryNorm(np.arange(count + 1) - 0.5, count), ListedColormap(SERIES[:count])
    if labels.ndim == 2:
        return Normalize(-180, 180), cyclic_colours()
    if task.manifold == "circular":
        return Normalize(0, float(task.period or 1)), cyclic_colours()
    scaled = np.log(labels + 1) if task.manifold == "log_linear" else labels
    return Normalize(float(scaled.min()), float(scaled.max())), "viridis"


def _scatter(
    ax: Axes, points: np.ndarray, labels: np.ndarray, colours: tuple[Any, Any], task: Task
) -> None:
    values = labels[:, 1] if labels.ndim == 2 else labels
    if task.manifold == "log_linear":
        values = np.log(values + 1)
    # Of a line, what it should say is the other axis.
    across = points[:, 1] if points.shape[1] > 1 else values
    norm, map_ = colours
    ax.scatter(points[:, 0], across, c=values, norm=norm, cmap=map_, s=11, linewidths=0)
    if points.shape[1] > 1:
        ax.set_aspect("equal", adjustable="datalim")
        ax.set_xticks([])
    ax.set_yticks([])


def _ticks(bar: Any, task: Task) -> None:
    """Name the colours in the units of the labels."""
    label = "longitude" if task.manifold == "spherical" else ""
    if task.label is not None and task.label.categories:
        bar.set_ticks(range(len(task.label.categories)), labels=task.label.categories)
    elif task.manifold == "log_linear" and task.label is not None:
        values = np.array(sorted(task.labels.values()))
        chosen = values[np.linspace(0, len(values) - 1, 5).round().astype(int)]
        bar.set_ticks(np.log(chosen + 1), labels=[f"{value:,.3g}" for value in chosen])
    dress_colorbar(bar, label or (task.label.unit if task.label else "part of the year"))
