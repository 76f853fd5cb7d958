"""Time per site of experiments 1, 3 and 4 and of discovery, against smds and a naive port.

    python -m benchmarks.speed --quick              # 3 minutes: 1000 samples, 576, 4096 features
    python -m benchmarks.speed --run runs/smollm2   # everything, with SmolLM2's states as well

All contenders see the same data in one run: smds in a loop, smds over all cores with joblib, the
naive port to torch (``benchmarks/naive.py``), ours on the CPU, and ours on CUDA where there is
one. States are float32, as in the study; smds and the naive port are given them as float64, the
only dtype in which smds is right, and the conversion is not on the clock. smds is timed on a few
sites, each on its own clock; where one site would take longer than a few minutes it is not run and
marked so. Exp 3 is 36 positions with one source fitted, the fit included on both sides.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import KFold

from benchmarks import discovery, naive, smds_study
from benchmarks.environment import environment
from benchmarks.memory import peak_memory
from benchmarks.output import OUT, output, write_facts
from benchmarks.runs import states_and_labels
from extract import HiddenStates
from gpu_smds import fit_map, score_map, transfer_map

EXPERIMENTS = ("independent", "reuse", "rigid")
FEATURES, SAMPLES = (576, 768, 2048, 4096), (500, 1000, 4000, 20_000)
POSITIONS = 36

# Bytes of random states at most; where 36 positions are more, there are fewer.
_STATES = 2 << 30
# smds decomposes a samples × samples matrix for each fit: hours at 20,000.
_MOST_SAMPLES_SMDS = 4000
_MOST_SAMPLES_SLOW = 1000


@dataclass(frozen=True)
class Data:
    """States ``(n, T, d)`` float32 and labels ``(n,)``."""

    name: str
    X: torch.Tensor
    y: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        n, positions, d = self.X.shape
        return n, positions, d


def main() -> None:
    """Run the comparison, write its JSON and draw its figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the sizes of the README only")
    parser.add_argument("--run", type=Path, help="folder of a finished run with its states")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the JSON file")
    parser.add_argument(
        "--features", type=int, nargs="*", help="measure these again, keep the rest"
    )
    parser.add_argument("--samples", type=int, nargs="*", help="as --features")
    parser.add_argument("--only", nargs="*", help="as --features: experiments, or discovery")
    arguments = parser.parse_args()
    rate, facts = matmul_rate(), environment()
    print(f"float64 matrix products: {rate / 1e9:.0f} GFLOP/s")
    name = "speed-quick" if arguments.quick else "speed"
    path = output(arguments.out, f"{name}.json")
    some = arguments.features or arguments.samples or arguments.only
    rows = json.loads(path.read())["rows"] if some else []

    def wanted(experiment: str, n: int, d: int) -> bool:
        asked = (arguments.only, arguments.samples, arguments.features)
        return all(not of or it in of for of, it in zip(asked, (experiment, n, d), strict=True))

    def keep(row: dict[str, Any]) -> None:
        row |= {"commit": facts["commit"], "matmul_flops": rate}
        _print(row)
        same = ("experiment", "data", "samples", "features")
        rows[:] = [other for other in rows if any(other[key] != row[key] for key in same)]
        rows.append(row)
        write_facts(path, {"environment": facts, "rows": rows})

    for n, d, make in _all_data(arguments.quick, arguments.run):
        chosen = [name for name in EXPERIMENTS if wanted(name, n, d)]
        data = make() if chosen else None
        for experiment in chosen:
            assert data is not None
            keep(measure(experiment, data, rate))
    for n, d in _discovery_sizes(arguments.quick):
        if wanted("discovery", n, d):
            keep(measure_discovery(n, d))
    print(f"written to {path}")
    if not arguments.quick:
        from benchmarks.speed_figure import FIGURE, draw

        draw(rows, FIGURE)
        print(f"figure {FIGURE}")


def measure(experiment: str, data: Data, rate: float) -> dict[str, Any]:
    """Seconds per site of all contenders, and their largest difference from smds."""
    n, positions, d = data.shape
    cpu = torch.device("cpu")
    ours = run_ours(experiment, data)
    ours(data.X)  # compiles, and sets up what is set up once
    scores = ours(data.X)
    seconds = _typical(lambda: ours(data.X))
    row: dict[str, Any] = {
        "experiment": experiment,
        "data": data.name,
        "samples": n,
        "features": d,
        "sites": positions,
        "seconds_per_site": {"ours_cpu": seconds / positions},
        "peak_bytes": {"ours_cpu": peak_memory(lambda: ours(data.X), cpu)},
        "difference_from_smds": {},
        "sites_timed": {"ours_cpu": positions},
    }
    if experiment == "independent":
        bound = _operations(n, d) / rate
        row["matmul_bound_s"] = bound
        row["times_matmul_bound"] = seconds / positions / bound
    if torch.cuda.is_available():
        X = data.X.cuda()
        ours(X)
        row["seconds_per_site"]["ours_cuda"] = _typical(lambda: _waited(ours, X)) / positions
        row["peak_bytes"]["ours_cuda"] = peak_memory(lambda: ours(X), X.device)
        row["difference_cuda_cpu"] = float(np.nanmax(np.abs(ours(X) - scores)))
    for name, contender in _contenders(experiment, data).items():
        taken, found = contender()
        row["seconds_per_site"][name] = taken
        row["sites_timed"][name] = len(found)
        if name == "smds":
            known = found
            row["difference_from_smds"]["ours_cpu"] = max(
                abs(scores[t] - value) for t, value in known.items()
            )
        else:
            common = [t for t in found if t in known]
            row["difference_from_smds"][name] = max(abs(found[t] - known[t]) for t in common)
    if "smds" not in row["seconds_per_site"]:
        row["smds_not_run"] = f"it decomposes {n} × {n} matrices: hours"
    return row


def measure_discovery(n: int, d: int) -> dict[str, Any]:
    """As :func:`measure`, one site, seven shapes, five folds and metrics."""
    facts = discovery.one_site(1 if d > 1000 else 3, n, d)
    return {
        "experiment": "discovery",
        "data": "random",
        "samples": n,
        "features": d,
        "sites": 1,
        "seconds_per_site": {
            "ours_cpu": min(facts["all_metrics_seconds"][1:]),
            "smds": min(facts["smds_seconds"][1:]),
        },
        "peak_bytes": {},
        "difference_from_smds": {"ours_cpu": facts["largest_difference"]},
        "sites_timed": {"ours_cpu": 1, "smds": 1},
    }


def matmul_rate() -> float:
    """The machine's own float64 matrix product, operations per second, the best library at hand."""
    a = torch.randn(2000, 2000, dtype=torch.float64)
    b = a.numpy()
    best = min(
        min(_seconds(lambda: a @ a) for _ in range(7)),
        min(_seconds(lambda: b @ b) for _ in range(7)),
    )
    return float(2 * 2000**3 / best)


def _operations(n: int, d: int, folds: int = 3) -> float:
    """What Exp 1 has to multiply at one site: a Gram or scatter matrix and a factor per fold."""
    order = min(d, n - n // folds)
    return 2 * n * d * min(n, d) + folds * order**3 / 3


def random_data(n: int, d: int) -> Data:
    """A circle in random directions, heavy features as in language models, and a common mean."""
    positions = max(2, min(POSITIONS, _STATES // (4 * n * d)))
    generator = torch.Generator().manual_seed(0)
    y = torch.rand(n, generator=generator, dtype=torch.float64)
    circle = torch.stack([torch.cos(2 * torch.pi * y), torch.sin(2 * torch.pi * y)], 1).float()
    X = torch.randn(n, positions, d, generator=generator)
    for t in range(positions):
        X[:, t] += 2 * circle @ torch.randn(2, d, generator=generator) / d**0.5
    X[:, :, :3] *= torch.tensor([30.0, 100.0, 300.0])
    X[:, :, 3:6] += 50
    return Data("random", X, y.numpy())


def _all_data(quick: bool, run: Path | None) -> Iterator[tuple[int, int, Callable[[], Data]]]:
    """Samples, features, and how to make the data."""
    for d in (576, 4096) if quick else FEATURES:
        for n in (1000,) if quick else SAMPLES:
            yield n, d, partial(random_data, n, d)
    if run is not None:
        states, labels = states_and_labels(run)
        yield states.shape[0], states.shape[3], lambda: _real_data(states, labels)


def _real_data(states: HiddenStates, labels: np.ndarray) -> Data:
    """The middle layer, without positions where all sentences are the same.

    Nor the first, whose massive token smds gets wrong by 1e-8 itself (tests/experiments).
    """
    layer = len(states.layers) // 2
    X = states[:, layer, 1 : states.shape[2]].float().contiguous()
    constant = (X[0] == X).all(0).all(1)
    return Data(f"SmolLM2, layer {states.layers[layer]}", X[:, ~constant], labels)


def _discovery_sizes(quick: bool) -> list[tuple[int, int]]:
    return [(1000, 576)] if quick else [(n, d) for d in (576, 768, 2048) for n in (500, 1000)]


def run_ours(experiment: str, data: Data) -> Callable[[torch.Tensor], np.ndarray]:
    y, n = data.y, len(data.y)
    cv = KFold(3, shuffle=True, random_state=42)
    split = int(0.8 * n)
    holdout = [(np.arange(split), np.arange(split, n))]

    def independent(X: torch.Tensor) -> np.ndarray:
        return np.asarray(score_map(X, y, cv=cv).mean)

    def reuse(X: torch.Tensor) -> np.ndarray:
        fitted = fit_map(X[:, :1], y, standardize="all")
        return np.asarray(np.clip(transfer_map(fitted, X, y).mean[0], 0, 1))

    def rigid(X: torch.Tensor) -> np.ndarray:
        scores = score_map(X, y, cv=holdout, orthonormal=True, standardize="all")
        return np.asarray(np.clip(scores.mean, 0, 1))

    return {"independent": independent, "reuse": reuse, "rigid": rigid}[experiment]


Timed = tuple[float, dict[int, float]]


def _contenders(experiment: str, data: Data) -> dict[str, Callable[[], Timed]]:
    """What else is timed at this size: seconds per site, and scores by position."""
    n, _, d = data.shape
    chosen: dict[str, Callable[[], Timed]] = {}
    if n > _MOST_SAMPLES_SMDS:
        return chosen
    count = 1 if n > 1000 else (2 if d > 1000 and experiment == "independent" else 3)
    chosen["smds"] = lambda: _smds(experiment, data, count)
    if n <= _MOST_SAMPLES_SLOW:
        if experiment != "reuse":
            chosen["smds_joblib"] = lambda: _smds_joblib(experiment, data)
        chosen["naive_torch"] = lambda: _naive(experiment, data, count)
    return chosen


def _site(data: Data, t: int) -> np.ndarray:
    x: np.ndarray = data.X[:, t].double().numpy()
    return x


def _smds(experiment: str, data: Data, count: int) -> Timed:
    """One site after another. Exp 3 pays for its source once in 36 positions, as ours does."""
    y, scores, seconds = data.y, {}, []
    if experiment == "reuse":
        source = _site(data, 0)
        started = perf_counter()
        fitted = smds_study.model().fit(smds_study.zscore(source), y)
        fit_seconds = perf_counter() - started
        for t in range(count):
            x = _site(data, t)
            started = perf_counter()
            scores[t] = smds_study.reuse(fitted, x, y)
            seconds.append(perf_counter() - started)
        return float(np.median(seconds)) + fit_seconds / data.shape[1], scores
    one = smds_study.independent if experiment == "independent" else smds_study.rigid
    for t in range(count):
        x = _site(data, t)
        started = perf_counter()
        scores[t] = one(x, y)
        seconds.append(perf_counter() - started)
    return float(np.median(seconds)), scores


def _smds_joblib(experiment: str, data: Data) -> Timed:
    """All cores, a site each at a time; the processes are started before the clock."""
    from joblib import Parallel, cpu_count, delayed

    one = smds_study.independent if experiment == "independent" else smds_study.rigid
    sites = list(range(min(cpu_count(), data.shape[1])))
    states = [_site(data, t) for t in sites]
    with Parallel(n_jobs=len(sites)) as pool:
        pool(delayed(one)(x[:60, :20], data.y[:60]) for x in states)
        started = perf_counter()
        scores = pool(delayed(one)(x, data.y) for x in states)
        seconds = perf_counter() - started
    return seconds / len(sites), dict(zip(sites, scores, strict=True))


def _naive(experiment: str, data: Data, count: int) -> Timed:
    y = torch.from_numpy(data.y)
    X = data.X[:, :count].double()
    if experiment == "reuse":
        started = perf_counter()
        W, mean = naive.fit(naive.zscore(X[:, 0]), y)
        fit_seconds = perf_counter() - started
        started = perf_counter()
        found = [naive.score(W, mean, naive.zscore(X[:, t]), y) for t in range(count)]
        seconds = (perf_counter() - started) / count + fit_seconds / data.shape[1]
        return seconds, {t: min(max(value, 0.0), 1.0) for t, value in enumerate(found)}
    one = naive.independent if experiment == "independent" else naive.rigid
    started = perf_counter()
    scores = {t: one(X[:, t], y) for t in range(count)}
    return (perf_counter() - started) / count, scores


def _seconds(call: Callable[[], Any]) -> float:
    started = perf_counter()
    call()
    return perf_counter() - started


def _typical(call: Callable[[], Any]) -> float:
    """Median of three, of one where a call takes long."""
    first = _seconds(call)
    if first > 20:
        return first
    return float(np.median([first, _seconds(call), _seconds(call)]))


def _waited(call: Callable[[torch.Tensor], Any], X: torch.Tensor) -> None:
    call(X)
    torch.cuda.synchronize()


def _print(row: dict[str, Any]) -> None:
    seconds = row["seconds_per_site"]
    ours = seconds["ours_cpu"]
    others = "  ".join(
        f"{name} {value:.3g} s ({value / ours:.0f}x)"
        for name, value in seconds.items()
        if name != "ours_cpu"
    )
    peak = row["peak_bytes"].get("ours_cpu")
    differs = row["difference_from_smds"].get("ours_cpu")
    print(
        f"{row['experiment']:<12} {row['data']:<8} N {row['samples']:>6} d {row['features']:>5} "
        f"ours {1e3 * ours:8.2f} ms"
        + (f"  {row['times_matmul_bound']:.1f} x matmul" if "times_matmul_bound" in row else "")
        + (f"  {peak / 1e6:.0f} MB" if peak is not None else "")
        + f"  {others or row.get('smds_not_run', '')}"
        + (f"  difference {differs:.1e}" if differs is not None else ""),
        flush=True,
    )


if __name__ == "__main__":
    main()
