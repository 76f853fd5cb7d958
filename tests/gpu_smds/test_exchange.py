"""Labels move where they may and nowhere else, and the same everywhere."""

import cases
import numpy as np
import pytest
import tolerances
from cases import SPLITS
from sklearn.model_selection import KFold, LeaveOneOut

from gpu_smds import significance_map
from gpu_smds.crossval.folds import resolve_folds
from gpu_smds.inference.permutations import draw_permutations, exchange_blocks

N = cases.N


def _parts(split):
    cv, every = SPLITS[split], np.arange(N)
    if cv is None:
        return [(every, every)]
    if isinstance(cv, int):
        cv = KFold(cv)
    return list(cv.split(every[:, None])) if hasattr(cv, "split") else cv


def _blocks(split):
    return exchange_blocks(resolve_folds(SPLITS[split], np.arange(N) * 1.0), N)


@pytest.mark.parametrize("split", SPLITS)
def test_every_part_keeps_its_rows(split):
    """Of every fold the training and the test part hold the same labels as often as before."""
    drawn = draw_permutations(_blocks(split), None, "rows", 20, 0)
    assert (np.sort(drawn, axis=1) == np.arange(N)).all()
    for permutation in drawn:
        for train, test in _parts(split):
            for rows in (train, test):
                np.testing.assert_array_equal(np.sort(permutation[rows]), np.sort(rows))


def test_blocks_are_as_large_as_they_can_be():
    sizes = {split: sorted(np.bincount(_blocks(split)).tolist()) for split in SPLITS}
    assert sizes["three"] == [20, 20, 20]
    assert sizes["shuffled"] == [15, 15, 15, 15]
    assert sizes["holdout"] == [22, 38]
    assert sizes["unused"] == [8, 20, 32]
    assert sizes["repeated rows"] == [8, 10, 12, 30]  # thrice, once, twice, and the test part
    assert sizes["all"] == [N]
    assert len(sizes["repeated"]) == 8  # which half a row is in, three times
    # The rows as they were given, not as the folds read them.
    blocks = _blocks("shuffled")
    for _, test in _parts("shuffled"):
        assert len(set(blocks[test])) == 1


def test_any_permutation_of_a_block_is_as_likely_as_another():
    drawn = draw_permutations(np.array([0, 0, 0, 1, 1]), None, "rows", 6000, 0)
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 12
    # Binomial of 6000 and 1/12: five standard deviations of 21.
    assert np.abs(counts - 500).max() < 107


def test_within_groups():
    groups = np.arange(N) // 2 % 4
    blocks = _blocks("three")
    drawn = draw_permutations(blocks, groups, "within_groups", 20, 0)
    assert (groups[drawn] == groups).all()
    assert (blocks[drawn] == blocks).all()
    assert (drawn != np.arange(N)).any(0).all()  # every row moves at some time


def test_whole_groups():
    """Groups of two and three samples in a block of their own each; one of four has no partner."""
    groups = np.r_[np.repeat(np.arange(5), 2), np.repeat(np.arange(5, 9), 3), np.full(4, 9), 10, 11]
    shuffled = np.random.default_rng(0).permutation(len(groups))
    groups = groups[shuffled]
    drawn = draw_permutations(np.zeros(len(groups), int), groups, "whole_groups", 50, 0)
    size = np.bincount(groups)
    swapped = set()
    for permutation in drawn:
        for group in range(12):
            rows = np.flatnonzero(groups == group)
            came = set(groups[permutation[rows]].tolist())
            assert len(came) == 1  # together
            other = came.pop()
            assert size[other] == size[group]
            # In order: the first sample gets the label of the first.
            np.testing.assert_array_equal(permutation[rows], np.flatnonzero(groups == other))
            swapped.add((group, other))
    assert {(g, h) for g in range(12) for h in range(12) if size[g] == size[h]} == swapped


def test_whole_groups_stay_in_their_block():
    groups, blocks = np.arange(24) // 2, np.arange(24) // 8
    drawn = draw_permutations(blocks, groups, "whole_groups", 20, 0)
    assert (blocks[drawn] == blocks).all()
    assert (drawn % 2 == np.arange(24) % 2).all()
    assert (drawn != np.arange(24)).any(0).all()


def test_groups_across_folds_keep_one_label():
    """Copies of a sample on both sides of a fold are exchanged for copies that lie the same way."""
    groups = np.concatenate([np.arange(20), np.arange(10), np.arange(5)])
    blocks = np.arange(35) % 3
    drawn = draw_permutations(blocks, groups, "whole_groups", 50, 0)
    assert (blocks[drawn] == blocks).all()
    assert (drawn != np.arange(35)).any()
    labels = np.arange(20) / 20
    for permutation in drawn:
        given = labels[groups][permutation]
        for group in range(20):
            assert len(set(given[groups == group])) == 1


def test_seeds():
    blocks = _blocks("three")
    one, same, other = (draw_permutations(blocks, None, "rows", 5, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any(1).all()


def test_the_same_permutations_at_every_site(rng):
    """A site and its copy elsewhere have one null; other states do not change the draws."""
    y = cases.labels(rng, N)
    X = cases.states(rng, y, (2, 2), 5)
    X[:, 1, 1] = X[:, 0, 0]
    found = significance_map(X, y, 8, seed=4)
    tolerances.assert_close(found.null[:, 0, 0], found.null[:, 1, 1], tolerances.ROUNDING)
    alone = significance_map(X[:, :1], y, 8, seed=4, orthonormal=True)
    np.testing.assert_array_equal(found.permutations, alone.permutations)
    other = significance_map(X, y, 8, seed=5)
    assert (found.permutations != other.permutations).any(1).all()
    assert np.abs(found.null - other.null).max(0).min() > tolerances.DIFFERS
    assert found.metadata["seed"] == 4
    assert found.metadata["exchange"] == "rows"


@pytest.mark.parametrize(
    ("blocks", "groups", "exchange"),
    [
        (np.arange(6), None, "rows"),
        (np.arange(6) % 3, np.arange(6) // 3, "within_groups"),
        (np.zeros(6, int), np.array([0, 1, 1, 2, 2, 2]), "whole_groups"),
    ],
)
def test_nothing_to_exchange(blocks, groups, exchange):
    with pytest.raises(ValueError, match="no labels can be exchanged: every block holds one"):
        draw_permutations(blocks, groups, exchange, 3, 0)
    with pytest.raises(ValueError, match="needs groups="):
        draw_permutations(np.zeros(6, int), None, "whole_groups", 3, 0)


def test_leave_one_out_leaves_nothing(rng):
    y = cases.labels(rng, 8)
    with pytest.raises(ValueError, match="every block holds one sample"):
        significance_map(rng.normal(size=(8, 2)), y, 3, cv=LeaveOneOut())
