"""One sweep over all sites, block by block, each block read once and worked on by one thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from time import perf_counter
from typing import Any

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from gpu_smds._progress import Meter
from gpu_smds.budget import split_sites
from gpu_smds.checkpoint import Checkpoint, Digest
from gpu_smds.scratch import drop_scratch, keep_scratch
from gpu_smds.sites import Block, Sites
from gpu_smds.states import CentredStates
from gpu_smds.streamed import StreamedStates, is_streamed


@dataclass(frozen=True)
class Job:
    """What one map wants of every block of sites.

    Attributes
    ----------
    visit
        Called with a block and its states; must write to places of that block only.
    order
        ``(n,)`` order in which it reads the rows.
    bytes_per_site
        What it allocates beside the raw states.
    most
        Sites that one core should take at a time.
    results
        What visits fill: views ``(sites, ...)``.
    key
        Tells what the results depend on beside the states, where a checkpoint asks for it; see
        :func:`fingerprint`.
    shared_bytes
        What is held for all sites together, such as ideal distances.
    """

    visit: Callable[[Block, CentredStates], None]
    order: np.ndarray
    bytes_per_site: int
    most: int
    results: tuple[Tensor, ...]
    key: Callable[[], str]
    shared_bytes: int = 0


def sweep(
    sites: Sites,
    jobs: Sequence[Job],
    device: torch.device,
    budget: int,
    meter: Meter,
    checkpoint: Checkpoint | None = None,
) -> list[float]:
    """Show every block of sites to all jobs, but for those that a checkpoint holds already.

    Those are read as well: a checkpoint holds results only for states with the same hash.

    On the CPU blocks are visited by several threads, each with its share of the cores: what a
    visit does between its matrix products then runs in parallel as well. On a GPU, and where the
    budget allows one block only, the next one is read while the present one is worked on.

    Returns
    -------
    shares : list[float]
        What part of the time each job took.

    Raises
    ------
    ValueError
        The budget in bytes does not hold one site.
    """
    if not jobs:
        raise ValueError("there is nothing to do: plan a map first")
    # One job works after the other, in the same scratch.
    read_ahead = 1 if device.type == "cpu" else 2
    per_site = read_ahead * sites.raw_bytes_per_site + max(job.bytes_per_site for job in jobs)
    most = min(job.most for job in jobs)
    shared = sum(job.shared_bytes for job in jobs)
    split = split_sites(len(sites), budget, per_site, device, most, shared)
    size = split.size
    if checkpoint is not None:
        results = [result for job in jobs for result in job.results]
        fit = max(1, (budget - shared) // per_site // split.workers)
        size = checkpoint.begin(sites, [job.key() for job in jobs], results, size, fit)
    blocks = sites.blocks(size)
    numbers = range(len(blocks))
    seconds = np.zeros((len(blocks), len(jobs)))

    def done(shown: _Shown) -> None:
        if checkpoint is not None and shown.digest is not None:
            checkpoint.finished(shown.number, shown.digest)
        meter.add(len(blocks[shown.number]))

    def show(number: int, part: _Read) -> _Shown:
        block, digest = blocks[number], part.digest
        if checkpoint is not None and digest is not None and checkpoint.holds(number, digest):
            return _Shown(number, None)
        for j, (job, states) in enumerate(zip(jobs, _centred(part.raw, jobs, device), strict=True)):
            started = perf_counter()
            job.visit(block, states)
            seconds[number, j] = perf_counter() - started
        return _Shown(number, digest)

    # Threads begin in no such mode, and its tensors cannot be written to outside of it.
    inference = torch.is_inference_mode_enabled()

    def read_and_show(number: int) -> _Shown:
        with torch.inference_mode(inference):
            return show(number, read(number))

    def read(number: int) -> _Read:
        # The very bytes that are worked on are hashed, while they are read.
        digest = None if checkpoint is None else Digest()
        return _Read(sites.raw(blocks[number], device, digest.add if digest else None), digest)

    with _shared_cores(split.workers, device) as begin:
        if split.workers == 1:
            begin()
            try:
                for number, part in _ahead(numbers, read):
                    done(show(number, part))
            finally:
                drop_scratch()
        else:
            with ThreadPoolExecutor(split.workers, "gpu_smds", begin) as pool:
                try:
                    pending = [pool.submit(read_and_show, number) for number in numbers]
                    for shown in as_completed(pending):
                        done(shown.result())
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
    total = float(seconds.sum())
    return [float(part) / total if total else 0.0 for part in seconds.sum(0)]


@dataclass(frozen=True)
class _Read:
    """Raw states of a block's sites, and their hash where there is a checkpoint."""

    raw: list[Tensor]
    digest: Digest | None


@dataclass(frozen=True)
class _Shown:
    """A block that the jobs have seen, and the hash of its states if that is to be noted."""

    number: int
    digest: Digest | None


def _centred(
    raw: Sequence[Tensor], jobs: Sequence[Job], device: torch.device
) -> Iterator[CentredStates]:
    """States of a block for each job, in the form that suits the device."""
    if is_streamed(device):
        streamed = StreamedStates(raw)
        yield from (streamed.in_order(job.order) for job in jobs)
        return
    n, d = raw[0].shape
    for job in jobs:
        x = torch.empty(len(raw), n, d, dtype=torch.float64, device=device)
        in_order = bool((job.order[1:] > job.order[:-1]).all())
        rows = None if in_order else torch.from_numpy(job.order).to(device)
        for target, site in zip(x, raw, strict=True):
            target.copy_(site if rows is None else site.index_select(0, rows))
        yield CentredStates(x, torch.finfo(raw[0].dtype).eps)


def _ahead(numbers: Sequence[int], read: Callable[[int], _Read]) -> Iterator[tuple[int, _Read]]:
    """Raw states of block after block, each read by another thread one block ahead."""
    if len(numbers) == 1:
        yield numbers[0], read(numbers[0])
        return
    with ThreadPoolExecutor(1, "gpu_smds") as reader:
        following = reader.submit(read, numbers[0]) if numbers else None
        for i, number in enumerate(numbers, start=1):
            assert following is not None
            part = following.result()
            following = reader.submit(read, numbers[i]) if i < len(numbers) else None
            yield number, part


# Sweeps under way, from several threads of the caller's, and the cores that they found.
_lock = threading.Lock()
_running: list[tuple[int, Any]] = []


@contextmanager
def _shared_cores(workers: int, device: torch.device) -> Iterator[Callable[[], None]]:
    """Split the CPU's cores among workers; yields what each of them has to call first."""
    if device.type != "cpu":
        yield lambda: None
        return
    with _lock:
        # numpy and scipy have one number of threads for all, torch one for each thread and a
        # default for threads to come. The first sweep changes them, the last puts them back.
        if not _running:
            limited = _pools().limit(limits=1, user_api="blas")
            _running.append((torch.get_num_threads(), limited))
        else:
            _running.append(_running[0])
        cores = _running[0][0]
    each = max(1, cores // workers)

    def begin() -> None:
        torch.set_num_threads(each)
        keep_scratch()

    try:
        yield begin
    finally:
        with _lock:
            torch.set_num_threads(cores)
            _, limited = _running.pop()
            if not _running:
                limited.restore_original_limits()


@cache
def _pools() -> ThreadpoolController:
    import scipy.linalg.lapack  # noqa: F401  it has threads of its own, which must be known

    return ThreadpoolController()
