"""Files that version 0.1.0 saved: they load, and hold what the same calls give today.

They were written by the calls in ``MADE`` with the states and labels below.
"""

from pathlib import Path

import numpy as np
import pytest
import tolerances
from safetensors.numpy import load_file

import gpu_smds
from gpu_smds import SpiralShape, fit_map

SAVED = Path(__file__).parent / "saved_by_0_1_0"

rng = np.random.default_rng(20261)
Y = np.arange(12) % 6 / 6 + 0.01 * np.arange(12)
X = rng.normal(size=(12, 2, 4))
X[:, 1] += np.stack([np.cos(2 * np.pi * Y), np.sin(2 * np.pi * Y), Y, -Y], 1)
X[3, 0, 2] = np.nan

MADE = {
    "score_map": lambda: gpu_smds.score_map(
        X,
        Y,
        ["circular", "euclidean"],
        alpha=[0.1, 1.0],
        metric=["scale_normalized_stress", "normalized_stress"],
    ),
    "fitted_map": lambda: fit_map(X, Y, alpha=0.5, standardize="train"),
    "fitted_map_orthonormal": lambda: fit_map(
        X, Y, SpiralShape(num_turns=1.0), orthonormal=True, standardize="all"
    ),
    "significance_map": lambda: gpu_smds.significance_map(X, Y, 9, seed=1),
    "discovery": lambda: gpu_smds.discover(X, Y, ["euclidean", "circular"], n_shuffles=2, cv=3),
    "supervised_mds": lambda: gpu_smds.SupervisedMDS(manifold="spiral", alpha=0.3).fit(X[:, 1], Y),
    "supervised_mds_given": lambda: gpu_smds.SupervisedMDS("user_provided").fit(
        X[:, 1], np.stack([Y, Y**2], 1)
    ),
}


def _arrays(found):
    """What a result says of the states, by name."""
    if isinstance(found, gpu_smds.FittedMap):
        names = ("W", "mean", "scale", "Y", "status")
        own = {"transform": found.transform(X), "score": found.score(X, Y).scores}
    elif isinstance(found, gpu_smds.SupervisedMDS):
        names, own = ("W_", "Y_"), {"transform": found.transform(X[:, 1])}
        own |= {"score": found.score(X[:, 1], found._fitted_labels), "status": found.status_}
    elif isinstance(found, gpu_smds.Discovery):
        names, own = ("baseline", "winner"), {"scores": found.scores.scores, "mean": found.margin}
    elif isinstance(found, gpu_smds.SignificanceMap):
        names, own = ("score", "null", "p", "p_family", "q", "status"), {}
    else:
        names, own = ("scores", "status", "se"), {}
    return {name: np.asarray(getattr(found, name)) for name in names} | own


@pytest.mark.parametrize("name", MADE)
def test_loads_with_the_same_values(name):
    now = MADE[name]()
    loaded = type(now).load(SAVED / f"{name}.safetensors")
    expected, found = _arrays(now), _arrays(loaded)
    for part, values in found.items():
        tolerances.assert_same(values, expected[part])
    for part, stored in load_file(SAVED / f"{name}.safetensors").items():
        held = getattr(loaded, part, None)
        if isinstance(held, np.ndarray) and held.shape == stored.shape:
            np.testing.assert_array_equal(held, stored)
    if isinstance(now, gpu_smds.FittedMap):
        assert loaded.solver.orthonormal == now.solver.orthonormal
        assert loaded.solver.standardize == now.solver.standardize
        assert loaded.solver.kind == now.solver.kind
        assert repr(loaded.manifold.source) == repr(now.manifold.source)


def test_every_kind_of_file_is_there():
    assert {path.stem for path in SAVED.iterdir()} == set(MADE)
