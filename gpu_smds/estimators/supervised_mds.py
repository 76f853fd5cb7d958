"""The scikit-learn estimator of SMDS, for one site: a drop-in for ``smds.SupervisedMDS``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from torch import Tensor

from gpu_smds._arguments import (
    as_flag,
    one_line,
    refuse_masked,
    refuse_special,
    shown,
)
from gpu_smds._files import read_tensors, save_tensors
from gpu_smds._labels import Labels, as_labels
from gpu_smds.geometry.as_json import as_json, from_json
from gpu_smds.geometry.embedding import Embedding
from gpu_smds.geometry.joined_ends import warn_of_joined_ends
from gpu_smds.geometry.manifold import Manifold, flat_column, resolve_manifold, shape_of
from gpu_smds.geometry.parametrization import (
    ComputedSMDSParametrization,
    SMDSParametrization,
    UserProvidedSMDSParametrization,
    embedding_of,
)
from gpu_smds.geometry.shapes import refuse_categories
from gpu_smds.maps.fit import fit_sites
from gpu_smds.metrics.reference import Ideal
from gpu_smds.metrics.scores import metric_name, score_projections
from gpu_smds.sites.given import as_states, without_float8
from gpu_smds.sites.place import Place
from gpu_smds.sites.status import Status
from gpu_smds.solvers.spec import SolverSpec

_KIND = "gpu_smds.SupervisedMDS"
# Singular values of W up to this count as zero in inverse_transform, as in smds.
_INVERSE_TOLERANCE = 1e-5
_COMPLEX = (np.complex64, np.complex128)


class SupervisedMDS(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Linear map from states to an ideal shape that the labels describe.

    Counterpart of ``smds.SupervisedMDS`` 1.6.6 with its parameters, methods and fitted
    attributes. Arithmetic is float64 whatever the dtype of the states.

    Parameters
    ----------
    parametrization
        "computed": distances from ``manifold``. "user_provided": the labels are coordinates. Or
        an :class:`SMDSParametrization`.
    manifold
        A name; here also a shape, or any callable labels → distances with ``n_components``.
    n_components
        None takes the manifold's own number.
    alpha
        Ridge penalty (1.0 as in smds 1.6.6; 1.6.5 and earlier had 0.1). 0 is minimum norm.
    orthonormal
        Orthonormal Procrustes; ``alpha`` then has no effect.
    gpu_accel
        Accepted for compatibility: ``device`` says where to compute.
    device
        None takes the device of X; numpy arrays are on the CPU.
    dtype
        None, torch.float64 or torch.float32, as in :func:`gpu_smds.score_map`.

    Attributes
    ----------
    W_
        ``(k, n_features)``.
    Y_
        ``(n_samples, k)`` ideal embedding.
    parametrization_fitted_
        Holds ``D_``, ``Y_`` and ``compute_ideal_distances``.
    status_
        A :class:`gpu_smds.Status` that qualifies the fit: ``OK``, ``UNDETERMINED``,
        ``NOT_CONVERGED``, or ``DEGENERATE_LABELS``, with a warning, if the labels differ but
        fall on one point of the shape (the two ends of a whole turn); W is then zero.
    n_features_in_
        Number of features.
    """

    def __init__(
        self,
        parametrization: Any = "computed",
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
        name = type(self).__name__
        solver = SolverSpec.of(self.alpha, self.orthonormal, None, self.dtype, single=name)
        as_flag(self.gpu_accel, "gpu_accel")
        model = self._resolve_parametrization()
        X, labels = self._training_data(X, y, model)
        fitted = clone(model).fit(labels)
        place = Place.of(X, self.device, None)
        embedding = embedding_of(fitted, place.device)
        maps = fit_sites(place, slice(0, place.sites.n), embedding, solver)
        status = Status(int(maps.status[0]))
        if not status.is_defined:
            raise ValueError(f"no map can be fitted: {status.explanation}")
        self.status_ = max(status, _judge(embedding))
        self.W_ = _like(X, maps.Wt[0].mT.contiguous())
        self.Y_ = _like(X, embedding.Y)
        # A fit to distances does not depend on the origin: states are not centred, as in smds.
        self._X_mean = None if embedding.incomplete is not None else _like(X, maps.mean[0])
        self.parametrization_fitted_ = fitted
        return self

    def transform(self, X: Any) -> Any:
        """Project states ``(n, n_features)`` to ``(n, k)``; a tensor gives a tensor."""
        check_is_fitted(self)
        X = self._states(X, reset=False)
        W = _tensor(self.W_)
        states = _tensor(X).to(W.device, torch.float64)
        if self._X_mean is not None:
            states = states - _tensor(self._X_mean)
        return _like(X, states @ W.mT)

    def fit_transform(self, X: Any, y: Any) -> Any:
        """Fit and project in one step."""
        return self.fit(X, y).transform(X)

    def inverse_transform(self, X_proj: Any) -> Any:
        """Map projections ``(n, k)`` back to states ``(n, n_features)`` by W's pseudo-inverse."""
        check_is_fitted(self)
        X_proj = self._projections(X_proj)
        W = _tensor(self.W_)
        U, S, Vt = torch.linalg.svd(W, full_matrices=False)
        inverse = torch.where(S > _INVERSE_TOLERANCE, 1 / S, 0)
        states = _tensor(X_proj).to(W.device, torch.float64) @ (U * inverse) @ Vt
        return _like(X_proj, states if self._X_mean is None else states + _tensor(self._X_mean))

    def score(self, X: Any, y: Any, metric: Any = "scale_normalized_stress") -> float:
        """Score the projection of X against the ideal distances of y; NaN where undefined.

        ``metric`` is one of the five names or a ``StressMetrics`` value, of ours or of smds.
        """
        check_is_fitted(self)
        name = metric_name(metric)
        Z = _tensor(self.transform(X))
        fitted = self.parametrization_fitted_
        labels = self._labels(y, len(Z), fitted, constant=True).values
        ideal = Ideal(Manifold("labels", fitted, 0), labels, Z.device, 0)
        if ideal.degenerate or len(Z) < 2:
            return float("nan")
        scores, collapsed = score_projections(Z[None].double(), ideal, [name])
        return float("nan") if bool(collapsed) else float(scores)

    def save(self, filepath: str | Path) -> None:
        """Write the fitted estimator as a safetensors file (never a pickle).

        Raises
        ------
        ValueError
            The manifold or parametrization is code of your own, which a file cannot hold.
        """
        check_is_fitted(self)
        parameters = {
            name: as_json(value)
            for name, value in self.get_params(deep=False).items()
            if name not in ("device", "dtype")
        }
        arrays = {"W": self.W_, "Y": self.Y_, "labels": self._fitted_labels}
        if self._X_mean is not None:
            arrays["mean"] = self._X_mean
        header = {"parameters": parameters, "status": int(self.status_)}
        tensors = {name: _tensor(value).cpu().numpy() for name, value in arrays.items()}
        save_tensors(filepath, _KIND, tensors, header)

    @classmethod
    def load(cls, filepath: str | Path) -> Self:
        """Read a file that :meth:`save` wrote; the fitted attributes are numpy arrays.

        Raises
        ------
        FileNotFoundError, ValueError
            There is no such file, or it is incomplete, forged or not a fitted estimator.
        """
        with read_tensors(filepath, _KIND) as (arrays, header):
            parameters = {name: from_json(v) for name, v in header["parameters"].items()}
            model = cls(**parameters)
            W, Y, mean = arrays["W"], arrays["Y"], arrays.get("mean")
            if W.ndim != 2 or Y.ndim != 2 or W.shape[0] != Y.shape[1]:
                raise ValueError("its map and its embedding do not belong together")
            if mean is not None and mean.shape != W.shape[1:]:
                raise ValueError("its mean has other features than its map")
            model.W_, model.Y_, model._X_mean = W, Y, mean
            model.n_features_in_ = W.shape[1]
            model.status_ = Status(header["status"])
            model._fitted_labels = arrays["labels"]
            model.parametrization_fitted_ = clone(model._resolve_parametrization())
            model.parametrization_fitted_.fit(arrays["labels"])
            return model

    def _resolve_parametrization(self) -> Any:
        given = self.parametrization
        if isinstance(given, SMDSParametrization) or (
            not isinstance(given, str) and hasattr(given, "compute_ideal_distances")
        ):
            return given
        if not isinstance(given, str):
            raise TypeError(
                "parametrization must be 'computed', 'user_provided' or an SMDSParametrization, "
                f"got {shown(given)}"
            )
        name = given.strip().lower()
        if name == "computed":
            resolved = resolve_manifold(self.manifold, self.n_components)
            return ComputedSMDSParametrization(resolved.source, resolved.n_components)
        if name != "user_provided":
            raise ValueError(
                f"parametrization must be 'computed' or 'user_provided', got {shown(given)}"
            )
        if self.manifold != "circular":  # smds warns even for its own default
            warnings.warn("parametrization='user_provided': the manifold is ignored", stacklevel=3)
        return UserProvidedSMDSParametrization()

    def _training_data(self, X: Any, y: Any, model: Any) -> tuple[Any, np.ndarray]:
        X = self._states(X, reset=True)
        if len(X) < 2:
            raise ValueError(f"Found array with n_samples={len(X)}; at least 2 are needed")
        labels = self._labels(y, len(X), model)
        warn_of_joined_ends([model], labels)
        self._fitted_labels = labels.values
        return X, self._fitted_labels

    def _labels(self, y: Any, n: int, model: Any, constant: bool = False) -> Labels:
        if y is None:
            raise ValueError(
                "requires y to be passed, but the target y is None: SMDS is supervised"
            )
        labels = as_labels(y, n, constant)
        if labels.categories:
            shape = shape_of(model)
            refuse_categories(type(shape).__name__, shape)
        return replace(labels, values=flat_column(labels.values, model))

    def _projections(self, X_proj: Any) -> Any:
        """Checked projections: a tensor as given, anything else as a numpy array."""
        _refuse(X_proj, "X_proj")
        return X_proj if isinstance(X_proj, Tensor) else _by_sklearn(check_array, X_proj)

    def _states(self, X: Any, reset: bool) -> Any:
        _refuse(X, "X")
        if isinstance(X, list | tuple) and X and all(isinstance(part, Tensor) for part in X):
            X = as_states(X).cpu().double().numpy()  # numpy has no bfloat16 and no float8
        if isinstance(X, Tensor):
            X = without_float8(as_states(X))
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
        return _by_sklearn(validate_data, self, X, reset=reset, dtype=dtypes)


def _judge(embedding: Embedding) -> Status:
    """Status of an embedding; warns if there is nothing to fit."""
    if embedding.degenerate:
        warnings.warn(
            f"nothing can be fitted: {Status.DEGENERATE_LABELS.explanation}", stacklevel=3
        )
        return Status.DEGENERATE_LABELS
    return Status.OK if embedding.determined else Status.UNDETERMINED


def _refuse(X: Any, name: str) -> None:
    """Raise TypeError or ValueError for values that scikit-learn would wrongly accept."""
    # scikit-learn refuses sparse matrices itself, with messages that its own tests look for.
    if isinstance(X, Tensor | Mapping | list | tuple) and not issparse(X):
        refuse_special(X, name)
    refuse_masked(X, name)
    # scikit-learn itself refuses a list of complex numbers.
    if X.is_complex() if isinstance(X, Tensor) else getattr(X, "dtype", None) in _COMPLEX:
        raise ValueError(f"Complex data not supported: {name} must be real")


def _by_sklearn(check: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call a check of scikit-learn; its error is raised with a message of one line."""
    try:
        return check(*arguments, **named)
    except (TypeError, ValueError) as error:
        raise type(error)(one_line(error)) from error


def _tensor(values: Any) -> Tensor:
    return values if isinstance(values, Tensor) else torch.from_numpy(np.ascontiguousarray(values))


def _like(X: Any, values: Tensor) -> Any:
    """As a tensor if X is one, else as a numpy array."""
    return values if isinstance(X, Tensor) else values.cpu().numpy()
