"""The manifest of a run's folder: what it was made from, and whether that is what is asked now."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from extract import ExtractError, UsageError
from extract.states import write_json

NAME = "manifest.json"
#: Results of several protocols stand side by side in one folder.
_SIDE_BY_SIDE = ("protocol",)
_PACKAGES = (
    *("gpu-smds", "torch", "transformers", "bitsandbytes", "numpy", "scikit-learn"),
    "safetensors",
)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read a folder's manifest; None where there is none.

    Raises
    ------
    ExtractError
        It is damaged.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        manifest["identity"]["states"].setdefault("final_norm", "post")  # not asked for once
        manifest["identity"]["experiments"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExtractError(
            f"{path} cannot be read ({error}): use --force to start afresh, or another --out"
        ) from error
    return manifest


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a folder's manifest, atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / NAME, manifest)


def check_identity(folder: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Compare what a folder holds with what is asked for.

    Raises
    ------
    UsageError
        They differ; the message names the first differences.
    """
    differences = [
        f"{key} {_short(found.get(part, {}).get(key))}, asked for {_short(value)}"
        for part in ("states", "experiments")
        for key, value in wanted[part].items()
        if key not in _SIDE_BY_SIDE and found.get(part, {}).get(key) != value
    ]
    if differences:
        raise UsageError(
            f"{folder} holds a run with {'; '.join(differences[:3])}: choose another --out, or "
            "--force to replace it"
        )


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape the numbers."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 48 else text[:45] + "…"
