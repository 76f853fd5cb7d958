"""How much memory a device has, and the refusal of what cannot fit before any of it is allocated.

What a job allocates is told by those who allocate it; how many sites that makes a block is in
:mod:`gpu_smds.sites.memory`.
"""

from __future__ import annotations

from pathlib import Path

import torch

_GROUP = Path("/sys/fs/cgroup")
#: What is smaller fits anywhere, and is not worth asking the system.
SMALL = 16 << 20


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
    if needed <= SMALL:
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


def total_memory(device: torch.device) -> int:
    """Bytes that a device has in all; 0 where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    return min([*_meminfo("MemTotal:"), *_group_limit()[:1]], default=0)


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device, cached files included; 0 where the system does not tell."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch holds in reserve is as good as free.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min([*_meminfo("MemAvailable:"), *_group_limit()[1:]], default=0)


def _meminfo(entry: str) -> list[int]:
    """Bytes of one line of ``/proc/meminfo``; empty where there is no such file."""
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
        # Cached files can be dropped; shared memory counts as cached and cannot.
        return [limit, max(0, limit - used + int(stat["file"]) - int(stat["shmem"]))]
    except (OSError, ValueError, KeyError):
        return []
