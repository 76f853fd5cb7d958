"""Folds as they are given and what is known of them."""

import numpy as np

from gpu_smds.crossval.folds import resolve_folds


def test_partitions_are_recognised():
    assert resolve_folds(3, np.arange(10.0)).partition
    assert not resolve_folds([(np.arange(5), np.arange(5, 10))], np.arange(10.0)).partition
    missing = [(np.arange(4), np.arange(5, 10)), (np.arange(5, 10), np.arange(5))]
    assert not resolve_folds(missing, np.arange(10.0)).partition


def test_boolean_masks_are_folds():
    mask = np.arange(10) < 6
    folds = resolve_folds([(mask, ~mask)], np.arange(10.0))
    assert (folds.folds[0].n_train, folds.folds[0].n_test) == (6, 4)
