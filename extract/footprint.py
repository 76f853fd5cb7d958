"""How many bytes a model takes, from its configuration alone."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from extract.reader import hidden_size, n_states, text_config

#: Bytes of one quantised weight: 4 bits and a scale, itself quantised, for 64 of them; 8 bits.
_BYTES = {"4bit": 0.5 + 0.127 / 8, "study": 0.5 + 0.127 / 8, "8bit": 1.0}

# A model of up to so many layers is built whole, which takes a third of a second. Of a larger one,
# models with these few layers are built.
_MOST_BUILT, _FEW = 256, (1, 2, 4, 8)


def weight_bytes(
    config: Any, dtype: torch.dtype, quantize: str = "none", trust: bool = False
) -> int | None:
    """Bytes of the weights; None where they cannot be told.

    They are counted on the model without memory for its weights. With very many layers that takes
    minutes, and a few are built instead, of which every further one must take the same. None where
    they do not, and where the model brings its own code and it is not trusted.
    """
    layers = n_states(config) - 1
    counts = _counts(config, trust) if layers <= _MOST_BUILT else _continued(config, layers, trust)
    if counts is None:
        return None
    quantized, others = counts
    return int(quantized * _BYTES.get(quantize, float(dtype.itemsize)) + others * dtype.itemsize)


def _counts(config: Any, trust: bool) -> tuple[int, int] | None:
    """Weights that quantisation makes smaller, and others."""
    from transformers import AutoModel
    from transformers.pytorch_utils import Conv1D

    try:
        with torch.device("meta"):
            model = AutoModel.from_config(config, trust_remote_code=trust)
    except Exception:  # code of the model's own, which may do anything without weights
        return None
    quantized = {
        id(module.weight) for module in model.modules() if isinstance(module, nn.Linear | Conv1D)
    }
    found = [0, 0]
    for parameter in model.parameters():
        found[id(parameter) not in quantized] += parameter.numel()
    return found[0], found[1]


def _continued(config: Any, layers: int, trust: bool) -> tuple[int, int] | None:
    """What :func:`_counts` would find for many layers, from a few; None where they differ."""
    config = copy.deepcopy(config)
    part = text_config(config)
    found: dict[int, tuple[int, int]] = {}
    for few in sorted(_FEW, reverse=True):
        for name, value in vars(part).items():
            # What is said of every layer, such as its kind of attention.
            if isinstance(value, list | tuple) and len(value) == part.num_hidden_layers:
                setattr(part, name, value[:few])
        part.num_hidden_layers = few
        counts = _counts(config, trust)
        if counts is None:
            return None
        found[few] = counts
    total = []
    for kind in (0, 1):
        first = found[1][kind]
        step = found[2][kind] - first
        if any(counts[kind] != first + (few - 1) * step for few, counts in found.items()):
            return None
        total.append(first + (layers - 1) * step)
    return total[0], total[1]


def batch_bytes(config: Any, tokens: int, dtype: torch.dtype) -> int:
    """Bytes that a batch of so many tokens takes at its peak inside one block, roughly.

    The block's input and residual, queries, keys and values, and three tensors as wide as its
    feed-forward layer; the norms compute in float32.
    """
    config = text_config(config)
    hidden = hidden_size(config)
    wide = getattr(config, "intermediate_size", None) or getattr(config, "ffn_dim", None)
    width = 3 * int(wide or 4 * hidden) + 8 * hidden
    return tokens * width * max(dtype.itemsize, 4)
