"""The work of one map on every block of sites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from gpu_smds.sites.array import Block
from gpu_smds.sites.centred import CentredStates


@dataclass(frozen=True)
class Job:
    """The work of one map on every block of sites.

    Attributes
    ----------
    visit
        Called with a block and its states; may only write the results of that block.
    order
        ``(n,)`` order in which it reads the rows.
    bytes_per_site
        Bytes that it allocates per site of a block, in addition to the raw states.
    most
        Maximum number of sites that one core should process at a time.
    results
        Views ``(sites, ...)`` of the results, which ``visit`` fills.
    key
        Function that identifies, for a checkpoint, all that the results depend on except the
        states; see :func:`gpu_smds.sites.checkpoint.fingerprint`.
    shared_bytes
        Bytes held for all sites together, such as ideal distances.
    """

    visit: Callable[[Block, CentredStates], None]
    order: np.ndarray
    bytes_per_site: int
    most: int
    results: tuple[Tensor, ...]
    key: Callable[[], str]
    shared_bytes: int = 0
