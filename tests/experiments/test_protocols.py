"""The study's protocol and the clean one: what is held out, and what that catches."""

import numpy as np
import pytest
import tolerances

from experiments.designs import INDEPENDENT, experiments_of
from experiments.designs.passes import on_all_sites
from experiments.designs.reuse import REUSE
from experiments.designs.setting import Setting, cross_validation, folds, grouped
from experiments.designs.similarity import similarity
from gpu_smds import CircularShape, Status, fit_map, score_map

N, LAYERS, WORDS, D = 72, (0, 3), 3, 12


@pytest.fixture
def setting(rng):
    """Every third sentence is read twice, with the same states."""
    of_sentence = np.concatenate([np.arange(48), np.arange(24)])
    y = rng.integers(0, 365, 48)[of_sentence] / 365
    circle = np.stack([np.cos(2 * np.pi * y), np.sin(2 * np.pi * y)], axis=1)
    noise = rng.normal(size=(48, len(LAYERS), WORDS, D))[of_sentence]
    X = noise + np.einsum("nk,ltkd->nltd", circle, rng.normal(size=(len(LAYERS), WORDS, 2, D)))
    X[:, 0, 2] = 1.0  # the same in every sentence
    names = rng.integers(0, 5, 48)[of_sentence]
    return Setting(
        X.astype(np.float32),
        y,
        LAYERS,
        6,
        source=1,
        protocol="clean",
        sentences=of_sentence,
        held_out={"labels": np.unique(y, return_inverse=True)[1], "slot": names},
        hold_out="Name",
    )


CIRCLE = CircularShape(normalize_labels=False)


def test_equal_sentences_are_never_split(setting):
    pairs = cross_validation(setting)
    assert len(pairs) == 3
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in pairs])), range(N))
    for train, test in pairs:
        assert not set(setting.sentences[train]) & set(setting.sentences[test])
    studys = list(folds().split(setting.labels))
    assert any(set(setting.sentences[a]) & set(setting.sentences[b]) for a, b in studys)


def test_the_clean_experiments_are_what_they_say(setting):
    """Against plain calls of the library with the same folds."""
    X, y, pairs = setting.states, setting.labels, cross_validation(setting)
    rows = [row for row in experiments_of(setting.held_out).values() if row.plan]
    found = {name: scores for name, (scores, _) in on_all_sites(rows, setting).items()}
    assert list(found) == ["independent", "reuse", "rigid", "unseen_labels", "unseen_names"]
    expected = {
        "independent": score_map(X, y, manifold=CIRCLE, cv=pairs),
        "rigid": score_map(
            X, y, manifold=CIRCLE, cv=pairs, alpha=0, orthonormal=True, standardize="train"
        ),
    }
    for what, groups in setting.held_out.items():
        name = {"labels": "unseen_labels", "slot": "unseen_names"}[what]
        expected[name] = score_map(X, y, manifold=CIRCLE, cv=grouped(groups))
        for train, test in grouped(groups):
            assert not set(groups[train]) & set(groups[test])
    for name, scores in expected.items():
        tolerances.assert_close(found[name].scores, scores.scores, tolerances.SCORE)
        np.testing.assert_array_equal(found[name].status, scores.status)
        assert found[name].dims == ("fold", "layer", "position")
    assert (found["independent"].status[:, 0, 2] == Status.CONSTANT).all()
    assert np.isnan(found["reuse"].scores[:, 0, 2]).all()


def test_clean_reuse_holds_out(setting):
    """Map and z-scores from the training part alone, scored on the others; nothing is clipped."""
    found, _ = on_all_sites([REUSE], setting)["reuse"]
    X, y = setting.states.astype(np.float64), setting.labels
    for f, (train, test) in enumerate(cross_validation(setting)):
        for layer in range(len(LAYERS)):
            source = fit_map(X[train, layer, 1], y[train], manifold=CIRCLE, standardize="train")
            for position in range(WORDS):
                x = X[:, layer, position]
                scale = x[train].std(0)
                if not scale.any():
                    continue
                # Scores do not see shifts, so the target's mean is not needed.
                Z = (x[test] / scale) @ source.W.numpy().T
                D, projected = CIRCLE(y[test]), np.linalg.norm(Z[:, None] - Z[None], axis=2)
                cosine = (D * projected).sum() ** 2 / ((D**2).sum() * (projected**2).sum())
                score = 1 - np.sqrt(1 - cosine)
                tolerances.assert_close(found.scores[f, layer, position], score, tolerances.SCORE)


def test_unstretched_labels_keep_the_year_open(setting):
    """31 December is next to 1 January, and not on it."""
    days = np.array([0, 182, 364]) / 365
    tolerances.assert_close(
        setting.ideal(days)[0, 2], 2 * np.sin(np.pi / 365), tolerances.LAST_BITS
    )
    tolerances.assert_close(CircularShape()(days)[0, 2], 0, tolerances.ROUNDING)


def test_a_repeated_sentence_is_a_leak_that_only_the_clean_protocol_closes(rng):
    """Noise without any date: the study's folds score what they have seen before."""
    n, d = 90, 300
    of_sentence = np.arange(n) % (n // 3)  # all sentences three times
    X = rng.normal(size=(n // 3, 1, 4, d))[of_sentence]
    y = rng.random(n // 3)[of_sentence]
    study = Setting(X, y, (0,), 2, source=0, sentences=of_sentence)
    clean = Setting(X, y, (0,), 2, source=0, protocol="clean", sentences=of_sentence)
    seen, _ = on_all_sites([INDEPENDENT], study)["independent"]
    unseen, _ = on_all_sites([INDEPENDENT], clean)["independent"]
    assert seen.mean.min() > 0.6
    assert unseen.mean.max() < 0.45


def test_similarity_of_the_clean_protocol_takes_labels_as_they_are(setting):
    found = similarity(setting)
    layer = setting.layers.index(3)
    fitted = fit_map(setting.states[:, layer], setting.labels, manifold=CIRCLE, standardize="all")
    W = fitted.W.flatten(1).numpy()
    unit = W / np.linalg.norm(W, axis=1, keepdims=True)
    tolerances.assert_close(found.mean[0], abs(unit @ unit.T), tolerances.SCORE)
