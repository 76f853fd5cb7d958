"""How many sites fit the memory budget, and how they are shared among the CPU's cores."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpu_smds._validation import shown

_CPU_DEFAULT = 512 << 20
_GROUP = Path("/sys/fs/cgroup")
# What is smaller fits anywhere, and is not worth asking the system.
_SMALL = 16 << 20


@dataclass(frozen=True)
class Split:
    """Sites of one block, and blocks that are worked on at the same time."""

    size: int
    workers: int


def resolve_budget(memory_budget: Any, device: torch.device) -> int:
    """Bytes to allocate beyond the input: the given number, or a share of what is free.

    Raises
    ------
    TypeError, ValueError
        No whole number, none above 0, or more than the device has in all.
    """
    if memory_budget is None:
        if device.type == "cuda":
            return free_memory(device) // 2
        return max(_CPU_DEFAULT, free_memory(device) // 8)
    # 2e9 is meant as it stands; half a byte, and infinity, are not.
    whole = isinstance(memory_budget, float | np.floating) and float(memory_budget).is_integer()
    if not whole and (isinstance(memory_budget, bool) or not isinstance(memory_budget, Integral)):
        raise TypeError(
            f"memory_budget must be a whole number of bytes, such as 4 * 10**9, or None, got "
            f"{shown(memory_budget)}"
        )
    budget = int(memory_budget)
    if budget <= 0:
        raise ValueError(f"memory_budget must be a positive number of bytes, got {shown(budget)}")
    if budget > _SMALL and 0 < (total := _total_memory(device)) < budget:
        raise ValueError(
            f"memory_budget is {in_words(budget)}, but the {device.type} has {in_words(total)} in "
            "all: give less, or None for a share of what is free"
        )
    return budget


def check_fits(needed: int, what: str, use: str, device: torch.device) -> None:
    """Refuse what cannot fit the memory that is free, before any of it is allocated.

    Parameters
    ----------
    needed
        Bytes that are allocated for certain, whatever the memory budget.
    what, use
        The argument with its value, and what takes the bytes, for the message.
    device
        Where.

    Raises
    ------
    ValueError
        It does not fit.
    """
    if needed <= _SMALL:
        return
    free = free_memory(device)
    if 0 < free < needed:
        raise ValueError(
            f"{what} takes {in_words(needed)} for {use}, and {in_words(free)} are free on the "
            f"{device.type}: ask for fewer"
        )


def in_words(count: int) -> str:
    """A number of bytes as people say it."""
    size, unit = float(min(count, 10**300)), "bytes"
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB", "EB"):
        if size < 1000 or unit == "EB":
            break
        size /= 1000
    if size >= 1e6:
        return f"{size:.0e} {unit}"
    return f"{size:.1f} {unit}" if size < 10 and unit != "bytes" else f"{size:.0f} {unit}"


def _total_memory(device: torch.device) -> int:
    """Bytes that a device has in all; 0 where nobody tells."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    return min([*_meminfo("MemTotal:"), *_group_limit()[:1]], default=0)


def free_memory(device: torch.device) -> int:
    """Bytes that can be had on a device, that of cached files included; 0 where nobody tells."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch holds in reserve is as good as free.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min([*_meminfo("MemAvailable:"), *_group_limit()[1:]], default=0)


def _meminfo(entry: str) -> list[int]:
    """Bytes of a line of what the system tells about its memory; empty where it does not."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return []
    return [1024 * int(line.split()[1]) for line in lines if line.startswith(entry)]


def _group_limit() -> list[int]:
    """Bytes of this process' control group, which a container or a batch system limits.

    In all, and left of them; empty where there is no such group or no limit.
    """
    try:
        limit = int((_GROUP / "memory.max").read_text())
        used = int((_GROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        # Cached files can go; memory that is shared under a name counts as one and cannot.
        return [limit, max(0, limit - used + int(stat["file"]) - int(stat["shmem"]))]
    except (OSError, ValueError, KeyError):
        return []


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
