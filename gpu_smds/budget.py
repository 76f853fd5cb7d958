"""How many sites fit the memory budget, and how they are shared among the CPU's cores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

_CPU_DEFAULT = 512 << 20
_GROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Split:
    """Sites of one block, and blocks that are worked on at the same time."""

    size: int
    workers: int


def resolve_budget(memory_budget: int | None, device: torch.device) -> int:
    """Bytes to allocate beyond the input: the given number, or a share of what is free."""
    if memory_budget is not None:
        if memory_budget <= 0:
            raise ValueError(f"memory_budget must be a positive number of bytes: {memory_budget}")
        return int(memory_budget)
    if device.type == "cuda":
        return free_memory(device) // 2
    return max(_CPU_DEFAULT, free_memory(device) // 8)


def free_memory(device: torch.device) -> int:
    """Bytes that can be had on a device, that of cached files included; 0 where nobody tells."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch holds in reserve is as good as free.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    found = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return min([*found, *_group_limit()], default=0)


def _group_limit() -> list[int]:
    """Bytes left to this process' control group, which a container or a batch system limits."""
    try:
        limit = int((_GROUP / "memory.max").read_text())
        used = int((_GROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        # Cached files can go; memory that is shared under a name counts as one and cannot.
        return [max(0, limit - used + int(stat["file"]) - int(stat["shmem"]))]
    except (OSError, ValueError, KeyError):
        return []  # no such group, or no limit


def most_sites(written: bool) -> int:
    """Sites that one core should take at a time: few where their centred states are written."""
    return 2 if written else 8


def split_sites(
    n_sites: int,
    budget: int,
    bytes_per_site: int,
    device: torch.device,
    most: int,
    shared_bytes: int = 0,
) -> Split:
    """Blocks that together, and with what all sites share, stay within the budget.

    On a GPU one block at a time fills the budget. On the CPU each core works on a small block of
    its own, of at most ``most`` sites: larger ones only leave the cache.

    Raises
    ------
    ValueError
        Not even one site fits; the message says how much is needed.
    """
    fit = (budget - shared_bytes) // bytes_per_site
    if fit < 1:
        raise ValueError(
            f"memory_budget of {budget:,} bytes is too small: one site needs "
            f"{bytes_per_site + shared_bytes:,}"
        )
    if device.type != "cpu":
        return Split(fit, 1)
    workers = max(1, min(torch.get_num_threads(), fit, n_sites))
    return Split(max(1, min(fit // workers, most, n_sites // workers)), workers)
