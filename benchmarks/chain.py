"""The fit to incomplete distances (chain) against smds' SciPy path, in one run.

    python -m benchmarks.chain [--samples 1000 --features 768]

Integer labels, two components. smds has no gradient here: at 1000 × 768 its 15,000 evaluations of
the loss take minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.environment import environment
from gpu_smds import ChainShape
from gpu_smds.incomplete import solve_incomplete

OUT = Path(__file__).parent / "results"


def main() -> None:
    """Run the comparison and write its JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--features", type=int, default=768)
    parser.add_argument("--labels", type=int, nargs="+", default=[365, 12])
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the JSON file")
    arguments = parser.parse_args()
    cases = [measure(arguments.samples, arguments.features, steps) for steps in arguments.labels]
    facts = {"environment": environment(), "cases": cases}
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "chain.json"
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(facts, indent=1))


def measure(n: int, d: int, steps: int) -> dict[str, Any]:
    """Time both sides on a noisy ring of ``steps`` labels and compare their losses."""
    import smds

    rng = np.random.default_rng(0)
    y = rng.integers(0, steps, n).astype(float)
    angle = 2 * np.pi * y / steps
    X = rng.normal(size=(n, d))
    X += 0.4 * np.stack([np.cos(angle), np.sin(angle)], axis=1) @ rng.normal(size=(2, d))
    D = ChainShape()(y)
    states, distances = torch.from_numpy(X)[None], torch.from_numpy(D)
    solve_incomplete(states[:, :50, :10], distances[:50, :50], 2)  # warm-up
    ours = []
    for _ in range(3):
        started = perf_counter()
        fit = solve_incomplete(states, distances, 2)
        ours.append(perf_counter() - started)
    started = perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        model = smds.SupervisedMDS(manifold="chain").fit(X, y)
    theirs = perf_counter() - started
    return {
        "samples": n,
        "features": d,
        "labels": steps,
        "defined_pairs": float((D >= 0).mean()),
        "seconds": ours,
        "smds_seconds": theirs,
        "times_faster": theirs / min(ours),
        "loss": float(fit.loss),
        "smds_loss": _loss(X @ model.W_.T, D),
        "converged": bool(fit.converged),
        "iterations": int(fit.iterations),
    }


def _loss(Z: np.ndarray, D: np.ndarray) -> float:
    """Σ (‖zᵢ − zⱼ‖ − Dᵢⱼ)² over the defined ordered pairs."""
    distances = np.linalg.norm(Z[:, None] - Z[None], axis=-1)
    return float(np.square(distances - D)[D >= 0].sum())


if __name__ == "__main__":
    main()
