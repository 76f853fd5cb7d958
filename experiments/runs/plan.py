"""What an extraction will take, known before the model is loaded."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from experiments.console import Screen
from experiments.designs.setting import CURVES, FOLDS
from experiments.designs.timing import duration
from experiments.options import Options
from extract import ExtractError, Positions, Prompts, Tokens, align, study_prompts, tokenize
from extract.batches import BATCH_TOKENS_CPU, BATCH_TOKENS_CUDA, batch_sizes, cut
from extract.capture import check_lengths, known_token, padded, parse_layers, read_lengths
from extract.footprint import batch_bytes, weight_bytes
from extract.models import compute_dtype, load_config, load_tokenizer
from extract.reader import StateReader, hidden_size, n_states, text_config
from extract.sources import ModelSource, hub_token
from extract.writer import extraction_files
from gpu_smds._arguments import resolve_budget
from gpu_smds._files import FilesError, Folder
from gpu_smds._memory import free_memory
from gpu_smds.maps.discovery import DEFAULT_MANIFOLDS

#: Part of the free memory that is not counted on.
_RESERVE = 0.05
#: Most layers that an error names one by one.
_LISTED = 32
#: So many sentences are drawn before it is known that they fit: a tenth of a gigabyte. Of more, a
#: few are drawn to see what they take.
_FIT, _FEW = 10_000, 256
#: Bytes of a token that the tokenizer holds outside of Python.
_PER_TOKEN = 128
#: Dimensions of the ideal shape of a manifold, most of which have two or three.
_COMPONENTS = 3
#: Seconds that drawing and tokenizing may take without a word.
_PATIENCE = 10.0


@dataclass(frozen=True)
class Plan:
    """Sentences, positions, batches and bytes of an extraction.

    Attributes
    ----------
    source, quantize, device, folder, save
        As asked for.
    tokenizer, config
        As loaded.
    tokens, positions
        The sentences' tokens and which of them are kept.
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
    tokens: Tokens
    positions: Positions
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
    ) -> Plan:
        """Tokenize and align the sentences and size the model; its weights are not read.

        ``sizes`` are the batches of an interrupted run.

        Raises
        ------
        ExtractError, UsageError
            No such model; sentences that are too long or cannot be aligned; unknown layers.
        """
        token, trust = hub_token(), options.trust_remote_code
        tokenizer = load_tokenizer(source, token, trust)
        tokens = tokenize(prompts, tokenizer)
        positions = align(
            prompts,
            tokens,
            options.positions,
            options.source,
            options.destination,
            options.distractor,
        )
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
            tokens,
            positions,
            layers,
            list(sizes),
            dtype,
            weight_bytes(config, dtype, quantize, trust),
            trust,
        )

    @property
    def states(self) -> int:
        """Bytes of all states."""
        return len(self.layers) * self._layer

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(n, layers, positions, d)`` of the states."""
        n = self.n or len(self.tokens)
        return n, len(self.layers), len(self.positions), hidden_size(self.config)

    @property
    def _layer(self) -> int:
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

    def check(self) -> None:
        """Refuse what cannot fit, before anything is loaded or written.

        Raises
        ------
        ExtractError
            Too little memory or disk, with the option that would make it fit.
        """
        host = free_memory(torch.device("cpu"))
        devices = _all_devices() if self.spread else [self.device]
        if self.quantize != "none" and self.device.type == "cuda":
            devices = [device for device in devices if device.type == "cuda"]
        room = sum(free_memory(device) for device in devices)
        needed = (self.weights or 0) + self.batch
        if room and needed > room * (1 - _RESERVE):
            raise ExtractError(
                f"{self.source.name} needs {_gb(needed)} of memory, {_gb(room)} are free: "
                f"{self._smaller(room)}"
            )
        if self.save:
            self._check_disk(host)
        else:
            self._check_memory(host, room, needed)

    def _check_memory(self, host: int, room: int, needed: int) -> None:
        on_host = host * (1 - _RESERVE) - (needed if self.device.type == "cpu" else 0)
        on_device = (room - needed) / 2 if self.device.type == "cuda" else 0
        if host and self.states > max(on_host, on_device):
            raise ExtractError(
                f"{_gb(self.states)} of states do not fit the memory beside the model, of which "
                f"{_gb(host)} are free: leave out --no-save" + self._fewer(max(on_host, on_device))
            )

    def _check_disk(self, host: int) -> None:
        free = self.free_disk()
        if self.states > free:
            memory = host * (1 - _RESERVE) - (self.weights or 0) - self.batch
            in_memory = ", or --no-save, since they fit the memory" if self.states < memory else ""
            raise ExtractError(
                f"the disk of {self.folder} is too full: {_gb(self.states)} of states, "
                f"{_gb(free)} are free: free some space, or choose --out on another disk"
                f"{in_memory}{self._fewer(free)}"
            )

    def free_disk(self) -> int:
        """Bytes that the run may fill: free ones, and those of states that it replaces."""
        free = shutil.disk_usage(_existing(self.folder)).free
        try:
            states = Folder.at(self.folder).folder("states")
            return free + sum(map(states.size, extraction_files(states)))
        except (OSError, FilesError):  # there are none, or another process is at work there
            return free

    def _smaller(self, room: int) -> str:
        for quantize in ("8bit", "4bit"):
            if self.quantize not in ("none", "8bit") or self.quantize == quantize:
                continue
            weights = weight_bytes(self.config, self.dtype, quantize, self.trust)
            if weights is not None and weights + self.batch < room * (1 - _RESERVE):
                return f"--quantize {quantize} needs {_gb(weights + self.batch)}"
        half = batch_bytes(self.config, max(len(row) for row in self.tokens.ids), self.dtype)
        if self.weights is not None and self.weights + half < room * (1 - _RESERVE):
            return "give a smaller --batch-tokens"
        return "choose a smaller model, or another --device"

    def _fewer(self, room: float) -> str:
        count = int(room // self._layer) if self._layer else 0
        if not 0 < count < len(self.layers):
            return ""
        such = f", such as --layers {_spread_out(self.layers, count)}" if count <= _LISTED else ""
        return f", or at most {count:,} --layers{such}"

    def lines(self) -> list[str]:
        """What a dry run prints."""
        lengths = [len(row) for row in self.tokens.ids]
        host = free_memory(torch.device("cpu"))
        weights = "unknown" if self.weights is None else _gb(self.weights)
        found = [
            f"model      {self.source.name} ({self.source.kind}), quantisation {self.quantize}, "
            f"on {self.device}{' and others' if self.spread else ''}",
            f"sentences  {len(self.tokens)}, {min(lengths)} to {max(lengths)} tokens, "
            f"{sum(lengths):,} in all",
            f"batches    {len(self.sizes)}, of up to {max(self.sizes)} sentences",
            f"positions  {len(self.positions)} ({self.positions.mode}): "
            f"{' '.join(self.positions.words)}",
            f"layers     {len(self.layers)} of {n_states(self.config)} hidden states, width "
            f"{hidden_size(self.config)}",
            f"states     {_gb(self.states)} ({str(self.dtype).removeprefix('torch.')})"
            + ("" if self.save else ", kept in memory"),
            f"memory     {weights} of weights, {_gb(self.batch)} for a batch",
        ]
        found += [
            f"           {_gb(free_memory(device))} free on {device}"
            for device in _all_devices()
            if device.type == "cuda"
        ]
        found += [
            f"           {_gb(host)} free on the host",
            f"disk       {_gb(self.free_disk())} free at {_existing(self.folder)}",
            f"folder     {self.folder}",
            *(f"note       {line}" for line in self.positions.report),
        ]
        return found


def check_samples(
    source: ModelSource,
    options: Options,
    quantize: str,
    device: torch.device,
    folder: Path,
    screen: Screen,
    reads: bool,
) -> None:
    """Refuse more of the study's sentences than can be held, before they are drawn.

    A few are drawn, tokenized and planned, and what they take is multiplied. What takes long is
    only told.

    Parameters
    ----------
    source, options, quantize, device, folder
        As :meth:`Plan.of`.
    screen
        Where it is told.
    reads
        Whether the model will read them; otherwise they are only drawn.

    Raises
    ------
    ExtractError, UsageError
        Too little memory or disk, with what would fit; or as :meth:`Plan.of`.
    """
    samples = options.samples
    if options.prompts is not None or samples <= _FIT:
        return
    token, trust = hub_token(), options.trust_remote_code
    tokenizer = load_tokenizer(source, token, trust) if reads else None

    def draw() -> Tokens | None:
        prompts = study_prompts(_FEW, options.seed)
        prompts.hash  # noqa: B018  it writes all of them as text
        if tokenizer is None:
            return None
        tokens = tokenize(prompts, tokenizer)
        align(
            prompts,
            tokens,
            options.positions,
            options.source,
            options.destination,
            options.distractor,
        )
        return tokens

    tokens = draw()  # sets up libraries
    started = perf_counter()
    draw()
    seconds = (perf_counter() - started) * samples / _FEW
    tracemalloc.start()
    draw()
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    if tokens is not None:
        held += _PER_TOKEN * sum(len(row) for row in tokens.ids)
    needed, free = held * samples // _FEW, free_memory(torch.device("cpu"))
    if free and needed > free * (1 - _RESERVE):
        raise ExtractError(
            f"{samples:,} sentences take {_gb(needed)} of memory, {_gb(free)} are free: give at "
            f"most {int(free * (1 - _RESERVE) * _FEW / held):,} --samples"
        )
    if reads:
        few = study_prompts(_FEW, options.seed)
        plan = Plan.of(source, few, options, quantize, device, folder)
        replace(plan, n=samples).check()
    if seconds > _PATIENCE:
        screen.note(
            f"{source.name}: drawing {samples:,} sentences"
            f"{' and cutting them into tokens' if reads else ''} takes about {duration(seconds)}"
        )


def check_counts(
    command: str,
    options: Options,
    shape: tuple[int, int, int, int],
    memory_budget: int | None,
    device: torch.device,
) -> None:
    """Refuse permutations and shuffles that are more than the memory holds, before any is drawn.

    Parameters
    ----------
    command, options
        What is asked for.
    shape
        ``(n, layers, positions, d)`` of the states.
    memory_budget, device
        Those of the experiments.

    Raises
    ------
    ExtractError
        Too many, with how many would fit.
    """
    n, layers, positions, d = shape
    if command in ("all", "significance") and options.permutations:
        # As a part of a study the test may be one of the layers of the curves only.
        sites = positions * (min(layers, CURVES) if command == "all" else layers)
        # The permutations in two orders of rows; the scores under them, which are sorted, too.
        each = 8 * n + 32 * sites
        free = resolve_budget(memory_budget, device)
        _check_count("permutations", options.permutations, each, free)
    if command == "discover" and options.shuffles:
        shapes = len(options.manifolds or DEFAULT_MANIFOLDS)
        # Every shuffled shape has a score and a status per site and fold, an embedding of each
        # training part, kept twice, and is fitted and projected beside all others.
        of_shape = 9 * FOLDS * layers * positions + 8 * _COMPONENTS * (2 * FOLDS * n + d)
        free = int(free_memory(device) * (1 - _RESERVE))
        _check_count("shuffles", options.shuffles, 8 * n + shapes * of_shape, free)


def _check_count(of: str, count: int, each: int, free: int) -> None:
    needed = count * each
    if free and needed > free:
        raise ExtractError(
            f"{count:,} {of} take {_gb(needed)} of memory, {_gb(free)} are free for them: give at "
            f"most {max(1, free // each):,} --{of}"
        )


def _own_dtype(config: Any) -> torch.dtype:
    found = getattr(text_config(config), "dtype", None) or getattr(config, "dtype", None)
    return found if isinstance(found, torch.dtype) else torch.float32


def _all_devices() -> list[torch.device]:
    """The GPUs and the CPU."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [*(torch.device("cuda", i) for i in range(count)), torch.device("cpu")]


def _existing(folder: Path) -> Path:
    return next(p for p in [folder, *folder.absolute().parents] if p.exists())


def _spread_out(layers: Sequence[int], count: int) -> str:
    chosen = np.linspace(0, len(layers) - 1, count).round().astype(int)
    return ",".join(str(layers[i]) for i in chosen)


def _gb(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size < 1e10 else f"{size / 1e9:,.0f} GB"
