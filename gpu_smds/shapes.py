"""Ideal shapes: labels to points or distances, and the registry of names."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor


@runtime_checkable
class PointShape(Protocol):
    """A shape whose ideal distances are Euclidean distances between points.

    Its classical MDS embedding is the PCA of the points: no n × n eigendecomposition is needed.
    """

    n_components: int

    def points(self, y: Tensor) -> Tensor:
        """Map labels ``(n,)`` to points ``(n, p)`` of the shape."""
        ...

    def distances(self, y: Tensor, rows: slice) -> Tensor:
        """Ideal distances ``(len(rows), n)`` from the samples in ``rows`` to all."""
        ...


class CircularShape:
    """Chord distances on a circle; labels are fractions of a turn.

    Counterpart of ``smds.shapes.continuous_shapes.CircularShape``: the same distances,
    2 sin(π δ) with δ = min(|yᵢ − yⱼ|, 1 − |yᵢ − yⱼ|).

    Parameters
    ----------
    radious
        Accepted for compatibility and without effect, as in smds (stress does not see scale).
    normalize_labels
        Map the labels of each call to [0, 1] by their minimum and maximum, as smds does; the
        smallest and the largest label then coincide. Turn it off for labels that already are
        fractions of a turn.
    """

    y_ndim = 1
    n_components = 2

    def __init__(self, radious: float = 1.0, normalize_labels: bool = True) -> None:
        self.radious = radious
        self.normalize_labels = normalize_labels

    def __repr__(self) -> str:
        return f"CircularShape(normalize_labels={self.normalize_labels})"

    def _turns(self, y: Tensor) -> Tensor:
        if y.ndim != 1:
            raise ValueError(
                f"the circular shape takes one label per sample, got labels of shape "
                f"{tuple(y.shape)}"
            )
        low, high = y.min(), y.max()
        if not self.normalize_labels:
            if high - low > 1:
                raise ValueError(
                    "circular labels span more than one turn "
                    f"({float(low):g} to {float(high):g}), which leaves distances undefined: "
                    "divide them by their period, or use normalize_labels=True"
                )
            return y
        if high == low:
            return torch.zeros_like(y)
        return (y - low) / (high - low)

    def points(self, y: Tensor) -> Tensor:
        """Points ``(n, 2)`` on the unit circle."""
        angle = 2 * torch.pi * self._turns(y)
        return torch.stack((angle.cos(), angle.sin()), dim=1)

    def distances(self, y: Tensor, rows: slice) -> Tensor:
        """Chord lengths ``(len(rows), n)``."""
        turns = self._turns(y)
        delta = (turns[rows, None] - turns[None, :]).abs_()
        delta = torch.minimum(delta, 1 - delta)
        return delta.mul_(torch.pi).sin_().mul_(2)

    def __call__(self, y: Any) -> np.ndarray:
        """All ideal distances ``(n, n)`` as numpy, the calling convention of smds' shapes."""
        labels = torch.as_tensor(np.asarray(y, dtype=np.float64))
        if labels.numel() == 0:
            raise ValueError("labels are empty")
        distances = self.distances(labels, slice(None)).numpy()
        np.fill_diagonal(distances, 0)
        return distances


Callback = Callable[[Any], Any]

_SHAPES: dict[str, Callable[[], PointShape]] = {"circular": CircularShape}


@dataclass(frozen=True)
class Manifold:
    """A resolved manifold: its shape or callable, its name and the components to keep."""

    name: str
    shape: PointShape | Callback
    n_components: int


def manifold_names() -> list[str]:
    """Names that the ``manifold`` argument takes."""
    return sorted(_SHAPES)


def resolve_manifold(manifold: Any, n_components: int | None = None) -> Manifold:
    """Resolve a name, a shape of ours or any callable labels → distances.

    Raises
    ------
    ValueError
        Unknown name, ``n_components`` below 1, or a foreign callable without ``n_components``.
    TypeError
        Neither a name nor a callable.
    """
    if n_components is not None and (isinstance(n_components, bool) or n_components < 1):
        raise ValueError(f"n_components must be a positive integer or None, got {n_components!r}")
    if isinstance(manifold, str):
        name = manifold.strip().lower()
        if name not in _SHAPES:
            known = ", ".join(manifold_names())
            raise ValueError(f"unknown manifold {manifold!r}: choose one of {known}")
        shape = _SHAPES[name]()
        return Manifold(name, shape, n_components or shape.n_components)
    if isinstance(manifold, type) or not callable(manifold):
        hint = " (call the class first)" if isinstance(manifold, type) else ""
        raise TypeError(
            f"manifold must be a name or a callable labels → distance matrix{hint}, "
            f"got {manifold!r}"
        )
    if isinstance(manifold, PointShape):
        return Manifold(type(manifold).__name__, manifold, n_components or manifold.n_components)
    if n_components is None:
        raise ValueError("give n_components with a manifold that is a callable of your own")
    name = manifold.__name__ if inspect.isroutine(manifold) else type(manifold).__name__
    return Manifold(name, manifold, n_components)
