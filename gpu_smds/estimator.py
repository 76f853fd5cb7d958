"""The scikit-learn face of SMDS, for one site: a drop-in for ``smds.SupervisedMDS``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from torch import Tensor

from gpu_smds._files import load_tensors, save_tensors
from gpu_smds.maps import fit_map
from gpu_smds.shapes import Manifold, PointShape, resolve_manifold
from gpu_smds.status import Status
from gpu_smds.stress import METRICS
from gpu_smds.targets import Ideal

# Singular values of W up to this count as zero in inverse_transform, as in smds.
_INVERSE_TOLERANCE = 1e-5


class FittedParametrization:
    """What the labels determined: the counterpart of smds' ``parametrization_fitted_``.

    Attributes
    ----------
    Y_
        ``(n_samples, k)`` ideal embedding.
    n_components
        k.
    """

    def __init__(self, manifold: Manifold, y: np.ndarray, Y: np.ndarray) -> None:
        self.manifold = manifold.shape
        self.n_components = manifold.n_components
        self.Y_ = Y
        self._manifold, self._y = manifold, y

    @property
    def D_(self) -> np.ndarray:  # noqa: N802 (the name in smds)
        """Ideal distances ``(n_samples, n_samples)`` of the training labels, computed on call."""
        return self.compute_ideal_distances(self._y)

    def compute_ideal_distances(self, y: Any) -> np.ndarray:
        """Ideal distances ``(n, n)`` of any labels."""
        labels = np.asarray(y, dtype=np.float64)
        shape = self._manifold.shape
        if isinstance(shape, PointShape):
            return shape.distances(torch.from_numpy(labels), slice(None)).numpy()
        return np.asarray(shape(labels), dtype=np.float64)


class SupervisedMDS(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Linear map from states to an ideal shape that the labels describe.

    Counterpart of ``smds.SupervisedMDS`` 1.6.6 with its parameters, methods and fitted
    attributes. Arithmetic is float64 whatever the dtype of the states.

    Parameters
    ----------
    parametrization
        "computed": distances from ``manifold``.
    manifold
        A name, or a shape or callable with ``n_components``.
    n_components
        None takes the manifold's own number.
    alpha
        Ridge penalty (1.0 as in smds 1.6.6; 1.6.5 and earlier had 0.1). 0 is minimum norm.
    orthonormal
        Orthonormal Procrustes; ``alpha`` is then without effect.
    gpu_accel
        Accepted for compatibility: ``device`` says where to compute.
    device
        None is where X is; numpy arrays are on the CPU.
    dtype
        None or torch.float64.

    Attributes
    ----------
    W_
        ``(k, n_features)``.
    Y_
        ``(n_samples, k)`` ideal embedding.
    parametrization_fitted_
        Holds ``D_``, ``Y_`` and ``compute_ideal_distances``.
    n_features_in_
        Number of features.
    """

    def __init__(
        self,
        parametrization: str = "computed",
        manifold: Any = "circular",
        n_components: int | None = None,
        alpha: float = 1.0,
        orthonormal: bool = False,
        gpu_accel: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.parametrization = parametrization
        self.manifold = manifold
        self.n_components = n_components
        self.alpha = alpha
        self.orthonormal = orthonormal
        self.gpu_accel = gpu_accel
        self.device = device
        self.dtype = dtype

    def fit(self, X: Any, y: Any) -> Self:
        """Fit W to states ``(n_samples, n_features)`` and labels ``(n_samples,)`` or ``(n, k)``.

        Raises
        ------
        ValueError
            States with NaN or inf, constant states or labels, lengths that differ, or arguments
            outside their range.
        """
        if self.parametrization != "computed":
            raise ValueError(
                f"parametrization must be 'computed', got {self.parametrization!r}; pass shapes "
                "of your own as manifold"
            )
        X = self._states(X, reset=True)
        if len(X) < 2:
            raise ValueError(f"Found array with n_samples={len(X)}; at least 2 are needed")
        fitted = fit_map(
            X,
            y,
            self.manifold,
            self.alpha,
            self.orthonormal,
            n_components=self.n_components,
            device=self.device,
            dtype=self.dtype,
        )
        status = Status(int(fitted.status))
        if status > Status.UNDETERMINED:
            raise ValueError(f"no map can be fitted: {status.explanation}")
        assert fitted.source is not None
        self.W_ = _like(X, fitted.W)
        self.Y_ = _like(X, fitted.Y)
        self._X_mean = _like(X, fitted.mean)
        embedding = fitted.Y.cpu().numpy()
        self.parametrization_fitted_ = FittedParametrization(
            fitted.manifold, fitted.source[1], embedding
        )
        return self

    def transform(self, X: Any) -> Any:
        """Project states ``(n, n_features)`` to ``(n, k)``; torch in, torch out."""
        check_is_fitted(self)
        X = self._states(X, reset=False)
        W, mean = _tensor(self.W_), _tensor(self._X_mean)
        states = _tensor(X).to(W.device, torch.float64)
        return _like(X, (states - mean) @ W.mT)

    def fit_transform(self, X: Any, y: Any) -> Any:
        """Fit and project in one step."""
        return self.fit(X, y).transform(X)

    def inverse_transform(self, X_proj: Any) -> Any:
        """Map projections ``(n, k)`` back to states ``(n, n_features)`` by W's pseudo-inverse."""
        check_is_fitted(self)
        if not isinstance(X_proj, Tensor):
            X_proj = check_array(X_proj, ensure_2d=True)
        W, mean = _tensor(self.W_), _tensor(self._X_mean)
        U, S, Vt = torch.linalg.svd(W, full_matrices=False)
        inverse = torch.where(S > _INVERSE_TOLERANCE, 1 / S, 0)
        pseudo = Vt.mT @ (inverse[:, None] * U.mT)
        projected = _tensor(X_proj).to(W.device, torch.float64)
        return _like(X_proj, projected @ pseudo.mT + mean)

    def score(self, X: Any, y: Any, metric: Any = "scale_normalized_stress") -> float:
        """Score the projection of X against the ideal distances of y; NaN where undefined."""
        check_is_fitted(self)
        name = getattr(metric, "value", metric)
        if name not in METRICS:
            raise ValueError(f"unknown metric {metric!r}: choose one of {', '.join(METRICS)}")
        Z = _tensor(self.transform(X))
        labels = np.asarray(y, dtype=np.float64)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if len(labels) != len(Z):
            raise ValueError(f"X has {len(Z)} samples but y has {len(labels)} labels")
        manifold = self.parametrization_fitted_._manifold
        ideal = Ideal(manifold, torch.from_numpy(labels).to(Z.device), keep_bytes=8 * len(Z) ** 2)
        if ideal.degenerate:
            return float("nan")
        return float(METRICS[name](Z[None], ideal))

    def save(self, filepath: str | Path) -> None:
        """Write the fitted estimator as a safetensors file (never a pickle).

        Raises
        ------
        ValueError
            The manifold is an object of your own, which a file cannot hold.
        """
        check_is_fitted(self)
        if not isinstance(self.manifold, str):
            raise ValueError("only an estimator whose manifold is given by name can be saved")
        params = {
            name: value
            for name, value in self.get_params(deep=False).items()
            if name not in ("device", "dtype")
        }
        arrays = {
            "W": self.W_,
            "Y": self.Y_,
            "mean": self._X_mean,
            "y": self.parametrization_fitted_._y,
        }
        save_tensors(
            filepath,
            {name: _tensor(value).cpu().numpy() for name, value in arrays.items()},
            {"gpu_smds.SupervisedMDS": json.dumps(params)},
        )

    @classmethod
    def load(cls, filepath: str | Path) -> Self:
        """Read what :meth:`save` wrote; the fitted attributes are numpy arrays."""
        arrays, header = load_tensors(filepath, "gpu_smds.SupervisedMDS")
        model = cls(**json.loads(header))
        model.W_, model.Y_, model._X_mean = arrays["W"], arrays["Y"], arrays["mean"]
        model.n_features_in_ = arrays["W"].shape[1]
        manifold = resolve_manifold(model.manifold, model.n_components)
        model.parametrization_fitted_ = FittedParametrization(manifold, arrays["y"], arrays["Y"])
        return model

    def _states(self, X: Any, reset: bool) -> Any:
        if isinstance(X, Tensor):
            if X.ndim != 2:
                raise ValueError(f"X must be (n_samples, n_features), got shape {tuple(X.shape)}")
            if not bool(X.isfinite().all()):
                raise ValueError("X contains NaN or infinity")
            if reset:
                self.n_features_in_ = X.shape[1]
            elif X.shape[1] != self.n_features_in_:
                raise ValueError(
                    f"X has {X.shape[1]} features, but SupervisedMDS is expecting "
                    f"{self.n_features_in_} features as input"
                )
            return X
        dtypes = [np.float64, np.float32, np.float16]
        return validate_data(self, X, reset=reset, dtype=dtypes)


def _tensor(values: Any) -> Tensor:
    return values if isinstance(values, Tensor) else torch.from_numpy(np.ascontiguousarray(values))


def _like(X: Any, values: Tensor) -> Any:
    """As torch where X is torch, else as numpy."""
    return values if isinstance(X, Tensor) else values.cpu().numpy()
