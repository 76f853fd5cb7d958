"""Why a site has no score: one status per site and fold, each with an explanation."""

from enum import IntEnum


class Status(IntEnum):
    """Outcome of one fit and score, stored in :attr:`gpu_smds.ScoreMap.status`.

    Every value but ``OK`` and ``UNDETERMINED`` goes with a NaN score. The larger value wins
    where several apply.
    """

    OK = 0
    UNDETERMINED = 1
    NO_PROJECTION = 2
    TOO_FEW = 3
    DEGENERATE_LABELS = 4
    CONSTANT = 5
    NON_FINITE = 6

    @property
    def explanation(self) -> str:
        """The cause, as one sentence for people."""
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    Status.OK: "The score is defined.",
    Status.UNDETERMINED: (
        "The score is one of many: the ideal embedding or the rotation is not determined by the "
        "data (tied eigenvalues, or fewer directions than components)."
    ),
    Status.NO_PROJECTION: "The fitted map projects all test samples to one point.",
    Status.TOO_FEW: "Fewer than two samples to fit or to score.",
    Status.DEGENERATE_LABELS: "All labels of the training or test part fall on one point.",
    Status.CONSTANT: "The states are the same in every sample of the training or test part.",
    Status.NON_FINITE: "The states hold NaN or inf, or overflow when squared.",
}
