"""Discovery of the manifold of one site, against ``smds.discover_manifolds`` with all cores.

    python -m benchmarks.discovery [--run runs/smollm2]

1000 samples × 768 features, continuous labels, the 8 scalar shapes of smds less chain, 5 folds, no
plots and no files. smds always computes all five metrics. Its first call starts the processes of
joblib and is given apart; ratios are against the fastest of the later ones. With ``--run``, also
the time of discovery over all sites of a finished run.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.environment import environment
from benchmarks.output import OUT, output, write_facts
from benchmarks.runs import states_and_labels
from gpu_smds import METRICS, discover, discover_manifolds
from gpu_smds.geometry import shapes as ours

SHAPES = (
    "ClusterShape",
    "DiscreteCircularShape",
    "CircularShape",
    "SpiralShape",
    "LogLinearShape",
    "EuclideanShape",
    "SemicircularShape",
)


def main() -> None:
    """Run the comparison and write its JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="folder of a finished run with its states")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the JSON file")
    arguments = parser.parse_args()
    path = output(arguments.out, "discovery.json")
    facts = {"environment": environment(), "one_site": one_site(arguments.repeats)}
    if arguments.run:
        facts["all_sites"] = all_sites(arguments.run)
    write_facts(path, facts)
    print(json.dumps(facts, indent=1))


def one_site(repeats: int, n: int = 1000, d: int = 768) -> dict[str, Any]:
    """Time both sides on one site of n samples × d features and compare their tables."""
    from smds.shapes import continuous_shapes, discrete_shapes

    X, y = _data(n, d)
    theirs = [
        getattr(continuous_shapes, name, None) or getattr(discrete_shapes, name) for name in SHAPES
    ]
    all_metrics, table = _time(
        lambda: discover_manifolds(X, y, [getattr(ours, name)() for name in SHAPES])[0], repeats
    )
    default, _ = _time(
        lambda: discover(X, y, [getattr(ours, name)() for name in SHAPES], n_components=2), repeats
    )
    reference, expected = _time(lambda: _smds(X, y, [shape() for shape in theirs]), repeats)
    # Labels that are all different make every sample a cluster: any embedding of it is as good.
    difference = _difference(table, expected, without="ClusterShape")
    best = {name: min(times[1:]) for name, times in (("all", all_metrics), ("default", default))}
    smds = min(reference[1:])
    return {
        "samples": X.shape[0],
        "features": X.shape[1],
        "shapes": SHAPES,
        "folds": 5,
        "smds_seconds": reference,
        "all_metrics_seconds": all_metrics,
        "default_metric_seconds": default,
        "times_faster_all_metrics": smds / best["all"],
        "times_faster_default_metric": smds / best["default"],
        "largest_difference": difference,
    }


def all_sites(folder: Path) -> dict[str, Any]:
    """Time discovery with the default metric over all sites of a run, without shuffled labels."""
    states, labels = states_and_labels(folder)
    started = perf_counter()
    found = discover(states, labels, cv=3)
    seconds = perf_counter() - started
    return {
        "shape": list(states.shape),
        "sites": int(np.prod(states.shape[1:-1])),
        "manifolds": found.manifolds,
        "folds": 3,
        "seconds": seconds,
    }


def _data(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """A noisy circle in random directions."""
    rng = np.random.default_rng(0)
    y = rng.random(n)
    circle = np.stack([np.cos(2 * np.pi * y), np.sin(2 * np.pi * y)], axis=1)
    X = rng.normal(size=(n, d)) + 0.4 * circle @ rng.normal(size=(2, d))
    return X, y


def _time(call: Callable[[], Any], repeats: int) -> tuple[list[float], Any]:
    times, result = [], None
    for _ in range(1 + repeats):
        started = perf_counter()
        result = call()
        times.append(perf_counter() - started)
    return times, result


def _smds(X: np.ndarray, y: np.ndarray, shapes: list[Any]) -> Any:
    from smds.pipeline import discovery_pipeline

    with (
        tempfile.TemporaryDirectory() as cache,
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        discovery_pipeline.CACHE_DIR = cache  # smds writes into its own package
        return discovery_pipeline.discover_manifolds(
            X, y, shapes, n_jobs=-1, save_results=False, create_png_visualization=False
        )[0]


def _difference(table: Any, expected: Any, without: str) -> float:
    columns = [f"mean_{metric}" for metric in METRICS]
    a = table.set_index("shape").drop(without)[columns].astype(float)
    b = expected.set_index("shape").drop(without)[columns].astype(float)
    return float((a - b.loc[a.index]).abs().max().max())


if __name__ == "__main__":
    main()
