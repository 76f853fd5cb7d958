"""What the permutation test exchanges where sentences repeat, or a table is crossed."""

import numpy as np
import pytest

from experiments.designs.exchange import STUCK, Exchange
from experiments.designs.permutation import permutation_test
from experiments.designs.setting import Setting

DAYS, NAMES, REPEATS = 7, 6, 5


def crossed(repeats=REPEATS, beside=True, **more):
    """Every name with every day: at position 0 states of the name alone, at 1 of both."""
    rng = np.random.default_rng(0)
    name, day = (part.ravel() for part in np.mgrid[:NAMES, :DAYS])
    of_name, of_day = rng.normal(size=(NAMES, 40)), rng.normal(size=(DAYS, 40))
    X = np.stack([of_name[name], of_name[name] + of_day[day]], axis=1)[:, None]
    every = np.tile(np.arange(NAMES * DAYS), repeats)
    return Setting(
        X[every],
        day[every] / DAYS,
        (0,),
        2,
        source=1,
        sentences=every,
        beside={"Name": name[every]} if beside else None,
        **more,
    )


@pytest.mark.parametrize("protocol", ["study", "clean"])
@pytest.mark.parametrize("repeats", [1, REPEATS])
def test_a_crossed_table_has_the_label_at_its_word_only(repeats, protocol):
    found = permutation_test(crossed(repeats, protocol=protocol), (0,), 199)
    assert found.p_family[0, 1] == 1 / 200
    assert found.p[0, 0] == 1  # under every permutation the name says as much
    assert found.metadata["within"] == ["Name"]
    assert found.metadata["units"] == NAMES * DAYS
    assert found.metadata["once"] == (repeats > 1)
    assert found.metadata["log10_exchanges"] > 5


def test_permutations_stay_within_values_and_folds():
    exchange = Exchange.of(crossed())
    assert (np.diff(exchange.rows) > 0).all()
    for units in exchange.movable:
        assert units.shape[1] == 1
        assert len(np.unique(exchange.values[units])) == 1
    assert exchange.unchanged < 0.5


def test_slots_that_would_leave_no_label_movable_are_passed_over():
    setting = crossed(1)
    only = np.arange(len(setting.labels))  # a slot that never repeats
    one = np.zeros_like(only)
    names = setting.beside["Name"]
    found = Exchange.of(
        Setting(
            *(setting.states, setting.labels, (0,), 2, 1),
            sentences=only,
            beside={"Once": only, "Name": names, "Same": one},
        )
    )
    assert found.within == ("Same", "Name")
    assert found.unchanged > STUCK  # which is said


def test_equal_sentences_of_other_labels_are_all_taken():
    setting = crossed(2)
    labels = setting.labels.copy()
    labels[0] += 0.01
    exchange = Exchange.of(
        Setting(
            *(setting.states, labels, (0,), 2, 1),
            sentences=setting.sentences,
            beside=setting.beside,
        )
    )
    assert len(exchange.rows) == NAMES * DAYS + 1
