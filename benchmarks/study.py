"""The four experiments with their figures against the same sites through smds, in one run.

    python -m benchmarks.study runs/smollm2

Ours is timed on every site of a finished run (states read from its files, figures drawn); smds on
a sample of sites, one at a time on float64 states, and scaled to all of them. Scores are compared
with smds on float64; its difference on float32, which is its own rounding, is reported beside.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks import smds_study
from benchmarks.environment import environment
from benchmarks.output import OUT, output, write_facts
from benchmarks.runs import states_and_labels
from experiments.designs import experiments_of
from experiments.designs.setting import Setting, similarity_layer
from experiments.reports.drawing import draw_results
from experiments.runs.manifest import read_manifest
from experiments.runs.results import Columns, compute_results, save_result
from extract import ExtractError, HiddenStates
from gpu_smds import ScoreMap
from gpu_smds._files import File, Folder, plain


def main() -> None:
    """Run the comparison and write its JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run with its states")
    parser.add_argument("--sites", type=int, default=12, help="sites that smds is timed on")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the JSON file")
    arguments = parser.parse_args()
    manifest = read_manifest(Folder.at(arguments.run))
    if manifest is None or not manifest["extracted"]:
        raise ExtractError(f"{arguments.run} holds no states: run gpu-smds extract first")
    path = output(arguments.out, f"study-{plain(manifest['model']['name'])}.json")
    facts = measure(arguments.run, manifest, arguments.sites)
    write_facts(path, facts)
    _print(facts)
    print(f"written to {path}")


def measure(folder: Path, manifest: dict[str, Any], n_sites: int) -> dict[str, Any]:
    """Time both sides on the states of a run."""
    states, labels = states_and_labels(folder)
    facts = manifest["positions"]
    columns = Columns(tuple(facts["words"]), tuple(facts["tokens"]), facts["landmarks"])
    n, n_layers, n_positions, d = states.shape
    source = columns.landmarks["source"]
    setting = Setting(states, labels, states.layers, manifest["n_states"], source)
    ours, results = _ours(setting, columns)
    site_list = _sample(n_layers, n_positions, results["independent"], n_sites)
    layer = states.layers.index(similarity_layer(setting))
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
    experiments = experiments_of(())
    for row in experiments.values():
        compute_results([row], few, columns, "benchmark", lambda *_: None)
    seconds: dict[str, float] = {}
    results: dict[str, ScoreMap] = {}
    # Each by itself, as smds runs them; the command ``all`` runs those on all sites in one pass.
    for name, row in experiments.items():
        started = perf_counter()
        results |= compute_results([row], setting, columns, "benchmark", lambda *_: None)
        seconds[name] = perf_counter() - started
    started = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for name, scores in results.items():
            save_result(
                lambda name: File.at(Path(folder) / name),
                experiments[name],
                scores,
                csv_as_is=False,
            )
        draw_results(lambda name: File.at(Path(folder) / name), "benchmark", results)
    seconds["figures"] = perf_counter() - started
    return seconds, results


def _theirs(
    name: str,
    setting: Setting,
    found: ScoreMap,
    sites: list[tuple[int, int]],
    similarity_layer: int,
) -> tuple[float, dict[str, float]]:
    """Seconds per site of smds on float64, and the largest differences of its scores from ours."""
    seconds: list[float] = []
    differences: dict[str, float] = {}
    for kind in (np.float64, np.float32):
        largest = 0.0
        for layer, position in sites:
            if name == "similarity":
                layer = similarity_layer
            x = _read(setting, layer, position, kind)
            source = _read(setting, layer, setting.source, kind)
            taken, value = _one_site(name, x, source, setting.labels)
            index = (0, setting.source, position) if name == "similarity" else (layer, position)
            largest = max(largest, abs(value - float(found.mean[index])))
            if kind is np.float64:
                seconds.append(taken)
        differences[f"max_difference_from_smds_{np.dtype(kind)}"] = largest
    return float(np.median(seconds)), differences


def _one_site(name: str, x: np.ndarray, source: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Seconds and value of one experiment of smds at one site.

    The source's fit is needed once a layer or once in all, so it is not on the clock.
    """
    if name == "reuse":
        fitted = smds_study.model().fit(smds_study.zscore(source), y)
    elif name == "similarity":
        reference = smds_study.weights(source, y)
    started = perf_counter()
    if name == "independent":
        value = smds_study.independent(x, y)
    elif name == "similarity":
        value = smds_study.similarity(reference, smds_study.weights(x, y))
    elif name == "reuse":
        value = smds_study.reuse(fitted, x, y)
    else:
        value = smds_study.rigid(x, y)
    return perf_counter() - started, value


def _read(setting: Setting, layer: int, position: int, kind: type[np.floating[Any]]) -> np.ndarray:
    states: np.ndarray = setting.states[:, layer, position].double().numpy().astype(kind)
    return states


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
