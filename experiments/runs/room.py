"""Whether a run fits memory and disk, before anything is loaded, drawn or written."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from experiments.console import Screen
from experiments.designs.setting import CURVES, FOLDS
from experiments.designs.timing import duration
from experiments.options import Options
from experiments.runs.plan import Plan
from experiments.runs.reading import Reading
from experiments.runs.sentences import sentences_of
from extract import ExtractError, Tokens
from extract.footprint import batch_bytes, weight_bytes
from extract.models import load_tokenizer
from extract.reader import hidden_size, n_states
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


def check_room(plan: Plan) -> None:
    """Refuse what cannot fit, before anything is loaded or written.

    Raises
    ------
    ExtractError
        Too little memory or disk, with the option that would make it fit.
    """
    host = free_memory(torch.device("cpu"))
    devices = _all_devices() if plan.spread else [plan.device]
    if plan.quantize != "none" and plan.device.type == "cuda":
        devices = [device for device in devices if device.type == "cuda"]
    room = sum(free_memory(device) for device in devices)
    needed = (plan.weights or 0) + plan.batch
    if room and needed > room * (1 - _RESERVE):
        raise ExtractError(
            f"{plan.source.name} needs {_gb(needed)} of memory, {_gb(room)} are free: "
            f"{_smaller(plan, room)}"
        )
    if plan.save:
        _check_disk(plan, host)
    else:
        _check_memory(plan, host, room, needed)


def _check_memory(plan: Plan, host: int, room: int, needed: int) -> None:
    on_host = host * (1 - _RESERVE) - (needed if plan.device.type == "cpu" else 0)
    on_device = (room - needed) / 2 if plan.device.type == "cuda" else 0
    if host and plan.states > max(on_host, on_device):
        raise ExtractError(
            f"{_gb(plan.states)} of states do not fit the memory beside the model, of which "
            f"{_gb(host)} are free: leave out --no-save" + _fewer(plan, max(on_host, on_device))
        )


def _check_disk(plan: Plan, host: int) -> None:
    free = free_disk(plan)
    if plan.states > free:
        memory = host * (1 - _RESERVE) - (plan.weights or 0) - plan.batch
        in_memory = ", or --no-save, since they fit the memory" if plan.states < memory else ""
        raise ExtractError(
            f"the disk of {plan.folder} is too full: {_gb(plan.states)} of states, "
            f"{_gb(free)} are free: free some space, or choose --out on another disk"
            f"{in_memory}{_fewer(plan, free)}"
        )


def free_disk(plan: Plan) -> int:
    """Bytes that the run may fill: free ones, and those of states that it replaces."""
    free = shutil.disk_usage(_existing(plan.folder)).free
    try:
        states = Folder.at(plan.folder).folder("states")
        return free + sum(map(states.size, extraction_files(states)))
    except (OSError, FilesError):  # there are none, or another process is at work there
        return free


def _smaller(plan: Plan, room: int) -> str:
    for quantize in ("8bit", "4bit"):
        if plan.quantize not in ("none", "8bit") or plan.quantize == quantize:
            continue
        weights = weight_bytes(plan.config, plan.dtype, quantize, plan.trust)
        if weights is not None and weights + plan.batch < room * (1 - _RESERVE):
            return f"--quantize {quantize} needs {_gb(weights + plan.batch)}"
    half = batch_bytes(plan.config, max(len(row) for row in plan.tokens.ids), plan.dtype)
    if plan.weights is not None and plan.weights + half < room * (1 - _RESERVE):
        return "give a smaller --batch-tokens"
    return "choose a smaller model, or another --device"


def _fewer(plan: Plan, room: float) -> str:
    count = int(room // plan.layer_bytes) if plan.layer_bytes else 0
    if not 0 < count < len(plan.layers):
        return ""
    such = f", such as --layers {_spread_out(plan.layers, count)}" if count <= _LISTED else ""
    return f", or at most {count:,} --layers{such}"


def described(plan: Plan) -> list[str]:
    """What a dry run prints."""
    lengths = [len(row) for row in plan.tokens.ids]
    host = free_memory(torch.device("cpu"))
    weights = "unknown" if plan.weights is None else _gb(plan.weights)
    found = [
        f"model      {plan.source.name} ({plan.source.kind}), quantisation {plan.quantize}, "
        f"on {plan.device}{' and others' if plan.spread else ''}",
        f"sentences  {len(plan.tokens)}, {min(lengths)} to {max(lengths)} tokens, "
        f"{sum(lengths):,} in all",
        f"batches    {len(plan.sizes)}, of up to {max(plan.sizes)} sentences",
        f"positions  {len(plan.positions)} ({plan.positions.mode}): "
        f"{' '.join(plan.positions.words)}",
        f"layers     {len(plan.layers)} of {n_states(plan.config)} hidden states, width "
        f"{hidden_size(plan.config)}",
        f"states     {_gb(plan.states)} ({str(plan.dtype).removeprefix('torch.')})"
        + ("" if plan.save else ", kept in memory"),
        f"memory     {weights} of weights, {_gb(plan.batch)} for a batch",
    ]
    found += [
        f"           {_gb(free_memory(device))} free on {device}"
        for device in _all_devices()
        if device.type == "cuda"
    ]
    found += [
        f"           {_gb(host)} free on the host",
        f"disk       {_gb(free_disk(plan))} free at {_existing(plan.folder)}",
        f"folder     {plan.folder}",
        *(f"note       {line}" for line in plan.positions.report),
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
    """Refuse more sentences of a task than can be held, before they are drawn.

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
    if not options.draws or samples <= _FIT:
        return
    few_asked = replace(options, samples=_FEW)
    token, trust = hub_token(), options.trust_remote_code
    tokenizer = load_tokenizer(source, token, trust) if reads else None

    def draw() -> Tokens | None:
        prompts = sentences_of(few_asked)
        prompts.hash  # noqa: B018  it writes all of them as text
        if tokenizer is None:
            return None
        return Reading.of(prompts, options, tokenizer, source.name).tokens

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
        few = sentences_of(few_asked)
        plan = Plan.of(source, few, options, quantize, device, folder)
        check_room(replace(plan, n=samples))
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
