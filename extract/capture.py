"""Run the model over all sentences and keep the hidden states at the chosen positions."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from extract.alignment import Positions
from extract.batches import cut, halved
from extract.errors import ExtractError, UsageError, out_of_memory
from extract.layer_file import dtype_named
from extract.progress import read_notes
from extract.reader import StateReader, Take, text_config
from extract.states import FORMAT_VERSION, INDEX, HiddenStates
from extract.tokens import Tokens
from extract.writer import StatesWriter
from gpu_smds._files import Folder

_LAYERS = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?")
# No model has as many layers; a configuration that says so would be counted out number by number.
_MOST_LAYERS = 1_000_000


def parse_layers(text: str | None, count: int) -> tuple[int, ...]:
    """Layer numbers from ``"0,5,10-15"``; None is all ``count`` of them.

    Raises
    ------
    UsageError
        Not of that form, or beyond the model's states.
    ExtractError
        More layers than any model has.
    """
    if count - 1 > _MOST_LAYERS:
        raise ExtractError(
            f"the model's configuration says that it has {count - 1:,} layers, which cannot be: is "
            "its config.json damaged?"
        )
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


def check_lengths(tokens: Tokens, config: Any) -> None:
    """Raise ExtractError where a sentence is longer than the model takes, and name it."""
    limit = getattr(text_config(config), "max_position_embeddings", None)
    lengths = [len(row) for row in tokens.ids]
    longest = max(lengths)
    if limit and longest > limit:
        raise ExtractError(
            f"sentence {lengths.index(longest) + 1} has {longest} tokens, the model takes {limit}: "
            "shorten it"
        )


def check_vocabulary(tokens: Tokens, model: Any) -> None:
    """Raise ExtractError where the tokenizer gives tokens that the model does not know."""
    largest = max(max(row, default=0) for row in tokens.ids)
    rows = model.get_input_embeddings().weight.shape[0]
    if largest >= rows:
        raise ExtractError(
            f"the tokenizer gives token {largest}, the model's embedding has {rows} rows (0 to "
            f"{rows - 1}): they do not belong together, give the tokenizer of this model"
        )


def read_lengths(tokens: Tokens, positions: Positions) -> list[int]:
    """Tokens of every sentence as it is read: raw columns reach into the padding."""
    lengths = [len(row) for row in tokens.ids]
    return [max(lengths)] * len(lengths) if positions.mode == "raw" else lengths


@dataclass(frozen=True)
class Extraction:
    """What :func:`extract_states` returns.

    Attributes
    ----------
    states
        All states; they can be read at once.
    saved
        Call it to wait until the files are complete; raises ExtractError if they cannot be.
    hooked
        Whether states were taken by hooks; None where the model was not needed any more.
    damaged
        Batches of an interrupted call that had to be read again, since their checksums differed.
    """

    states: HiddenStates
    saved: Callable[[], None]
    hooked: bool | None
    damaged: int


def extract_states(
    load: Callable[[], Any],
    tokens: Tokens,
    positions: Positions,
    *,
    folder: Path | Folder | None,
    layers: Sequence[int],
    sizes: Sequence[int],
    metadata: dict[str, str],
    pad_token_id: int,
    final_norm: str = "post",
    place: Callable[[int], torch.device | None] = lambda needed: None,
    replan: Callable[[list[int]], None] = lambda sizes: None,
    progress: Callable[[int, int], None] | None = None,
) -> Extraction:
    """Hidden states of all sentences at the chosen layers and positions.

    Parameters
    ----------
    load
        Returns a transformers model without head; not called where an interrupted call had read
        all sentences.
    tokens, positions
        From :func:`extract.tokenize` and :func:`extract.align`.
    folder
        Where the files go; None keeps the states in memory. A call that was interrupted goes on
        after its last finished batch.
    layers
        Numbers of hidden states, as :func:`parse_layers` gives them.
    sizes
        Sentences of every batch in reading order, from :func:`extract.batches.batch_sizes`.
    metadata
        Facts for the headers of the files.
    pad_token_id
        Fills the shorter sentences on the right, masked.
    final_norm
        Last state after ("post") or before ("pre") the model's final norm.
    place
        Called with the bytes of all states once the model is there, on a GPU after a batch;
        returns the device on which they stay, None for the files alone.
    replan
        Called with new sizes when memory ran out and batches are halved.
    progress
        Called with (sentences done, all sentences).

    Raises
    ------
    ExtractError
        One sentence alone does not fit the memory, or the files cannot be written.
    """
    lengths = read_lengths(tokens, positions)
    batches = cut(lengths, sizes)
    facts = metadata | {
        "format_version": str(FORMAT_VERSION),
        "positions": positions.to_json(),
        "final_norm": final_norm,
    }
    damaged = 0
    if folder is not None:
        folder = folder if isinstance(folder, Folder) else Folder.at(folder, create=True)
        finished, damaged = _finished_before(folder, layers, facts, batches)
        if finished is not None:
            return finished
    model = load()
    check_vocabulary(tokens, model)
    check_lengths(tokens, model.config)
    pad = known_token(model, pad_token_id)
    batch = functools.partial(padded, tokens, positions, pad_token_id=pad)

    with StateReader(model, layers, final_norm) as reader:

        def read(rows: np.ndarray, take: Take) -> bool:
            return _if_it_fits(lambda: reader.read(*batch(rows), take=take)) is not None

        dtype, width, on_gpu = _probe(reader, lambda: reader.check(*batch(batches[0][:1])))
        shape = (len(tokens), len(positions), width)
        facts["dtype"] = str(dtype).removeprefix("torch.")
        if model.device.type == "cuda":
            # Its peak shows how much memory batches leave for the states.
            read(batches[0], lambda number, states: None)
        keep = place(math.prod(shape) * dtype.itemsize * len(layers))
        writer = StatesWriter(folder, layers, shape, dtype, facts, batches, keep, beside=on_gpu)
        try:
            _read_batches(read, writer, lengths, batches, replan, progress)
        except BaseException:
            writer.close()
            raise
        states, saved = writer.finish()
        return Extraction(states, saved, reader.blocks is not None, damaged + writer.damaged)


def padded(
    tokens: Tokens, positions: Positions, rows: np.ndarray, pad_token_id: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens ``(b, width)`` of a batch, padded on the right, their mask, and columns to keep."""
    # Not from the lengths of all sentences, which would be counted again for every batch.
    raw = positions.mode == "raw"
    width = positions.columns.shape[1] if raw else max(len(tokens.ids[row]) for row in rows)
    ids = np.full((len(rows), width), pad_token_id, dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for i, row in enumerate(rows):
        sentence = tokens.ids[row]
        ids[i, : len(sentence)], mask[i, : len(sentence)] = sentence, 1
    return torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(positions.columns[rows])


def known_token(model: Any, token: int) -> int:
    """The token to pad with. It is masked, so any will do where the model lacks the tokenizer's."""
    return token if token < model.get_input_embeddings().weight.shape[0] else 0


def _finished_before(
    folder: Folder, layers: Sequence[int], facts: dict[str, str], batches: Sequence[np.ndarray]
) -> tuple[Extraction | None, int]:
    """What an interrupted call had read to the end.

    None where the model is needed, with the number of batches that were damaged.
    """
    plan, notes = read_notes(folder)
    if plan is None and folder.kind(INDEX) is not None:
        return _named_before(folder, layers, facts), 0
    try:
        shape, dtype = tuple(plan["shape"]), dtype_named(plan["dtype"])
        same = plan["metadata"] == facts | {"dtype": plan["metadata"]["dtype"]}
        same = same and plan["layers"] == list(layers)
    except (KeyError, TypeError, AttributeError, ValueError):
        return None, 0
    if not same or len(shape) != 3 or len(notes) < len(batches):
        return None, 0
    writer = StatesWriter(folder, layers, shape, dtype, plan["metadata"], batches)
    if len(writer.done) == len(batches):
        states, saved = writer.finish()
        return Extraction(states, saved, None, writer.damaged), writer.damaged
    writer.close()
    return None, writer.damaged


def _named_before(
    folder: Folder, layers: Sequence[int], facts: dict[str, str]
) -> Extraction | None:
    """What a call had read that was interrupted after it named the files; None: other states."""
    try:
        states = HiddenStates.open(folder)
    except ExtractError:
        return None
    of_layer = {"dtype": states.metadata.get("dtype"), "layer": states.metadata.get("layer")}
    same = states.layers == tuple(layers) and states.metadata == facts | of_layer
    return Extraction(states, lambda: None, None, 0) if same else None


def _probe(reader: StateReader, check: Callable[[], list[Tensor]]) -> tuple[torch.dtype, int, bool]:
    """Dtype and width of the states, and whether a GPU computes them, from one sentence.

    Its weights do not tell what a quantised model computes in.
    """
    states = _if_it_fits(check)
    if states is None:
        raise _does_not_fit()
    widths = [layer.shape[2] for layer in states]
    if len(set(widths)) > 1:
        raise ExtractError(
            f"the last state of {type(reader.model).__name__} is {widths[-1]} features wide, "
            f"the others {widths[0]}: use --final-norm pre"
        )
    dtype = functools.reduce(torch.promote_types, (layer.dtype for layer in states))
    return dtype, widths[0], any(layer.device.type == "cuda" for layer in states)


def _read_batches(
    read: Callable[[np.ndarray, Take], bool],
    writer: StatesWriter,
    lengths: Sequence[int],
    batches: Sequence[np.ndarray],
    replan: Callable[[list[int]], None],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Read the batches that are not done; those that do not fit the memory are halved.

    ``read`` says whether a batch fitted.
    """
    number = 0
    while number < len(batches):
        if progress:
            progress(sum(len(rows) for rows in batches[:number]), len(lengths))
        rows = batches[number]
        if tuple(rows.tolist()) not in writer.done:
            writer.begin(rows)
            if not read(rows, writer.take):
                if len(rows) == 1:
                    raise _does_not_fit()
                sizes = halved([len(part) for part in batches], number)
                replan(sizes)
                batches = cut(lengths, sizes)
                continue
            writer.end()
        number += 1
    if progress:
        progress(len(lengths), len(lengths))


def _if_it_fits(read: Callable[[], list[Tensor]]) -> list[Tensor] | None:
    """What ``read`` returns; None where memory ran out."""
    try:
        return read()
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
    # Not before the error is gone, which holds what had been computed.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def _does_not_fit() -> ExtractError:
    return ExtractError(
        "one sentence alone does not fit the memory: use --quantize 4bit, a smaller model or "
        "another --device"
    )
