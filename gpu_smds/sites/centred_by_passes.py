"""Centred states that are not written to memory: products from passes over the raw states."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gpu_smds.kernels.pair_term import has_fused
from gpu_smds.kernels.workspace import workspace
from gpu_smds.sites.centred import CentredStates
from gpu_smds.sites.rows import Rows, is_all


@dataclass(frozen=True)
class _RawSite:
    """Rows of one site in place: each row starts at an index in ``flat``."""

    flat: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, site: Tensor) -> _RawSite:
        if site.dtype not in (torch.float32, torch.float64):
            site = site.float()  # numba has no half precision; float32 holds it exactly
        if site.stride(1) != 1:
            site = site.contiguous()
        n, d = site.shape
        step = site.stride(0)
        flat = torch.as_strided(site, ((n - 1) * step + d,), (1,)).numpy()
        return cls(flat, np.arange(n) * step)


def is_streamed(device: torch.device) -> bool:
    """Whether states are read in passes: on the CPU, if there is a compiler."""
    return device.type == "cpu" and has_fused(device)


class StreamedStates(CentredStates):
    """Centred states on the CPU, read in place from raw states of any dtype and strides.

    Procrustes and the scoring of given maps need a few products with the states. Each product is
    one pass over the raw states, which is several times cheaper than writing the centred states
    first. ``x`` is written when it is first read, and is used from then on.

    Parameters
    ----------
    raw
        States ``(n, d)`` of each site, floating point. They are never written to.
    """

    def __init__(self, raw: Sequence[Tensor]) -> None:
        self.eps = torch.finfo(raw[0].dtype).eps
        self._sites = [_RawSite.of(site) for site in raw]
        self.n, self._d = raw[0].shape
        self.mean, self._variance, squares = self._moments([site.starts for site in self._sites])
        self.non_finite = ~squares.sum(1).isfinite()
        self._zero(self.mean)
        self._zero(self._variance)

    def in_order(self, order: np.ndarray) -> StreamedStates:
        """The same states with their rows in another order ``(n,)``."""
        other = copy.copy(self)
        for name in ("x", "energy"):
            other.__dict__.pop(name, None)
        other._sites = [_RawSite(site.flat, site.starts[order]) for site in self._sites]
        return other

    def __len__(self) -> int:
        return len(self._sites)

    def _moments(self, starts: Sequence[np.ndarray]) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, variance and summed squares ``(b, d)`` of the raw rows that start at ``starts``.

        The first row is subtracted first, so that Σx² − (Σx)²/n loses at most n roundings.
        """
        from gpu_smds.kernels._numba_states import moments

        first, sums, squares = torch.empty(3, len(self), self._d, dtype=torch.float64)
        for b, (site, rows) in enumerate(zip(self._sites, starts, strict=True)):
            first[b] = torch.from_numpy(site.flat[rows[0] : rows[0] + self._d])
            moments(site.flat, rows, first[b].numpy(), sums[b].numpy(), squares[b].numpy())
        count = len(starts[0])
        from_first = sums / count
        return first + from_first, squares / count - from_first.square(), squares

    def _zero(self, values: Tensor) -> Tensor:
        if bool(self.non_finite.any()):
            values[self.non_finite] = 0
        return values

    @cached_property
    def x(self) -> Tensor:  # type: ignore[override]
        """Centred states ``(b, n, d)`` float64."""
        from gpu_smds.kernels._numba_states import centre_rows

        x = workspace("states", (len(self), self.n, self.mean.shape[1]), self.mean)
        energy = torch.empty(len(self), self.n, dtype=torch.float64)
        for b, site in enumerate(self._sites):
            mean = self.mean[b].numpy()
            centre_rows(site.flat, site.starts, mean, x[b].numpy(), energy[b].numpy())
        self.energy = self._zero(energy)
        return self._zero(x)

    @property
    def _written(self) -> bool:
        return "x" in self.__dict__

    def materialise(self) -> None:
        """Write the centred states."""
        _ = self.x

    def reduce(self, weights: Tensor) -> Tensor:
        """As :meth:`CentredStates.reduce`; the rows' energy is computed in the same pass."""
        if self._written:
            return super().reduce(weights)
        from gpu_smds.kernels._numba_states import reduce_rows

        reduced = torch.empty(len(self), weights.shape[1], self.mean.shape[1], dtype=torch.float64)
        energy = torch.empty(len(self), self.n, dtype=torch.float64)
        by_row = weights.contiguous().numpy()
        for b, site in enumerate(self._sites):
            mean = self.mean[b].numpy()
            reduce_rows(site.flat, site.starts, mean, by_row, reduced[b].numpy(), energy[b].numpy())
        self.energy = self._zero(energy)
        return self._zero(reduced).mT

    def project(self, Wt: Tensor, rows: Rows) -> Tensor:
        """As :meth:`CentredStates.project`."""
        if self._written:
            return super().project(Wt, rows)
        from gpu_smds.kernels._numba_states import project_rows

        W = Wt.mT.contiguous()
        starts = [_some(site.starts, rows) for site in self._sites]
        Z = torch.empty(len(self), len(starts[0]), W.shape[1], dtype=torch.float64)
        for b, site in enumerate(self._sites):
            project_rows(site.flat, starts[b], self.mean[b].numpy(), W[b].numpy(), Z[b].numpy())
        return self._zero(Z)

    def moments(self, rows: Rows | None = None) -> tuple[Tensor, Tensor]:
        """As :meth:`CentredStates.moments`."""
        if rows is None or is_all(rows, self.n):
            return torch.zeros_like(self.mean), self._variance
        starts = [_some(site.starts, rows) for site in self._sites]
        if not len(starts[0]):  # a fold without rows; its status says so
            return torch.zeros_like(self.mean), torch.zeros_like(self.mean)
        mean, variance, _ = self._moments(starts)
        return self._zero(mean - self.mean), self._zero(variance)


def _some(starts: np.ndarray, rows: Rows) -> np.ndarray:
    return np.ascontiguousarray(starts[rows.numpy() if isinstance(rows, Tensor) else rows])
