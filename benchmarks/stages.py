"""Where the time of Exp 1, 3 and 4 goes on the CPU: milliseconds of each stage at one site.

    python -m benchmarks.stages

Every stage is timed by the clock of the thread that works on it, while all cores are busy with
other sites, as in a real map. Beside the time stand the operations or bytes that the stage cannot
do without, and how far it is from one core's share of the machine's matrix product and of its
memory bandwidth, that of one core with the others idle.
"""

from __future__ import annotations

import argparse
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.environment import environment
from benchmarks.output import OUT, output, write_facts
from benchmarks.speed import EXPERIMENTS, POSITIONS, matmul_rate, random_data, run_ours
from gpu_smds.crossval import fold_system
from gpu_smds.crossval.ideals import Ideals
from gpu_smds.sites.centred import CentredStates
from gpu_smds.sites.centred_by_passes import StreamedStates
from gpu_smds.solvers import procrustes, ridge_systems

# Stage → where it is called.
STAGES: dict[str, tuple[Any, str]] = {
    "moments of the raw states": (StreamedStates, "__init__"),
    "centred states written": (StreamedStates, "materialise"),
    "products with the ideal points, from memory": (CentredStates, "reduce"),
    "products with the ideal points, from raw states": (StreamedStates, "reduce"),
    "scatter of the parts": (fold_system, "scatter"),
    "Gram matrix of all rows": (fold_system, "gram"),
    "training scatter summed": (fold_system, "_train_scatter"),
    "training Gram matrix copied": (fold_system, "_sub_block"),
    "Cholesky factor": (ridge_systems, "cholesky_"),
    "triangular solves": (torch.linalg, "solve_triangular"),
    "projection, from memory": (CentredStates, "project"),
    "projection, from raw states": (StreamedStates, "project"),
    "Procrustes": (procrustes, "closest_rotation"),
    "scores": (Ideals, "score"),
}


def main() -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the JSON file")
    arguments = parser.parse_args()
    path = output(arguments.out, "stages.json")
    cores = torch.get_num_threads()
    facts: dict[str, Any] = {
        "matmul_flops_per_core": matmul_rate() / cores,
        "bytes_per_second_per_core": read_rate(),
        "stages": [],
        "environment": environment(),
    }
    print(
        f"one core: {facts['matmul_flops_per_core'] / 1e9:.0f} GFLOP/s in matrix products, "
        f"{facts['bytes_per_second_per_core'] / 1e9:.1f} GB/s read"
    )
    for d in (576, 4096):
        for experiment in EXPERIMENTS:
            facts["stages"] += measure(experiment, 1000, d, facts)
    write_facts(path, facts)
    print(f"written to {path}")


def measure(experiment: str, n: int, d: int, facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Milliseconds of one core in every stage, per site."""
    data = random_data(n, d)
    run = run_ours(experiment, data)
    run(data.X)
    spent: list[tuple[str, float]] = []
    with ExitStack() as stack:
        for name, (owner, function) in STAGES.items():
            original = vars(owner)[function]
            stack.enter_context(patch.object(owner, function, _timed(original, name, spent)))
        repeats = 3
        started = perf_counter()
        for _ in range(repeats):
            run(data.X)
        wall = (perf_counter() - started) / repeats
    by_stage: dict[str, float] = defaultdict(float)
    for name, seconds in spent:
        by_stage[name] += seconds
    sites = data.shape[1]
    cores = torch.get_num_threads()
    rows = []
    total = 1e3 * cores * wall / sites
    print(f"\n{experiment}, {n} × {d}: {1e3 * wall / sites:.2f} ms per site on {cores} cores")
    known = 0.0
    for name in STAGES:
        ms = 1e3 * by_stage[name] / repeats / sites
        if ms < 0.02:  # called to find that there is nothing to do
            continue
        known += ms
        flops, size = work(experiment, name, n, d)
        at_best = 1e3 * max(
            flops / facts["matmul_flops_per_core"], size / facts["bytes_per_second_per_core"]
        )
        rows.append(_row(experiment, n, d, name, ms, flops, size, at_best))
    rows.append(_row(experiment, n, d, "rest", total - known, 0.0, 0.0, 0.0))
    for row in rows:
        print(
            f"  {row['stage']:<48} {row['core_ms']:7.2f} ms"
            + (f"  {row['times_bound']:4.1f} x its bound" if row["bound_ms"] else "")
        )
    return rows


def work(experiment: str, stage: str, n: int, d: int) -> tuple[float, float]:
    """Operations of matrix products, and bytes that must come from memory, of a stage.

    Symmetric products count half. Bytes are those of the float32 states, once for each pass, and
    of float64 matrices where nothing is multiplied.
    """
    # Exp 3 fits one source for all positions, on all samples; what it scores is streamed.
    train = n if experiment == "reuse" else n - n // 3
    order, folds = min(d, train), 1 if experiment == "reuse" else 3
    share = 1 / POSITIONS if experiment == "reuse" else 1.0
    raw, written = 4.0 * n * d, 8.0 * n * d
    rows = {"rigid": n - int(0.8 * n)}.get(experiment, n)
    fit = {
        "centred states written": (0.0, raw + written),
        "products with the ideal points, from memory": (2.0 * n * d * 15, written),
        "scatter of the parts": (float(n * d * d), written),
        "Gram matrix of all rows": (float(n * n * d), written),
        "training scatter summed": (0.0, folds * 3 * 8.0 * d * d),
        "training Gram matrix copied": (0.0, folds * 2 * 8.0 * train * train),
        "Cholesky factor": (folds * order**3 / 3, 0.0),
        "triangular solves": (0.0, folds * 8.0 * order**2),
        "projection, from memory": (2.0 * n * d * 2, written),
    }
    if stage in fit:
        flops, size = fit[stage]
        return share * flops, share * size
    return {
        "moments of the raw states": (0.0, raw),
        "products with the ideal points, from raw states": (0.0, raw),
        "projection, from raw states": (0.0, raw * rows / n),
    }.get(stage, (0.0, 0.0))


def read_rate() -> float:
    """Bytes per second at which one core reads memory that is not in its cache."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    large = torch.ones(64 << 20, dtype=torch.float32)
    try:
        best = min(_seconds(large.sum) for _ in range(5))
    finally:
        torch.set_num_threads(threads)
    return 4 * large.numel() / best


def _row(
    experiment: str, n: int, d: int, stage: str, ms: float, flops: float, size: float, bound: float
) -> dict[str, Any]:
    return {
        "experiment": experiment,
        "samples": n,
        "features": d,
        "stage": stage,
        "core_ms": ms,
        "operations": flops,
        "bytes": size,
        "bound_ms": bound,
        "times_bound": ms / bound if bound else None,
    }


# Seconds of the stages that have been called by the present one, thread by thread.
_within = threading.local()


def _timed(
    function: Callable[..., Any], name: str, spent: list[tuple[str, float]]
) -> Callable[..., Any]:
    """The function, adding its own time, less that of stages within it, to ``spent``."""

    def timed(*arguments: Any, **named: Any) -> Any:
        outer = getattr(_within, "seconds", 0.0)
        _within.seconds = 0.0
        started = perf_counter()
        result = function(*arguments, **named)
        seconds = perf_counter() - started
        spent.append((name, seconds - _within.seconds))
        _within.seconds = outer + seconds
        return result

    return timed


def _seconds(call: Callable[[], Any]) -> float:
    started = perf_counter()
    call()
    return perf_counter() - started


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
