"""What an extraction will take, known before the model is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from experiments.options import Options
from experiments.runs.reading import Reading
from extract import Positions, Prompts, Tokens
from extract.batches import BATCH_TOKENS_CPU, BATCH_TOKENS_CUDA, batch_sizes, cut
from extract.capture import check_lengths, known_token, padded, parse_layers, read_lengths
from extract.footprint import batch_bytes, weight_bytes
from extract.models import compute_dtype, load_config, load_tokenizer
from extract.reader import StateReader, hidden_size, n_states, text_config
from extract.sources import ModelSource, hub_token
from gpu_smds._memory import free_memory


@dataclass(frozen=True)
class Plan:
    """Sentences, positions, batches and bytes of an extraction.

    Attributes
    ----------
    source, quantize, device, folder, save
        As asked for.
    tokenizer, config
        As loaded.
    reading
        The sentences as the model reads them, their tokens and which of them are kept.
    layers
        Numbers of hidden states that are kept.
    sizes
        Sentences of every batch, in reading order.
    dtype
        Dtype of the states, as far as it can be known.
    weights
        Bytes of the model's weights; None where they cannot be known.
    trust
        Whether code of the model's own may run.
    n
        Number of sentences, where ``tokens`` are those of the first few of them only.
    """

    source: ModelSource
    quantize: str
    device: torch.device
    folder: Path
    save: bool
    tokenizer: Any
    config: Any
    reading: Reading
    layers: tuple[int, ...]
    sizes: list[int]
    dtype: torch.dtype
    weights: int | None
    trust: bool
    n: int | None = None

    @classmethod
    def of(
        cls,
        source: ModelSource,
        prompts: Prompts,
        options: Options,
        quantize: str,
        device: torch.device,
        folder: Path,
        sizes: Sequence[int] | None = None,
        noted: Mapping[str, Any] | None = None,
    ) -> Plan:
        """Tokenize and align the sentences and size the model; its weights are not read.

        ``sizes`` are the batches of an interrupted run, and ``noted`` is its manifest.

        Raises
        ------
        ExtractError, UsageError
            No such model; sentences that are too long or cannot be aligned; unknown layers.
        """
        token, trust = hub_token(), options.trust_remote_code
        tokenizer = load_tokenizer(source, token, trust)
        reading = Reading.of(prompts, options, tokenizer, source.name, noted)
        tokens, positions = reading.tokens, reading.positions
        config = load_config(source, token, trust)
        layers = parse_layers(options.layers, n_states(config))
        check_lengths(tokens, config)
        lengths = read_lengths(tokens, positions)
        cuda = device.type == "cuda"
        budget = options.batch_tokens or (BATCH_TOKENS_CUDA if cuda else BATCH_TOKENS_CPU)
        if sizes is None or sum(sizes) != len(tokens):
            sizes = batch_sizes(lengths, budget, options.batch_size)
        kind = compute_dtype(source, options.dtype, quantize)
        dtype = getattr(torch, kind) if kind else _own_dtype(config)
        return cls(
            source,
            quantize,
            device,
            folder,
            options.save,
            tokenizer,
            config,
            reading,
            layers,
            list(sizes),
            dtype,
            weight_bytes(config, dtype, quantize, trust),
            trust,
        )

    @property
    def tokens(self) -> Tokens:
        """Those of all sentences."""
        return self.reading.tokens

    @property
    def positions(self) -> Positions:
        """Which tokens are kept."""
        return self.reading.positions

    @property
    def states(self) -> int:
        """Bytes of all states."""
        return len(self.layers) * self.layer_bytes

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(n, layers, positions, d)`` of the states."""
        n = self.n or len(self.tokens)
        return n, len(self.layers), len(self.positions), hidden_size(self.config)

    @property
    def layer_bytes(self) -> int:
        """Bytes of the states of one layer."""
        n, _, positions, features = self.shape
        return n * positions * features * self.dtype.itemsize

    @property
    def batch(self) -> int:
        """Bytes that the largest batch takes while it is read, roughly."""
        tokens = max(self.sizes[0], 1) * max(read_lengths(self.tokens, self.positions))
        return batch_bytes(self.config, tokens, self.dtype)

    @property
    def spread(self) -> bool:
        """Whether the weights need more than the one GPU that was not asked for by number."""
        if str(self.device) != "cuda" or self.weights is None:
            return False
        return self.weights + self.batch > free_memory(self.device)

    def place(self, needed: int) -> torch.device | None:
        """Where the states stay while they are used; None: in the files only."""
        if self.device.type == "cuda":
            # What the largest batch took at its peak is needed again.
            taken = torch.cuda.max_memory_allocated(self.device)
            batch = taken - torch.cuda.memory_allocated(self.device)
            if needed <= (free_memory(self.device) - batch) // 2:
                return self.device
        return None if self.save else torch.device("cpu")

    def reading_seconds(self, model: Any) -> float:
        """Estimate of the time that the model takes for all sentences, from one batch."""
        lengths = read_lengths(self.tokens, self.positions)
        rows = cut(lengths, self.sizes)[0]
        with StateReader(model, self.layers) as reader:
            pad = known_token(model, self.tokenizer.pad_token_id)
            batch = padded(self.tokens, self.positions, rows, pad)
            reader.check(*(part[:1] for part in batch))
            for states in reader.read(*batch):  # sets up libraries
                states.cpu()
            started = perf_counter()
            for states in reader.read(*batch):
                states.cpu()
            seconds = perf_counter() - started
        return seconds / batch[0].numel() * sum(lengths)


def _own_dtype(config: Any) -> torch.dtype:
    found = getattr(text_config(config), "dtype", None) or getattr(config, "dtype", None)
    return found if isinstance(found, torch.dtype) else torch.float32
