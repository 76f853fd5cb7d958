"""The memory of a device, and the check that an allocation fits before it is made.

Each part of the library states how many bytes it allocates; :mod:`gpu_smds.sites.memory` derives
the number of sites in a block from that.
"""

from __future__ import annotations

from pathlib import Path

import torch

_GROUP = Path("/sys/fs/cgroup")
#: Bytes. Smaller allocations fit anywhere and are not checked.
SMALL = 16 << 20


def check_fits(needed: int, what: str, use: str, device: torch.device) -> None:
    """Raise ValueError, before anything is allocated, if an allocation cannot fit the free memory.

    Parameters
    ----------
    needed
        Bytes that are allocated in any case, whatever the memory budget is.
    what, use
        For the message: the argument with its value, and what the bytes are used for.
    device
        Where the bytes are allocated.

    Raises
    ------
    ValueError
        The allocation does not fit.
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
    """A number of bytes in a readable unit."""
    size, unit = float(min(count, 10**300)), "bytes"
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB", "EB"):
        if size < 1000 or unit == "EB":
            break
        size /= 1000
    if size >= 1e6:
        return f"{size:.0e} {unit}"
    return f"{size:.1f} {unit}" if size < 10 and unit != "bytes" else f"{size:.0f} {unit}"


def total_memory(device: torch.device) -> int:
    """Total bytes of a device's memory; 0 if the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    return min([*_meminfo("MemTotal:"), *_group_limit()[:1]], default=0)


def free_memory(device: torch.device) -> int:
    """Free bytes of a device's memory, cached files included; 0 if the system does not tell."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # Memory that torch has reserved but not allocated is available as well.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min([*_meminfo("MemAvailable:"), *_group_limit()[1:]], default=0)


def _meminfo(entry: str) -> list[int]:
    """Bytes of one line of ``/proc/meminfo``; empty if there is no such file."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return []
    return [1024 * int(line.split()[1]) for line in lines if line.startswith(entry)]


def _group_limit() -> list[int]:
    """Bytes of this process' control group, limited by a container or a batch system.

    A list of the total and the remaining bytes; empty if there is no such group or no limit.
    """
    try:
        limit = int((_GROUP / "memory.max").read_text())
        used = int((_GROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        # Cached files can be dropped. Shared memory counts as cached, but cannot be dropped.
        return [limit, max(0, limit - used + int(stat["file"]) - int(stat["shmem"]))]
    except (OSError, ValueError, KeyError):
        return []
