"""Scores of all sites with their statuses: the result type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from gpu_smds._files import File, read_tensors, save_tensors
from gpu_smds.sites.status import Status, check_statuses, explain

_KIND = "gpu_smds.ScoreMap"


@dataclass(frozen=True)
class ScoreMap:
    """Scores per fold and site, NaN where undefined.

    Attributes
    ----------
    scores
        float64, axes named in ``dims``.
    status
        int8 values of :class:`Status`, the axes of ``scores`` without ``metric``.
    dims
        Axis names: ``manifold``, ``metric``, ``alpha`` if a list was given, then ``fold``,
        then one per site axis (``site0``, ``site1``, … unless the caller renamed them).
    coords
        Values along the axes that have names: manifolds, metrics, alphas.
    metadata
        JSON-able facts that travel with :meth:`save`.
    fold_sizes
        ``(folds, 2)`` numbers of training and test samples, where known. Rows that are left out at
        a site are counted here.
    omitted
        ``(*sites)`` int64 numbers of rows that were left out at each site, if
        ``non_finite="omit"`` asked for that; else None.
    """

    scores: np.ndarray
    status: np.ndarray
    dims: tuple[str, ...]
    coords: Mapping[str, list[Any]] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    fold_sizes: np.ndarray | None = None
    omitted: np.ndarray | None = None

    def __post_init__(self) -> None:
        expected = tuple(
            size for size, dim in zip(self.scores.shape, self.dims, strict=True) if dim != "metric"
        )
        if self.status.shape != expected:
            raise ValueError(
                f"status has shape {self.status.shape}, but scores {self.scores.shape} with dims "
                f"{self.dims} need {expected}"
            )
        sites = self.scores.shape[self.dims.index("fold") + 1 :]
        if self.omitted is not None and self.omitted.shape != sites:
            raise ValueError(f"omitted has shape {self.omitted.shape}, but the sites are {sites}")

    @property
    def mean(self) -> np.ndarray:
        """Mean over folds; NaN where any fold is NaN."""
        return self.scores.mean(axis=self.dims.index("fold"))

    @property
    def std(self) -> np.ndarray:
        """Standard deviation over folds (ddof 0, so 0 with one fold); NaN where a fold is NaN."""
        return self.scores.std(axis=self.dims.index("fold"))

    @property
    def se(self) -> np.ndarray:
        """Standard error of ``mean`` over folds, or over folds and repeats of repeated k-fold.

        Training parts overlap, so that the folds' scores are not independent: the variance over J
        folds (ddof 1) is multiplied by 1/J + n_test/n_train and not by 1/J (Nadeau & Bengio 2003).
        NaN with one fold, where any fold is NaN, and if the sizes of the folds are not known.
        """
        axis = self.dims.index("fold")
        J = self.scores.shape[axis]
        if J < 2 or self.fold_sizes is None:
            return np.full_like(self.mean, np.nan)
        n_train, n_test = self.fold_sizes.T
        share = 1 / J + float((n_test / np.maximum(n_train, 1)).mean())
        error: np.ndarray = np.sqrt(share * self.scores.var(axis=axis, ddof=1))
        return error

    @property
    def worst_status(self) -> np.ndarray:
        """Most serious status over folds; the axes of ``status`` without ``fold``."""
        axis = [dim for dim in self.dims if dim != "metric"].index("fold")
        return self.status.max(axis=axis, initial=0)

    def explain(self) -> dict[str, tuple[int, str]]:
        """Statuses that occur: name → (number of entries, explanation)."""
        return explain(self.status)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python values that JSON holds; NaN becomes None."""
        return {
            "dims": list(self.dims),
            "coords": {name: list(values) for name, values in self.coords.items()},
            "scores": _jsonable(self.scores),
            "mean": _jsonable(self.mean),
            "std": _jsonable(self.std),
            "se": _jsonable(self.se),
            "status": self.status.tolist(),
            "status_names": {int(s): s.name.lower() for s in Status},
            "metadata": dict(self.metadata),
            **({} if self.omitted is None else {"omitted": self.omitted.tolist()}),
        }

    def save(self, path: str | Path | File) -> None:
        """Write a safetensors file, atomically; names and metadata are JSON in its header."""
        sizes = {} if self.fold_sizes is None else {"fold_sizes": self.fold_sizes}
        header = {"dims": self.dims, "coords": self.coords, "metadata": self.metadata}
        omitted = {} if self.omitted is None else {"omitted": self.omitted}
        tensors = {"scores": self.scores, "status": self.status} | sizes | omitted
        save_tensors(path, _KIND, tensors, header)

    @classmethod
    def load(cls, path: str | Path | File) -> Self:
        """Read a file that :meth:`save` wrote.

        Raises
        ------
        FileNotFoundError, ValueError
            There is no such file, or it is incomplete or not a score map.
        """
        with read_tensors(path, _KIND) as (tensors, facts):
            return cls.of_file(tensors, facts)

    @classmethod
    def of_file(cls, tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Self:
        """The score map of a file's arrays and facts.

        Raises
        ------
        KeyError, TypeError, ValueError
            The file is forged or damaged.
        """
        dims = tuple(facts["dims"])
        omitted = tensors.get("omitted")
        if omitted is not None:  # a file stores () as (1,)
            omitted = omitted.reshape(tensors["scores"].shape[dims.index("fold") + 1 :])
        found = cls(
            tensors["scores"],
            tensors["status"],
            dims,
            dict(facts["coords"]),
            dict(facts["metadata"]),
            tensors.get("fold_sizes"),
            omitted,
        )
        for name, values in found.coords.items():
            if not isinstance(values, list) or any(isinstance(v, list | dict) for v in values):
                raise ValueError(f"its {name} is not a list of names or numbers")
            if name in found.dims and len(values) != found.scores.shape[found.dims.index(name)]:
                raise ValueError(f"its {name} does not have the length of its axis")
        n_folds = found.scores.shape[found.dims.index("fold")]
        sizes = found.fold_sizes
        if found.scores.dtype != np.float64 or (sizes is not None and sizes.shape != (n_folds, 2)):
            raise ValueError("scores are not float64, or the fold sizes do not fit")
        if omitted is not None and (omitted.dtype != np.int64 or (omitted < 0).any()):
            raise ValueError("the numbers of omitted rows are none")
        check_statuses(found.status)
        return found


def _jsonable(values: np.ndarray) -> Any:
    plain = np.asarray(values, dtype=object)  # the mean without site axes is a number
    plain[~np.isfinite(values)] = None
    return plain.tolist()
