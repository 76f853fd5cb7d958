"""What the user asked for, shared by all commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from extract.alignment import DESTINATION, DISTRACTOR, SOURCE


@dataclass(frozen=True)
class Options:
    """Options of one call; see ``gpu-smds all --help`` for their meaning."""

    models: tuple[str, ...] = ("smollm2",)
    revision: str | None = None
    samples: int = 1000
    seed: int = 42
    prompts: Path | None = None
    manifold: str = "circular"
    manifolds: tuple[str, ...] | None = None
    shuffles: int = 9
    source: str = SOURCE
    destination: str = DESTINATION
    distractor: str = DISTRACTOR
    layers: str | None = None
    positions: str = "word"
    quantize: str | None = None
    dtype: str | None = None
    device: str | None = None
    batch_size: int | None = None
    batch_tokens: int | None = None
    final_norm: str = "post"
    protocol: str = "study"
    hold_out: str | None = None
    permutations: int | None = None
    out: Path | None = None
    csv_as_is: bool = False
    save: bool = True
    force: bool = False
    dry_run: bool = False
    quiet: bool = False
    debug: bool = False
    trust_remote_code: bool = False
