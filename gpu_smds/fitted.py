"""Fitted maps of all sites: the result type of ``fit_map``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from gpu_smds._files import load_tensors, save_tensors
from gpu_smds.manifolds import Manifold
from gpu_smds.results import ScoreMap
from gpu_smds.specification import as_json, from_json
from gpu_smds.systems import Solver


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
        ValueError
            The site axes or features differ from the fitted ones.
        """
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

    def save(self, path: str | Path) -> None:
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
        tensors = {n: getattr(self, n).cpu().numpy() for n in ("W", "mean", "scale", "Y")}
        tensors["status"] = self.status
        save_tensors(path, tensors, {"gpu_smds.FittedMap": json.dumps(header)})

    @classmethod
    def load(cls, path: str | Path, device: Any = "cpu") -> Self:
        """Read what :meth:`save` wrote, onto a device."""
        arrays, header = load_tensors(path, "gpu_smds.FittedMap")
        facts = json.loads(header)
        tensors = {n: torch.from_numpy(arrays[n]).to(device) for n in ("W", "mean", "scale", "Y")}
        return cls(
            tensors["W"],
            tensors["mean"],
            tensors["scale"],
            tensors["Y"],
            arrays["status"],
            manifold=Manifold(facts["name"], from_json(facts["manifold"]), facts["n_components"]),
            solver=Solver((facts["alpha"],), facts["orthonormal"], facts["standardize"]),
        )
