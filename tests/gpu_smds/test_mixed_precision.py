"""float32 systems refined in float64, and what they are not trusted with."""

import cases
import numpy as np
import pytest
import tolerances
import torch

from gpu_smds import fit_map, score_map
from gpu_smds.solvers import mixed_precision, ridge
from gpu_smds.solvers.mixed_precision import refine


@pytest.mark.parametrize("standardize", [None, "train", "all"])
@pytest.mark.parametrize(("n", "d"), [(90, 30), (60, 200), (50, 34)])  # the last between its folds
def test_float32_is_refined(rng, standardize, n, d):
    y = cases.labels(rng, n)
    X = cases.states(rng, y, (3,), d, outlier=1e4)
    cv = [(np.arange(30), np.arange(30, n)), (np.arange(15, n), np.arange(15))]
    for folds in (3, cv):
        arguments = {"alpha": [1.0, 0.1, 0.0], "cv": folds, "standardize": standardize}
        exactly = score_map(X, y, **arguments)
        refined = score_map(X, y, dtype=torch.float32, **arguments)
        np.testing.assert_array_equal(refined.status, exactly.status)
        tolerances.assert_close(refined.scores, exactly.scores, tolerances.REFINED)
    exactly = fit_map(X, y, standardize=standardize).W
    refined = fit_map(X, y, standardize=standardize, dtype=torch.float32).W
    tolerances.assert_close(refined, exactly, tolerances.REFINED, relative=True)
    assert (refined != exactly).any()


def _system(rng, largest):
    """A system of known condition, its float32 rounding, and a right-hand side."""
    basis = torch.from_numpy(np.linalg.qr(rng.normal(size=(40, 40)))[0])
    A = (basis * torch.logspace(0, np.log10(largest), 40, dtype=torch.float64)) @ basis.mT
    return A[None], A[None].float(), torch.from_numpy(rng.normal(size=(40, 2)))


def test_what_float32_does_not_solve_is_said(rng, monkeypatch):
    A, rounded, B = _system(rng, 1e5)
    solved = refine(rounded.clone(), lambda V: A @ V + V, B, 1.0, intercept=False)
    assert not solved[1].any()
    tolerances.assert_close(
        solved[0][0], torch.linalg.solve(A[0] + torch.eye(40), B), tolerances.FLOAT32_SOLVED
    )
    no_factor = rounded.clone()
    no_factor[0, 3, 3] = -1.0
    assert refine(no_factor, lambda V: A @ V + V, B, 1.0, intercept=False)[1].all()
    monkeypatch.setattr(mixed_precision, "_MOST_STEPS", 1)
    assert refine(rounded.clone(), lambda V: A @ V + V, B, 1.0, intercept=False)[1].all()


def test_what_float32_does_not_solve_is_left_to_float64(rng, monkeypatch):
    y = cases.labels(rng, 60)
    X = cases.states(rng, y, (3,), 20)
    monkeypatch.setattr(mixed_precision, "_MOST_STEPS", 0)
    fits, original = [], ridge.OwnRows
    monkeypatch.setattr(ridge, "OwnRows", lambda rows: fits.append(len(rows)) or original(rows))
    fallen_back = score_map(X, y, dtype=torch.float32)
    assert sum(fits) == 9  # three sites, three folds
    tolerances.assert_close(fallen_back.scores, score_map(X, y).scores, tolerances.SCORE)
