"""Time and memory of the permutation test, the bootstrap and the choice of alpha at one site.

    python -m benchmarks.significance [--repeats 5]

1000 samples × 576 and × 4096 features, random float32 states, random labels on a circle, 3 folds.
Seconds are medians; ``scores`` is how many times one ``score_map`` of that site takes as long, and
``loops`` how many times a loop takes longer that scores the permuted labels one after the other: 20
of them are timed, and taken times m/20. Peaks of memory are beyond the input, each in a process of
its own. Nothing else may run beside it.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.environment import environment
from benchmarks.memory import peak_memory
from benchmarks.output import OUT, output, write_facts
from gpu_smds import bootstrap_map, nested_map, score_map, significance_map

SAMPLES, FEATURES = 1000, (576, 4096)
FITS: dict[str, dict[str, Any]] = {"ridge": {}, "orthonormal": {"orthonormal": True}}
PERMUTATIONS = (200, 1000)
IN_LOOP = 20
ALPHAS = {count: np.logspace(-2, 6, count).tolist() for count in (8, 17)}
BUDGETS = (512 << 20, 64 << 20)
# What 1000 permutations of a ridge map at 576 features may take, in scores.
AIM = 40

Call = Callable[[torch.Tensor, np.ndarray], Any]


def main() -> None:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--features", type=int, nargs="*", default=FEATURES)
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the JSON file")
    arguments = parser.parse_args()
    path = output(arguments.out, "significance.json")
    facts: dict[str, Any] = {"environment": environment(), "repeats": arguments.repeats, "rows": []}
    for d in arguments.features:
        for fit in FITS:
            facts["rows"].append(measure(fit, d, arguments.repeats))
    write_facts(path, facts)
    print(f"written to {path}")
    for row in facts["rows"]:
        if (row["fit"], row["features"]) == ("ridge", 576):
            ratio = row["calls"]["permutations_1000"]["scores"]
            met = "met" if ratio <= AIM else "NOT met"
            print(f"aim of at most {AIM} scores for 1000 permutations: {ratio:.1f}, {met}")


def measure(fit: str, d: int, repeats: int) -> dict[str, Any]:
    """Seconds and bytes of all calls at one site."""
    X, y = data(d)
    # In turns, so that a slower minute of the machine is one of all calls.
    timed: dict[str, list[float]] = {}
    chosen = calls(fit)
    for call in chosen.values():
        call(X, y)  # compiles, and sets up what is set up once
    for _ in range(repeats):
        for name, call in chosen.items():
            started = perf_counter()
            call(X, y)
            timed.setdefault(name, []).append(perf_counter() - started)
    seconds = {name: float(np.median(of)) for name, of in timed.items()}
    one, loop = seconds["score"], seconds.pop("loop")
    row: dict[str, Any] = {
        "fit": fit,
        "samples": SAMPLES,
        "features": d,
        "loop_seconds": loop,
        "in_loop": IN_LOOP,
        "calls": {},
    }
    print(f"{fit}, {SAMPLES} × {d}: one score {1e3 * one:.1f} ms")
    for name, value in seconds.items():
        facts = {"seconds": value, "scores": value / one}
        if name.startswith("permutations"):
            facts["loops"] = loop * int(name.rpartition("_")[2]) / IN_LOOP / value
        row["calls"][name] = facts
        print(
            f"  {name:<18} {value:8.3f} s  {facts['scores']:7.1f} scores"
            + (f"  {facts['loops']:6.1f} times faster than a loop" if "loops" in facts else "")
        )
    row["peak_bytes"] = {str(budget): peak(fit, d, budget) for budget in BUDGETS}
    for budget, taken in row["peak_bytes"].items():
        said = f"{taken / 2**20:.0f} MiB" if isinstance(taken, int) else taken
        print(f"  1000 permutations within {int(budget) >> 20} MiB: {said}")
    return row


def data(d: int) -> tuple[torch.Tensor, np.ndarray]:
    """States ``(n, 1, d)`` of one site and labels ``(n,)``."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(SAMPLES, 1, d, generator=generator)
    return X, torch.rand(SAMPLES, generator=generator, dtype=torch.float64).numpy()


def calls(fit: str) -> dict[str, Call]:
    """What is timed. Penalties are of the ridge only."""
    more = FITS[fit]
    rng = np.random.default_rng(0)
    orders = [rng.permutation(SAMPLES) for _ in range(IN_LOOP)]
    chosen: dict[str, Call] = {
        "score": partial(score_map, **more),
        "loop": lambda X, y: [score_map(X, y[order], **more) for order in orders],
        "bootstrap_1000": partial(bootstrap_map, n_resamples=1000, **more),
    }
    for count in PERMUTATIONS:
        name = f"permutations_{count}"
        chosen[name] = partial(significance_map, n_permutations=count, **more)
    if fit == "ridge":
        for count, alphas in ALPHAS.items():
            chosen[f"alphas_{count}"] = partial(score_map, alpha=alphas)
        chosen["nested_17"] = partial(nested_map, alphas=ALPHAS[17])
    return chosen


def peak(fit: str, d: int, budget: int) -> int | str | None:
    """Bytes that 1000 permutations allocate beyond their input, or why there are none.

    None where nobody tells.
    """
    # A process that no other call has filled with memory which can be used again.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (fit, d, budget))


def _peak(fit: str, d: int, budget: int) -> int | str | None:
    X, y = data(d)
    # Libraries and compiled code are not what is measured.
    significance_map(X[:60, :, :8], y[:60], 5, **FITS[fit])

    def call() -> None:
        significance_map(X, y, 1000, memory_budget=budget, **FITS[fit])

    try:
        return peak_memory(call, X.device)
    except ValueError as error:  # the budget does not hold one site
        return str(error)


if __name__ == "__main__":
    main()
