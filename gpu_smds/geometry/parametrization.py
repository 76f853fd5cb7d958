"""Sources of an embedding: a manifold, coordinates of the user, or a class of the user.

Counterparts of the classes of the same names in ``smds.smds``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin

from gpu_smds._arguments import as_real
from gpu_smds._labels import label_numbers
from gpu_smds.geometry.embedding import Embedding
from gpu_smds.geometry.manifold import Manifold, resolve_manifold


class SMDSParametrization(TransformerMixin, BaseEstimator, ABC):  # type: ignore[misc]
    """Maps labels to an embedding ``Y_`` and ideal distances ``D_``; base class for your own.

    Attributes
    ----------
    D_
        ``(n_samples, n_samples)`` ideal distances, negative = undefined, set by ``fit``.
    Y_
        ``(n_samples, n_components)`` embedding, set by ``fit``.
    """

    D_: np.ndarray
    Y_: np.ndarray

    @property
    @abstractmethod
    def n_components(self) -> int | None:
        """Columns of ``Y_``."""

    @abstractmethod
    def fit(self, X: Any, y: Any = None) -> Self:
        """Set ``D_`` and ``Y_`` from labels X; y is ignored."""

    def transform(self, X: Any = None) -> np.ndarray:
        """``Y_``; X is ignored."""
        return self.Y_

    @abstractmethod
    def compute_ideal_distances(self, y: Any) -> np.ndarray:
        """Ideal distances ``(n, n)`` of labels."""


class ComputedSMDSParametrization(SMDSParametrization):
    """Embedding by classical MDS of a manifold's distances.

    Parameters
    ----------
    manifold
        A shape or any callable labels → distances, or a name.
    n_components
        Number of columns kept. None takes the default of a built-in manifold; in smds it must be
        given.
    """

    def __init__(self, manifold: Any, n_components: int | None = None) -> None:
        self.manifold = manifold
        self._n_components = n_components

    @property
    def n_components(self) -> int | None:
        """Columns of ``Y_``."""
        return self._n_components

    def fit(self, X: Any, y: Any = None) -> Self:
        """Embed labels X ``(n,)`` or ``(n, k)``."""
        resolved = resolve_manifold(self.manifold, self._n_components)
        self._y = _numbers(X, resolved)
        self.__dict__.pop("D_", None)
        self._embedding = resolved.embed(self._y, torch.device("cpu"))
        self.Y_ = self._embedding.Y.numpy()
        return self

    @cached_property
    def D_(self) -> np.ndarray:  # type: ignore[override] # noqa: N802
        """Ideal distances of the training labels, computed when first asked for."""
        return self.compute_ideal_distances(self._y)

    def compute_ideal_distances(self, y: Any) -> np.ndarray:
        """Ideal distances ``(n, n)`` of labels."""
        resolved = resolve_manifold(self.manifold, self._n_components or 1)
        return resolved.distances(_numbers(y, resolved))


class UserProvidedSMDSParametrization(SMDSParametrization):
    """Coordinates given by the user: fixed, the labels themselves, or looked up in a template.

    Parameters
    ----------
    y
        Coordinates ``(n_samples, k)`` of the training samples. They do not apply to other samples,
        so such a model can only score the samples it was fitted on.
    n_components
        k; None takes it from the coordinates.
    fixed_template, mapper
        Reference coordinates and a function ``mapper(labels, template)`` → coordinates.
    name
        Name in tables.
    """

    def __init__(
        self,
        y: Any = None,
        n_components: int | None = None,
        fixed_template: np.ndarray | None = None,
        mapper: Callable[[Any, Any], Any] | None = None,
        name: str | None = None,
    ) -> None:
        self._n_components = n_components
        self.fixed_template = fixed_template
        self.mapper = mapper
        self.name = name
        self.y = y
        if y is not None:
            self.y = _columns(as_real(y, "coordinates"))
            self._set_width(self.y.shape[-1], self.y.shape)

    @property
    def n_components(self) -> int | None:
        """Columns of the coordinates, None if not known yet."""
        return self._n_components

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Take coordinates or labels from y, or from X if y is None.

        Raises
        ------
        ValueError
            Nothing is given, or the number of columns is not ``n_components``.
        """
        if self.y is not None:
            self.Y_ = self.y
        else:
            given = y if y is not None else X
            if given is None:
                raise ValueError("give coordinates to fit(X, y) or to the constructor")
            self.Y_ = self._coordinates(given)
            if not self._maps:
                self._set_width(self.Y_.shape[1], self.Y_.shape)
        self.D_ = _euclidean(self.Y_)
        return self

    def compute_ideal_distances(self, y: Any = None) -> np.ndarray:
        """Distances ``(n, n)`` of labels or coordinates y, or of the fitted coordinates.

        The fitted coordinates are used if y is None or if fixed coordinates were given.

        Raises
        ------
        ValueError
            The fixed coordinates have another number of samples.
        """
        if self.y is None:
            return _euclidean(self.Y_ if y is None else self._coordinates(y))
        if y is not None and len(y) != len(self.y):
            raise ValueError(
                f"the fixed coordinates are of {len(self.y)} samples, the labels of {len(y)}: "
                "give a template and a mapper to score other samples"
            )
        return _euclidean(self.y)

    @property
    def _maps(self) -> bool:
        return self.fixed_template is not None and self.mapper is not None

    def _coordinates(self, y: Any) -> np.ndarray:
        if self._maps:
            assert self.mapper is not None
            y = self.mapper(np.asarray(y).squeeze(), self.fixed_template)
        y = as_real(y, "coordinates")
        if y.ndim not in (1, 2):
            raise ValueError(f"coordinates must be (n,) or (n, k), got shape {y.shape}")
        return _columns(y)

    def _set_width(self, width: int, shape: tuple[int, ...]) -> None:
        if self._n_components is None:
            self._n_components = width
        elif self._n_components != width:
            raise ValueError(
                f"the coordinates have shape {shape}, which does not fit n_components="
                f"{self._n_components}"
            )


def embedding_of(fitted: Any, device: torch.device) -> Embedding:
    """The embedding of a fitted parametrization of any class, to which a map is fitted."""
    if isinstance(fitted, ComputedSMDSParametrization):
        own = fitted._embedding
        D = None if own.incomplete is None else own.incomplete.to(device)
        return Embedding(own.Y.to(device), own.determined, own.degenerate, D)
    return Embedding.given(fitted.Y_, fitted.D_, device)


def _numbers(y: Any, manifold: Manifold) -> np.ndarray:
    """Labels as float64; text where the manifold takes it."""
    labels = label_numbers(y)
    if labels.categories:
        manifold.refuse_categories()
    return labels.values


def _columns(y: np.ndarray) -> np.ndarray:
    return y.reshape(-1, 1) if y.ndim == 1 else y


def _euclidean(points: np.ndarray) -> np.ndarray:
    distances: np.ndarray = np.linalg.norm(points[:, None, :] - points[None, :, :], axis=-1)
    return distances
