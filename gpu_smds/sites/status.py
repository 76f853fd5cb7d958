"""Why a site has no score: one status per site and fold, each with an explanation."""

from collections.abc import Mapping
from enum import IntEnum

import numpy as np
from torch import Tensor


class Status(IntEnum):
    """Outcome of one fit and score, stored in :attr:`gpu_smds.ScoreMap.status`.

    From ``NO_PROJECTION`` on, the score is NaN; smaller values qualify a score. If several apply,
    the largest one is stored. The comment beside each value says where it is decided.
    """

    OK = 0
    UNDETERMINED = 1  # the solver's fit(); of an embedding, geometry.classical_mds
    EQUAL_DISTANCES = 2  # metrics.reference.Ideal.all_equal
    NOT_CONVERGED = 3  # solvers.distance_fit.fit_distances
    NO_PROJECTION = 4  # metrics.scores.score_projections
    TOO_FEW = 5  # crossval.ideals.Target.of
    DEGENERATE_LABELS = 6  # geometry.embedding.Embedding.of, metrics.reference.Ideal.degenerate
    CONSTANT = 7  # sites.centred.CentredStates.constant
    NON_FINITE = 8  # sites.centred.CentredStates.__init__, and centred_by_passes

    @property
    def explanation(self) -> str:
        """The cause, as one sentence."""
        return _EXPLANATIONS[self]

    @property
    def is_defined(self) -> bool:
        """Whether such a site has a score."""
        return self < Status.NO_PROJECTION


_EXPLANATIONS = {
    Status.OK: "The score is defined.",
    Status.UNDETERMINED: (
        "The score is one of many: the ideal embedding or the rotation is not determined by the "
        "data (tied eigenvalues, or fewer directions than components)."
    ),
    Status.EQUAL_DISTANCES: (
        "All ideal distances of the test part are equal, so that a rank correlation is not "
        "defined (NaN); the other metrics are."
    ),
    Status.NOT_CONVERGED: "The fit to incomplete distances stopped before it converged.",
    Status.NO_PROJECTION: "The fitted map projects all test samples to one point.",
    Status.TOO_FEW: "Fewer than two samples to fit or to score.",
    Status.DEGENERATE_LABELS: (
        "All labels of the training or test part fall on one point of the manifold, to within "
        "1e-12, or no pair of them has an ideal distance."
    ),
    Status.CONSTANT: "The states are the same in every sample of the training or test part.",
    Status.NON_FINITE: "The states hold NaN or inf, or overflow when squared.",
}


def check_statuses(status: np.ndarray) -> None:
    """Raise ValueError if an array read from a file holds anything but statuses."""
    if status.dtype != np.int8 or not np.isin(status, [int(s) for s in Status]).all():
        raise ValueError("some statuses are unknown")


def raise_status(status: Tensor, causes: Mapping[Status, Tensor]) -> Tensor:
    """Combine statuses ``(*batch)`` int8 with the causes that apply: the most serious one stays.

    ``causes`` are bool tensors that broadcast to ``(*batch)``.
    """
    for cause, applies in causes.items():
        status = status.maximum(applies.to(status.dtype) * int(cause))
    return status


def undefined(status: Tensor) -> Tensor:
    """``(*batch)`` bool, true where a status means that there is no score."""
    return status >= Status.NO_PROJECTION


def explain(status: np.ndarray) -> dict[str, tuple[int, str]]:
    """Statuses that occur in an array: name → (number of entries, explanation)."""
    values, counts = np.unique(status, return_counts=True)
    return {
        Status(int(v)).name.lower(): (int(c), Status(int(v)).explanation)
        for v, c in zip(values, counts, strict=True)
    }
