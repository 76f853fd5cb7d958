"""Where a benchmark writes what it measured: only over what a benchmark wrote before."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_smds._files import SOFTWARE, File, is_our_picture

#: Where results are kept.
OUT = Path(__file__).parent / "results"

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _is_ours(head: bytes) -> bool:
    """Whether a benchmark wrote a file: it says on what machine, and of what commit."""
    try:
        found = json.loads(head)["environment"]
        return bool({"cpu", "cores", "commit"} <= found.keys())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def output(folder: Path, name: str) -> File:
    """The file of a measurement, made sure of before anything is measured.

    Raises
    ------
    FilesError
        The name is taken by something that no benchmark wrote.
    """
    file = File.at(folder / name, create_parents=True)
    file.check(_is_ours)
    return file


def write_facts(file: File, facts: dict[str, Any], text: str | None = None) -> None:
    """Write what was measured as JSON, or as the text that says the same more briefly."""
    file.write(((text or json.dumps(facts, indent=1)) + "\n").encode(), _is_ours)


def write_figure(path: Path, figure: Figure, dpi: int) -> None:
    """Write a figure as PNG, over one that was drawn here only."""
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=dpi, metadata={"Software": SOFTWARE})
    File.of(path).write(picture.getvalue(), is_our_picture)
