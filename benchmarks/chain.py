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
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.environment import environment
from benchmarks.output import OUT, output, write_facts
from gpu_smds import ChainShape
from gpu_smds.solvers.distance_fit import fit_distances


def main() -> None:
    """Run the comparison and write its JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--features", type=int, default=768)
    parser.add_argument("--labels", type=int, nargs="+", default=[365, 12])
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the JSON file")
    arguments = parser.parse_args()
    path = output(arguments.out, "chain.json")
    rings = [Ring.of(arguments.samples, arguments.features, k) for k in arguments.labels]
    # Ours first: the threads that numpy's BLAS leaves behind would wait beside torch's.
    ours = [_ours(ring) for ring in rings]
    cases = [fit | _smds(ring, fit) for ring, fit in zip(rings, ours, strict=True)]
    facts = {"environment": environment(), "cases": cases}
    write_facts(path, facts)
    print(json.dumps(facts, indent=1))


@dataclass(frozen=True)
class Ring:
    """A noisy ring of integer labels in random directions."""

    X: np.ndarray
    y: np.ndarray
    D: np.ndarray

    @classmethod
    def of(cls, n: int, d: int, steps: int) -> Ring:
        rng = np.random.default_rng(0)
        y = rng.integers(0, steps, n).astype(float)
        angle = 2 * np.pi * y / steps
        X = rng.normal(size=(n, d))
        X += 0.4 * np.stack([np.cos(angle), np.sin(angle)], axis=1) @ rng.normal(size=(2, d))
        return cls(X, y, ChainShape()(y))


def _ours(ring: Ring) -> dict[str, Any]:
    states, distances = torch.from_numpy(ring.X)[None], torch.from_numpy(ring.D)
    fit_distances(states[:, :50, :10], distances[:50, :50], 2)  # warm-up
    seconds = []
    for _ in range(5):
        started = perf_counter()
        fit = fit_distances(states, distances, 2)
        seconds.append(perf_counter() - started)
    return {
        "samples": ring.X.shape[0],
        "features": ring.X.shape[1],
        "labels": len(np.unique(ring.y)),
        "defined_pairs": float((ring.D >= 0).mean()),
        "seconds": seconds,
        "loss": float(fit.loss),
        "converged": bool(fit.converged),
        "iterations": int(fit.iterations),
    }


def _smds(ring: Ring, ours: dict[str, Any]) -> dict[str, Any]:
    import smds

    started = perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        model = smds.SupervisedMDS(manifold="chain").fit(ring.X, ring.y)
    seconds = perf_counter() - started
    return {
        "smds_seconds": seconds,
        "smds_loss": _loss(ring.X @ model.W_.T, ring.D),
        "times_faster": seconds / median(ours["seconds"]),
    }


def _loss(Z: np.ndarray, D: np.ndarray) -> float:
    """Σ (‖zᵢ − zⱼ‖ − Dᵢⱼ)² over the defined ordered pairs."""
    distances = np.linalg.norm(Z[:, None] - Z[None], axis=-1)
    return float(np.square(distances - D)[D >= 0].sum())


if __name__ == "__main__":
    main()
