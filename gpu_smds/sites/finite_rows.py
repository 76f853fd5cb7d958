"""Sites with rows that are not finite, seen without these rows.

A site is one matrix of samples × features, so that other rows may be missing at every site. Sites
that lack the same rows are one array, which is read from the states when it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_smds.sites.array import Block, Sites
from gpu_smds.sites.given import without_float8


@dataclass(frozen=True)
class FiniteRows:
    """Sites whose states are finite in the same rows.

    Attributes
    ----------
    rows
        Numbers of these rows, increasing.
    sites
        Flat numbers of the sites, increasing.
    """

    rows: np.ndarray
    sites: np.ndarray


def by_finite_rows(sites: Sites, numbers: np.ndarray) -> list[FiniteRows]:
    """Sites of some flat numbers, by the rows that hold neither NaN nor inf at them.

    The states of one site are read at a time.
    """
    found: dict[bytes, tuple[np.ndarray, list[int]]] = {}
    for number in numbers.tolist():
        finite = _states(sites, number).isfinite().all(1).cpu().numpy()
        found.setdefault(finite.tobytes(), (np.flatnonzero(finite), []))[1].append(number)
    return [FiniteRows(rows, np.array(of)) for rows, of in found.values()]


class SomeRows:
    """States ``(rows, sites, d)`` of some rows and sites, read lazily: an X for :class:`Sites`."""

    def __init__(self, sites: Sites, part: FiniteRows) -> None:
        self._sites, self._part = sites, part
        self._rows = torch.from_numpy(part.rows).to(sites.device)
        self.shape = (len(part.rows), len(part.sites), sites.d)
        self.dtype = without_float8(torch.empty(0, dtype=sites.dtype)).dtype

    def __getitem__(self, index: tuple[Any, ...]) -> Tensor:
        """``X[:, a:b]``, as :class:`Sites` asks for it."""
        numbers = self._part.sites[index[1]].tolist()
        rows, _, d = self.shape
        # Filled site by site, since a stack would hold all of them twice.
        found = torch.empty(rows, len(numbers), d, dtype=self.dtype, device=self._sites.device)
        for at, number in enumerate(numbers):
            found[:, at] = _states(self._sites, number)[self._rows]
        return found


def _states(sites: Sites, number: int) -> Tensor:
    """All rows ``(n, d)`` of one site."""
    return sites.raw(Block(number, number + 1), sites.device)[0]
