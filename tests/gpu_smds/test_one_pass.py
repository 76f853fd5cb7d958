"""Several maps in one pass over the states are what each is alone."""

import numpy as np
import pytest
import tolerances
import torch
from cases import SPLITS, degenerate
from plain_forms import without_fused_forms

from gpu_smds import OnePass, fit_map, score_map, transfer_map


@pytest.mark.parametrize("compiled", [True, False])
def test_one_pass_gives_what_each_map_gives(rng, monkeypatch, compiled):
    """Jobs that read the rows in different orders, and that change their states in place."""
    if not compiled:
        without_fused_forms(monkeypatch)
    X, y, _ = degenerate(rng, 20)
    fitted = fit_map(X[:, :, :1], y, standardize="all")
    shuffled = SPLITS["shuffled"]
    wanted = [
        {"cv": shuffled},
        {"standardize": "all", "alpha": [0.5, 1.0]},
        {"cv": shuffled, "standardize": "train", "dtype": torch.float32},
        {"orthonormal": True, "standardize": "all", "cv": SPLITS["holdout"]},
        {"solver": "pls", "cv": SPLITS["overlapping"]},
    ]
    once = OnePass(X, memory_budget=1 << 22)
    pending = [once.score_map(y, **arguments) for arguments in wanted]
    pending += [once.transfer_map(fitted, y), once.transfer_map(fitted, y, cv=3)]
    with pytest.raises(ValueError, match="call run"):
        pending[0]()
    seen = []
    once.run(progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (6, 6)
    expected = [score_map(X, y, **arguments) for arguments in wanted]
    expected += [transfer_map(fitted, X, y), transfer_map(fitted, X, y, cv=3)]
    for result, alone in zip(pending, expected, strict=True):
        found = result()
        assert found.dims == alone.dims
        np.testing.assert_array_equal(found.status, alone.status)
        tolerances.assert_close(found.scores, alone.scores, tolerances.CHUNK)
    with pytest.raises(ValueError, match="make another"):
        once.score_map(y)


def test_a_pass_without_a_map(rng):
    with pytest.raises(ValueError, match="plan a map first"):
        OnePass(rng.normal(size=(40, 3, 8))).run()
