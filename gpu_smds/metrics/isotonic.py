"""Isotonic regression of many sites on the same order of pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# scikit-learn, and therefore smds, merges abscissae that are closer than this.
_RESOLUTION = float(np.finfo(np.float64).resolution)


@dataclass(frozen=True)
class Groups:
    """Pairs in groups of equal ideal distance, in ascending order.

    ``sklearn.isotonic.IsotonicRegression`` treats its abscissae like this: values within 1e-15 of
    the first value of a group are merged into it, and the fit at a merged value is interpolated
    linearly towards the next group.

    Attributes
    ----------
    member
        ``(P,)`` group of each pair.
    counts
        ``(U,)`` pairs per group.
    merged
        Indices of the pairs that are not exactly at their group's abscissa.
    fraction
        Position of each of those pairs between its group (0) and the next group (1). In the last
        group it is 0; scikit-learn, and therefore smds, gives NaN there.
    """

    member: Tensor
    counts: Tensor
    merged: Tensor
    fraction: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Groups:
        """Group abscissae ``(P,)``."""
        values, inverse = np.unique(x.cpu().numpy(), return_inverse=True)
        # A gap of at least the resolution always starts a group. Rounding causes runs of smaller
        # gaps; only runs that are longer than the resolution must be walked through.
        starts = np.concatenate([[True], np.diff(values) >= _RESOLUTION])
        run_start = np.flatnonzero(starts)[np.cumsum(starts) - 1]
        first = -1
        for i in np.flatnonzero(values - values[run_start] >= _RESOLUTION):
            first = max(first, int(run_start[i]))
            if values[i] - values[first] >= _RESOLUTION:
                starts[i], first = True, int(i)
        group = np.cumsum(starts) - 1
        abscissae = values[starts]
        member = group[inverse]
        merged = np.flatnonzero(~starts[inverse])
        own = abscissae[member[merged]]
        following = abscissae[np.minimum(member[merged] + 1, len(abscissae) - 1)]
        gap = np.where(following > own, following - own, np.inf)
        fraction = (values[inverse[merged]] - own) / gap
        counts = np.bincount(member, minlength=len(abscissae)).astype(np.float64)
        return cls(*(torch.from_numpy(a).to(x.device) for a in (member, counts, merged, fraction)))

    def fit(self, values: Tensor) -> Tensor:
        """Non-decreasing least-squares fit ``(b, P)`` to values ``(b, P)`` of the pairs."""
        member = self.member.expand_as(values)
        sums = values.new_zeros(len(values), len(self.counts)).scatter_add_(1, member, values)
        levels = pool_adjacent_violators(sums / self.counts, self.counts)
        fitted = levels.gather(1, member)
        if len(self.merged):
            own = self.member[self.merged]
            following = (own + 1).clamp(max=len(self.counts) - 1)
            fitted[:, self.merged] += self.fraction * (levels[:, following] - levels[:, own])
        return fitted


def pool_adjacent_violators(values: Tensor, weights: Tensor) -> Tensor:
    """Isotonic regression ``(b, U)`` of each row of values ``(b, U)`` with weights ``(U,)``.

    Runs on the CPU, whatever the device: the algorithm is sequential along a row.
    """
    # numba takes a third of a second to import; only this metric needs it.
    from gpu_smds.kernels._numba_isotonic import pool

    levels = np.empty(values.shape)
    pool(values.detach().cpu().contiguous().numpy(), weights.cpu().numpy(), levels)
    return torch.from_numpy(levels).to(values.device)
