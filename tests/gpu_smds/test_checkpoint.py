"""What is done of a map survives, and the rest is the same as if nothing had happened."""

import os

import cases
import numpy as np
import pytest
from hostile.checkpoints import FORGED
from sklearn.model_selection import KFold

from gpu_smds import (
    Checkpoint,
    OnePass,
    bootstrap_map,
    discover,
    fit_map,
    nested_map,
    score_map,
    significance_map,
    transfer_map,
)
from gpu_smds.sites import checkpoint, run_jobs

N = 40


@pytest.fixture
def problem(rng):
    y = cases.labels(rng, N)
    return cases.states(rng, y, (3, 7), 12), y


@pytest.fixture(autouse=True)
def every_block(monkeypatch):
    monkeypatch.setattr(checkpoint, "_EVERY", 0)


@pytest.fixture
def worked_on(monkeypatch):
    """Numbers of sites that were worked on, block by block."""
    seen, centred = [], run_jobs._centred

    def counting(raw, *arguments):
        seen.append(len(raw))
        return centred(raw, *arguments)

    monkeypatch.setattr(run_jobs, "_centred", counting)
    return seen


class Stopping:
    """States that can be read so many times."""

    def __init__(self, X, reads):
        self.X, self.reads, self.shape, self.dtype = X, reads, X.shape, X.dtype

    def __getitem__(self, index):
        if self.reads == 0:
            raise KeyboardInterrupt
        self.reads -= 1
        return self.X[index]


class Counting(Stopping):
    def __init__(self, X):
        super().__init__(X, -1)


CALLS = {
    "scores": lambda X, y, **more: score_map(X, y, **more),
    "rigid": lambda X, y, **more: score_map(X, y, orthonormal=True, alpha=0, **more),
    "several": lambda X, y, **more: score_map(
        X, y, manifold=["circular", "semicircular"], alpha=[0.1, 1.0], **more
    ),
    "fits": lambda X, y, **more: fit_map(X, y, standardize="all", **more),
    "discovery": lambda X, y, **more: discover(X, y, n_shuffles=2, cv=3, **more),
    "permutations": lambda X, y, **more: significance_map(X, y, 9, **more),
    "global permutations": lambda X, y, **more: significance_map(
        X, y, 4, shuffle="global", orthonormal=True, **more
    ),
    "bootstrap": lambda X, y, **more: bootstrap_map(X, y, 9, **more),
    "nested": lambda X, y, **more: nested_map(X, y, [0.1, 1.0, 10.0], **more),
}


def _numbers(found):
    if hasattr(found, "winner"):
        found = found.scores
    if hasattr(found, "null"):
        return [found.score, found.null, found.p_family, found.permutations, found.status]
    if hasattr(found, "resampled"):
        return [found.score, found.resampled, found.status]
    if hasattr(found, "inner"):
        return [found.scores.scores, found.alpha, found.inner, found.scores.status]
    if hasattr(found, "W"):
        return [found.W.numpy(), found.mean.numpy(), found.scale.numpy(), found.status]
    return [found.scores, found.status]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("reads", [1, 3])
def test_an_interrupted_call_goes_on(problem, tmp_path, name, reads, worked_on):
    X, y = problem
    path = tmp_path / "kept.safetensors"
    call = CALLS[name]
    expected = call(X, y)
    with pytest.raises(KeyboardInterrupt):
        call(Stopping(X, reads), y, checkpoint=path)
    worked_on.clear()
    found = call(X, y, checkpoint=path)
    again = sum(worked_on)
    for a, b in zip(_numbers(found), _numbers(expected), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not path.exists()
    worked_on.clear()
    call(X, y, checkpoint=path)
    if len(worked_on) > reads == 3:  # finished blocks are read, but not worked on again
        assert again < sum(worked_on)


@pytest.mark.parametrize("name", CALLS)
def test_results_are_bound_to_the_states_they_are_of(problem, tmp_path, name, worked_on):
    """States that change between two calls, at any site: only their blocks are computed again."""
    X, y = problem
    path, call = tmp_path / "kept.safetensors", CALLS[name]
    with pytest.raises(KeyboardInterrupt):
        call(Stopping(X, 3), y, checkpoint=path)
    other = X.copy()
    other[5, 0, 1, 3] += 1e-9  # one number of one sample, at a site that was finished
    found = call(other, y, checkpoint=path)
    for a, b in zip(_numbers(found), _numbers(call(other, y)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_checkpoint_of_another_dtype_is_not_taken_up(problem, tmp_path):
    X, y = problem
    path = tmp_path / "kept.safetensors"
    with pytest.raises(KeyboardInterrupt):
        score_map(Stopping(X, 9), y, checkpoint=path)
    single = X.astype(np.float32)
    found = score_map(single, y, checkpoint=path)
    np.testing.assert_array_equal(found.scores, score_map(single, y).scores)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("what", ["table", "artefact", "folder", "link", "pipe"])
def test_what_is_no_checkpoint_is_refused_before_the_work(problem, tmp_path, name, what):
    X, y = problem
    path = tmp_path / "mine"
    if what == "table":
        path.write_text("a,b\n1,2\n")
    if what == "artefact":
        fit_map(X[:, 0, 0], y).save(path)
    if what == "folder":
        path.mkdir()
    if what == "link":
        (tmp_path / "victim").write_text("mine")
        path.symlink_to(tmp_path / "victim")
    if what == "pipe":
        os.mkfifo(path)
    before = _facts(path)
    content = path.read_bytes() if path.is_file() else None
    reading = Counting(X)
    with pytest.raises(ValueError, match=r"mine .*choose another name"):
        CALLS[name](reading, y, checkpoint=path)
    assert reading.reads == -1  # no state was read
    assert _facts(path) == before
    assert content is None or path.read_bytes() == content


def _facts(path):
    """What writing to it would change; not when it was last read."""
    found = path.lstat()
    return found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns


def test_a_finished_checkpoint_removes_only_itself(problem, tmp_path):
    X, y = problem
    path = tmp_path / "kept.safetensors"
    kept = Checkpoint(path)
    score_map(X, y, checkpoint=kept)
    other = Checkpoint(path)
    score_map(X, y, alpha=3.0, checkpoint=other)  # takes the place of the first one
    kept.remove()
    assert path.exists()
    other.remove()
    assert not path.exists()
    path.write_text("mine")
    other.remove()
    assert path.read_text() == "mine"


def test_blocks_are_those_of_the_first_call(problem, tmp_path):
    """However much memory there is later."""
    X, y = problem
    path = tmp_path / "kept.safetensors"
    expected = score_map(X, y, memory_budget=10**6)
    with pytest.raises(KeyboardInterrupt):
        score_map(Stopping(X, 5), y, memory_budget=10**6, checkpoint=path)
    found = score_map(X, y, memory_budget=10**9, checkpoint=path)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_several_maps_in_one_pass(problem, tmp_path):
    X, y = problem
    fitted = fit_map(X[:, :, 2:3], y, standardize="all")

    def plan(states):
        once = OnePass(states)
        planned = [
            once.score_map(y),
            once.transfer_map(fitted, y),
            once.score_map(y, cv=KFold(2), orthonormal=True),
        ]
        return once, planned

    kept = Checkpoint(tmp_path / "kept.safetensors")
    once, _ = plan(Stopping(X, 9))
    with pytest.raises(KeyboardInterrupt):
        once.run(checkpoint=kept)
    seen = []
    once, planned = plan(X)
    once.run(progress=lambda done, total: seen.append((done, total)), checkpoint=kept)
    assert seen[0][0] > 0  # what was there counts at once
    assert seen[-1] == (21, 21)
    expected = [
        score_map(X, y),
        transfer_map(fitted, X, y),
        score_map(X, y, cv=KFold(2), orthonormal=True),
    ]
    for scores, right in zip(planned, expected, strict=True):
        np.testing.assert_array_equal(scores().scores, right.scores)
    # Who gave it keeps it, until the results are safe.
    assert kept.path.exists()
    kept.remove()
    assert not kept.path.exists()


@pytest.mark.parametrize("change", ["states", "labels", "alpha", "folds", "manifold"])
def test_other_work_begins_afresh(problem, tmp_path, change):
    X, y = problem
    path = tmp_path / "kept.safetensors"
    with pytest.raises(KeyboardInterrupt):
        score_map(Stopping(X, 9), y, checkpoint=path)
    assert path.exists()
    more = {
        "alpha": {"alpha": 2.0},
        "folds": {"cv": 4},
        "manifold": {"manifold": "semicircular"},
    }.get(change, {})
    if change == "states":
        X = X + 1e-3
    if change == "labels":
        y = y[::-1].copy()
    found = score_map(X, y, checkpoint=path, **more)
    np.testing.assert_array_equal(found.scores, score_map(X, y, **more).scores)


@pytest.mark.parametrize("change", ["seed", "count", "shuffle", "groups", "folds", "labels"])
def test_other_permutations_and_resamples_begin_afresh(problem, tmp_path, change):
    X, y = problem
    more = {
        "seed": {"seed": 1},
        "shuffle": {"shuffle": "global"},
        "groups": {"groups": np.arange(N) % 2},
        "folds": {"cv": [(np.arange(20), np.arange(20, N))]},
    }.get(change, {})
    count = 8 if change == "count" else 9
    labels = y[::-1].copy() if change == "labels" else y
    for call in (significance_map, bootstrap_map):
        if call is bootstrap_map and change in ("shuffle", "groups"):
            continue
        path = tmp_path / f"{call.__name__}.safetensors"
        with pytest.raises(KeyboardInterrupt):
            call(Stopping(X, 9), y, 9, checkpoint=path)
        assert path.exists()
        found = call(X, labels, count, checkpoint=path, **more)
        expected = call(X, labels, count, **more)
        for a, b in zip(_numbers(found), _numbers(expected), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("damage", ["short", "flipped"])
def test_a_damaged_checkpoint_is_not_trusted(problem, tmp_path, damage):
    X, y = problem
    path = tmp_path / "kept.safetensors"
    with pytest.raises(KeyboardInterrupt):
        score_map(Stopping(X, 9), y, checkpoint=path)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[-20] ^= 64
    path.write_bytes(content[:-30] if damage == "short" else content)
    found = score_map(X, y, checkpoint=path)
    np.testing.assert_array_equal(found.scores, score_map(X, y).scores)


@pytest.mark.parametrize("name", FORGED)
def test_forged_checkpoints_are_not_believed(problem, tmp_path, name):
    X, y = problem
    path = tmp_path / "kept.safetensors"
    with pytest.raises(KeyboardInterrupt):
        score_map(Stopping(X, 9), y, checkpoint=path)
    path.write_bytes(FORGED[name](path.read_bytes()))
    found = score_map(X, y, checkpoint=path)
    np.testing.assert_array_equal(found.scores, score_map(X, y).scores)
    assert not path.exists() or name == "another key"


def test_an_empty_part_of_a_fold_is_undefined_with_a_checkpoint_too(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 3, 6)), rng.random(20)
    cv = [(np.arange(20), np.array([], dtype=int))]
    found = score_map(X, y, cv=cv, checkpoint=tmp_path / "part")
    expected = score_map(X, y, cv=cv)
    np.testing.assert_array_equal(found.status, expected.status)
    assert np.isnan(found.scores).all()
