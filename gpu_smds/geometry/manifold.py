"""The ``manifold`` argument: a name, a shape, a callable or a parametrization."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeGuard

import numpy as np
import torch
from torch import Tensor

from gpu_smds._arguments import as_integer, as_real, shown
from gpu_smds._memory import check_fits
from gpu_smds.geometry.classical_mds import classical_mds, embed_points
from gpu_smds.geometry.embedding import Embedding
from gpu_smds.geometry.shapes import (
    SHAPES,
    BaseShape,
    PeriodicShape,
    PointShape,
    manifold_names,
    refuse_categories,
)

# The score squares products of two distances, summed over all pairs: larger distances overflow.
_LARGEST = 1e70


class Parametrization(Protocol):
    """Maps labels to an embedding and to distances, as ``smds.SMDSParametrization`` does."""

    D_: Any
    Y_: Any
    n_components: Any

    def fit(self, X: Any, y: Any = None) -> Any:
        """Set ``Y_`` and ``D_`` from labels X."""
        ...

    def compute_ideal_distances(self, y: Any) -> Any:
        """Distances ``(n, n)`` of labels."""
        ...


@dataclass(frozen=True)
class Manifold:
    """A resolved manifold.

    Attributes
    ----------
    name
        For tables and files.
    source
        A shape, a callable labels → distances, or a parametrization.
    n_components
        Components k of the embedding.
    """

    name: str
    source: BaseShape | Callable[[Any], Any] | Parametrization
    n_components: int

    def with_period(self, period: Any) -> Self:
        """The manifold with a period of the labels, if it closes on itself and has none yet.

        Raises
        ------
        ValueError
            Not a period.
        """
        shape = shape_of(self.source)
        if not isinstance(shape, PeriodicShape):
            return self
        if isinstance(self.source, PeriodicShape):
            return replace(self, source=shape.with_period(period))
        parametrization: Any = copy.copy(self.source)
        parametrization.manifold = shape.with_period(period)
        return replace(self, source=parametrization)

    def refuse_categories(self) -> None:
        """Raise ValueError for labels that are text, if the manifold takes only numbers."""
        refuse_categories(self.name, shape_of(self.source))

    def takes(self, y: np.ndarray) -> bool:
        """Whether labels have the right number of axes; a column counts as a vector."""
        return flat_column(y, self.source).ndim in label_axes(self.source)

    def check(self, y: np.ndarray) -> np.ndarray:
        """Labels with the right number of axes.

        Raises
        ------
        ValueError
            The labels have another number of axes.
        """
        if not self.takes(y):
            axes = label_axes(self.source)
            wanted = " or ".join({1: "(n,)", 2: "(n, k)"}[number] for number in axes)
            raise ValueError(f"{self.name} takes labels of shape {wanted}, got {tuple(y.shape)}")
        return flat_column(y, self.source)

    def embed(self, y: np.ndarray, device: torch.device) -> Embedding:
        """Embed labels ``(n,)`` or ``(n, k)``: classical MDS of their ideal distances."""
        y = self.check(y)
        k = self.n_components
        check_fits(8 * len(y) * k, f"n_components={k:,}", "the ideal embedding", device)
        if isinstance(self.source, PointShape):
            return Embedding.of(*embed_points(self.points(y, device), k))
        if is_parametrization(self.source):
            fitted = copy.deepcopy(self.source).fit(y)
            return Embedding.given(fitted.Y_, fitted.D_, device)
        D = torch.from_numpy(self.distances(y)).to(device)
        return Embedding.of(*classical_mds(D, k, y), D)

    def points(self, y: np.ndarray, device: torch.device) -> Tensor:
        """Points ``(n, p)`` of labels, if the source is a set of points.

        Raises
        ------
        ValueError
            Labels that the manifold does not take, or points whose distances overflow.
        """
        assert isinstance(self.source, PointShape)
        points = self.source.points(torch.from_numpy(self.check(y)).to(device))
        self._check_size(float(torch.linalg.vector_norm(points, torch.inf)))
        return points

    def distances(self, y: np.ndarray) -> np.ndarray:
        """Ideal distances ``(n, n)`` float64 by the formula of smds; negative = undefined.

        Raises
        ------
        ValueError
            Labels that the manifold does not take, or distances that are not finite, overflow or
            do not fit the memory.
        """
        y = self.check(y)
        what = f"the manifold {self.name} with {len(y):,} labels"
        check_fits(8 * len(y) ** 2, what, "their distances", torch.device("cpu"))
        if is_parametrization(self.source):
            D = self.source.compute_ideal_distances(y)
        else:
            assert callable(self.source)
            D = self.source(y)
        D = as_real(D, f"distances of the manifold {self.name}")
        if D.shape != (len(y), len(y)):
            raise ValueError(
                f"manifold {self.name} gave distances of shape {D.shape} for {len(y)} labels, "
                f"expected ({len(y)}, {len(y)})"
            )
        if D.size:
            low, high = float(D.min()), float(D.max())
            if not (np.isfinite(low) and np.isfinite(high)):
                raise ValueError(f"manifold {self.name} gave NaN or infinite distances")
            self._check_size(max(high, -low))
        return D

    def _check_size(self, largest: float) -> None:
        if not largest <= _LARGEST:
            raise ValueError(
                f"labels give distances of up to {largest:g} on the manifold {self.name}, whose "
                "powers overflow: scale the labels"
            )


def resolve_manifold(manifold: Any, n_components: int | None = None) -> Manifold:
    """Resolve a name, a shape, a callable labels → distances or a parametrization.

    Raises
    ------
    ValueError
        Unknown name, ``n_components`` below 1, or a foreign callable without ``n_components``.
    TypeError
        Neither a name nor a callable; ``n_components`` that is not an integer.
    """
    if isinstance(manifold, Manifold):
        return manifold
    if n_components is not None:
        n_components = as_integer(n_components, "n_components", least=1)
    if isinstance(manifold, str):
        name = manifold.strip().lower()
        if name not in SHAPES:
            known = ", ".join(manifold_names())
            raise ValueError(f"unknown manifold {shown(manifold)}: choose one of {known}")
        shape = SHAPES[name]()
        return Manifold(name, shape, n_components or shape.n_components)
    if not isinstance(manifold, type) and is_parametrization(manifold):
        name = getattr(manifold, "name", None) or type(manifold).__name__
        return Manifold(name, manifold, n_components or manifold.n_components or 0)
    if isinstance(manifold, type) or not callable(manifold):
        hint = " (call the class first)" if isinstance(manifold, type) else ""
        raise TypeError(
            f"manifold must be a name or a callable labels → distance matrix{hint}, "
            f"got {shown(manifold)}"
        )
    if isinstance(manifold, BaseShape):
        return Manifold(type(manifold).__name__, manifold, n_components or manifold.n_components)
    if n_components is None:
        raise ValueError("give n_components with a manifold that is a callable of your own")
    name = manifold.__name__ if inspect.isroutine(manifold) else type(manifold).__name__
    return Manifold(name, manifold, n_components)


def shape_of(source: Any) -> Any:
    """The shape of a source, which a parametrization holds, maybe by its name."""
    shape = getattr(source, "manifold", source)
    return SHAPES[shape]() if isinstance(shape, str) and shape in SHAPES else shape


def label_axes(source: Any) -> tuple[int, ...]:
    """Numbers of label axes that a shape, or the shape of a parametrization, takes; else 1 or 2."""
    shape = getattr(source, "manifold", source)
    return tuple(np.atleast_1d(getattr(shape, "y_ndim", (1, 2))).tolist())


def flat_column(y: np.ndarray, source: Any) -> np.ndarray:
    """Labels ``(n, 1)`` as ``(n,)`` if the shape takes vectors, as in smds."""
    return y[:, 0] if y.shape[1:] == (1,) and 1 in label_axes(source) else y


def is_parametrization(source: Any) -> TypeGuard[Parametrization]:
    """Whether something has the interface of ``smds.SMDSParametrization``."""
    return hasattr(source, "compute_ideal_distances") and hasattr(source, "fit")
