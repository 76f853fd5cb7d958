"""Base classes of shapes, which map labels to ideal distances and, for some shapes, to points."""

from __future__ import annotations

import copy
import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from gpu_smds._arguments import as_flag
from gpu_smds._labels import label_numbers
from gpu_smds.geometry.periods import as_period, as_periods, phase


class BaseShape(ABC):
    """Ideal geometry of labels, as pairwise distances. Subclass it for shapes of your own.

    A row in ``SHAPES`` of :mod:`gpu_smds.geometry.shapes` gives a shape a name.

    A subclass defines ``_compute_distances`` and may set the class attributes below. Counterpart
    of ``smds.shapes.BaseShape``, whose subclasses work here with the import changed.

    Distances are computed in numpy by the formula of smds, operation by operation, whatever the
    device of the states is: the rank metrics depend on ties, and ties depend on the last bit.

    Attributes
    ----------
    y_ndim
        Accepted number of label axes: 1 for ``(n,)``, 2 for ``(n, k)``, or a tuple of both.
    n_components
        Default number of components of the embedding.
    normalize_labels
        Map the labels of each call to [0, 1] by their smallest and largest value.
    categorical
        Whether the distances ask only whether labels are equal, so that the shape takes text.
    """

    y_ndim: int | tuple[int, ...] = 1
    n_components: int = 2
    normalize_labels: bool = False
    categorical: ClassVar[bool] = False

    @abstractmethod
    def _compute_distances(self, y: np.ndarray) -> np.ndarray:
        """Distances ``(n, n)`` of validated, normalised float64 labels; negative = undefined."""

    def __call__(self, y: Any) -> Any:
        """Ideal distances ``(n, n)`` float64; for a tensor, a tensor on the same device.

        Raises
        ------
        ValueError
            Labels that the shape does not take.
        """
        distances = self._compute_distances(self.prepare(y))
        n = len(y)
        if distances.shape != (n, n):
            raise ValueError(
                f"{type(self).__name__} gave distances of shape {distances.shape} for {n} labels, "
                f"expected ({n}, {n})"
            )
        np.fill_diagonal(distances, 0)
        return torch.from_numpy(distances).to(y.device) if isinstance(y, Tensor) else distances

    def accepts(self, ndim: int) -> bool:
        """Whether labels with that many axes suit the shape."""
        return ndim in np.atleast_1d(self.y_ndim)

    def prepare(self, y: Any) -> np.ndarray:
        """Labels as validated float64, normalised if ``normalize_labels`` is true."""
        labels = self._validate_input(self._numbers(y))
        normalize = as_flag(self.normalize_labels, "normalize_labels")
        return self._do_normalize_labels(labels) if normalize else labels

    def _numbers(self, y: Any) -> np.ndarray:
        """Labels as float64; text where the shape takes it."""
        labels = label_numbers(y)
        if labels.categories:
            refuse_categories(type(self).__name__, self)
        return labels.values

    def _validate_input(self, y: np.ndarray) -> np.ndarray:
        if y.size == 0:
            raise ValueError("labels are empty")
        if self.accepts(1) and y.shape[1:] == (1,):
            y = y.reshape(-1)
        if not self.accepts(y.ndim):
            wanted = " or ".join({1: "(n,)", 2: "(n, k)"}[d] for d in np.atleast_1d(self.y_ndim))
            raise ValueError(
                f"{type(self).__name__} takes labels of shape {wanted}, got {tuple(y.shape)}"
            )
        return y

    @staticmethod
    def _do_normalize_labels(y: np.ndarray) -> np.ndarray:
        low, high = np.min(y), np.max(y)
        if high == low:
            return np.zeros_like(y, dtype=float)
        normalized: np.ndarray = (y - low) / (high - low)
        return normalized

    def parameters(self) -> dict[str, Any]:
        """Constructor arguments, from the attributes of the same names."""
        names = list(inspect.signature(type(self).__init__).parameters)[1:]
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def __repr__(self) -> str:
        listed = ", ".join(f"{name}={value!r}" for name, value in self.parameters().items())
        return f"{type(self).__name__}({listed})"


def refuse_categories(name: str, shape: Any) -> None:
    """Raise ValueError for labels that are text, if a shape of that name takes only numbers."""
    if not getattr(shape, "categorical", False):
        raise ValueError(
            f"labels are text, and {name} takes numbers or dates: number them in their order (0, "
            "1, …), or use cluster, polytope or, for several columns, hierarchical"
        )


class PointShape(BaseShape):
    """A shape whose ideal distances are the Euclidean distances of points.

    Its classical MDS embedding is the PCA of the points: no n × n eigendecomposition is needed.
    """

    @abstractmethod
    def _points(self, y: Tensor) -> Tensor:
        """Points ``(n, p)`` of validated, normalised float64 labels."""

    def _compute_distances(self, y: np.ndarray) -> np.ndarray:
        """Euclidean distances of the points; shapes of smds use its formula instead."""
        points = self._points(torch.from_numpy(y))
        distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
        return distances.numpy()

    def points(self, y: Any) -> Tensor:
        """Points ``(n, p)`` float64 of labels, on the device of ``y`` if that is a tensor."""
        device = y.device if isinstance(y, Tensor) else "cpu"
        return self._points(torch.from_numpy(self.prepare(y)).to(device))


class PeriodicShape(BaseShape):
    """A shape that closes on itself, with an optional period of its labels.

    With a period, labels are taken as they are: those that lie a period apart are one point, and no
    label is moved to the end of a range. Without one, the shape closes as in smds.

    Attributes
    ----------
    period
        A positive number in the units of the labels, or ``"day"``, ``"week"`` or ``"year"`` (1, 7
        and 365.2425) for labels in days; None for no period.
    """

    period: Any = None
    #: Whether without a period the smallest and the largest label become one point.
    joins_ends: ClassVar[bool] = False

    def _set_period(self, period: Any) -> None:
        """Check and keep the argument of a constructor: a name as it is, else a number."""
        number = None if period is None else as_period(period)
        self.period = period if isinstance(period, str) else number

    @abstractmethod
    def _on_period(self, y: np.ndarray) -> np.ndarray:
        """Validated labels as ``_compute_distances`` takes them, where there is a period."""

    def prepare(self, y: Any) -> np.ndarray:
        """Labels as validated float64: by their period, or normalised, or as they are."""
        if self.period is None:
            return super().prepare(y)
        return self._on_period(self._validate_input(self._numbers(y)))

    def with_period(self, period: Any) -> Self:
        """The shape with a period, unless it has one of its own.

        Raises
        ------
        ValueError
            Not a period.
        """
        periods = as_periods(period)
        if self.period is not None:
            return self
        shape = copy.copy(self)
        shape._set_period(self._own_period(periods))
        return shape

    def _own_period(self, periods: tuple[float, ...]) -> Any:
        """Which of the periods of all columns is that of the shape."""
        return periods[0] if len(periods) == 1 else None

    def parameters(self) -> dict[str, Any]:
        """Constructor arguments; without a period those of smds."""
        found = super().parameters()
        if self.period is None:
            found.pop("period", None)
        return found


class PeriodicColumns(PeriodicShape):
    """A shape of two labels that both go round, each with a period of its own or with the same."""

    def _set_period(self, period: Any) -> None:
        numbers = () if period is None else as_periods(period)
        if len(numbers) == 2:
            self.period = numbers
        else:
            super()._set_period(period)

    def _own_period(self, periods: tuple[float, ...]) -> Any:
        return periods if len(periods) == 2 else periods[0]

    @property
    def _of_columns(self) -> tuple[float, float]:
        """The periods of both columns."""
        periods = as_periods(self.period)
        return periods[0], periods[-1]

    def _on_period(self, y: np.ndarray) -> np.ndarray:
        columns = [phase(column, p) for column, p in zip(y.T, self._of_columns, strict=True)]
        return np.stack(columns, axis=1)
