"""One pass over all sites: each block is read once, and processed by one thread for all jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from gpu_smds._progress import Meter
from gpu_smds.kernels.workspace import drop_workspace
from gpu_smds.sites.array import Block, Sites
from gpu_smds.sites.centred import CentredStates
from gpu_smds.sites.centred_by_passes import StreamedStates, is_streamed
from gpu_smds.sites.checkpoint import Checkpoint, Digest
from gpu_smds.sites.cores import shared_cores
from gpu_smds.sites.job import Job
from gpu_smds.sites.memory import split_sites


def run_jobs(
    sites: Sites,
    jobs: Sequence[Job],
    device: torch.device,
    budget: int,
    meter: Meter,
    checkpoint: Checkpoint | None = None,
) -> list[float]:
    """Run all jobs on every block of sites, except on blocks that are already in the checkpoint.

    A block that is already in the checkpoint is read and hashed, but not computed again unless its
    hash has changed.

    On the CPU, blocks are processed by several threads, each with its share of the cores, so that
    the work between matrix products runs in parallel as well. On a GPU, and if the budget allows
    only one block, the next block is read while the current one is processed.

    Returns
    -------
    shares : list[float]
        Fraction of the time that each job took.

    Raises
    ------
    ValueError
        The memory budget is too small for one site.
    """
    if not jobs:
        raise ValueError("there is nothing to do: plan a map first")
    # The jobs run one after the other, in the same workspace.
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
    run = _Run(sites, jobs, device, meter, checkpoint, sites.blocks(size))
    with shared_cores(split.workers, device) as begin:
        if split.workers == 1:
            begin()
            run.one_by_one()
        else:
            run.side_by_side(split.workers, begin)
    return run.shares


@dataclass(frozen=True)
class _Read:
    """Raw states of a block's sites, and their hash if there is a checkpoint."""

    raw: list[Tensor]
    digest: Digest | None


class _Run:
    """One run of all jobs on all blocks of sites."""

    def __init__(
        self,
        sites: Sites,
        jobs: Sequence[Job],
        device: torch.device,
        meter: Meter,
        checkpoint: Checkpoint | None,
        blocks: Sequence[Block],
    ) -> None:
        self._sites, self._jobs, self._device = sites, jobs, device
        self._meter, self._checkpoint, self._blocks = meter, checkpoint, blocks
        self._seconds = np.zeros((len(blocks), len(jobs)))
        # New threads start outside of torch's inference mode, where its tensors cannot be written
        # to.
        self._inference = torch.is_inference_mode_enabled()

    @property
    def shares(self) -> list[float]:
        """Fraction of the time that each job took."""
        total = float(self._seconds.sum())
        return [float(part) / total if total else 0.0 for part in self._seconds.sum(0)]

    def one_by_one(self) -> None:
        """Process one block after the other, and read the next one meanwhile."""
        try:
            for number, part in _ahead(range(len(self._blocks)), self._read):
                self._note(number, self._show(number, part))
        finally:
            drop_workspace()

    def side_by_side(self, workers: int, begin: Callable[[], None]) -> None:
        """Process several blocks at the same time, each in its own thread."""
        with ThreadPoolExecutor(workers, "gpu_smds", begin) as pool:
            try:
                pending = {
                    pool.submit(self._read_and_show, number): number
                    for number in range(len(self._blocks))
                }
                for shown in as_completed(pending):
                    self._note(pending[shown], shown.result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _read_and_show(self, number: int) -> Digest | None:
        with torch.inference_mode(self._inference):
            return self._show(number, self._read(number))

    def _read(self, number: int) -> _Read:
        # The bytes that are processed are hashed while they are read.
        digest = None if self._checkpoint is None else Digest()
        seen = digest.add if digest else None
        return _Read(self._sites.raw(self._blocks[number], self._device, seen), digest)

    def _show(self, number: int, part: _Read) -> Digest | None:
        """Run the jobs on a block; returns its hash if the checkpoint must note it."""
        block, digest, checkpoint = self._blocks[number], part.digest, self._checkpoint
        if checkpoint is not None and digest is not None and checkpoint.holds(number, digest):
            return None
        centred = _centred(part.raw, self._jobs, self._device)
        for j, (job, states) in enumerate(zip(self._jobs, centred, strict=True)):
            started = perf_counter()
            job.visit(block, states)
            self._seconds[number, j] = perf_counter() - started
        return digest

    def _note(self, number: int, digest: Digest | None) -> None:
        if self._checkpoint is not None and digest is not None:
            self._checkpoint.finished(number, digest)
        self._meter.add(len(self._blocks[number]))


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
    """Raw states of one block after the other; another thread reads one block ahead."""
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
