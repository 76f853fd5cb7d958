"""Load a language model and its tokenizer, whole or quantised."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from extract.errors import ExtractError, UsageError
from extract.loading import check_weights, explained
from extract.sources import ModelSource

#: What ``--quantize`` stands for. "study" is what the study had, with eager attention; float16
#: overflows at 65504, and nf4 is closer to the weights than fp4.
QUANTIZATIONS: dict[str, dict[str, Any]] = {
    "4bit": {"type": "nf4", "compute_dtype": "bfloat16", "double_quantization": True},
    "8bit": {"type": "int8", "compute_dtype": "bfloat16"},
    "study": {"type": "fp4", "compute_dtype": "float16", "double_quantization": True},
}


def pinned(source: ModelSource, token: str | None = None) -> ModelSource:
    """Fix a model of the hub at the commit that its branch or tag is now.

    Tokenizer, configuration and weights are then all read at that commit, and the fingerprint
    names it. Other sources are returned as they are.

    Raises
    ------
    ExtractError
        There is no such model or revision, or the hub cannot be reached and the model is not in
        the local cache.
    """
    if source.kind != "hub" or source.commit:
        return source
    from transformers.utils.hub import cached_file, extract_commit_hash

    try:
        config = cached_file(
            source.location, "config.json", revision=source.revision or "main", token=token
        )
    except Exception as error:
        raise explained(error, source) from error
    commit = extract_commit_hash(config, None)
    if commit is None:
        raise ExtractError(
            f"the folder {source.location} here has the name of a model of the hub: give it as "
            f"./{source.location}, or start in another folder"
        )
    return replace(source, commit=commit)


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
    config: Any = None,
    spread: bool = False,
    layers: Sequence[int] | None = None,
) -> Any:
    """Load the model without its head, in evaluation mode.

    Parameters
    ----------
    source
        From :func:`extract.sources.resolve_model`.
    device
        A torch device.
    dtype
        "float32", "float16", "bfloat16", or None: the checkpoint's own (float32 for GGUF), and
        quantised :func:`compute_dtype`.
    quantize
        "none", or a row of :data:`QUANTIZATIONS`.
    token, trust
        Hub token, and whether to run code that the model brings.
    config
        From :func:`load_config`, where it has been read.
    spread
        Place the layers on all GPUs and, as far as they do not hold them, on the CPU, instead of
        on the device.
    layers
        Numbers of the hidden states that are wanted, 0 the embeddings and i the output of block
        i; None: all. Weights that no wanted state depends on may be missing.

    Raises
    ------
    ExtractError
        It cannot be loaded, its weights are not those that its configuration asks for, or its
        files were changed since :meth:`ModelSource.fingerprint`; the message says what to do.
    """
    import torch
    from transformers import AutoModel

    quieten()
    arguments = _where(source, token, trust)
    if config is not None:
        arguments["config"] = config
    computed = compute_dtype(source, dtype, quantize)
    arguments["dtype"] = getattr(torch, computed) if computed else "auto"
    if quantize != "none":
        arguments["quantization_config"] = _quantization(quantize, computed)
    if quantize == "study":
        arguments["attn_implementation"] = "eager"
    if spread:
        arguments["device_map"] = "auto"
    elif quantize != "none" or device.type != "cpu":
        # Straight to the device: no copy of all weights in the host's memory.
        arguments["device_map"] = {"": device}
    try:
        # Reading a GGUF file draws progress bars that no setting turns off.
        with contextlib.redirect_stderr(io.StringIO()):
            model, info = AutoModel.from_pretrained(
                **arguments, output_loading_info=True, ignore_mismatched_sizes=True
            )
    except Exception as error:
        source.check_unchanged()
        raise explained(error, source) from error
    if source.kind != "gguf" and quantize == "none":
        _detach_from_files(model)
    # First, since files that are half written explain all that is wrong with the weights.
    source.check_unchanged()
    check_weights(model, info, source, layers)
    return model.eval().requires_grad_(False)


def _detach_from_files(model: Any) -> None:
    """Copy weights on the CPU, which otherwise are the mapped files themselves.

    A file that is edited while the model reads would change them in the middle, and one that is cut
    would end the process with a signal.
    """
    import torch

    with torch.no_grad():
        for weights in (*model.parameters(), *model.buffers()):
            if weights.device.type == "cpu":
                weights.data = weights.data.clone()


def compute_dtype(source: ModelSource, dtype: str | None, quantize: str) -> str | None:
    """Name of the dtype that a model computes in; None where only its checkpoint says."""
    if dtype:
        return dtype
    if quantize != "none":
        return str(QUANTIZATIONS[quantize]["compute_dtype"])
    return "float32" if source.kind == "gguf" else None


def model_device(device: Any) -> Any:
    """Torch device of a name such as "cuda:1"; None or "auto" is CUDA where there is one.

    Raises
    ------
    UsageError
        An unknown device, or CUDA asked for and not available.
    """
    import torch

    if device is None or (isinstance(device, str) and device == "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    unknown = UsageError(f"unknown device {_short(device)}: use cpu, cuda or cuda:N")
    if not isinstance(device, str | torch.device):
        raise unknown
    try:
        chosen = torch.device(device)
    except (RuntimeError, ValueError) as error:
        raise unknown from error
    if chosen.type not in ("cpu", "cuda"):
        raise UsageError(f"device {str(chosen)!r} is not supported: use cpu or cuda")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no CUDA device here; use --device cpu")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {device}: there are cuda:0 to cuda:{torch.cuda.device_count() - 1}"
        )
    return chosen


def _short(device: object) -> str:
    """What was given in place of a device, as one short line."""
    if not isinstance(device, str):
        return f"of type {type(device).__name__}"
    return repr(device if len(device) <= 40 else device[:39] + "…")


def quieten() -> None:
    """Keep the notices and progress bars of transformers and bitsandbytes off the screen."""
    import logging

    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    # A line for every layer of every batch, about the precision of 8-bit products.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def _where(source: ModelSource, token: str | None, trust: bool) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` that say where the files are, and whether code is run."""
    if trust:
        source.check_code()
    where: dict[str, Any] = {
        "pretrained_model_name_or_path": source.location,
        "trust_remote_code": trust,
    }
    if source.kind == "hub":
        where |= {"revision": source.commit or source.revision or "main", "token": token}
    else:
        where["local_files_only"] = True
    if source.gguf_file:
        where["gguf_file"] = source.gguf_file
    return where


def _quantization(quantize: str, dtype: str | None) -> Any:
    """Configuration of bitsandbytes; the products are computed in ``dtype``."""
    import torch
    from transformers import BitsAndBytesConfig

    if importlib.util.find_spec("bitsandbytes") is None:
        raise ExtractError("quantisation needs bitsandbytes: pip install 'gpu-smds[quantize]'")
    facts = QUANTIZATIONS[quantize]
    if quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=facts["type"],
        bnb_4bit_compute_dtype=getattr(torch, dtype or facts["compute_dtype"]),
        bnb_4bit_use_double_quant=facts["double_quantization"],
    )


def tokenizer_facts(tokenizer: Any) -> dict[str, Any]:
    """What tells this tokenizer from another."""
    backend = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else ""
    return {
        "class": type(tokenizer).__name__,
        "vocabulary": len(tokenizer),
        "sha256": hashlib.sha256(json.dumps(backend).encode()).hexdigest(),
    }
