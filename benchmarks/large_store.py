"""A store far larger than the memory: which sites hold a circle, and with how much memory?

    python -m benchmarks.large_store --folder /a/disk/with/room

Files of 60 GB, most of which is a hole, with a circle at some sites; they are scored as
``gpu-smds`` scores states in files. Anonymous memory is what the process cannot give back.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import threading
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from benchmarks.environment import environment
from benchmarks.output import OUT, output, write_facts
from extract import HiddenStates
from extract.layer_file import header
from extract.states import INDEX, layer_name
from gpu_smds import Status, score_map
from gpu_smds._files import Folder


def main() -> None:
    """Make the store, score it, and write a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the store is made, and removed again")
    parser.add_argument("--gigabytes", type=float, default=60, help="size of the store")
    parser.add_argument("--planted", type=int, default=210, help="sites that hold a circle")
    parser.add_argument("--samples", type=int, default=1000, help="sentences")
    parser.add_argument("--features", type=int, default=4096, help="width")
    parser.add_argument("--layers", type=int, default=33, help="files")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the JSON file")
    arguments = parser.parse_args()
    path = output(arguments.out, "large-store.json")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        facts = measure(Path(folder), arguments)
    write_facts(path, facts)
    print(json.dumps(facts))


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Score a store and compare what is found with what was planted."""
    n, d, layers = arguments.samples, arguments.features, arguments.layers
    positions = round(arguments.gigabytes * 1e9 / (4 * n * d * layers))
    labels = np.random.default_rng(0).random(n)
    planted = plant(folder, (n, layers, positions, d), labels, arguments.planted)
    held = sum(path.stat().st_blocks * 512 for path in folder.iterdir())
    states = HiddenStates.open(folder, verify=False)
    few = torch.randn(60, 2, 16)
    score_map(few, labels[:60])  # libraries are not what is measured
    with AnonymousMemory() as memory:
        started = perf_counter()
        scores = score_map(states, labels, progress=True)
        seconds = perf_counter() - started
    found = scores.worst_status == Status.OK
    return {
        "samples": n,
        "features": d,
        "sites": layers * positions,
        "store_bytes": 4 * n * d * layers * positions,
        "bytes_on_disk": held,
        "planted": len(planted),
        "planted_found": int(sum(found[site] for site in planted)),
        "others_found": int(found.sum() - sum(found[site] for site in planted)),
        "lowest_planted_score": float(min(scores.mean[site] for site in planted)),
        "seconds": seconds,
        "anonymous_bytes_before": memory.before,
        "anonymous_bytes_peak": memory.peak,
        "free_disk_bytes": shutil.disk_usage(folder).free,
        "environment": environment(),
    }


def plant(
    folder: Path, shape: tuple[int, int, int, int], labels: np.ndarray, count: int
) -> list[tuple[int, int]]:
    """Make files that are holes but for a circle, and noise, at some sites; returns those."""
    n, layers, positions, d = shape
    rng = np.random.default_rng(1)
    chosen = rng.choice(layers * positions, count, replace=False)
    angle = 2 * np.pi * labels
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    sites = []
    files = {}
    states = Folder.at(folder)
    for layer in range(layers):
        head = header((n, positions, d), torch.float32, {"layer": str(layer)})
        name = layer_name(layer)
        size = len(head) + 4 * n * positions * d
        with states.create(name) as file:
            file.write(head)
            file.truncate(size)
            for site in sorted(chosen[chosen // positions == layer].tolist()):
                position = site % positions
                sites.append((layer, position))
                x = circle @ rng.standard_normal((2, d)) + 0.3 * rng.standard_normal((n, d))
                for row, values in enumerate(x.astype(np.float32)):
                    file.seek(len(head) + 4 * d * (row * positions + position))
                    file.write(values.tobytes())
        files[name] = {"layer": layer, "bytes": size, "sha256": ""}  # not verified
    facts = {"files": files, "nonfinite": np.zeros((layers, positions), int).tolist()}
    states.replace(INDEX, json.dumps(facts).encode())
    return sites


class AnonymousMemory:
    """The peak of a process' anonymous memory, looked at fifty times a second."""

    def __enter__(self) -> Self:
        self.before = self.peak = self._now()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.peak = max(self.peak, self._now())

    @staticmethod
    def _now() -> int:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


if __name__ == "__main__":
    main()
