"""Every permuted score is the plain one, and nothing leaks."""

import cases
import numpy as np
import pytest
import tolerances
import torch
from budgets import smallest
from cases import SOLVERS, SPLITS, degenerate
from sklearn.model_selection import GroupKFold, KFold

from gpu_smds import METRICS, SignificanceMap, Status, score_map, significance_map
from gpu_smds.solvers import hat_matrix, procrustes, ridge_forms, ridge_systems

N = cases.N
MANIFOLDS = {
    "circular": ("circular", lambda rng: cases.labels(rng, N)),
    "euclidean": ("euclidean", lambda rng: rng.integers(0, 6, N).astype(float)),
    "klein_bottle": ("klein_bottle", lambda rng: rng.random((N, 2))),
    "cluster": ("cluster", lambda rng: rng.choice(4, N, p=[0.4, 0.3, 0.2, 0.1]).astype(float)),
    "discrete_circular": ("discrete_circular", lambda rng: rng.integers(0, 12, N).astype(float)),
}


def _check(X, y, found, tried=(0, 1, 2, 3), **arguments):
    """The permuted scores against those of permuted labels, and the score itself."""
    arguments = {k: v for k, v in arguments.items() if k not in ("shuffle", "exchange", "seed")}
    plain = score_map(X, y, **arguments)
    tolerances.assert_close(found.score, plain.mean, tolerances.SCORE)
    np.testing.assert_array_equal(found.status, plain.worst_status)
    for b in tried:
        labels = np.asarray(y)[found.permutations[b]]
        permuted = score_map(X, labels, **arguments).mean
        tolerances.assert_close(found.null[b], permuted, tolerances.SCORE)
    undefined = found.status > Status.UNDETERMINED
    np.testing.assert_array_equal(
        np.isnan(found.null), np.broadcast_to(undefined, found.null.shape)
    )
    assert not undefined.all()


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_permuted_scores_are_those_of_permuted_labels(rng, solver, split):
    case = SOLVERS[solver]
    X, y, status = degenerate(rng, case.d)
    arguments = {"cv": SPLITS[split], **case.arguments}
    with case.said():
        found = significance_map(X, y, 4, **arguments)
    _check(X, y, found, **arguments)
    np.testing.assert_array_equal(found.status, status)
    if (solver, split) == ("min-norm-wide", "all"):
        # More features than samples meet any labels, and that is no evidence.
        assert np.isnan(found.z).all()
        assert found.p_family[0, 0] == 1
    else:
        # No permutation's score could be taken for that of another or of the labels themselves.
        scores = np.sort(np.concatenate([found.score[None], found.null]), axis=0)[:, status == 0]
        assert np.diff(scores, axis=0).min() > tolerances.DISTINCT


@pytest.mark.parametrize("solver", ["primal", "dual-train", "orthonormal-all", "pls"])
def test_global_shuffles_are_those_of_permuted_labels(rng, solver):
    case = SOLVERS[solver]
    X, y, _ = degenerate(rng, case.d)
    for split in ("three", "holdout"):
        arguments = {"cv": SPLITS[split], "shuffle": "global", **case.arguments}
        with case.said():
            found = significance_map(X, y, 4, **arguments)
        _check(X, y, found, **arguments)
        parts = np.split(np.arange(N), 3)
        if split == "holdout":
            parts = [SPLITS[split][0][1]]
        moved = [set(p[part].tolist()) != set(part) for p in found.permutations for part in parts]
        assert any(moved)


@pytest.mark.parametrize("shuffle", ["within_folds", "global"])
@pytest.mark.parametrize("name", MANIFOLDS)
def test_manifolds_whose_embedding_is_determined(rng, name, shuffle):
    manifold, draw = MANIFOLDS[name]
    y = draw(rng)
    X = cases.states(rng, np.reshape(y, (N, -1))[:, 0] / 12, (3,), 10, outlier=5.0)
    X[3, 1, 2] = np.nan
    for more in ({}, {"orthonormal": True}):
        arguments = {"manifold": manifold, "shuffle": shuffle, **more}
        found = significance_map(X, y, 4, **arguments)
        _check(X, y, found, **arguments)
        assert found.status.tolist() == [Status.OK, Status.NON_FINITE, Status.OK]


@pytest.mark.parametrize("shuffle", ["within_folds", "global"])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", ["circular", "cluster"])
def test_metrics(rng, metric, name, shuffle):
    manifold, draw = MANIFOLDS[name]
    y = draw(rng)
    X = cases.states(rng, y / 4, (2,), 8, outlier=3.0)
    arguments = {"manifold": manifold, "metric": metric, "shuffle": shuffle}
    found = significance_map(X, y, 4, **arguments)
    _check(X, y, found, **arguments)
    assert found.metadata["metric"] == metric


@pytest.mark.parametrize("axes", [(), (3,), (2, 2), (2, 1, 2), (0,)])
@pytest.mark.parametrize("kind", ["numpy", "torch", "float32", "bfloat16"])
def test_containers_and_site_axes(rng, axes, kind):
    y = cases.labels(rng, N)
    X = torch.from_numpy(cases.states(rng, y, axes, 12))
    X = X if kind in ("numpy", "torch") else X.to(getattr(torch, kind))
    X = X.numpy() if kind == "numpy" else X
    found = significance_map(X, torch.from_numpy(y), 4)
    plain = score_map(X, y).mean
    for values in (found.score, found.p, found.p_family, found.q, found.z, found.status):
        assert isinstance(values, np.ndarray)
        assert values.shape == axes
    assert found.null.shape == (4, *axes)
    tolerances.assert_close(found.score, plain, tolerances.SCORE)
    permuted = score_map(X, y[found.permutations[2]]).mean
    tolerances.assert_close(found.null[2], permuted, tolerances.SCORE)
    assert found.significant().shape == axes
    for end in found.band():
        assert end.shape == axes


def test_lazily_read_states(rng):
    X, y, _ = degenerate(rng, 10)

    class Lazy:
        shape, dtype = X.shape, X.dtype

        def __getitem__(self, index):
            assert index[0] == slice(None)
            return X[index]

    found, expected = significance_map(Lazy(), y, 5), significance_map(X, y, 5)
    tolerances.assert_close(found.null, expected.null, tolerances.ROUNDING)


@pytest.mark.parametrize("standardize", [None, "train"])
@pytest.mark.parametrize("d", [8, 20, 90])
def test_massive_states_are_solved_by_the_svd(rng, monkeypatch, d, standardize):
    """Where the Gram forms lose digits H is formed from the states, as the plain map is.

    H is two thin factors for the fewest features, one matrix for the others.
    """
    y = cases.labels(rng, N)
    X = rng.normal(size=(N, 3, d))
    X[:, :2] += 1e5 * rng.normal(size=(N, 2, 3)) @ rng.normal(size=(3, d))
    taken = []

    def counted(fold, T, factors, doubtful):
        assert len(factors) == (2 if d == 8 else 1)
        taken.append(int(doubtful.sum()))
        return plain(fold, T, factors, doubtful)

    plain = hat_matrix._from_svd
    monkeypatch.setattr(hat_matrix, "_from_svd", counted)
    arguments = {"alpha": 1e-2, "standardize": standardize}
    found = significance_map(X, y, 6, **arguments)
    if standardize is None:
        # The two massive sites in each of three folds, and not the third site.
        assert sum(taken) == 6
    _check(X, y, found, tried=(0, 2, 5), **arguments)


def test_states_beyond_cholesky(rng, monkeypatch):
    y = cases.labels(rng, N)
    taken = []
    plain = hat_matrix._from_svd
    monkeypatch.setattr(
        hat_matrix, "_from_svd", lambda *given: (taken.append(given[3]), plain(*given))[1]
    )
    for d in (20, 90):
        X = cases.states(rng, y, (2,), d, outlier=1e9)
        X[:, :, 1] = X[:, :, 0] * (1 + 1e-9 * rng.normal(size=(N, 2)))
        found = significance_map(X, y, 5, alpha=1e-3)
        assert taken
        assert (found.status == Status.OK).all()
        assert ((found.null > 0) & (found.null < 1)).all()
        taken.clear()


def test_undefined_sites_are_nan_and_explained(rng):
    X, y, status = degenerate(rng, 10)
    found = significance_map(X, y, 19)
    np.testing.assert_array_equal(found.status, status)
    for values in (
        *(found.score, found.null_mean, found.null_sd, found.z, found.p, found.p_family, found.q),
        *found.null,
        *found.band(),
    ):
        np.testing.assert_array_equal(np.isnan(values), status > 0)
    assert {name: count for name, (count, _) in found.explain().items()} == {
        "ok": 3,
        "constant": 1,
        "non_finite": 2,
    }
    assert not found.significant(1.0)[status > 0].any()
    # What cannot be scored is no part of the family.
    alone = significance_map(X[:, [0, 0, 1], [0, 2, 0]], y, 19)
    at = ([0, 0, 1], [0, 2, 0])
    np.testing.assert_array_equal(alone.p_family, found.p_family[at])
    np.testing.assert_array_equal(alone.q, found.q[at])


def test_labels_that_fall_on_one_point_and_too_few_rows(rng):
    y = np.r_[np.zeros(N // 3), cases.labels(rng, N - N // 3)]
    X = cases.states(rng, y, (2,), 8)
    found = significance_map(X, y, 5, cv=KFold(3))
    assert (found.status == Status.DEGENERATE_LABELS).all()
    assert np.isnan(found.score).all()
    assert np.isnan(found.null).all()
    few = [(np.arange(1, N), np.arange(1)), (np.arange(10), np.arange(10, N))]
    found = significance_map(X, cases.labels(rng, N), 5, cv=few)
    assert (found.status == Status.TOO_FEW).all()
    assert np.isnan(found.null).all()


def test_a_permutation_without_a_score_is_said_by_its_own_reason(rng):
    """Global shuffles that leave a test part one label, or only equal distances."""
    y = np.zeros(N)
    y[[0, 20, 40]] = 1  # one in each test part
    X = cases.states(rng, y, (2,), 6)
    arguments = {"manifold": "euclidean", "shuffle": "global"}
    assert np.isfinite(score_map(X, y, "euclidean").mean).all()
    found = significance_map(X, y, 20, **arguments)
    assert (found.status == Status.DEGENERATE_LABELS).all()
    assert np.isnan(found.p).all()
    pairs = np.arange(12.0) // 2
    cv = [(np.arange(12), np.arange(4))]
    arguments = {"manifold": "cluster", "metric": "shepard_goodness_score", "cv": cv}
    assert np.isfinite(score_map(X[:12], pairs, **arguments).mean).all()
    found = significance_map(X[:12], pairs, 50, shuffle="global", **arguments)
    # NaN among the permuted scores must not count as lower than the score.
    assert (found.status == Status.EQUAL_DISTANCES).all()
    for values in (found.score, found.p, found.p_family, found.null[0]):
        assert np.isnan(values).all()


@pytest.mark.parametrize("noise", [1e-12, 1e-11, 1e-10])
def test_rounding_of_scores_is_no_evidence(rng, noise):
    """Sites with massive activations: scores that ought to be equal differ by a little."""
    null = 0.35 + noise * rng.uniform(-1, 0, (99, 2))
    null[:, 1] = rng.uniform(0.3, 0.4, 99)
    found = SignificanceMap.of(np.array([0.35, 0.9]), null, np.zeros(2, dtype=np.int8))
    for p in (found.p, found.p_family):
        tolerances.assert_close(p, [1, 0.01], tolerances.LAST_BITS)
    np.testing.assert_array_equal(np.isnan(found.z), [True, False])


def test_permutations_that_change_nothing_count(rng):
    """Two labels that differ by nothing much: scores do by rounding, which is no evidence."""
    y = np.arange(N) % 6 / 6
    X = cases.states(rng, y, (4,), 10)
    X[3, 1, 2] = np.nan
    groups, y = y, y.copy()
    y[0] += 1e-15
    for more in ({}, {"orthonormal": True}, {"shuffle": "global"}):
        found = significance_map(X, y, 20, groups=groups, exchange="within_groups", **more)
        assert (found.permutations != np.arange(N)).any()
        assert np.nanmax(np.ptp(found.null, axis=0)) < tolerances.ROUNDING
        assert np.isnan(found.z).all()
        for p in (found.p, found.p_family, found.q):
            np.testing.assert_array_equal(p, [1, np.nan, 1, 1])


@pytest.mark.parametrize("standardize", [None, "train", "all"])
def test_rigid_maps_of_many_features_take_products_between_samples(rng, monkeypatch, standardize):
    y = cases.labels(rng, N)
    X = cases.states(rng, y, (3,), 70, outlier=3.0)
    taken, plain = [], procrustes.inverse_root
    monkeypatch.setattr(procrustes, "inverse_root", lambda G: (taken.append(1), plain(G))[1])
    arguments = {"orthonormal": True, "standardize": standardize}
    found = significance_map(X, y, 40, **arguments)
    assert taken
    _check(X, y, found, tried=(0, 20, 39), **arguments)


def test_labels_that_cannot_change_are_refused(rng):
    """Groups of one label each, within which every permutation is the labels themselves."""
    y = np.arange(N) % 6 / 6
    X = cases.states(rng, y, (2,), 10)
    with pytest.raises(ValueError, match="permuting them changes nothing"):
        significance_map(X, y, 20, groups=y)


@pytest.mark.parametrize("standardize", [None, "train"])
def test_many_samples_take_two_factors(rng, monkeypatch, standardize):
    """The same scores from thin factors of H as from H, also where they come from the SVD."""
    n, d = 120, 5
    y = cases.labels(rng, n)
    X = cases.states(rng, y, (3,), d)
    assert ridge_forms.in_factors(80, 40, d)
    found = significance_map(X, y, 6, standardize=standardize)
    _check(X, y, found, tried=(0, 5), standardize=standardize)
    plain = ridge_systems.RidgeSolution.doubtful

    def second_is(*given):
        lost = plain(*given)
        lost[min(1, len(lost) - 1)] = True
        return lost

    monkeypatch.setattr(ridge_systems.RidgeSolution, "doubtful", second_is)
    again = significance_map(X, y, 6, standardize=standardize)
    tolerances.assert_close(again.null, found.null, tolerances.SCORE)
    monkeypatch.setattr(ridge_forms, "in_factors", lambda *sizes: False)
    whole = significance_map(X, y, 6, standardize=standardize)
    tolerances.assert_close(whole.null, found.null, tolerances.SCORE)


def test_repeated_labels_tie(rng):
    """Of two test blocks of two labels each, one permutation in four leaves all as it is."""
    y = np.array([0.0, 0.3, 0.3, 0.3, 0.0, 0.3])
    X = cases.states(rng, y, (1,), 3, outlier=1.0)
    cv = [(np.arange(3, 6), np.arange(3)), (np.arange(3), np.arange(3, 6))]
    found = significance_map(X, y, 200, manifold="euclidean", cv=cv)
    same = (y[found.permutations] == y).all(1)
    assert 5 < same.sum() < 50
    assert (found.null[same, 0] >= found.score[0] - tolerances.ROUNDING).all()
    assert found.p[0] >= (1 + same.sum()) / 201


def test_one_permutation(rng):
    X, y, status = degenerate(rng, 10)
    found = significance_map(X, y, 1)
    ok = status == 0
    assert found.null.shape == (1, 2, 3)
    assert set(found.p[ok]) <= {0.5, 1.0}
    assert np.isnan(found.null_sd).all()
    assert np.isnan(found.z).all()
    assert set(found.p_family[ok]) <= {0.5, 1.0}
    assert (found.p_family[ok] >= found.p[ok]).all()
    tolerances.assert_same(found.null_mean, found.null[0])


def test_a_planted_circle_is_found_and_nothing_else(rng):
    y = cases.labels(rng, 90)
    X = rng.normal(size=(90, 12, 10))
    X[:, 4] = cases.states(rng, y, (), 10, signal=4.0, outlier=1.0)
    found = significance_map(X, y, 99)
    assert found.p_family[4] == found.p[4] == 1 / 100
    assert found.significant().tolist() == [site == 4 for site in range(12)]
    assert found.z[4] > 5
    assert found.q[4] == np.nanmin(found.q)


def test_the_family_keeps_its_level(rng):
    """Noise only: how often anything is called found at 0.2, of 100 families."""
    claims = 0
    for trial in range(100):
        y = rng.random(18)
        X = rng.normal(size=(18, 5, 2))
        claims += significance_map(X, y, 19, seed=trial).significant(0.2).any()
    # Binomial of 100 and 0.2: beyond these ends with a probability of 3e-4.
    assert 7 <= claims <= 36


@pytest.mark.parametrize("solver", ["primal", "dual", "orthonormal-all", "min-norm", "pls"])
@pytest.mark.filterwarnings("ignore:.*fitted again for each")
def test_budget_and_threads_change_nothing(rng, monkeypatch, solver):
    case = SOLVERS[solver]
    X, y, _ = degenerate(rng, case.d)
    more = case.arguments
    X[..., 0] /= 300
    whole = significance_map(X, y, 20, **more)
    # As tight as it goes: one site and few permutations at a time.
    found = [smallest(lambda budget: significance_map(X, y, 20, memory_budget=budget, **more))]
    monkeypatch.setattr("gpu_smds.inference.permutation_test._CHUNK_BYTES", {"cpu": 1 << 14})
    found.append(significance_map(X, y, 20, **more))
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(significance_map(X, y, 20, **more))
            found.append(significance_map(X[:, :1, :1], y, 20, **more))  # one site, all threads
    finally:
        torch.set_num_threads(threads)
    for one in found:
        part = whole.null if one.null.shape == whole.null.shape else whole.null[:, :1, :1]
        tolerances.assert_close(one.null, part, tolerances.ROUNDING)
        np.testing.assert_array_equal(one.permutations, whole.permutations)


def test_global_shuffles_need_room_for_their_distances(rng):
    X, y, _ = degenerate(rng, 4, n=300)
    with pytest.raises(ValueError, match=r"200 global shuffles take .* raise memory_budget"):
        significance_map(
            X, y, 200, shuffle="global", metric="shepard_goodness_score", memory_budget=20 << 20
        )


def test_saved_and_loaded(rng, tmp_path):
    X, y, _ = degenerate(rng, 10)
    for states in (X, X[:, 0, 0]):
        found = significance_map(states, y, 9, seed=3)
        path = tmp_path / "p.safetensors"
        found.save(path)
        again = SignificanceMap.load(path)
        for name in ("score", "null_mean", "null_sd", "z", "p", "p_family", "q", "status", "null"):
            np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
        assert again.permutations is None
        assert again.metadata == found.metadata
        assert again.metadata["seed"] == 3
    with pytest.raises(ValueError, match=r"p\.safetensors exists .* choose another name"):
        score_map(X, y).save(path)  # of another kind
    other = tmp_path / "scores.safetensors"
    score_map(X, y).save(other)
    with pytest.raises(ValueError, match=r"SignificanceMap"):
        SignificanceMap.load(other)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n_permutations": 0}, "at least 1"),
        ({"n_permutations": True}, "must be an integer"),
        ({"n_permutations": 2.5}, "must be an integer"),
        ({"manifold": ["circular"]}, "not lists"),
        ({"alpha": [1.0]}, "not lists"),
        ({"metric": ["scale_normalized_stress"]}, "not lists"),
        ({"manifold": "chain"}, "no permutation test"),
        ({"exchange": "columns"}, "exchange must be one of"),
        ({"shuffle": "everywhere"}, "shuffle must be one of"),
        ({"standardize": "yes"}, "standardize must be one of"),
        ({"exchange": "within_groups"}, "needs groups="),
        ({"exchange": "whole_groups"}, "needs groups="),
        ({"groups": [1, 2, 3]}, "groups must be one per sample"),
        ({"groups": [1, 2, 3], "cv": None}, r"groups must be one per sample, .* got shape \(3,\)"),
        ({"groups": np.arange(12)}, "no labels can be exchanged"),
        ({"cv": 12}, "no labels can be exchanged: every block holds one sample"),
        ({"cv": [(np.arange(6), np.r_[6, 6, 7, 8])]}, "scores a sample twice"),
        ({"y": np.ones(12)}, "all labels are equal"),
    ],
)
def test_wrong_arguments_say_what_to_pass(rng, change, says):
    arguments = {
        "X": rng.normal(size=(12, 2, 3)),
        "y": rng.permutation(12) + 0.0,
        "n_permutations": 5,
    }
    with pytest.raises((ValueError, TypeError), match=says) as error:
        significance_map(**arguments | change)
    assert "\n" not in str(error.value)


def test_groups_split_and_exchange(rng):
    """Groups reach the splitter and the exchange; two groupings go by index pairs."""
    X, y, _ = degenerate(rng, 10)
    names, blocks = np.arange(N) // 4, np.arange(N) % 2
    splitter = GroupKFold(3)
    pairs = list(splitter.split(X, y, names))
    whole = significance_map(X, y, 4, cv=splitter, groups=names, exchange="whole_groups")
    for permutation in whole.permutations:
        # Four rows of a group take the four labels of another, in order.
        assert (permutation.reshape(-1, 4) - permutation[::4, None] == np.arange(4)).all()
    within = significance_map(X, y, 4, cv=pairs, groups=blocks)
    assert (blocks[within.permutations] == blocks).all()
    for found in (whole, within):
        _check(X, y, found, cv=pairs)


@pytest.mark.cuda
@pytest.mark.parametrize("shuffle", ["within_folds", "global"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_cuda_equals_cpu(rng, solver, shuffle):
    case = SOLVERS[solver]
    X, y, _ = degenerate(rng, case.d)
    with case.said():
        cpu = significance_map(X, y, 20, shuffle=shuffle, **case.arguments)
        cuda = significance_map(X, y, 20, shuffle=shuffle, device="cuda", **case.arguments)
    np.testing.assert_array_equal(cpu.status, cuda.status)
    tolerances.assert_close(cpu.null, cuda.null, tolerances.REFINED)
