"""What the experiments compute: a row each, and what they share.

The table is read by the command line before anything is computed, so that nothing here may import
torch, scikit-learn or matplotlib until it is called.
"""

from collections.abc import Iterable

from experiments.designs.experiment import Experiment
from experiments.designs.held_out import UNSEEN_LABELS, UNSEEN_NAMES, named_after
from experiments.designs.independent import INDEPENDENT
from experiments.designs.reuse import REUSE
from experiments.designs.rigid import RIGID
from experiments.designs.similarity import SIMILARITY

#: All experiments, in the order in which tables and figures show them.
EXPERIMENTS = (
    INDEPENDENT,
    SIMILARITY,
    REUSE,
    RIGID,
    UNSEEN_LABELS,
    UNSEEN_NAMES,
)


def experiments_of(held_out: Iterable[str], slot: str | None = None) -> dict[str, Experiment]:
    """The experiments that can be done, by name.

    Parameters
    ----------
    held_out
        What the protocol can hold out: "labels", "slot".
    slot
        Slot whose values are held out.
    """
    groups = (None, *held_out)
    rows = [named_after(row, slot) for row in EXPERIMENTS if row.holds_out in groups]
    return {row.name: row for row in rows}


def every_experiment(slot: str | None) -> dict[str, Experiment]:
    """All experiments, by name, as they are called where this slot's values are held out."""
    return experiments_of(("labels", "slot"), slot)


__all__ = ["EXPERIMENTS", "INDEPENDENT", "every_experiment", "experiments_of"]
