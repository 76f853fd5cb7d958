"""``non_finite="omit"``: sites with rows that are not finite are computed without these rows.

The pass over all sites leaves such sites undefined, as by default. Then each set of sites that lack
the same rows is computed as a call on the rows that are left would be: with their labels, and with
what is left of every training and test part. Ideal distances are therefore those of the labels that
are left: a shape that maps the labels of a call to [0, 1] by the smallest and the largest does so
by the smallest and the largest of these. All other sites keep every bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_smds._arguments import check_choice
from gpu_smds._progress import Meter, Progress
from gpu_smds.sites.array import Sites
from gpu_smds.sites.finite_rows import SomeRows, by_finite_rows
from gpu_smds.sites.place import Place
from gpu_smds.sites.status import Status

#: What is done about rows that are not finite: the default, and to leave them out.
NON_FINITE = ("undefined", "omit")


def omits(non_finite: Any) -> bool:
    """Whether rows that are not finite are left out.

    Raises
    ------
    ValueError
        The argument is none of ``NON_FINITE``.
    """
    check_choice(non_finite, NON_FINITE, "non_finite")
    return bool(non_finite == "omit")


@dataclass(frozen=True)
class Left:
    """What is left of some sites without their rows that are not finite.

    Attributes
    ----------
    place
        Their states ``(rows, sites, d)``, with the device and the memory of all sites.
    rows
        Row numbers of what is left.
    sites
        Flat numbers of the sites, on the device.
    """

    place: Place
    rows: np.ndarray
    sites: Tensor


@dataclass(frozen=True)
class Omission:
    """Rows that are left out, counted per site.

    Attributes
    ----------
    omitted
        ``(S,)`` int64, filled by :meth:`parts`.
    """

    omitted: np.ndarray

    @classmethod
    def of(cls, place: Place) -> Omission:
        """Nothing is left out yet."""
        return cls(np.zeros(len(place.sites), dtype=np.int64))

    def at(self, site_shape: tuple[int, ...]) -> np.ndarray:
        """The counts ``(*sites)``."""
        return self.omitted.reshape(site_shape)

    def parts(
        self, place: Place, labels: np.ndarray, status: Tensor, progress: Progress = False
    ) -> Iterator[Left]:
        """What is to be computed once more, part by part.

        Parameters
        ----------
        place
            All sites.
        labels
            ``(n,)`` or ``(n, k)``.
        status
            ``(..., S)`` int8 of the pass over all sites. Where rows are left out and too few are
            left, or all of their labels are equal, it says so, and there is no part.
        progress
            As in :func:`gpu_smds.score_map`; only a bar is shown.
        """
        affected = (status == int(Status.NON_FINITE)).reshape(-1, len(self.omitted)).any(0)
        numbers = np.flatnonzero(affected.cpu().numpy())
        meter = Meter(progress is True, len(numbers), "omitting rows")
        for part in by_finite_rows(place.sites, numbers):
            self.omitted[part.sites] = place.sites.n - len(part.rows)
            at = torch.from_numpy(part.sites).to(place.device)
            few = self._too_few(labels[part.rows])
            if few is not None:
                status[..., at] = int(few)
            elif len(part.rows) < place.sites.n:  # else squares overflow
                here = replace(place, sites=Sites(SomeRows(place.sites, part)))
                yield Left(here, part.rows, at)
            meter.add(len(part.sites))

    @staticmethod
    def _too_few(labels: np.ndarray) -> Status | None:
        """Why nothing can be computed with the labels that are left."""
        if not len(labels):
            return Status.NON_FINITE
        if len(labels) < 2:
            return Status.TOO_FEW
        return Status.DEGENERATE_LABELS if (labels == labels[0]).all() else None
