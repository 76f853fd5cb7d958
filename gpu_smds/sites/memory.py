"""The number of sites in a block, and of blocks that are processed at the same time.

:func:`gpu_smds.sites.run_jobs.run_jobs` asks for it. What a site takes is told by the jobs: the
states and folds in :func:`gpu_smds.crossval.fold_system.bytes_per_site`, a solver in its
``bytes_per_site``, the metrics in :func:`gpu_smds.metrics.scores.bytes_of_pairs`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Split:
    """Number of sites of one block, and of blocks that are processed at the same time."""

    size: int
    workers: int


def most_sites(written: bool) -> int:
    """Maximum sites per core at a time: few if their centred states are written to memory."""
    return 2 if written else 8


def split_sites(
    n_sites: int,
    budget: int,
    bytes_per_site: int,
    device: torch.device,
    most: int,
    shared_bytes: int = 0,
) -> Split:
    """Split sites into blocks that stay within the budget, including what all sites share.

    On a GPU, one block at a time fills the budget. On the CPU, each core processes its own small
    block of at most ``most`` sites, because larger blocks do not fit the cache.

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
