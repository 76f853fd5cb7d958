"""What one map asks of every block of sites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from gpu_smds.sites.array import Block
from gpu_smds.sites.centred import CentredStates


@dataclass(frozen=True)
class Job:
    """What one map asks of every block of sites.

    Attributes
    ----------
    visit
        Called with a block and its states; must write to places of that block only.
    order
        ``(n,)`` order in which it reads the rows.
    bytes_per_site
        What it allocates for each site of a block beside the raw states.
    most
        Sites that one core should take at a time.
    results
        What visits fill: views ``(sites, ...)``.
    key
        Tells what the results depend on beside the states, where a checkpoint asks for it; see
        :func:`gpu_smds.sites.checkpoint.fingerprint`.
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
