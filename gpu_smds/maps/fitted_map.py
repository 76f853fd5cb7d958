"""Fitted maps of all sites: the result type of ``fit_map``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from gpu_smds._arguments import as_real, resolve_device
from gpu_smds._files import File, read_tensors, save_tensors
from gpu_smds.crossval.ideals import Ideals
from gpu_smds.crossval.question import Question
from gpu_smds.geometry.as_json import as_json, from_json
from gpu_smds.geometry.manifold import Manifold, is_parametrization
from gpu_smds.maps.score_map import ScoreMap
from gpu_smds.sites.array import Block
from gpu_smds.sites.centred import CentredStates
from gpu_smds.sites.centred_by_passes import is_streamed
from gpu_smds.sites.given import as_states
from gpu_smds.sites.job import Job
from gpu_smds.sites.memory import most_sites
from gpu_smds.sites.place import Place
from gpu_smds.sites.status import Status, check_statuses, undefined
from gpu_smds.solvers.spec import SolverSpec

_KIND = "gpu_smds.FittedMap"
_ARRAYS = ("W", "mean", "scale", "Y")


@dataclass(frozen=True)
class FittedMap:
    """One linear map per site, fitted on all samples.

    Attributes
    ----------
    W
        ``(*sites, k, d)`` float64; NaN at undefined sites. It applies to states after ``mean`` is
        subtracted and they are divided by ``scale``.
    mean, scale
        ``(*sites, d)`` mean and standard deviation of the training states; the scale is 1
        without standardisation.
    Y
        ``(n_samples, k)`` ideal embedding, centred, shared by all sites.
    status
        ``(*sites)`` int8 values of :class:`gpu_smds.Status`.
    manifold, solver
        How it was fitted.
    omitted
        ``(*sites)`` int64 numbers of rows that were left out at each site, if
        ``non_finite="omit"`` asked for that; else None. Such a map is fitted to the embedding of
        the labels that are left, and not to ``Y``.
    """

    W: Tensor
    mean: Tensor
    scale: Tensor
    Y: Tensor
    status: np.ndarray
    manifold: Manifold
    solver: SolverSpec
    # Data on which transfer_map(cv=...) refits; references, not copies, and never saved.
    source: tuple[Any, np.ndarray] | None = field(default=None, repr=False, compare=False)
    omitted: np.ndarray | None = None

    @property
    def site_shape(self) -> tuple[int, ...]:
        """Shape of the site axes."""
        return tuple(self.W.shape[:-2])

    def transform(self, X: Any) -> Any:
        """Project states ``(n, *sites, d)`` to ``(n, *sites, k)``, each site by its own map.

        A tensor gives a tensor on the map's device, anything else a numpy array.

        Raises
        ------
        TypeError, ValueError
            The site axes or features differ from the fitted ones, or X is not a plain array of real
            numbers.
        """
        gives_tensor = isinstance(X, Tensor)
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
        return Z if gives_tensor else Z.cpu().numpy()

    def score(self, X: Any, y: Any, metric: Any = "scale_normalized_stress") -> ScoreMap:
        """Score every site's map on states ``(n, *sites, d)`` and labels ``(n,)`` or ``(n, k)``.

        States are centred and scaled by the fitted ``mean`` and ``scale``. The result has one
        fold.
        """
        place = Place.of(X, self.W.device, None)
        sites = place.sites
        if sites.site_shape != self.site_shape or sites.d != self.W.shape[-1]:
            raise ValueError(
                f"X has sites and features {(*sites.site_shape, sites.d)}, the map was fitted on "
                f"{(*self.site_shape, self.W.shape[-1])}"
            )
        question = Question.of(sites.n, y, self.manifold, metric, None, single="score")
        scores = _OwnScores.of(self, place, question)
        place.run([scores.job(place, question)], "scoring")
        return scores.result(sites.site_shape)

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
            **self.solver.to_json(),
        }
        tensors = {n: getattr(self, n).cpu().numpy() for n in _ARRAYS}
        tensors["status"] = self.status
        if self.omitted is not None:
            tensors["omitted"] = self.omitted
        save_tensors(path, _KIND, tensors, header)

    @classmethod
    def load(cls, path: str | Path | File, device: Any = "cpu") -> Self:
        """Read a file that :meth:`save` wrote, onto a device.

        Raises
        ------
        FileNotFoundError, ValueError
            There is no such file, or it is incomplete, forged or not a fitted map.
        """
        where = resolve_device(device, torch.device("cpu"))
        with read_tensors(path, _KIND) as (arrays, facts):
            *sites, k, d = arrays["W"].shape
            status = arrays["status"].reshape(sites)  # a file stores () as (1,)
            _check_arrays(arrays, (*sites, d))
            check_statuses(status)
            omitted = arrays.get("omitted")
            if omitted is not None and (omitted.dtype != np.int64 or (omitted < 0).any()):
                raise ValueError("the numbers of omitted rows are none")
            solver = SolverSpec.from_json(facts)
            source = from_json(facts["manifold"])
            columns = arrays["Y"].shape[-1]
            if facts["n_components"] != columns or len(arrays["Y"]) < 2:
                raise ValueError("its embedding is not that of its manifold, or has no samples")
            if k not in (columns, solver.kind.width(columns)):
                raise ValueError("its embedding has another width than its maps")
            if not (callable(source) or is_parametrization(source)):
                raise ValueError("it does not say which manifold it was fitted to")
            W, mean, scale, Y = (torch.from_numpy(arrays[n]).to(where) for n in _ARRAYS)
            return cls(
                W.mT.contiguous().mT,  # in memory as it was fitted: products round alike
                mean,
                scale,
                Y,
                status,
                manifold=Manifold(str(facts["name"]), source, int(facts["n_components"])),
                solver=solver,
                omitted=None if omitted is None else omitted.reshape(sites),
            )


@dataclass(frozen=True)
class _OwnScores:
    """Scores of every site's map at the same site of other states.

    Attributes
    ----------
    fitted, ideals
        The maps, and the ideal distances with which their projections are compared.
    scores, status
        ``(S,)`` float64 and int8, filled by the job.
    """

    fitted: FittedMap
    ideals: Ideals
    scores: Tensor
    status: Tensor

    @classmethod
    def of(cls, fitted: FittedMap, place: Place, question: Question) -> Self:
        ideals = question.ideals(fitted.solver, place.device, place.budget)
        scores = torch.full(
            (len(place.sites),), torch.nan, dtype=torch.float64, device=place.device
        )
        return cls(fitted, ideals, scores, torch.zeros_like(scores, dtype=torch.int8))

    def job(self, place: Place, question: Question) -> Job:
        fold, d = question.folds.folds[0], place.sites.d
        W = self.fitted.W
        Wt = W.mT.flatten(0, -3) if self.fitted.site_shape else W.mT[None]
        scale = self.fitted.scale.reshape(-1, d)
        of_maps = torch.from_numpy(self.fitted.status.reshape(-1)).to(place.device)

        def visit(block: Block, states: CentredStates) -> None:
            span = slice(block.start, block.stop)
            maps = torch.nan_to_num(Wt[span] / scale[span, :, None])
            causes = {
                Status.CONSTANT: states.constant_rows(fold.test, fold.n_test),
                Status.NON_FINITE: states.non_finite,
            }
            values, state = self.ideals.score(0, 0, states.project(maps, fold.test), causes)
            state = torch.maximum(state, of_maps[span])
            self.scores[span] = values[0].masked_fill(undefined(state), torch.nan)
            self.status[span] = state

        per_site = place.sites.bytes_per_site(not is_streamed(place.device))
        results = (self.scores, self.status)
        return Job(visit, question.folds.order, per_site, most_sites(False), results, key=str)

    def result(self, site_shape: tuple[int, ...]) -> ScoreMap:
        dims = ("fold", *(f"site{axis}" for axis in range(len(site_shape))))
        return ScoreMap(
            self.scores.cpu().numpy().reshape(1, *site_shape),
            self.status.cpu().numpy().reshape(1, *site_shape),
            dims,
        )


def _check_arrays(arrays: dict[str, np.ndarray], per_site: tuple[int, ...]) -> None:
    """Raise ValueError if the arrays of a file do not belong together."""
    if any(arrays[name].dtype != np.float64 for name in _ARRAYS):
        raise ValueError("its arrays are not float64")
    if arrays["mean"].shape != per_site or arrays["scale"].shape != per_site:
        raise ValueError("its means or scales have other sites or features than its maps")
    if arrays["Y"].ndim != 2:
        raise ValueError("its embedding does not have the two axes samples and components")
