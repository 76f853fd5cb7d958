"""Run the model over all sentences and keep the hidden states at the chosen positions."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from extract.alignment import Positions, Tokens
from extract.errors import ExtractError, UsageError
from extract.states import FORMAT_VERSION, HiddenStates, StatesWriter

#: Batch sizes of the study.
BATCH_SIZE, BATCH_SIZE_QUANTIZED = 32, 4

_LAYERS = re.compile(r"(\d+)(?:-(\d+))?")


def n_states(config: Any) -> int:
    """Number of hidden states: the embeddings and one per block."""
    return int(_text_config(config).num_hidden_layers) + 1


def hidden_size(config: Any) -> int:
    """Width of the hidden states."""
    return int(_text_config(config).hidden_size)


def parse_layers(text: str | None, count: int) -> tuple[int, ...]:
    """Layer numbers from ``"0,5,10-15"``; None is all ``count`` of them.

    Raises
    ------
    UsageError
        Not of that form, or beyond the model's states.
    """
    if text is None:
        return tuple(range(count))
    layers: set[int] = set()
    for part in text.split(","):
        match = _LAYERS.fullmatch(part.strip())
        if match is None:
            raise UsageError(f"--layers {text}: write numbers and ranges, such as 0,5,10-15")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last >= count:
            raise UsageError(f"--layers {text}: the model has hidden states 0 to {count - 1}")
        layers.update(range(first, last + 1))
    return tuple(sorted(layers))


def extract_states(
    model: Any,
    tokens: Tokens,
    positions: Positions,
    *,
    folder: Path | None,
    layers: Sequence[int],
    batch_size: int,
    metadata: dict[str, str],
    pad_token_id: int,
    progress: Callable[[int, int], None] | None = None,
) -> HiddenStates:
    """Hidden states of all sentences at the chosen layers and positions.

    Parameters
    ----------
    model
        A transformers model without head.
    tokens, positions
        From :func:`extract.tokenize` and :func:`extract.align`.
    folder
        Where the files go; None keeps the states in memory. A call that was interrupted goes on
        after its last finished batch.
    layers
        Numbers of hidden states, as :func:`parse_layers` gives them.
    batch_size
        Sentences at a time; halved when memory runs out.
    metadata
        Facts for the headers of the files.
    pad_token_id
        Fills the shorter sentences on the right, masked.
    progress
        Called with (sentences done, all sentences).

    Raises
    ------
    ExtractError
        One sentence alone does not fit the memory, or the files cannot be written.
    """
    limit = getattr(_text_config(model.config), "max_position_embeddings", None)
    lengths = [len(row) for row in tokens.ids]
    longest = max(lengths)
    if limit and longest > limit:
        raise ExtractError(
            f"sentence {lengths.index(longest) + 1} has {longest} tokens, the model takes {limit}: "
            "shorten it"
        )
    # Padding is masked, so any token will do where the tokenizer's own is not in the model.
    if pad_token_id >= model.get_input_embeddings().weight.shape[0]:
        pad_token_id = 0
    # One sentence tells what the model computes in: a quantised model's weights do not.
    try:
        probe = _forward(model, tokens, positions, layers, 0, 1, longest, pad_token_id)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        raise (_does_not_fit() if _out_of_memory(error) else error) from error
    dtype = functools.reduce(torch.promote_types, (states.dtype for states in probe))
    shape = (len(tokens), len(positions), probe[0].shape[2])
    facts = metadata | {
        "format_version": str(FORMAT_VERSION),
        "dtype": str(dtype).removeprefix("torch."),
        "positions": json.dumps(positions.facts(), ensure_ascii=False),
        "final_norm": "post",
    }
    writer = StatesWriter(folder, layers, shape, dtype, facts)
    # Raw columns reach into the padding, which is then as wide for every sentence.
    width = longest if positions.mode == "raw" else None
    if progress:
        progress(writer.rows_done, len(tokens))
    while writer.rows_done < len(tokens):
        start = writer.rows_done
        stop = min(start + batch_size, len(tokens))
        try:
            batch = _forward(model, tokens, positions, layers, start, stop, width, pad_token_id)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            if stop - start == 1:
                raise _does_not_fit() from error
            batch_size = (stop - start) // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        writer.write(start, batch)
        if progress:
            progress(stop, len(tokens))
    return writer.finish()


@torch.inference_mode()
def _forward(
    model: Any,
    tokens: Tokens,
    positions: Positions,
    layers: Sequence[int],
    start: int,
    stop: int,
    width: int | None,
    pad_token_id: int,
) -> list[Tensor]:
    """States of sentences start to stop: per layer ``(b, positions, d)``, on the CPU."""
    rows = tokens.ids[start:stop]
    width = width or max(len(row) for row in rows)
    ids = np.full((len(rows), width), pad_token_id, dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = row, 1
    output = model(
        input_ids=torch.from_numpy(ids).to(model.device),
        attention_mask=torch.from_numpy(mask).to(model.device),
        output_hidden_states=True,
        use_cache=False,
    )
    columns = torch.from_numpy(positions.columns[start:stop]).to(model.device)
    each = torch.arange(len(rows), device=model.device)[:, None]
    return [output.hidden_states[layer][each, columns].cpu() for layer in layers]


def _does_not_fit() -> ExtractError:
    return ExtractError(
        "one sentence alone does not fit the memory: use --quantize 4bit, a smaller model or "
        "another --device"
    )


def _text_config(config: Any) -> Any:
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    signs = ("out of memory", "can't allocate memory", "not enough memory", "status_alloc_failed")
    return any(sign in text for sign in signs)
