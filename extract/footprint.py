"""How many bytes a model takes, from its configuration alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from extract.reader import hidden_size, text_config

#: Bytes of one quantised weight: 4 bits and a scale, itself quantised, for 64 of them; 8 bits.
_BYTES = {"4bit": 0.5 + 0.127 / 8, "study": 0.5 + 0.127 / 8, "8bit": 1.0}


def weight_bytes(
    config: Any, dtype: torch.dtype, quantize: str = "none", trust: bool = False
) -> int | None:
    """Bytes of the weights; None where the model brings its own code and it is not trusted."""
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
    size = _BYTES.get(quantize, float(dtype.itemsize))
    return int(
        sum(
            parameter.numel() * (size if id(parameter) in quantized else dtype.itemsize)
            for parameter in model.parameters()
        )
    )


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
