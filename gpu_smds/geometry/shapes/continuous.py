"""Shapes of one continuous label: line, logarithm, circle, semicircle, spiral."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_smds.geometry.periods import as_period, phase
from gpu_smds.geometry.shapes.base import PeriodicShape, PointShape


class CircularShape(PeriodicShape, PointShape):
    """Chord distances on a circle; labels are fractions of a turn, or have a period.

    2 sin(π δ) with δ = min(|yᵢ − yⱼ|, 1 − |yᵢ − yⱼ|).

    Parameters
    ----------
    radious
        Accepted for compatibility; no effect, as in smds (stress does not depend on scale).
    normalize_labels
        If true, the smallest and the largest label of a call are the same point, as in smds. Set it
        to False for labels that already are fractions of a turn; they may then span at most one
        turn (smds silently treats larger distances as undefined).
    period
        How many units of the labels are one turn, such as 7 for weekdays 0 to 6, or ``"day"``,
        ``"week"`` or ``"year"`` for labels in days. The angle is then 2π·y/period, the labels are
        not normalised, and those that lie periods apart are one point. Not in smds, where
        ``normalize_labels=False`` of y/period gives the same.
    """

    joins_ends = True

    def __init__(
        self, radious: float = 1.0, normalize_labels: bool = True, period: Any = None
    ) -> None:
        self.radious = radious
        self.normalize_labels = normalize_labels
        self._set_period(period)

    def _validate_input(self, y: np.ndarray) -> np.ndarray:
        y = super()._validate_input(y)
        if self.period is None and not self.normalize_labels and np.ptp(y) > 1:
            raise ValueError(
                f"circular labels span more than one turn ({y.min():g} to {y.max():g}), which "
                "leaves distances undefined: give their period, such as "
                f"CircularShape(period={np.floor(np.ptp(y)) + 1:g}), or use normalize_labels=True"
            )
        return y

    def _on_period(self, y: np.ndarray) -> np.ndarray:
        return phase(y, as_period(self.period))

    def _compute_distances(self, y: np.ndarray) -> np.ndarray:
        delta = np.abs(y[:, None] - y[None, :])
        delta = np.minimum(delta, 1 - delta)
        distances: np.ndarray = 2 * np.sin(np.pi * delta)
        return distances

    def _points(self, y: Tensor) -> Tensor:
        angle = 2 * torch.pi * y
        return torch.stack((angle.cos(), angle.sin()), dim=1)


class SemicircularShape(PointShape):
    """Chord distances on half a circle: 2 sin(π/2 |yᵢ − yⱼ|)."""

    def __init__(self, normalize_labels: bool = True) -> None:
        self.normalize_labels = normalize_labels

    def _validate_input(self, y: np.ndarray) -> np.ndarray:
        y = super()._validate_input(y)
        if not self.normalize_labels and np.ptp(y) > 2:
            raise ValueError(
                f"semicircular labels span more than a whole turn ({y.min():g} to {y.max():g}), "
                "which leaves distances undefined: scale them to [0, 1], or use "
                "normalize_labels=True"
            )
        return y

    def _compute_distances(self, y: np.ndarray) -> np.ndarray:
        delta = np.abs(y[:, None] - y[None, :])
        distances: np.ndarray = 2 * np.sin((np.pi / 2) * delta)
        return distances

    def _points(self, y: Tensor) -> Tensor:
        angle = torch.pi * y
        return torch.stack((angle.cos(), angle.sin()), dim=1)


class EuclideanShape(PointShape):
    """Unchanged labels: points on a line ``(n,)`` or in space ``(n, k)``.

    One component is kept by default, as in smds; with ``(n, k)`` labels pass ``n_components=k``.
    """

    y_ndim = (1, 2)
    n_components = 1

    def __init__(self, normalize_labels: bool = True) -> None:
        self.normalize_labels = normalize_labels

    def _compute_distances(self, y: np.ndarray) -> np.ndarray:
        return _euclidean(y.reshape(len(y), -1))

    def _points(self, y: Tensor) -> Tensor:
        return y.reshape(len(y), -1)


class LogLinearShape(PointShape):
    """Differences of logarithms: |log(yᵢ + 1) − log(yⱼ + 1)|; labels may not be negative."""

    n_components = 1

    def __init__(self, normalize_labels: bool = False) -> None:
        self.normalize_labels = normalize_labels

    def _validate_input(self, y: np.ndarray) -> np.ndarray:
        y = super()._validate_input(y)
        if (y < 0).any():
            raise ValueError("log_linear labels may not be negative")
        return y

    def _compute_distances(self, y: np.ndarray) -> np.ndarray:
        log = np.log(y + 1.0)
        distances: np.ndarray = np.abs(log[:, None] - log[None, :])
        return distances

    def _points(self, y: Tensor) -> Tensor:
        return torch.log(y + 1.0)[:, None]


class SpiralShape(PointShape):
    """An Archimedean spiral r = a + bθ with θ = 2π · turns · y.

    Parameters
    ----------
    initial_radius, growth_rate
        a and b.
    num_turns
        Turns between the labels 0 and 1.
    normalize_labels
        See :class:`BaseShape`.
    """

    def __init__(
        self,
        initial_radius: float = 0.5,
        growth_rate: float = 1.0,
        num_turns: float = 2.0,
        normalize_labels: bool = True,
    ) -> None:
        self.initial_radius = initial_radius
        self.growth_rate = growth_rate
        self.num_turns = num_turns
        self.normalize_labels = normalize_labels

    def _compute_distances(self, y: np.ndarray) -> np.ndarray:
        theta = y * 2 * np.pi * self.num_turns
        radius = self.initial_radius + self.growth_rate * theta
        return _euclidean(np.column_stack([radius * np.cos(theta), radius * np.sin(theta)]))

    def _points(self, y: Tensor) -> Tensor:
        theta = y * 2 * torch.pi * self.num_turns
        radius = self.initial_radius + self.growth_rate * theta
        return torch.stack((radius * theta.cos(), radius * theta.sin()), dim=1)


def _euclidean(points: np.ndarray) -> np.ndarray:
    from scipy.spatial.distance import pdist, squareform

    distances: np.ndarray = squareform(pdist(points))
    return distances
