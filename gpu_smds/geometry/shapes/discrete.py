"""Shapes of steps, categories and trees, and of a neighbour graph."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from gpu_smds.geometry.periods import as_period
from gpu_smds.geometry.shapes.base import BaseShape, PeriodicShape, PointShape


class ChainShape(PeriodicShape):
    """Only neighbours on a ring of steps have a distance; all others are undefined (−1).

    Without a period, the ring has max(y) + 1 steps, so it changes with the labels of each call, as
    in smds. If a pair is undefined, the map is fitted by :mod:`gpu_smds.solvers.distance_fit`.

    Parameters
    ----------
    threshold
        Ring distances below this are defined.
    normalize_labels
        See :class:`BaseShape`.
    period
        Length of the ring, as of :class:`CircularShape`; labels are then not normalised.
    """

    def __init__(
        self, threshold: float = 2.0, normalize_labels: bool = False, period: Any = None
    ) -> None:
        if threshold <= 0:
            raise ValueError(f"threshold must be positive, got {threshold}")
        self.threshold = threshold
        self.normalize_labels = normalize_labels
        self._set_period(period)

    def _on_period(self, y: np.ndarray) -> np.ndarray:
        steps: np.ndarray = np.mod(y, as_period(self.period))
        return steps

    def _compute_distances(self, y: np.ndarray) -> np.ndarray:
        length = np.max(y) + 1 if self.period is None else as_period(self.period)
        direct = np.abs(y[:, None] - y[None, :])
        ring = np.minimum(direct, length - direct)
        return np.where(ring < self.threshold, ring, -1.0)


class ClusterShape(BaseShape):
    """0 within a category, 1 between categories.

    With more than components + 1 categories of equal size, the embedding has tied eigenvalues and
    is not unique.
    """

    categorical = True

    def __init__(self, normalize_labels: bool = False) -> None:
        self.normalize_labels = normalize_labels

    def _compute_distances(self, y: np.ndarray) -> np.ndarray:
        distances: np.ndarray = (y[:, None] != y[None, :]).astype(float)
        return distances


class DiscreteCircularShape(PeriodicShape):
    """Steps around a ring: min(|yᵢ − yⱼ|, C − |yᵢ − yⱼ|), an arc length.

    Parameters
    ----------
    num_points
        C, such as 12 for months; None takes max(y) + 1 of each call.
    normalize_labels
        See :class:`BaseShape`.
    period
        C as of :class:`CircularShape`, in place of ``num_points``; labels are then not normalised.
    """

    def __init__(
        self,
        num_points: int | None = None,
        normalize_labels: bool = False,
        period: Any = None,
    ) -> None:
        if num_points is not None and num_points <= 0:
            raise ValueError(f"num_points must be positive, got {num_points}")
        self.num_points = num_points
        self.normalize_labels = normalize_labels
        self._set_period(period)

    def _set_period(self, period: Any) -> None:
        super()._set_period(period)
        if period is not None and self.num_points not in (None, as_period(period)):
            raise ValueError(
                f"period={period!r} and num_points={self.num_points} are two lengths of one ring: "
                "give one of them"
            )

    def with_period(self, period: Any) -> Self:
        """As :meth:`PeriodicShape.with_period`; ``num_points`` is a period, too."""
        return super().with_period(period) if self.num_points is None else self

    def _on_period(self, y: np.ndarray) -> np.ndarray:
        steps: np.ndarray = np.mod(y, as_period(self.period))
        return steps

    def _compute_distances(self, y: np.ndarray) -> np.ndarray:
        cycle = np.max(y) + 1.0 if self.num_points is None else float(self.num_points)
        if self.period is not None:
            cycle = as_period(self.period)
        direct = np.abs(y[:, None] - y[None, :])
        if np.ptp(y) >= cycle:  # else mod changes nothing, but takes most of the time
            direct = np.mod(direct, cycle)
        distances: np.ndarray = np.minimum(direct, cycle - direct)
        return distances


class HierarchicalShape(BaseShape):
    """Distance of the first level at which two samples differ.

    Parameters
    ----------
    level_distances
        One distance per level (column of the labels), from the root down.
    normalize_labels
        See :class:`BaseShape`.
    """

    y_ndim = 2
    categorical = True

    def __init__(self, level_distances: Any, normalize_labels: bool = False) -> None:
        if np.size(level_distances) == 0:
            raise ValueError("level_distances may not be empty")
        if np.any(np.asarray(level_distances) < 0):
            raise ValueError("level_distances may not be negative")
        self.level_distances = level_distances
        self.normalize_labels = normalize_labels

    def _validate_input(self, y: np.ndarray) -> np.ndarray:
        y = super()._validate_input(y)
        levels = np.size(self.level_distances)
        if y.shape[1] != levels:
            raise ValueError(
                f"hierarchical labels need one column per level, {levels} as level_distances, "
                f"got {tuple(y.shape)}"
            )
        return y

    def _compute_distances(self, y: np.ndarray) -> np.ndarray:
        distances = np.zeros((len(y), len(y)))
        # From the leaves up, so that the highest level that differs is written last.
        for column, distance in zip(y.T[::-1], np.ravel(self.level_distances)[::-1], strict=True):
            distances[column[:, None] != column[None, :]] = distance
        return distances


class PolytopeShape(PointShape):
    """Categories at the corners of a polytope, spread over a unit sphere by repulsion.

    Parameters
    ----------
    n_dim
        Dimensions of the sphere.
    n_iter, lr
        Number of repulsion steps, and their size.
    seed
        Seed of the first arrangement. None is seed 0; in smds, None draws another arrangement in
        every call, so that fit and score use different shapes.
    normalize_labels
        See :class:`BaseShape`.
    """

    n_components = 3
    categorical = True

    def __init__(
        self,
        n_dim: int = 3,
        n_iter: int = 500,
        lr: float = 0.1,
        seed: int | None = None,
        normalize_labels: bool = False,
    ) -> None:
        self.n_dim = n_dim
        self.n_iter = n_iter
        self.lr = lr
        self.seed = seed
        self.normalize_labels = normalize_labels

    def _corners(self, y: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(self.seed or 0)
        labels, inverse = np.unique(y, return_inverse=True)
        corners = rng.normal(size=(self.n_dim, len(labels)))
        corners /= np.linalg.norm(corners, axis=0, keepdims=True)
        for _ in range(self.n_iter):
            apart = corners[:, :, None] - corners[:, None, :]
            repulsion = 1.0 / (np.sum(apart**2, axis=0) + 1e-8)
            np.fill_diagonal(repulsion, 0)
            corners += self.lr * np.sum(apart * repulsion[None, :, :], axis=2)
            corners /= np.linalg.norm(corners, axis=0, keepdims=True)
        samples: np.ndarray = corners[:, inverse].T
        return samples

    def _compute_distances(self, y: np.ndarray) -> np.ndarray:
        corners = self._corners(y)
        distances: np.ndarray = np.linalg.norm(corners[:, None, :] - corners[None, :, :], axis=-1)
        return distances

    def _points(self, y: Tensor) -> Tensor:
        return torch.from_numpy(self._corners(y.cpu().numpy())).to(y.device)


class GraphGeodesicShape(BaseShape):
    """Shortest paths in the graph of each sample's nearest labels (Isomap).

    Parameters
    ----------
    n_neighbors
        Number of neighbours to which each sample is connected.
    normalize_labels
        See :class:`BaseShape`.
    """

    y_ndim = 2
    n_components = 3

    def __init__(self, n_neighbors: int = 5, normalize_labels: bool = True) -> None:
        self.n_neighbors = n_neighbors
        self.normalize_labels = normalize_labels

    def _compute_distances(self, y: np.ndarray) -> np.ndarray:
        from scipy.sparse.csgraph import shortest_path
        from sklearn.neighbors import kneighbors_graph

        neighbors = max(1, min(self.n_neighbors, len(y) - 1))
        graph = kneighbors_graph(y, n_neighbors=neighbors, mode="distance", include_self=False)
        distances: np.ndarray = np.asarray(shortest_path(graph, method="auto", directed=False))
        if not np.isfinite(distances).all():
            raise ValueError(
                f"the graph of {neighbors} nearest neighbours is not connected: raise "
                "n_neighbors of GraphGeodesicShape"
            )
        return distances
