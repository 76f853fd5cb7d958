"""The four experiments with their figures against the same sites through smds, in one run.

    python -m benchmarks.study runs/smollm2

Ours is timed on every site of a finished run (states read from its files, figures drawn); smds on
a sample of sites, one at a time on float64 states, and scaled to all of them. Scores are compared
with smds on float64; its difference on float32, which is its own rounding, is reported beside.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks import smds_study
from benchmarks.environment import environment
from experiments import protocol
from experiments.draw import draw_results
from experiments.manifest import read_manifest
from experiments.protocol import Setting
from experiments.results import EXPERIMENTS, Columns, compute_result, save_result
from experiments.run import columns_of
from extract import ExtractError, HiddenStates
from gpu_smds import ScoreMap

OUT = Path(__file__).parent / "results"


def main() -> None:
    """Run the comparison and write its JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run with its states")
    parser.add_argument("--sites", type=int, default=12, help="sites that smds is timed on")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the JSON file")
    arguments = parser.parse_args()
    facts = measure(arguments.run, arguments.sites)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"study-{facts['model']}.json"
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    _print(facts)
    print(f"written to {path}")


def measure(folder: Path, n_sites: int) -> dict[str, Any]:
    """Time both sides on the states of a run."""
    manifest = read_manifest(folder)
    if manifest is None or not manifest.get("extracted"):
        raise ExtractError(f"{folder} holds no states: run gpu-smds extract first")
    states = HiddenStates.open(folder / "states", verify=False)
    with (folder / "prompts.csv").open(encoding="utf-8") as file:
        labels = np.array([float(row["label"]) for row in csv.DictReader(file)])
    columns = columns_of(manifest)
    n, n_layers, n_positions, d = states.shape
    source = columns.landmarks["source"]
    setting = Setting(states, labels, states.layers, manifest["n_states"], source)
    ours, results = _ours(setting, columns)
    site_list = _sample(n_layers, n_positions, results["independent"], n_sites)
    layer = states.layers.index(protocol.similarity_layer(setting))
    counts = {
        "independent": n_layers * n_positions,
        "similarity": n_positions,
        "reuse": n_layers * n_positions,
        "rigid": n_layers * n_positions,
    }
    experiments = {}
    theirs_total = 0.0
    for name, count in counts.items():
        seconds, differences = _theirs(name, setting, results[name], site_list, layer)
        theirs_total += seconds * count
        experiments[name] = {
            "sites": count,
            "ours_s": ours[name],
            "smds_s_per_site": seconds,
            "smds_s_scaled": seconds * count,
            "ratio": seconds * count / ours[name],
            **differences,
        }
    ours_total = sum(ours.values())
    return {
        "model": manifest["model"]["name"],
        "samples": n,
        "features": d,
        "smds_sites_timed": len(site_list),
        "experiments": experiments,
        "figures_s": ours["figures"],
        "ours_s": ours_total,
        "smds_s_scaled": theirs_total,
        "ratio": theirs_total / ours_total,
        "environment": environment(),
    }


def _ours(setting: Setting, columns: Columns) -> tuple[dict[str, float], dict[str, ScoreMap]]:
    """Seconds and results of every experiment on all sites, and seconds of files and figures."""
    # The first call of every kind sets up thread pools and libraries.
    few = replace(setting, states=_first_rows(setting.states, 60), labels=setting.labels[:60])
    for _, _, experiment in EXPERIMENTS.values():
        experiment(few)
    seconds: dict[str, float] = {}
    results: dict[str, ScoreMap] = {}
    for name in EXPERIMENTS:
        started = perf_counter()
        results[name] = compute_result(name, setting, columns, "benchmark", lambda *_: None)
        seconds[name] = perf_counter() - started
    started = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for name, scores in results.items():
            save_result(Path(folder), name, scores)
        draw_results(Path(folder), "benchmark", results)
    seconds["figures"] = perf_counter() - started
    return seconds, results


def _theirs(
    name: str,
    setting: Setting,
    found: ScoreMap,
    sites: list[tuple[int, int]],
    similarity_layer: int,
) -> tuple[float, dict[str, float]]:
    """Seconds per site of smds, and the largest differences of its scores from ours."""
    states, y = setting.states, setting.labels
    source = setting.source
    seconds: list[float] = []
    differences: dict[str, list[float]] = {"float64": [], "float32": []}
    for dtype, kind in (("float64", torch.float64), ("float32", torch.float32)):

        def read(layer: int, position: int, kind: torch.dtype = kind) -> np.ndarray:
            return np.asarray(states[:, layer, position].to(kind))

        sources: dict[int, Any] = {}
        for layer, position in sites:
            if name == "reuse" and layer not in sources:
                z = smds_study.zscore(read(layer, source))
                sources[layer] = smds_study.model().fit(z, y)
            x = read(similarity_layer if name == "similarity" else layer, position)
            run: dict[str, Callable[[], Any]] = {
                "independent": lambda x=x: smds_study.independent(x, y),
                "similarity": lambda x=x: smds_study.weights(x, y),
                "reuse": lambda x=x, m=sources.get(layer): smds_study.reuse(m, x, y),
                "rigid": lambda x=x: smds_study.rigid(x, y),
            }
            started = perf_counter()
            value = run[name]()
            if dtype == "float64":
                seconds.append(perf_counter() - started)
            if name == "similarity":
                reference = smds_study.weights(read(similarity_layer, source), y)
                cosine = smds_study.similarity(reference, value)
                differences[dtype].append(abs(cosine - found.mean[0, source, position]))
            else:
                differences[dtype].append(abs(value - found.mean[layer, position]))
    return float(np.median(seconds)), {
        f"max_difference_from_smds_{dtype}": float(np.max(values))
        for dtype, values in differences.items()
    }


def _sample(n_layers: int, n_positions: int, scores: ScoreMap, count: int) -> list[tuple[int, int]]:
    """Sites spread over layers and positions, none of them undefined."""
    defined = [
        (layer, position)
        for layer in range(n_layers)
        for position in range(n_positions)
        if np.isfinite(scores.mean[layer, position])
    ]
    chosen = np.linspace(0, len(defined) - 1, min(count, len(defined))).astype(int)
    return [defined[i] for i in chosen]


def _first_rows(states: HiddenStates, rows: int) -> HiddenStates:
    return HiddenStates([tensor[:rows] for tensor in states.tensors], states.layers)


def _print(facts: dict[str, Any]) -> None:
    print(f"{facts['model']}: {facts['samples']} sentences, width {facts['features']}")
    print(f"{'':<12} {'sites':>6} {'ours':>9} {'smds':>11} {'ratio':>7}   difference f64 / f32")
    for name, row in facts["experiments"].items():
        print(
            f"{name:<12} {row['sites']:>6} {row['ours_s']:>7.1f} s {row['smds_s_scaled']:>9.0f} s "
            f"{row['ratio']:>6.1f}x   {row['max_difference_from_smds_float64']:.1e} / "
            f"{row['max_difference_from_smds_float32']:.1e}"
        )
    print(f"{'figures':<12} {'':>6} {facts['figures_s']:>7.1f} s")
    print(
        f"{'all':<12} {'':>6} {facts['ours_s']:>7.1f} s {facts['smds_s_scaled']:>9.0f} s "
        f"{facts['ratio']:>6.1f}x"
    )


if __name__ == "__main__":
    main()
