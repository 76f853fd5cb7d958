"""How many sites fit the memory budget."""

from __future__ import annotations

from pathlib import Path

import torch

# On the CPU larger blocks only leave the cache; on a GPU they fill the machine.
_CPU_DEFAULT = 512 << 20


def resolve_budget(memory_budget: int | None, device: torch.device) -> int:
    """Bytes to allocate beyond the input: the given number, or a share of what is free."""
    if memory_budget is not None:
        if memory_budget <= 0:
            raise ValueError(f"memory_budget must be a positive number of bytes: {memory_budget}")
        return int(memory_budget)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free // 2
    return max(_CPU_DEFAULT, _free_memory() // 8)


def _free_memory() -> int:
    """Bytes that can be had, that of cached files included; 0 where nobody tells."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    found = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return 1024 * found[0] if found else 0


def sites_per_block(budget: int, bytes_per_site: int, device: torch.device, fixed: int = 0) -> int:
    """Sites of a block that stay within the budget.

    Raises
    ------
    ValueError
        Not even one site fits; the message says how much is needed.
    """
    size = (budget - fixed) // bytes_per_site
    if size < 1:
        raise ValueError(
            f"memory_budget of {budget:,} bytes is too small: one site needs "
            f"{bytes_per_site + fixed:,}"
        )
    return min(size, 2) if device.type == "cpu" else size
