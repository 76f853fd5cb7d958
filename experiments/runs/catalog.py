"""What a run's folder holds, shown and removed: ``gpu-smds list`` and ``gpu-smds remove``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments.console import Screen
from experiments.designs import every_experiment
from experiments.options import key_of
from experiments.runs.analysis import CLEAN, MAIN, Analysis, known_analyses
from experiments.runs.folder import RunFolder
from experiments.runs.upkeep import remove_analysis
from extract import UsageError


def show(path: Path, screen: Screen) -> None:
    """Print the states of a run and its analyses.

    Raises
    ------
    UsageError, ExtractError
        The folder holds no run, or a damaged one.
    """
    folder, manifest = _looked_at(path)
    shape = "states whose shape is not known yet"
    if "shape" in manifest:
        n, layers, positions, d = manifest["shape"]
        shape = f"{n} sentences × {layers} layers × {positions} positions × {d} features"
    read = "read" if manifest["extracted"] else "not read to the end, or not saved"
    screen.note(
        f"{folder}: {manifest['model']['name']}, {shape}, {read}, "
        f"{_size(folder, manifest, 'states/')}"
    )
    known = known_analyses(manifest, None)
    first = known.get(MAIN, {})
    for name, settings in known.items():
        analysis = Analysis(name, settings, False)
        stems = (*every_experiment(settings["hold_out"]), "significance", "transfer", "discover")
        files = _files(manifest)
        done = [s for s in stems if f"{analysis.results}{s}.safetensors" in files]
        of = settings if name == MAIN else {k: v for k, v in settings.items() if first.get(k) != v}
        said = ", ".join(f"{key_of(key)} {_shown(value)}" for key, value in of.items() if value)
        screen.note({MAIN: "main", CLEAN: "results/clean"}.get(name, name))
        screen.note(f"  asks     {said}")
        screen.note(f"  has      {', '.join(done) or 'nothing yet'}")
        screen.note(f"  takes    {_size(folder, manifest, analysis.results, analysis.figures)}")


def remove(path: Path, name: str, screen: Screen, confirm: Callable[[str], bool]) -> None:
    """Remove the files of an analysis that has a name.

    Raises
    ------
    UsageError, ExtractError
        There is no such run or analysis; another process holds the folder.
    """
    folder, manifest = _looked_at(path)
    known = manifest.get("analyses", {})
    if name not in known:
        listed = ", ".join(known) or "none"
        raise UsageError(f"{folder} has no analysis {name!r}, but {listed}: gpu-smds list {path}")
    count = sum(key.startswith(f"analyses/{name}/") for key in _files(manifest))
    size = _size(folder, manifest, f"analyses/{name}/")
    if not confirm(f"Remove {count} files of the analysis {name}, {size}?"):
        screen.note("nothing was removed")
        return
    with folder.held():
        for sentence in folder.check():
            screen.warn(sentence)
        if name in (folder.manifest or {}).get("analyses", {}):
            remove_analysis(folder.files, name)
    screen.note(f"{folder}: the analysis {name} was removed")


def _shown(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


def _looked_at(path: Path) -> tuple[RunFolder, dict[str, Any]]:
    folder = RunFolder(path)
    folder.look()
    if folder.manifest is None:
        raise UsageError(f"{path} holds no run: start with gpu-smds all")
    return folder, folder.manifest


def _files(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    files: Mapping[str, Any] = manifest["files"]
    return files


def _size(folder: RunFolder, manifest: Mapping[str, Any], *beginnings: str) -> str:
    """Size of the files that begin like this, for people."""
    total = 0
    for key in _files(manifest):
        below = key.removeprefix(next((b for b in beginnings if key.startswith(b)), "\0"))
        # The first analysis' folders hold that of the clean protocol.
        if below != key and ("/" not in below or "analyses/" in beginnings[0]):
            file = folder.path / key
            total += file.lstat().st_size if file.is_file() else 0
    return f"{total / 1e6:.1f} MB" if total < 1e9 else f"{total / 1e9:.1f} GB"
