"""The ideal embedding of some labels, to which a map is fitted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_smds.geometry.defined_pairs import DefinedPairs


@dataclass(frozen=True)
class Embedding:
    """An ideal embedding, or incomplete ideal distances, to which a map is fitted.

    Attributes
    ----------
    Y
        ``(n, k)`` float64 ideal embedding.
    determined
        False if tied eigenvalues make Y one of several possible embeddings.
    degenerate
        True if all labels fall on one point.
    incomplete
        Ideal distances ``(n, n)`` if some of them are undefined (negative), else None. The map is
        then fitted to them and not to Y.
    """

    Y: Tensor
    determined: bool
    degenerate: bool
    incomplete: Tensor | None = None

    @cached_property
    def pairs(self) -> DefinedPairs:
        """The incomplete distances, prepared for the solver; the same for every site."""
        assert self.incomplete is not None
        return DefinedPairs.of(self.incomplete, self.Y.shape[1])

    @classmethod
    def of(cls, Y: Tensor, determined: bool, D: Tensor | None = None) -> Embedding:
        """Make an embedding of distances D; for points whose distances are ideal, D may be None."""
        if D is not None and bool(D.min() < 0):
            return cls(Y, True, not bool(D.max() > 0), D)
        # Points that differ by rounding only (two labels a whole turn apart) count as one.
        return cls(Y, determined, bool((Y - Y.mean(0)).abs().max() <= 1e-12))

    @classmethod
    def given(cls, Y: Any, D: Any, device: torch.device) -> Embedding:
        """Take the arrays of a parametrization of another library unchanged."""
        coordinates = torch.from_numpy(np.asarray(Y, dtype=np.float64)).to(device)
        distances = torch.from_numpy(np.asarray(D, dtype=np.float64)).to(device)
        return cls.of(coordinates, True, distances)
