"""Hostile files, folders, arguments and commands by the thousand: what the tests do a little of.

python -m benchmarks.hostile [--quick]

- Random commands in a home full of files of others, about a third of them killed: every foreign
  byte must stay as it was.
- Manifests of a finished run with any part replaced or left out, each given to the command line: it
  works, or it ends with one line.
- Headers of results, and arguments of the library, drawn by hypothesis: the tests of
  ``tests/hostile`` and ``tests/gpu_smds/test_arguments.py`` with more examples and another seed.

Counts are written to ``results/hostile.json``. It needs what the tests need.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.environment import environment
from benchmarks.output import OUT, output, write_facts

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Run the campaign and write its JSON; exit code 1 where something was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--commands", type=int, default=1000, help="random commands")
    parser.add_argument("--manifests", type=int, default=350, help="changed manifests")
    parser.add_argument("--examples", type=int, default=3000, help="examples of each property")
    parser.add_argument("--seed", type=int, default=1, help="of commands and manifests")
    parser.add_argument("--quick", action="store_true", help="a twentieth of it")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the JSON file")
    arguments = parser.parse_args()
    path = output(arguments.out, "hostile-quick.json" if arguments.quick else "hostile.json")
    share = 20 if arguments.quick else 1
    sys.path.insert(0, str(ROOT / "tests"))
    with tempfile.TemporaryDirectory() as folder:
        found = {
            "commands": _commands(Path(folder) / "a", arguments.commands // share, arguments.seed),
            "manifests": _manifests(
                Path(folder) / "b", arguments.manifests // share, arguments.seed
            ),
            "properties": _properties(arguments.examples // share),
        }
    write_facts(path, {**found, "seed": arguments.seed, "environment": environment()})
    print(json.dumps(found, indent=1))
    print(f"written to {path}")
    sys.exit(any(part["found"] for part in found.values()))


def _commands(folder: Path, count: int, seed: int) -> dict[str, Any]:
    def report(done: int) -> None:
        if done % 50 == 0:
            print(f"{done} of {count} commands", file=sys.stderr)

    started = perf_counter()
    outcome = import_module("hostile.campaign").random_commands(folder, count, seed, report)
    codes = sorted(outcome.codes.items(), key=str)
    return {
        "given": sum(outcome.codes.values()),
        "ended_with": {str(code): number for code, number in codes},
        "runs_made": outcome.runs,
        "found": outcome.harm + outcome.tracebacks,
        "seconds": round(perf_counter() - started, 1),
    }


def _manifests(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Give changed manifests to the command line, in this process."""
    from typer.testing import CliRunner

    from experiments.cli import app

    model = import_module("tiny_models").save_tiny(folder / "model")
    changed = import_module("hostile.changes").changed
    command = ["independent", "--samples", "12", "--model", str(model)]
    command += ["--out", str(folder / "run")]
    started, draw, runner = perf_counter(), random.Random(seed), CliRunner()
    assert runner.invoke(app, command).exit_code == 0
    path = folder / "run" / "manifest.json"
    sound = path.read_text()
    outcomes: Counter[str] = Counter()
    found = []
    for number in range(count):
        manifest, what = changed(json.loads(sound), draw)
        _put(path, json.dumps(manifest))
        result = runner.invoke(app, command)
        last = result.output.rstrip("\n").rsplit("\n", 1)[-1]
        if result.exit_code == 0:
            outcomes["works"] += 1
        elif result.exit_code in (1, 2) and last.startswith("error: ") and "--debug" not in last:
            outcomes["one line"] += 1
        else:
            found.append(f"{what}: {last[:300]}")
        if (number + 1) % 50 == 0:
            print(f"{number + 1} of {count} manifests", file=sys.stderr)
    return {**outcomes, "found": found, "seconds": round(perf_counter() - started, 1)}


def _put(path: Path, text: str) -> None:
    """What an attacker does, in a folder of this benchmark's own."""
    from gpu_smds._files import Folder

    Folder.at(path.parent).replace(path.name, text.encode())


def _properties(examples: int) -> dict[str, Any]:
    """The properties of the tests with more examples."""
    started = perf_counter()
    tests = ["tests/hostile/test_run_folders.py", "tests/gpu_smds/test_arguments.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-k", "any_ or junk", *tests]
    ended = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"HOSTILE_EXAMPLES": str(examples)},
        capture_output=True,
        text=True,
        check=False,
    )
    failed = [line for line in ended.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return {
        "examples_of_each": examples,
        "summary": ended.stdout.strip().rsplit("\n", 1)[-1].partition(" in ")[0],
        "found": failed if ended.returncode == 0 or failed else [ended.stdout[-500:]],
        "seconds": round(perf_counter() - started, 1),
    }


if __name__ == "__main__":
    main()
