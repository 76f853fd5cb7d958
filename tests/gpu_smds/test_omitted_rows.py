"""non_finite="omit": a site with NaN is scored as a call on its other rows, others as before."""

import json

import cases
import numpy as np
import pytest
import tolerances
import torch
from sklearn.model_selection import KFold, RepeatedKFold

from gpu_smds import (
    Checkpoint,
    CircularShape,
    Discovery,
    FittedMap,
    OnePass,
    ScoreMap,
    Status,
    discover,
    fit_map,
    score_map,
    significance_map,
    similarity_map,
)

N, D = 48, 9
SHUFFLED = KFold(4, shuffle=True, random_state=0)
#: Rows that are not finite, by site; the extreme labels are among them.
MISSING = {(0, 1): [3], (0, 2): [3, 20, 21], (1, 0): [3], (1, 3): [0, 1, 2]}
ALMOST_ALL, ALL, ONE_LABEL, OVERFLOWS = (1, 1), (1, 2), (0, 3), (2, 0)
COUNTS = np.array([[0, 1, 3, N - 10], [1, N - 1, N, 3], [0, 0, 0, 0]])


def _case():
    rng = np.random.default_rng(5)
    y = rng.permutation(N) / N
    y[3], y[0] = 1.5, -0.5
    same = rng.choice(np.arange(4, N), 10, replace=False)
    y[same] = 0.25
    X = cases.states(rng, y, (3, 4), D)
    for (a, b), rows in MISSING.items():
        X[rows, a, b, 0] = [np.nan, np.inf, -np.inf][: len(rows)]
    X[1:, *ALMOST_ALL] = np.nan
    X[:, *ALL, 2] = np.nan
    X[np.setdiff1d(np.arange(N), same), *ONE_LABEL, 1] = np.nan
    X[:, *OVERFLOWS] *= 1e200
    return X, y


X, Y = _case()


def _pairs(cv):
    if cv is None:
        return None
    return cv if isinstance(cv, list) else list(cv.split(X))


def _restricted(cv, rows):
    """Index pairs of what is left of every fold."""
    if cv is None:
        return None
    number = {row: i for i, row in enumerate(rows)}
    return [
        tuple(np.array([number[r] for r in part if r in number], dtype=int) for part in pair)
        for pair in _pairs(cv)
    ]


def _rest(site):
    return np.setdiff1d(np.arange(N), MISSING[site])


SPLITS = {
    "folds": SHUFFLED,
    "repeated": RepeatedKFold(n_splits=2, n_repeats=2, random_state=0),
    "holdout": [(np.arange(30), np.arange(30, N))],
    "a test part is gone": [(np.arange(4, N), np.arange(3)), (np.arange(30), np.arange(30, N))],
    "all": None,
}


@pytest.mark.parametrize(
    ("solver", "split"),
    [
        *(("primal", split) for split in SPLITS),
        *((solver, "folds") for solver in ("dual-train", "orthonormal-all", "min-norm", "pls")),
        ("orthonormal-all", "a test part is gone"),
    ],
)
def test_scores_are_those_of_a_call_on_the_rows_that_are_left(solver, split):
    how, cv = cases.SOLVERS[solver].arguments, SPLITS[split]
    default = score_map(X, Y, cv=cv, **how)
    found = score_map(X, Y, cv=cv, non_finite="omit", **how)
    for site in MISSING:
        rows = _rest(site)
        expected = score_map(X[rows][:, *site], Y[rows], cv=_restricted(cv, rows), **how)
        at = (slice(None), *site)
        tolerances.assert_same(found.scores[at], expected.scores)
        np.testing.assert_array_equal(found.status[at], expected.status)
        assert np.isnan(default.scores[at]).all()
    others = COUNTS == 0
    np.testing.assert_array_equal(found.scores[:, others], default.scores[:, others])
    np.testing.assert_array_equal(found.status[:, others], default.status[:, others])
    np.testing.assert_array_equal(found.omitted, COUNTS)
    assert default.omitted is None
    assert (found.status[:, *ALMOST_ALL] == Status.TOO_FEW).all()
    assert (found.status[:, *ALL] == Status.NON_FINITE).all()
    assert (found.status[:, *ONE_LABEL] == Status.DEGENERATE_LABELS).all()
    assert (found.status[:, *OVERFLOWS] == Status.NON_FINITE).all()
    for site in (ALMOST_ALL, ALL, ONE_LABEL, OVERFLOWS):
        assert np.isnan(found.scores[(slice(None), *site)]).all()


def test_lists_keep_their_axes():
    lists = {
        "manifold": ["circular", "euclidean"],
        "alpha": [0.1, 1.0],
        "metric": ["scale_normalized_stress", "shepard_goodness_score"],
    }
    found = score_map(X, Y, cv=SHUFFLED, non_finite="omit", **lists)
    site = (0, 2)
    rows = _rest(site)
    expected = score_map(X[rows][:, *site], Y[rows], cv=_restricted(SHUFFLED, rows), **lists)
    tolerances.assert_same(found.scores[..., 0, 2], expected.scores)


def test_ideal_distances_are_of_the_labels_that_are_left():
    """A normalised circle is closed by the labels that are left, one with a period is not."""
    site = (0, 1)  # lacks the largest label
    rows = _rest(site)
    for shape in ("circular", CircularShape(period=2.5)):
        found = score_map(X, Y, shape, cv=None, non_finite="omit")
        expected = score_map(X[rows][:, *site], Y[rows], shape, cv=None)
        tolerances.assert_same(found.scores[:, *site], expected.scores)
    assert Y[rows].max() < Y.max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e5m2, torch.float32], ids=str)
def test_stored_precision_is_kept(dtype):
    states = torch.from_numpy(np.delete(X, OVERFLOWS[0], axis=1)).to(dtype)
    found = score_map(states, Y, cv=SHUFFLED, non_finite="omit")
    for site in MISSING:
        rows = np.flatnonzero(states[:, *site].float().isfinite().all(1).numpy())
        expected = score_map(states[rows][:, *site], Y[rows], cv=_restricted(SHUFFLED, rows))
        tolerances.assert_same(found.scores[:, *site], expected.scores)
        assert found.omitted[site] == N - len(rows)


@pytest.mark.parametrize("budget", [60_000, None])
def test_the_memory_budget_changes_nothing(budget):
    whole = score_map(X, Y, cv=SHUFFLED, non_finite="omit")
    part = score_map(X, Y, cv=SHUFFLED, non_finite="omit", memory_budget=budget)
    tolerances.assert_close(part.scores, whole.scores, tolerances.CHUNK)
    np.testing.assert_array_equal(part.omitted, whole.omitted)


def test_one_site_without_axes():
    one = X[:, 0, 1]
    found = score_map(one, Y, cv=SHUFFLED, non_finite="omit")
    assert found.omitted == 1
    assert found.omitted.shape == ()
    assert np.isfinite(found.mean)


def test_saved_and_loaded(tmp_path):
    for states in (X, X[:, 0, 1]):
        found = score_map(states, Y, cv=SHUFFLED, non_finite="omit")
        found.save(tmp_path / "scores.safetensors")
        loaded = ScoreMap.load(tmp_path / "scores.safetensors")
        np.testing.assert_array_equal(loaded.omitted, found.omitted)
        assert loaded.omitted.shape == found.omitted.shape
        assert json.loads(json.dumps(found.to_dict()))["omitted"] == found.omitted.tolist()
    assert "omitted" not in score_map(X, Y, cv=SHUFFLED).to_dict()


def test_maps_are_fitted_to_the_rows_that_are_left(tmp_path):
    default = fit_map(X, Y, standardize="all")
    found = fit_map(X, Y, standardize="all", non_finite="omit")
    for site in MISSING:
        rows = _rest(site)
        expected = fit_map(X[rows][:, *site], Y[rows], standardize="all")
        tolerances.assert_same(found.W[site], expected.W)
        tolerances.assert_same(found.mean[site], expected.mean)
        tolerances.assert_same(found.scale[site], expected.scale)
        assert found.status[site] == expected.status
    others = COUNTS == 0
    assert torch.equal(found.W[others].nan_to_num(), default.W[others].nan_to_num())
    np.testing.assert_array_equal(found.omitted, COUNTS)
    assert found.status[ALMOST_ALL] == Status.TOO_FEW
    assert found.status[ONE_LABEL] == Status.DEGENERATE_LABELS
    assert similarity_map(found)[0, 1, 2] > 0
    found.save(tmp_path / "maps.safetensors")
    loaded = FittedMap.load(tmp_path / "maps.safetensors")
    np.testing.assert_array_equal(loaded.omitted, COUNTS)
    assert default.omitted is None


def test_discovery_omits_rows_too(tmp_path):
    asked = {"manifolds": ["circular", "euclidean", "cluster"], "n_shuffles": 2}
    found = discover(X, Y, cv=SHUFFLED, non_finite="omit", **asked)
    default = discover(X, Y, cv=SHUFFLED, **asked)
    for site in MISSING:
        rows = _rest(site)
        expected = discover(X[rows][:, *site], Y[rows], cv=_restricted(SHUFFLED, rows), **asked)
        tolerances.assert_same(found.scores.scores[..., *site], expected.scores.scores)
        tolerances.assert_same(found.baseline[..., *site], expected.baseline)
        assert found.winner[site] == expected.winner
    others = COUNTS == 0
    np.testing.assert_array_equal(
        found.scores.scores[..., others], default.scores.scores[..., others]
    )
    found.save(tmp_path / "found.safetensors")
    loaded = Discovery.load(tmp_path / "found.safetensors")
    np.testing.assert_array_equal(loaded.scores.omitted, COUNTS)


def test_discovery_omits_rows_where_a_shape_of_the_same_name_is_skipped(rng):
    X, y = rng.normal(size=(42, 2, 6)), np.arange(42) % 7
    X[3, 1] = np.nan
    week = CircularShape(period=7)
    cv = KFold(3, shuffle=True, random_state=0)
    found = discover(X, y, [CircularShape(normalize_labels=False), week], cv=cv, non_finite="omit")
    assert "such as CircularShape(period=7)" in found.skipped["CircularShape"]
    expected = score_map(X, y, manifold=week, cv=cv, non_finite="omit")
    tolerances.assert_close(found.scores.mean[0, 0], expected.mean, tolerances.SCORE)
    assert np.isfinite(expected.mean).all()


def test_one_pass_for_several_maps():
    once = OnePass(X)
    plain = once.score_map(Y, cv=SHUFFLED)
    without = once.score_map(Y, cv=SHUFFLED, non_finite="omit")
    once.run()
    np.testing.assert_array_equal(plain().scores, score_map(X, Y, cv=SHUFFLED).scores)
    expected = score_map(X, Y, cv=SHUFFLED, non_finite="omit")
    tolerances.assert_same(without().scores, expected.scores)
    np.testing.assert_array_equal(without().omitted, COUNTS)


class _Stops:
    """States that cannot be read after so many reads."""

    def __init__(self, reads):
        self.shape, self.dtype, self.reads = X.shape, X.dtype, reads

    def __getitem__(self, index):
        self.reads -= 1
        if self.reads < 0:
            raise KeyboardInterrupt
        return X[index]


def test_a_checkpoint_keeps_the_pass_over_all_sites(tmp_path):
    path = tmp_path / "checkpoint"
    expected = score_map(X, Y, cv=SHUFFLED, non_finite="omit")
    states = _Stops(14)  # all sites, and some of those of which rows are left out
    with pytest.raises(KeyboardInterrupt):
        score_map(states, Y, cv=SHUFFLED, non_finite="omit", checkpoint=path, memory_budget=60_000)
    assert states.reads < 0
    assert path.exists()
    content = path.read_bytes()
    found = score_map(X, Y, cv=SHUFFLED, non_finite="omit", checkpoint=path)
    tolerances.assert_close(found.scores, expected.scores, tolerances.CHUNK)
    np.testing.assert_array_equal(found.omitted, COUNTS)
    assert not path.exists()
    path.write_bytes(content)
    plain = score_map(X, Y, cv=SHUFFLED, checkpoint=path)
    np.testing.assert_array_equal(plain.status, score_map(X, Y, cv=SHUFFLED).status)
    kept = Checkpoint(path)
    found = score_map(X, Y, cv=SHUFFLED, non_finite="omit", checkpoint=kept)
    np.testing.assert_array_equal(found.omitted, COUNTS)


def test_refused():
    for call in (score_map, fit_map, discover):
        with pytest.raises(ValueError, match="non_finite must be one of 'undefined', 'omit'"):
            call(X, Y, non_finite="drop")
    with pytest.raises(ValueError, match="same rows: leave non_finite out, or drop the samples"):
        significance_map(X, Y, 9, non_finite="omit")
