"""The memory budget, measured: what a call allocates at its peak beyond its input."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# In a process of its own, which no other test has filled with memory that can be used again.
_MEASURED = """
import json, sys
import numpy as np, torch
from benchmarks.memory import peak_memory
from gpu_smds import (
    METRICS, bootstrap_map, fit_map, score_map, significance_map, transfer_map
)

(n, sites, d, budget), case = map(int, sys.argv[1:5]), sys.argv[5]
torch.set_num_threads(8)  # as many sites at once as the budget lets through
generator = torch.Generator().manual_seed(0)
X = torch.randn(n, sites, d, generator=generator)
y = torch.rand(n, generator=generator).numpy()
alphas = np.logspace(-2, 6, 17)
few, fitted = torch.randn(30, 2, 8, generator=generator), fit_map(X[:, :1], y, standardize="all")
calls = {
    "ridge": lambda X, y: score_map(X, y, memory_budget=budget),
    "several alphas": lambda X, y: score_map(X, y, alpha=[0.1, 1.0], memory_budget=budget),
    "z-scored": lambda X, y: score_map(X, y, standardize="train", memory_budget=budget),
    "float32": lambda X, y: score_map(X, y, dtype=torch.float32, memory_budget=budget),
    "minimum norm": lambda X, y: score_map(X, y, alpha=0.0, memory_budget=budget),
    "orthonormal": lambda X, y: score_map(
        X, y, orthonormal=True, standardize="all", memory_budget=budget
    ),
    "five metrics": lambda X, y: score_map(X, y, metric=list(METRICS), memory_budget=budget),
    "orthonormal fit": lambda X, y: fit_map(X, y, orthonormal=True, memory_budget=budget),
    "fit": lambda X, y: fit_map(X, y, standardize="all", memory_budget=budget),
    "transfer": lambda X, y: transfer_map(fitted, X, y, memory_budget=budget),
    "alpha path": lambda X, y: score_map(X, y, alpha=list(alphas), memory_budget=budget),
    "permutations": lambda X, y: significance_map(X, y, 300, memory_budget=budget),
    "orthonormal permutations": lambda X, y: significance_map(
        X, y, 300, orthonormal=True, standardize="all", memory_budget=budget
    ),
    "bootstrap": lambda X, y: bootstrap_map(X, y, 300, memory_budget=budget),
}
call = calls[case]
if case != "transfer":
    call(few, y[:30])  # libraries and compiled code are not what is measured
else:
    score_map(few, y[:30], orthonormal=True)
    transfer_map(fit_map(few[:, :1], y[:30]), few, y[:30])
print(json.dumps(peak_memory(lambda: call(X, y), torch.device("cpu"))))
"""

# Allocators round up, threads have stacks, and results are part of the peak.
_SLACK = 24 << 20

CASES = {
    "ridge": (2000, 400, 150 << 20),
    "several alphas": (1000, 900, 150 << 20),
    "z-scored": (1000, 1500, 200 << 20),
    "float32": (1000, 1500, 200 << 20),
    "minimum norm": (600, 300, 100 << 20),
    "orthonormal": (4000, 500, 60 << 20),
    "five metrics": (1500, 20, 120 << 20),
    "orthonormal fit": (4000, 500, 100 << 20),
    "fit": (2000, 400, 100 << 20),
    "transfer": (4000, 500, 60 << 20),
    "alpha path": (1000, 600, 150 << 20),
    "permutations": (1500, 300, 150 << 20),
    "orthonormal permutations": (2000, 500, 100 << 20),
    "bootstrap": (1500, 300, 150 << 20),
}


def _peak(n, sites, d, budget, case):
    """What the call of this name allocates at its peak, in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *map(str, (n, sites, d, budget, case))],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    peak = json.loads(done.stdout)
    if peak is None:
        pytest.skip("this system does not say what a process has allocated at its peak")
    return peak


@pytest.mark.parametrize("case", CASES)
def test_the_budget_bounds_what_is_allocated(case):
    n, d, budget = CASES[case]
    peak = _peak(n, 24, d, budget, case)
    assert peak <= budget + _SLACK
    if case in ("ridge", "fit"):
        assert peak > 8 * n * d  # the measurement sees at least the states of one site


def test_labels_of_many_samples_need_no_distance_matrix():
    """Of 20,000 × 20,000 distances, 3.2 GB, nothing is kept."""
    n, d, budget = 20_000, 16, 64 << 20
    peak = _peak(n, 2, d, budget, "ridge")
    assert 8 * n * d < peak <= budget + _SLACK
