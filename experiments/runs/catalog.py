"""What a run's folder holds, shown and removed: ``gpu-smds list`` and ``gpu-smds remove``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.console import Screen
from experiments.designs import every_experiment
from experiments.options import key_of
from experiments.runs.analysis import (
    CLEAN,
    MAIN,
    TOLD,
    Analysis,
    known_analyses,
    noted_of,
    shown_name,
    shown_of,
    stored_name,
)
from experiments.runs.folder import RunFolder
from experiments.runs.lock import holder_of
from experiments.runs.upkeep import files_of, remove_analysis, remove_states
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
    read = "read" if manifest["extracted"] else "not kept"
    if not manifest["extracted"] and (path / "states" / "progress.jsonl").is_file():
        read = "interrupted while they were read: the same command goes on"
    if manifest["extracted"] and manifest.get("chat") is not None:
        read += " in the chat template"
    size = _size(folder, [key for key in manifest["files"] if key.startswith("states/")])
    screen.note(f"{folder}: {manifest['model']['name']}, {shape}, {read}, {size}")
    known = known_analyses(manifest, None)
    for name, settings in known.items():
        analysis = Analysis(name, settings, False)
        keys = files_of(manifest["files"], analysis)
        screen.note(shown_name(name))
        screen.note(f"  asks     {_said(settings, {} if name == MAIN else known.get(MAIN, {}))}")
        screen.note(f"  has      {', '.join(_results(folder, analysis)) or 'nothing yet'}")
        screen.note(f"  state    {_state(folder, analysis)}")
        screen.note(f"  takes    {_size(folder, keys)}")


def remove(
    path: Path, name: str | None, states: bool, screen: Screen, confirm: Callable[[str], bool]
) -> None:
    """Remove the files of an analysis, or the states.

    Raises
    ------
    UsageError, ExtractError
        There is no such run or analysis; another process uses the folder.
    """
    if (name is None) == (not states):
        raise UsageError(
            "name an analysis, or give --states: gpu-smds list RUN shows what is there"
        )
    folder, manifest = _looked_at(path)
    if name is None:
        what, keys = "the states", [key for key in manifest["files"] if key.startswith("states/")]
        after = " They can be read again, by the model, and the analyses stay."
    else:
        what, keys, after = (
            f"the analysis {name}",
            files_of(manifest["files"], _named(folder, name)),
            "",
        )
    if not confirm(f"Remove {len(keys)} files of {what}, {_size(folder, keys)}?{after}"):
        screen.note("nothing was removed")
        return
    with folder.held(instead=""):
        for sentence in folder.check():
            screen.warn(sentence)
        if name is None:
            remove_states(folder.files)
        elif stored_name(name) in known_analyses(folder.manifest, None):
            remove_analysis(folder.files, _named(folder, name))
    screen.note(f"{folder}: {what} {'were' if name is None else 'was'} removed")


def _looked_at(path: Path) -> tuple[RunFolder, dict[str, Any]]:
    folder = RunFolder(path)
    try:
        folder.look()
    except UsageError as error:
        raise UsageError(f"{path} holds no run of gpu-smds") from error
    if folder.manifest is None:
        raise UsageError(f"{path} holds no run: start with gpu-smds all")
    return folder, folder.manifest


def _named(folder: RunFolder, name: str) -> Analysis:
    """The analysis that the user names so; raises UsageError where there is none."""
    known = known_analyses(folder.manifest, None)
    stored = stored_name(name)
    if stored not in known or stored == CLEAN:
        listed = ", ".join(shown_name(other) for other in known if other != CLEAN) or "none"
        raise UsageError(
            f"{folder} has no analysis {name!r}, but {listed}: gpu-smds list {folder.path}"
        )
    if stored == MAIN and CLEAN in known:
        raise UsageError(
            f"{folder} is of an earlier version, whose results/clean belong to main: neither is "
            "removed alone"
        )
    return Analysis(stored, known[stored], False)


def _said(settings: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """Settings that differ from those of the first analysis."""
    differing = {key: value for key, value in settings.items() if first.get(key) != value}
    said = {key: value for key, value in differing.items() if value is not None or key in TOLD}
    return ", ".join(f"{key_of(key)} {shown_of(key, value)}" for key, value in said.items())


def _results(folder: RunFolder, analysis: Analysis) -> list[str]:
    """Experiments and tests whose results are there."""
    slot = analysis.settings.get("hold_out")
    stems = (*every_experiment(slot), "significance", "transfer", "discover")
    where = folder.path / analysis.results
    return [stem for stem in stems if (where / f"{stem}.safetensors").is_file()]


def _state(folder: RunFolder, analysis: Analysis) -> str:
    holder = holder_of(folder.path / analysis.place)
    if holder is not None:
        return f"in use by {holder}"
    noted = noted_of(folder.manifest or {}, analysis.name)
    if noted.get("doing"):
        return f"interrupted: gpu-smds {noted['doing']} goes on"
    return "finished" if _results(folder, analysis) else "nothing computed yet"


def _size(folder: RunFolder, keys: Sequence[str]) -> str:
    """Size of files, for people."""
    files = [folder.path / key for key in keys]
    total = sum(file.lstat().st_size for file in files if file.is_file())
    return f"{total / 1e6:.1f} MB" if total < 1e9 else f"{total / 1e9:.1f} GB"
