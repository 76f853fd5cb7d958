"""Fitted maps of all sites: the result type of ``fit_map``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from gpu_smds._files import File, read_tensors, save_tensors
from gpu_smds._validation import as_alphas, as_real, check_choice, resolve_device
from gpu_smds.manifolds import Manifold, is_parametrization
from gpu_smds.results import ScoreMap
from gpu_smds.sites import as_states
from gpu_smds.specification import as_json, from_json
from gpu_smds.status import check_statuses
from gpu_smds.systems import STANDARDIZE, Solver

_KIND = "gpu_smds.FittedMap"
_ARRAYS = ("W", "mean", "scale", "Y")


@dataclass(frozen=True)
class FittedMap:
    """One linear map per site, fitted on all samples.

    Attributes
    ----------
    W
        ``(*sites, k, d)`` float64; NaN at undefined sites. Applies to states from which ``mean``
        was subtracted and that were divided by ``scale``.
    mean, scale
        ``(*sites, d)`` mean and standard deviation of the training states; the scale is 1
        without standardisation.
    Y
        ``(n_samples, k)`` ideal embedding, centred, shared by all sites.
    status
        ``(*sites)`` int8 values of :class:`gpu_smds.Status`.
    manifold, solver
        How it was fitted.
    """

    W: Tensor
    mean: Tensor
    scale: Tensor
    Y: Tensor
    status: np.ndarray
    manifold: Manifold
    solver: Solver
    # What transfer_map(cv=...) refits on; references, not copies, and never saved.
    source: tuple[Any, np.ndarray] | None = field(default=None, repr=False, compare=False)

    @property
    def site_shape(self) -> tuple[int, ...]:
        """Shape of the site axes."""
        return tuple(self.W.shape[:-2])

    def transform(self, X: Any) -> Any:
        """Project states ``(n, *sites, d)`` to ``(n, *sites, k)``, each site by its own map.

        Torch in, torch out on the map's device; numpy in, numpy out.

        Raises
        ------
        TypeError, ValueError
            The site axes or features differ from the fitted ones, or X is no plain array of real
            numbers.
        """
        X = as_states(X)
        if not isinstance(X, Tensor):
            X = as_real(X, "X")
        elif X.is_complex():
            raise TypeError(f"X must be real, got {X.dtype}: pass its real part")
        expected = (*self.site_shape, self.W.shape[-1])
        if tuple(X.shape[1:]) != expected:
            raise ValueError(
                f"X has sites and features {tuple(X.shape[1:])}, the map was fitted on {expected}"
            )
        states = torch.as_tensor(X).to(self.W.device, torch.float64)
        Z = torch.einsum("n...d,...kd->n...k", (states - self.mean) / self.scale, self.W)
        return Z if isinstance(X, Tensor) else Z.cpu().numpy()

    def score(self, X: Any, y: Any, metric: Any = "scale_normalized_stress") -> ScoreMap:
        """Score every site's map on states ``(n, *sites, d)`` and labels ``(n,)`` or ``(n, k)``.

        States are centred and scaled by the fitted ``mean`` and ``scale``. The result has one
        fold.
        """
        from gpu_smds.transfer import score_projections

        return score_projections(self, X, y, metric)

    def save(self, path: str | Path | File) -> None:
        """Write a safetensors file, atomically. The states it was fitted on are not saved.

        Raises
        ------
        ValueError
            The manifold is a callable of your own, which a file cannot hold.
        """
        header = {
            "manifold": as_json(self.manifold.source),
            "name": self.manifold.name,
            "n_components": self.manifold.n_components,
            "alpha": self.solver.alphas[0],
            "orthonormal": self.solver.orthonormal,
            "standardize": self.solver.standardize,
        }
        tensors = {n: getattr(self, n).cpu().numpy() for n in _ARRAYS}
        tensors["status"] = self.status
        save_tensors(path, _KIND, tensors, header)

    @classmethod
    def load(cls, path: str | Path | File, device: Any = "cpu") -> Self:
        """Read what :meth:`save` wrote, onto a device.

        Raises
        ------
        FileNotFoundError, ValueError
            No such file; cut short, forged or not a fitted map.
        """
        where = resolve_device(device, torch.device("cpu"))
        with read_tensors(path, _KIND) as (arrays, facts):
            *sites, k, d = arrays["W"].shape
            status = arrays["status"].reshape(sites)  # a file holds no axes as one of one
            _check_arrays(arrays, (*sites, d), k)
            check_statuses(status)
            check_choice(facts["standardize"], STANDARDIZE, "standardize")
            check_choice(facts["orthonormal"], (True, False), "orthonormal")
            alphas, _ = as_alphas(facts["alpha"])
            source = from_json(facts["manifold"])
            if facts["n_components"] != k or len(arrays["Y"]) < 2:
                raise ValueError("its embedding has another width than its maps, or no samples")
            if not (callable(source) or is_parametrization(source)):
                raise ValueError("it does not say which manifold it was fitted to")
            W, mean, scale, Y = (torch.from_numpy(arrays[n]).to(where) for n in _ARRAYS)
            return cls(
                W,
                mean,
                scale,
                Y,
                status,
                manifold=Manifold(str(facts["name"]), source, int(facts["n_components"])),
                solver=Solver(alphas, facts["orthonormal"], facts["standardize"]),
            )


def _check_arrays(arrays: dict[str, np.ndarray], per_site: tuple[int, ...], k: int) -> None:
    """Raise ValueError where the arrays of a file do not belong together."""
    if any(arrays[name].dtype != np.float64 for name in _ARRAYS):
        raise ValueError("its arrays are not float64")
    if arrays["mean"].shape != per_site or arrays["scale"].shape != per_site:
        raise ValueError("its means or scales are of other sites or features than its maps")
    if arrays["Y"].ndim != 2 or arrays["Y"].shape[1] != k:
        raise ValueError("its embedding has another width than its maps")
