"""The scaling figure of the README, from what ``benchmarks.speed`` has measured.

python -m benchmarks.speed_figure
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

from benchmarks.output import OUT, write_figure

FIGURE = Path(__file__).parent.parent / "docs" / "images" / "speed.png"

TITLES = {
    "independent": "Exp 1: ridge, 3 folds",
    "reuse": "Exp 3: one map, 36 positions",
    "rigid": "Exp 4: orthonormal",
}
LABELS = {
    "smds": ("smds", "tab:gray", "o"),
    "smds_joblib": ("smds, all cores", "tab:olive", "s"),
    "naive_torch": ("naive torch", "tab:orange", "^"),
    "ours_cpu": ("gpu_smds, CPU", "tab:blue", "o"),
    "ours_cuda": ("gpu_smds, CUDA", "tab:green", "D"),
}


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Milliseconds per site against features and against samples, a panel per experiment."""
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    rows = [row for row in rows if row["data"] == "random"]
    figure, axes = plt.subplots(2, 3, figsize=(11, 6.2), sharey="row", layout="constrained")
    for column, (experiment, title) in enumerate(TITLES.items()):
        here = [row for row in rows if row["experiment"] == experiment]
        _panel(axes[0, column], [r for r in here if r["samples"] == 1000], "features", experiment)
        _panel(axes[1, column], [r for r in here if r["features"] == 576], "samples", experiment)
        axes[0, column].set_title(title, fontsize=10)
        axes[0, column].set_xlabel("features, at 1000 samples")
        axes[1, column].set_xlabel("samples, at 576 features")
    for row in axes:
        row[0].set_ylabel("milliseconds per site")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    write_figure(path, figure, dpi=110)
    plt.close(figure)


def _panel(axis: Any, rows: list[dict[str, Any]], along: str, experiment: str) -> None:
    for name, (label, colour, marker) in LABELS.items():
        points = sorted(
            (row[along], 1e3 * row["seconds_per_site"][name])
            for row in rows
            if name in row["seconds_per_site"]
        )
        if points:
            axis.plot(*zip(*points, strict=True), label=label, color=colour, marker=marker, ms=4)
    if experiment == "independent":
        bound = sorted((row[along], 1e3 * row["matmul_bound_s"]) for row in rows)
        axis.plot(
            *zip(*bound, strict=True), label="its matrix products alone", color="black", ls=":"
        )
    axis.set_xscale("log")
    axis.set_yscale("log")
    ticks = sorted({row[along] for row in rows})
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axis.minorticks_off()
    axis.grid(alpha=0.3)


if __name__ == "__main__":
    draw(json.loads((OUT / "speed.json").read_text(encoding="utf-8"))["rows"], FIGURE)
