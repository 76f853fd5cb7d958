"""How many sites make a block, and how many blocks are worked on at the same time."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Split:
    """Sites of one block, and blocks that are worked on at the same time."""

    size: int
    workers: int


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
