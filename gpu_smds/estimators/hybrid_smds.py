"""SMDS with another reducer in place of the linear map: a drop-in for ``smds.HybridSMDS``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from gpu_smds._arguments import as_alphas, as_flag, as_integer
from gpu_smds.estimators.supervised_mds import SupervisedMDS, _judge, _like, _tensor
from gpu_smds.geometry.manifold import resolve_manifold
from gpu_smds.geometry.parametrization import (
    ComputedSMDSParametrization,
    UserProvidedSMDSParametrization,
    embedding_of,
)


class HybridSMDS(SupervisedMDS):
    """A scikit-learn reducer fitted to the ideal embedding.

    Counterpart of ``smds.HybridSMDS``. The reducer works in numpy on the CPU.

    Parameters
    ----------
    manifold
        A name, shape or callable labels → distances.
    n_components
        Minimum number of columns of the target: the embedding of a named manifold keeps its own
        number and is filled with zeros up to this one. For a callable, the number of components.
    alpha, orthonormal
        Accepted for compatibility; no effect, as in smds.
    reducer
        An estimator with ``fit(X, Y)`` and ``transform(X)``, such as ``PLSRegression``.
    bypass_mds
        Take the labels themselves as target coordinates.

    Attributes
    ----------
    reducer_
        The fitted reducer.
    Y_, parametrization_fitted_
        As in :class:`SupervisedMDS`.
    """

    def __init__(
        self,
        manifold: Any = "circular",
        n_components: int = 2,
        alpha: float = 1.0,
        orthonormal: bool = False,
        reducer: Any = None,
        bypass_mds: bool = False,
    ) -> None:
        self.manifold = manifold
        self.n_components = n_components
        self.alpha = alpha
        self.orthonormal = orthonormal
        self.reducer = reducer
        self.bypass_mds = bypass_mds

    def fit(self, X: Any, y: Any) -> Self:
        """Embed labels ``(n,)`` or ``(n, k)`` and fit the reducer to the embedding.

        Raises
        ------
        ValueError
            There is no reducer, states or labels are refused as in :class:`SupervisedMDS`, or the
            manifold leaves distances undefined.
        """
        if self.reducer is None:
            raise ValueError("HybridSMDS needs a reducer, such as PLSRegression(n_components=2)")
        as_flag(self.orthonormal, "orthonormal")
        as_flag(self.bypass_mds, "bypass_mds")
        as_alphas(self.alpha)
        as_integer(self.n_components, "n_components", least=1)
        model = self._resolve_parametrization()
        X, labels = self._training_data(X, y, model)
        fitted = clone(model).fit(labels)
        embedding = embedding_of(fitted, _tensor(X).device)
        if embedding.incomplete is not None:
            raise ValueError("HybridSMDS needs a manifold that leaves no distance undefined")
        self.status_ = _judge(embedding)
        Y = embedding.Y.cpu().numpy()
        if Y.shape[1] < self.n_components and not self.bypass_mds:
            Y = np.pad(Y, ((0, 0), (0, self.n_components - Y.shape[1])))
        self.Y_ = _like(X, _tensor(Y).to(_tensor(X).device))
        self.parametrization_fitted_ = fitted
        self.reducer_ = clone(self.reducer)
        self.reducer_.fit(_numpy(X), Y)
        return self

    def transform(self, X: Any) -> Any:
        """Apply the reducer to states ``(n, n_features)``; a tensor gives a tensor."""
        check_is_fitted(self, ["reducer_", "Y_"])
        X = self._states(X, reset=False)
        if not hasattr(self.reducer_, "transform"):
            raise TypeError(f"the reducer {self.reducer_!r} has no transform")
        Z = np.asarray(self.reducer_.transform(_numpy(X)))
        return _like(X, _tensor(Z).to(_tensor(X).device))

    def inverse_transform(self, X_proj: Any) -> Any:
        """Apply the inverse of the reducer, if it has one."""
        check_is_fitted(self, ["reducer_"])
        if not hasattr(self.reducer_, "inverse_transform"):
            raise NotImplementedError(f"the reducer {self.reducer_!r} has no inverse_transform")
        X_proj = self._projections(X_proj)
        states = np.asarray(self.reducer_.inverse_transform(_numpy(X_proj)))
        return _like(X_proj, _tensor(states).to(_tensor(X_proj).device))

    def save(self, filepath: str | Path) -> None:
        """Not supported: a foreign reducer cannot be written as safetensors."""
        raise NotImplementedError(
            "a foreign reducer cannot be written as safetensors: save it with skops, or refit it "
            "from the states"
        )

    def _resolve_parametrization(self) -> Any:
        if self.bypass_mds:
            return UserProvidedSMDSParametrization()
        by_name = isinstance(self.manifold, str)
        resolved = resolve_manifold(self.manifold, None if by_name else self.n_components)
        return ComputedSMDSParametrization(resolved.source, resolved.n_components)


def _numpy(X: Any) -> np.ndarray:
    if not isinstance(X, Tensor):
        return np.asarray(X)
    X = X.detach().cpu()
    known: np.ndarray = (X.float() if X.dtype == torch.bfloat16 else X).numpy()
    return known  # numpy has no bfloat16
