"""Scores compared with those of permuted labels: the result type of ``significance_map``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from gpu_smds._arguments import as_share
from gpu_smds._files import File, read_tensors, save_tensors
from gpu_smds.inference.p_values import ROUNDING, false_discovery, family_wise, varies
from gpu_smds.sites.status import check_statuses, explain

_KIND = "gpu_smds.SignificanceMap"


@dataclass(frozen=True)
class SignificanceMap:
    """The score of every site, compared with its scores under permuted labels.

    Arrays other than ``null`` and ``permutations`` have one entry per site, NaN where undefined.

    Attributes
    ----------
    score
        Mean score over the folds, that of :func:`gpu_smds.score_map`.
    null_mean, null_sd
        Mean and standard deviation (ddof 1) of the scores under permuted labels.
    z
        ``(score − null_mean) / null_sd``; NaN where the scores do not vary.
    p
        ``(b + 1) / (m + 1)`` where b of m permutations score at least as high. Exact under the
        hypothesis that labels within a block are exchangeable (Phipson & Smyth 2010).
    p_family
        p corrected for all sites of the call together: the share of label sets, the given one
        included, whose largest standardised score over all sites is at least that of this site
        (max-T, Westfall & Young 1993). If sites with at most 0.05 are called significant, the
        probability of any false claim is at most 5 %.
    q
        Benjamini and Hochberg's q: at most 5 % of the sites with q ≤ 0.05 are expected to be false.
    status
        int8 values of :class:`gpu_smds.Status`.
    null
        ``(m, *sites)`` the scores under permuted labels.
    permutations
        ``(m, n)``: ``null[b]`` is the score of the labels ``y[permutations[b]]``; None when loaded
        from a file.
    metadata
        JSON-able facts that travel with :meth:`save`.
    """

    score: np.ndarray
    null_mean: np.ndarray
    null_sd: np.ndarray
    z: np.ndarray
    p: np.ndarray
    p_family: np.ndarray
    q: np.ndarray
    status: np.ndarray
    null: np.ndarray
    permutations: np.ndarray | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        score: np.ndarray,
        null: np.ndarray,
        status: np.ndarray,
        permutations: np.ndarray | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """Test scores ``(*sites)`` against those of permuted labels ``(m, *sites)``."""
        # asarray, because without site axes numpy would return numbers and not arrays.
        score, null = np.asarray(score), np.asarray(null)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.asarray(null.mean(0))
            sd = np.asarray(null.std(0, ddof=1)) if len(null) > 1 else np.full_like(mean, np.nan)
            z = np.asarray((score - mean) / np.where(varies(score, null), sd, np.nan))
        reached = (1.0 + (null >= score - ROUNDING).sum(0)) / (len(null) + 1)
        p = np.where(np.isnan(score), np.nan, reached)
        return cls(
            score,
            mean,
            sd,
            z,
            p,
            family_wise(score, null),
            false_discovery(p),
            status,
            null,
            permutations,
            metadata or {},
        )

    def significant(self, level: float = 0.05) -> np.ndarray:
        """Sites ``(*sites)`` bool with a family-wise p of at most ``level``."""
        found: np.ndarray = np.asarray(self.p_family <= as_share(level, "level"))
        return found

    def band(self, share: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Ends ``(*sites)`` of the interval that holds a share of the scores of permuted labels."""
        share = as_share(share, "share")
        low, high = np.quantile(self.null, [(1 - share) / 2, (1 + share) / 2], axis=0)
        return low, high

    def explain(self) -> dict[str, tuple[int, str]]:
        """Statuses that occur: name → (number of sites, explanation)."""
        return explain(self.status)

    def save(self, path: str | Path | File) -> None:
        """Write a safetensors file, atomically; the permutations are not saved."""
        tensors = {"score": self.score, "null": self.null, "status": self.status}
        save_tensors(path, _KIND, tensors, {"metadata": self.metadata})

    @classmethod
    def load(cls, path: str | Path | File) -> Self:
        """Read a file that :meth:`save` wrote.

        Raises
        ------
        FileNotFoundError, ValueError
            There is no such file, or it is incomplete or not a significance map.
        """
        with read_tensors(path, _KIND) as (tensors, facts):
            null = tensors["null"]
            # A file stores an array of shape () as (1,).
            score, status = (tensors[name].reshape(null.shape[1:]) for name in ("score", "status"))
            check_statuses(status)
            if score.dtype != np.float64 or null.dtype != np.float64 or not len(null):
                raise ValueError("scores are not float64, or there are none of permuted labels")
            return cls.of(score, null, status, metadata=dict(facts["metadata"]))
