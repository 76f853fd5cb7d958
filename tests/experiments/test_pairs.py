"""Every site's map on every other: positions of a layer, layers of a word, and their angles."""

import csv

import cases
import numpy as np
import pytest
import tolerances
import torch
from scipy.linalg import subspace_angles

from experiments.designs.pairs import layer_pairs, position_pairs, subspaces
from experiments.designs.passes import on_all_sites
from experiments.designs.reuse import REUSE
from experiments.designs.setting import Setting, folds
from experiments.designs.similarity import similarity
from experiments.runs import tables
from extract import HiddenStates
from gpu_smds import Checkpoint, Status, fit_map, score_map

N, LAYERS, WORDS, D = 48, (0, 2, 3), 4, 10
SOURCE, CONSTANT = 2, (1, 3)
CV = {"study": None, "held-out": folds()}


@pytest.fixture
def setting(rng):
    """A circle that words share at the first layer; one constant site."""
    y = cases.labels(rng, N)
    X = cases.states(rng, y, (len(LAYERS), WORDS), D)
    circle = np.stack([np.cos(2 * np.pi * y), np.sin(2 * np.pi * y)], axis=1)
    X[:, 0, :, 2:4] += 8 * circle[:, None]
    X[(slice(None), *CONSTANT)] = 1.5
    return Setting(X, y, LAYERS, n_states=5, source=SOURCE)


def _stores(X):
    per_layer = [torch.from_numpy(X[:, layer].copy()) for layer in range(X.shape[1])]
    return {"torch": torch.from_numpy(X), "files": HiddenStates(per_layer, LAYERS)}


def _with(setting, states):
    return Setting(states, setting.labels, setting.layers, setting.n_states, setting.source)


def _by_hand(source, target, y, cv):
    """Fit on train, score on test, both z-scored by the statistics of their own training rows."""
    rows = np.arange(N)
    parts = [(rows, rows)] if cv is None else list(cv.split(source))
    found = []
    for train, test in parts:
        a, b = ((x - x[train].mean(0)) / x[train].std(0) for x in (source, target))
        found.append(fit_map(a[train], y[train]).score(b[test], y[test]).scores[0])
    return found


@pytest.mark.parametrize("cv", CV.values(), ids=CV)
def test_positions_by_hand(setting, cv):
    scores = position_pairs(setting, cv=cv)
    assert scores.dims == ("fold", "layer", "source", "target")
    assert scores.scores.shape == (1 if cv is None else 3, len(LAYERS), WORDS, WORDS)
    X, y = setting.states, setting.labels
    for layer, a, b in [(0, 0, 1), (0, 3, 2), (1, 0, 2), (2, 1, 1), (2, 3, 0)]:
        expected = _by_hand(X[:, layer, a], X[:, layer, b], y, cv)
        tolerances.assert_close(scores.scores[:, layer, a, b], expected, tolerances.SCORE)


@pytest.mark.parametrize("cv", CV.values(), ids=CV)
def test_layers_of_a_word_by_hand(setting, cv):
    position = 1
    scores = layer_pairs(setting, position, cv=cv)
    assert scores.dims == ("fold", "source", "target")
    assert scores.scores.shape == (1 if cv is None else 3, len(LAYERS), len(LAYERS))
    X, y = setting.states[:, :, position], setting.labels
    for a in range(len(LAYERS)):
        for b in range(len(LAYERS)):
            expected = _by_hand(X[:, a], X[:, b], y, cv)
            tolerances.assert_close(scores.scores[:, a, b], expected, tolerances.SCORE)


@pytest.mark.parametrize("cv", CV.values(), ids=CV)
def test_a_site_by_its_own_map(setting, cv):
    """Both diagonals are the score of the site, and one is in the other."""
    own = score_map(
        setting.states, setting.labels, cv=cv, standardize="all" if cv is None else "train"
    )
    positions = position_pairs(setting, cv=cv).scores
    tolerances.assert_same(np.diagonal(positions, 0, 2, 3), own.scores)
    for position in range(WORDS):
        layers = layer_pairs(setting, position, cv=cv).scores
        tolerances.assert_same(np.diagonal(layers, 0, 1, 2), own.scores[..., position])


def test_the_row_of_the_source_is_the_third_experiment(setting):
    reuse, _ = on_all_sites([REUSE], setting)["reuse"]
    scores = position_pairs(setting)
    tolerances.assert_same(scores.scores[:, :, SOURCE], reuse.scores)
    np.testing.assert_array_equal(scores.status[:, :, SOURCE], reuse.status)


def test_what_is_shared_transfers(setting):
    """One subspace at the first layer, others everywhere else."""
    mean = position_pairs(setting, cv=folds()).mean
    assert mean[0].min() > mean[2][~np.eye(WORDS, dtype=bool)].max() + 0.1
    between = subspaces(setting, 0).angles[..., 1]
    assert between.max() < subspaces(setting, 3).angles[..., 1][~np.eye(WORDS, dtype=bool)].min()


@pytest.mark.parametrize("cv", CV.values(), ids=CV)
def test_constant_sites_are_nan_with_a_reason(setting, cv):
    layer, word = CONSTANT
    positions = position_pairs(setting, cv=cv)
    expected = np.zeros(positions.scores.shape[1:], dtype=int)
    expected[layer, word] = expected[layer, :, word] = Status.CONSTANT
    np.testing.assert_array_equal(positions.worst_status, expected)
    np.testing.assert_array_equal(np.isnan(positions.mean), expected > 0)
    layers = layer_pairs(setting, word, cv=cv)
    expected = np.zeros((len(LAYERS),) * 2, dtype=int)
    expected[layer] = expected[:, layer] = Status.CONSTANT
    np.testing.assert_array_equal(layers.worst_status, expected)
    np.testing.assert_array_equal(np.isnan(layers.mean), expected > 0)
    undefined = np.zeros((WORDS, WORDS), dtype=bool)
    undefined[word] = undefined[:, word] = True
    np.testing.assert_array_equal(
        np.isnan(subspaces(setting, LAYERS[layer]).angles[..., 0]), undefined
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_any_store(setting, dtype):
    X = setting.states.astype(dtype)
    setting = _with(setting, X)
    for cv in CV.values():
        positions, layers = position_pairs(setting, cv), layer_pairs(setting, 1, cv)
        for states in _stores(X).values():
            other = _with(setting, states)
            tolerances.assert_same(position_pairs(other, cv).scores, positions.scores)
            tolerances.assert_same(layer_pairs(other, 1, cv).scores, layers.scores)
            assert layer_pairs(other, 3, cv).status.max() == Status.CONSTANT
    for states in _stores(X).values():
        np.testing.assert_array_equal(
            subspaces(_with(setting, states)).angles, subspaces(setting).angles
        )


def test_angles_are_those_of_the_maps_of_the_second_experiment(setting):
    found = subspaces(setting).angles
    assert found.shape == (WORDS, WORDS, 2)
    np.testing.assert_array_equal(found, subspaces(setting, 3).angles)  # int(0.6 · 5)
    x = setting.states[:, 2]
    W = fit_map(x, setting.labels, standardize="all").W.numpy()
    for a in range(WORDS):
        for b in range(WORDS):
            expected = subspace_angles(W[a].T, W[b].T)[::-1]
            tolerances.assert_close(found[a, b], expected, tolerances.SCORE)
    # Whatever their weights, two maps have no larger cosine than the closest directions they read.
    cosine = similarity(setting).mean[0]
    assert (cosine <= np.cos(found[..., 0]) + tolerances.SCORE).all()


def test_what_is_not_there(setting):
    for position in (-1, WORDS):
        with pytest.raises(ValueError, match=f"no position {position}: the last one is 3"):
            layer_pairs(setting, position)
    with pytest.raises(ValueError, match=r"layer 1 is not among the layers \[0, 2, 3\]"):
        subspaces(setting, 1)


def test_progress_is_one_bar_and_a_checkpoint_holds_the_scores(setting, tmp_path):
    seen = []
    checkpoint = Checkpoint(tmp_path / "pairs.partial")
    first = position_pairs(
        setting, progress=lambda done, total: seen.append((done, total)), checkpoint=checkpoint
    )
    total = len(LAYERS) * WORDS
    assert seen[-1] == (total, total)
    assert seen == sorted(seen)
    assert {of for _, of in seen} == {total}
    checkpoint.save()
    seen.clear()
    again = position_pairs(
        setting, progress=lambda done, total: seen.append((done, total)), checkpoint=checkpoint
    )
    np.testing.assert_array_equal(again.scores, first.scores)
    assert seen[-1] == (total, total)


def _rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("cv", CV.values(), ids=CV)
def test_tables(setting, cv, tmp_path):
    scores = position_pairs(setting, cv)
    words = ["Name", "was", "Month", "."]
    tables.write_pairs(tmp_path / "positions.csv", scores, LAYERS, words)
    rows = _rows(tmp_path / "positions.csv")
    assert list(rows[0]) == [
        *("layer", "source", "source_word", "target", "target_word", "score", "std", "status")
    ]
    assert len(rows) == len(LAYERS) * WORDS**2
    for row in rows:
        at = LAYERS.index(int(row["layer"])), int(row["source"]), int(row["target"])
        assert (row["source_word"], row["target_word"]) == (words[at[1]], words[at[2]])
        constant = at[:2] == CONSTANT or (at[0], at[2]) == CONSTANT
        assert row["status"] == ("constant" if constant else "ok")
        assert row["score"] == ("" if constant else f"{scores.mean[at]:.10g}")
        assert row["std"] == ("" if constant or cv is None else f"{scores.std[at]:.10g}")

    found = {word: layer_pairs(setting, words.index(word), cv) for word in ("Month", ".")}
    tables.write_layer_pairs(tmp_path / "layers.csv", found, LAYERS)
    rows = _rows(tmp_path / "layers.csv")
    assert list(rows[0]) == ["word", "source_layer", "target_layer", "score", "std", "status"]
    assert len(rows) == 2 * len(LAYERS) ** 2
    for row in rows:
        at = LAYERS.index(int(row["source_layer"])), LAYERS.index(int(row["target_layer"]))
        scores = found[row["word"]]
        constant = row["word"] == "." and CONSTANT[0] in at
        assert row["status"] == ("constant" if constant else "ok")
        assert row["score"] == ("" if constant else f"{scores.mean[at]:.10g}")
        assert row["std"] == ("" if constant or cv is None else f"{scores.std[at]:.10g}")
