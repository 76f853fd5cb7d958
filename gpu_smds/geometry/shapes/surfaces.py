"""Shapes of two labels: sphere, cylinder, torus, Klein bottle."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_smds.geometry.periods import as_period, phase
from gpu_smds.geometry.shapes.base import PeriodicColumns, PeriodicShape, PointShape


class _LatitudeLongitude(PeriodicShape):
    """Labels ``(n, 2)`` in degrees: latitude (or height) and longitude.

    Parameters
    ----------
    radius
        Of the sphere or cylinder.
    normalize_labels
        See :class:`BaseShape`.
    period
        Turn of the second column in its own units, as of :class:`CircularShape`; None is 360.
    """

    y_ndim = 2
    n_components = 3

    def __init__(
        self, radius: float = 1.0, normalize_labels: bool = False, period: Any = None
    ) -> None:
        self.radius = radius
        self.normalize_labels = normalize_labels
        self._set_period(period)

    def _own_period(self, periods: tuple[float, ...]) -> Any:
        return periods[-1]

    def _on_period(self, y: np.ndarray) -> np.ndarray:
        return np.stack([y[:, 0], 360 * phase(y[:, 1], as_period(self.period))], axis=1)

    def _validate_input(self, y: np.ndarray) -> np.ndarray:
        y = super()._validate_input(y)
        if y.shape[1] != 2:
            raise ValueError(
                f"{type(self).__name__} takes labels of shape (n, 2), latitude and longitude in "
                f"degrees, got {tuple(y.shape)}"
            )
        return y


class SphericalShape(_LatitudeLongitude, PointShape):
    """Straight-line distances through a sphere between points given in degrees."""

    def _compute_distances(self, y: np.ndarray) -> np.ndarray:
        lat, lon, radius = np.radians(y[:, 0]), np.radians(y[:, 1]), self.radius
        return _norms(
            radius * np.cos(lat) * np.cos(lon),
            radius * np.cos(lat) * np.sin(lon),
            radius * np.sin(lat),
        )

    def _points(self, y: Tensor) -> Tensor:
        lat, lon = torch.deg2rad(y).unbind(1)
        directions = (lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin())
        return self.radius * torch.stack(directions, dim=1)


class CylindricalShape(_LatitudeLongitude, PointShape):
    """Straight-line distances on a cylinder: column 0 is the height, column 1 the angle.

    Both are in degrees, even the height, as in smds.
    """

    def _compute_distances(self, y: np.ndarray) -> np.ndarray:
        lat, lon = np.radians(y[:, 0]), np.radians(y[:, 1])
        return _norms(self.radius * np.cos(lon), self.radius * np.sin(lon), lat)

    def _points(self, y: Tensor) -> Tensor:
        lat, lon = torch.deg2rad(y).unbind(1)
        return torch.stack((self.radius * lon.cos(), self.radius * lon.sin(), lat), dim=1)


class GeodesicShape(_LatitudeLongitude):
    """Great-circle distances on a sphere between points in degrees (haversine formula)."""

    def _compute_distances(self, y: np.ndarray) -> np.ndarray:
        lat, lon = np.radians(y[:, :1]), np.radians(y[:, 1:])
        a = (
            np.sin((lat - lat.T) / 2) ** 2
            + np.cos(lat) * np.cos(lat.T) * np.sin((lon - lon.T) / 2) ** 2
        )
        distances: np.ndarray = self.radius * (2 * np.arcsin(np.sqrt(np.clip(a, 0, 1))))
        return distances


class TorusShape(PeriodicColumns):
    """Shortest paths on a flat torus; labels ``(n, 2)`` are fractions of a turn in [0, 1].

    More than two columns are reduced to two by PCA, and a missing second one is zero, as in smds.
    Normalisation maps both columns together to [0, 1].

    Parameters
    ----------
    radii
        Weights of the two directions.
    normalize_labels
        See :class:`BaseShape`.
    period
        Of both columns, or one of each, such as ``(24, 7)`` for hours and weekdays; as of
        :class:`CircularShape`. Labels are then not normalised.
    """

    y_ndim = 2
    n_components = 3
    joins_ends = True

    def __init__(
        self,
        radii: tuple[float, float] = (1.0, 1.0),
        normalize_labels: bool = True,
        period: Any = None,
    ) -> None:
        self.radii = radii
        self.normalize_labels = normalize_labels
        self._set_period(period)

    def _validate_input(self, y: np.ndarray) -> np.ndarray:
        y = _two_columns(super()._validate_input(y))
        if y.shape[1] == 2:
            return y
        if self.period is not None:
            raise ValueError(
                f"a torus with a period takes labels of shape (n, 2), got {tuple(y.shape)}"
            )
        if len(y) < 2:
            return y[:, :2]
        from sklearn.decomposition import PCA

        reduced: np.ndarray = PCA(n_components=2).fit_transform(y)
        return reduced

    def _compute_distances(self, y: np.ndarray) -> np.ndarray:
        across, along = (np.abs(c[:, None] - c[None, :]) for c in y.T)
        across, along = np.minimum(across, 1.0 - across), np.minimum(along, 1.0 - along)
        distances: np.ndarray = np.sqrt(
            (self.radii[0] * across) ** 2 + (self.radii[1] * along) ** 2
        )
        return distances


class KleinBottleShape(PeriodicColumns):
    """Shortest paths on a flat Klein bottle; labels ``(n, 2)`` in [0, 1].

    (u, 0) and (u, 1) are one point, and so are (0, v) and (1, 1 − v). A missing column is zero.

    Parameters
    ----------
    normalize_labels
        See :class:`BaseShape`.
    period
        How far the labels go in both columns, or in each, such as ``(24, 7)``. Labels are then not
        normalised. Along the first column every other turn is mirrored: u + period and v are the
        point u and period − v.
    """

    y_ndim = 2
    n_components = 4
    joins_ends = True

    def __init__(self, normalize_labels: bool = True, period: Any = None) -> None:
        self.normalize_labels = normalize_labels
        self._set_period(period)

    def _on_period(self, y: np.ndarray) -> np.ndarray:
        first, second = self._of_columns
        twisted = np.mod(np.floor(y[:, 0] / first), 2) == 1
        u, v = phase(y[:, 0], first), phase(y[:, 1], second)
        return np.stack([u, np.where(twisted, 1 - v, v)], axis=1)

    def _validate_input(self, y: np.ndarray) -> np.ndarray:
        y = _two_columns(super()._validate_input(y))
        if y.shape[1] > 2:
            raise ValueError(f"the Klein bottle takes labels of shape (n, 2), got {tuple(y.shape)}")
        return y

    def _compute_distances(self, y: np.ndarray) -> np.ndarray:
        u, v = y.T
        across, along = np.abs(u[:, None] - u[None, :]), np.abs(v[:, None] - v[None, :])
        twisted = np.abs(v[:, None] + v[None, :] - 1.0)
        squared = across**2 + along**2
        squared = np.minimum(squared, across**2 + (1.0 - along) ** 2)
        squared = np.minimum(squared, (1.0 - across) ** 2 + twisted**2)
        squared = np.minimum(squared, (1.0 - across) ** 2 + (1.0 - twisted) ** 2)
        distances: np.ndarray = np.sqrt(squared)
        return distances


def _norms(*coordinates: np.ndarray) -> np.ndarray:
    points = np.stack(coordinates, axis=1)
    distances: np.ndarray = np.linalg.norm(points[:, None, :] - points[None, :, :], axis=2)
    return distances


def _two_columns(y: np.ndarray) -> np.ndarray:
    return np.hstack([y, np.zeros_like(y)]) if y.shape[1] == 1 else y
