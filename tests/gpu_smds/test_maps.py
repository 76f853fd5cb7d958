"""Batched equals looped, chunked equals whole, any container, and a reason for every NaN."""

import cases
import numpy as np
import pytest
import tolerances
import torch
from cases import SOLVERS, SPLITS, degenerate
from sklearn.model_selection import GroupKFold, KFold

from gpu_smds import CircularShape, Status, fit_map, score_map, similarity_map, transfer_map

N = cases.N


class Lazy:
    """A store that only reads what basic indexing asks for, and counts the bytes."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.largest = array, array.shape, array.dtype, 0

    def __getitem__(self, index):
        rows, *leading, last = index
        assert rows == slice(None)
        assert all(isinstance(i, int) for i in leading)
        assert isinstance(last, slice)
        part = self.array[index]
        self.largest = max(self.largest, part.nbytes)
        return part


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_batched_equals_looped(rng, solver, split):
    arguments = SOLVERS[solver].arguments
    X, y, expected = degenerate(rng, SOLVERS[solver].d)
    cv = SPLITS[split]
    whole = score_map(X, y, cv=cv, **arguments)
    assert whole.dims == ("fold", "site0", "site1")
    np.testing.assert_array_equal(whole.worst_status, expected)
    np.testing.assert_array_equal(np.isnan(whole.scores), whole.status > Status.UNDETERMINED)
    for site in np.ndindex(2, 3):
        alone = score_map(X[(slice(None), *site)], y, cv=cv, **arguments)
        assert alone.dims == ("fold",)
        tolerances.assert_close(alone.scores, whole.scores[(slice(None), *site)], tolerances.CHUNK)


@pytest.mark.parametrize("solver", SOLVERS)
def test_any_chunk_size_is_the_whole(rng, solver):
    arguments = SOLVERS[solver].arguments
    X, y, _ = degenerate(rng, SOLVERS[solver].d)
    whole = score_map(X, y, **arguments)
    for budget in (1 << 20, 3 << 20, 1 << 30):
        chunked = score_map(X, y, memory_budget=budget, **arguments)
        tolerances.assert_close(chunked.scores, whole.scores, tolerances.CHUNK)
        np.testing.assert_array_equal(chunked.status, whole.status)


def test_budget_that_is_too_small_says_what_is_needed(rng):
    X, y, _ = degenerate(rng, 20)
    with pytest.raises(ValueError, match=r"memory_budget of 1,000 bytes is too small: one site"):
        score_map(X, y, memory_budget=1000)
    with pytest.raises(ValueError, match="positive"):
        score_map(X, y, memory_budget=0)


def test_containers_agree(rng):
    X, y, _ = degenerate(rng, 20)
    expected = score_map(X, y)
    same = {
        "torch": torch.from_numpy(X),
        "strided": torch.from_numpy(np.repeat(X, 2, axis=2))[:, :, ::2],
        "fortran": np.asfortranarray(X),
        "reversed": X[::-1][::-1],
        "big-endian": X.astype(">f8"),
        "requires grad": torch.from_numpy(X).requires_grad_(),
        "list": X.tolist(),
    }
    for name, container in same.items():
        found = score_map(container, y)
        tolerances.assert_close(found.scores, expected.scores, tolerances.ROUNDING, name=name)
    before = X.copy()
    score_map(X, y, standardize="all")
    np.testing.assert_array_equal(X, before)


def test_lazy_store_is_read_in_blocks(rng):
    X, y, _ = degenerate(rng, 20)
    store = Lazy(X)
    tolerances.assert_same(score_map(store, y).scores, score_map(X, y).scores)
    assert store.largest <= 2 * N * 20 * 8
    fitted = fit_map(store, y)
    tolerances.assert_same(
        transfer_map(fitted, store, y).scores, transfer_map(fit_map(X, y), X, y).scores
    )


def test_read_only_memory_map(rng, tmp_path):
    X, y, _ = degenerate(rng, 20)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    tolerances.assert_same(score_map(mapped, y).scores, score_map(X, y).scores)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_narrow_dtypes_are_scored_as_their_float64(rng, dtype):
    y = cases.labels(rng, N)
    X = torch.from_numpy(cases.states(rng, y, (3,), 20)).to(dtype)
    tolerances.assert_same(score_map(X, y).scores, score_map(X.double(), y).scores)


def test_lists_add_leading_axes(rng):
    X, y, expected = degenerate(rng, 20)
    manifolds = ["circular", CircularShape(normalize_labels=False)]
    alphas = [0.0, 0.1, 10.0]
    many = score_map(
        X, y, manifold=manifolds, alpha=alphas, metric=["scale_normalized_stress"], cv=3
    )
    assert many.dims == ("manifold", "metric", "alpha", "fold", "site0", "site1")
    assert many.scores.shape == (2, 1, 3, 3, 2, 3)
    assert many.status.shape == (2, 3, 3, 2, 3)
    assert many.coords["alpha"] == alphas
    for m, manifold in enumerate(manifolds):
        for a, alpha in enumerate(alphas):
            one = score_map(X, y, manifold=manifold, alpha=alpha, cv=3)
            tolerances.assert_close(many.scores[m, 0, a], one.scores, tolerances.CHUNK)
    np.testing.assert_array_equal(many.worst_status[0, 0], expected)
    assert many.mean.shape == (2, 1, 3, 2, 3)


def test_groups_reach_the_splitter(rng):
    y = cases.labels(rng, N)
    X = cases.states(rng, y, (2,), 10)
    groups = np.arange(N) // 4
    splitter = GroupKFold(3)
    grouped = score_map(X, y, cv=splitter, groups=groups)
    pairs = list(splitter.split(X, y, groups))
    tolerances.assert_close(grouped.scores, score_map(X, y, cv=pairs).scores, tolerances.ROUNDING)


def test_no_site_axis_and_empty_site_axis(rng):
    y = cases.labels(rng, N)
    X = cases.states(rng, y, (), 10)
    tolerances.assert_same(score_map(X, y).scores, score_map(X[:, None], y).scores[:, 0])
    tolerances.assert_same(fit_map(X, y).W, fit_map(X[:, None], y).W[0])
    empty = score_map(X[:, None][:, :0], y)
    assert empty.scores.shape == (3, 0)
    assert empty.worst_status.shape == (0,)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("level", [1e-4, 1.0, 1e4])
def test_rounding_noise_is_constant_and_a_signal_is_not(rng, dtype, level):
    """At most 8·eps of the stored dtype is no variation, whatever the level."""
    y = cases.labels(rng, N)
    eps = torch.finfo(dtype).eps
    base = level * torch.from_numpy(1 + rng.random(12))
    noise = torch.from_numpy(rng.uniform(-1, 1, (N, 12)))
    wobble = (base * (1 + 2 * eps * noise)).to(dtype)
    signal = (base * (1 + 200 * eps * noise)).to(dtype)
    result = score_map(torch.stack([wobble, signal], dim=1), y)
    assert result.worst_status.tolist() == [Status.CONSTANT, Status.OK]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_massive_features_do_not_hide_the_others(rng, dtype):
    """A language model's states: a few features a thousand times the others, and constant."""
    y = cases.labels(rng, N)
    X = torch.from_numpy(cases.states(rng, y, (3,), 12)).float()
    X /= X.std()
    X[:, :, :2] = 3e3 if dtype != torch.float32 else 3e7
    X[:, 1, 2:] = X[0, 1, 2:]  # nothing varies
    # What other shapes of products do to a state that is the same in all sentences.
    X[:, 2, 2:] = X[0, 2, 2:] * (1 + torch.finfo(dtype).eps * torch.randn(N, 10))
    stored = X.to(dtype)
    total = stored.double().var(0).sum(1) / stored.double().square().mean(0).sum(1)
    assert (total < (8 * torch.finfo(dtype).eps) ** 2).all()
    expected = [Status.OK, Status.CONSTANT, Status.CONSTANT]
    assert score_map(stored, y).worst_status.tolist() == expected
    # Standardised, the massive features count for nothing.
    scores = score_map(stored, y, standardize="all").mean
    plain = score_map(stored[:, :, 2:], y, standardize="all").mean
    tolerances.assert_close(scores[0], plain[0], tolerances.SCORE)


def test_constant_in_one_part_only(rng):
    y = cases.labels(rng, N)
    X = cases.states(rng, y, (2,), 8)
    X[:40, 0] = X[0, 0]  # constant where fitted
    X[40:, 1] = X[40, 1]  # constant where scored
    split = [(np.arange(40), np.arange(40, N)), (np.arange(10, N), np.arange(0, 45))]
    status = score_map(X, y, cv=split).status
    assert status[0].tolist() == [Status.CONSTANT, Status.CONSTANT]
    assert status[1].tolist() == [Status.OK, Status.OK]


def test_small_variation_on_a_massive_mean_counts(rng):
    """A state of norm 1e6 that moves by 1 is not constant in float64."""
    y = cases.labels(rng, N)
    X = 1e6 + cases.states(rng, y, (1,), 8, outlier=1.0)
    found = score_map(X, y)
    assert found.worst_status.tolist() == [Status.OK]
    tolerances.assert_close(found.scores, score_map(X - 1e6, y).scores, tolerances.SCORE)


def test_labels_that_fall_on_one_point_in_a_fold(rng):
    y = np.r_[np.zeros(20), cases.labels(rng, 40)]
    X = cases.states(rng, y, (2,), 8)
    result = score_map(X, y, cv=KFold(3))  # the first test part has one label only
    assert (result.status[0] == Status.DEGENERATE_LABELS).all()
    others = score_map(X, y, cv=list(KFold(3).split(X))[1:])
    assert (others.status == Status.OK).all()
    np.testing.assert_array_equal(result.status[1:], others.status)
    tolerances.assert_same(result.scores[1:], others.scores)
    assert np.isnan(result.scores[0]).all()
    assert np.isnan(result.mean).all()


def test_one_sample_has_no_distances(rng):
    y = cases.labels(rng, 5)
    X = cases.states(rng, y, (2,), 8)
    assert (score_map(X, y, cv=5).status == Status.TOO_FEW).all()


def test_tied_embedding_is_flagged():
    """Four equidistant classes in two dimensions: any rotation of three axes will do."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4.0), 15)
    X = rng.normal(size=(60, 2, 10))

    def equidistant(labels):
        return (labels[:, None] != labels[None, :]).astype(float)

    result = score_map(X, y, manifold=equidistant, n_components=2, cv=None)
    assert (result.status == Status.UNDETERMINED).all()
    assert np.isfinite(result.scores).all()


def test_rotation_that_is_not_determined_is_flagged(rng):
    """Labels on a line through the circle leave one direction of an orthonormal map free."""
    y = np.tile([0.0, 0.5], 30)
    X = cases.states(rng, y, (2,), 10)
    turn = CircularShape(normalize_labels=False)
    assert (score_map(X, y, turn, orthonormal=True).status == Status.UNDETERMINED).all()
    assert (score_map(X, y, turn).status == Status.OK).all()


def test_states_beyond_cholesky_are_still_fitted(rng):
    """λmax/α of 1e20: the Gram matrix plus α is singular in double precision."""
    y = cases.labels(rng, N)
    for d in (20, 90):
        X = cases.states(rng, y, (2,), d, outlier=1e9)
        X[:, :, 1] = X[:, :, 0] * (1 + 1e-9 * rng.normal(size=(N, 2)))
        result = score_map(X, y, alpha=1e-3)
        assert (result.status == Status.OK).all()
        assert ((result.scores > 0) & (result.scores < 1)).all()


def test_perfect_fit_is_one_to_the_last_digits():
    """1 − sqrt(1 − ρ²) would lose half the digits here."""
    y = np.linspace(0, 1, 50, endpoint=False)
    circle = np.stack([np.cos(2 * np.pi * y), np.sin(2 * np.pi * y)], axis=1)
    shape = CircularShape(normalize_labels=False)
    score = score_map(circle, y, manifold=shape, orthonormal=True, cv=None).scores
    tolerances.assert_close(score[0], 1, tolerances.LAST_BITS)
    small = circle * (1 + 1e-7 * np.sin(40 * y)[:, None])
    exact = score_map(small, y, manifold=shape, orthonormal=True, cv=None).scores
    D = np.linalg.norm(circle[:, None] - circle[None], axis=-1)
    E = np.linalg.norm(small[:, None] - small[None], axis=-1)
    scale = (D * E).sum() / (E * E).sum()
    tolerances.assert_close(
        1 - exact[0], np.sqrt(((D - scale * E) ** 2).sum() / (D**2).sum()), tolerances.ROUNDING
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"X": np.zeros((10, 2, 3), dtype=int)}, "floating point"),
        ({"X": np.zeros(10)}, r"must be \(n_samples, \*sites, n_features\)"),
        ({"X": "states"}, "X must be a torch tensor"),
        ({"X": np.ones((1, 4))}, "at least 2"),
        ({"X": np.ones((10, 0))}, "no features"),
        ({"y": np.arange(9.0)}, "X has 10 samples but y has 9 labels"),
        ({"y": np.full(10, np.nan)}, "10 of 10 labels are NaN"),
        ({"y": np.ones(10)}, "all labels are equal"),
        ({"y": list("abcdefghij")}, "labels are text"),
        ({"y": np.zeros((10, 2, 2))}, r"\(n,\) or \(n, k\)"),
        ({"y": np.arange(20.0).reshape(10, 2)}, r"takes labels of shape \(n,\)"),
        ({"manifold": "round"}, "unknown manifold 'round': choose one of chain, circular"),
        ({"manifold": 3}, "a name or a callable"),
        ({"manifold": CircularShape}, "call the class first"),
        ({"manifold": lambda y: y}, "give n_components"),
        ({"manifold": []}, "empty list"),
        ({"manifold": lambda y: y, "n_components": 2}, "distances of shape"),
        ({"manifold": lambda y: np.ones((len(y),) * 2) / 0.0, "n_components": 1}, "infinite"),
        ({"manifold": CircularShape(normalize_labels=False)}, "more than one turn"),
        ({"alpha": -1}, "not negative"),
        ({"alpha": []}, "empty list"),
        ({"n_components": 0}, "n_components must be at least 1"),
        (
            {"metric": "accuracy"},
            "unknown metric 'accuracy': choose one of scale_normalized_stress",
        ),
        ({"standardize": "yes"}, "standardize must be one of"),
        ({"dtype": torch.float16}, "dtype must be None, torch.float64 or torch.float32"),
        ({"cv": 11}, "number of splits"),
        ({"cv": [([0, 1], [10, 11])]}, "outside 0..9"),
        ({"cv": []}, "no folds"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_wrong_arguments_say_what_to_pass(rng, change, says):
    arguments = {"X": rng.normal(size=(10, 2, 3)), "y": np.arange(10.0)} | change
    with pytest.raises((ValueError, TypeError), match=says) as error:
        score_map(**arguments)
    assert "\n" not in str(error.value)


def test_cuda_without_cuda(rng):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ValueError, match="no CUDA device"):
        score_map(rng.normal(size=(10, 3)), np.arange(10.0), device="cuda")


def test_progress_reaches_the_end(rng, capsys):
    X, y, _ = degenerate(rng, 20)
    seen = []
    score_map(X, y, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (6, 6)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    score_map(X, y, progress=True)
    assert "6/6 sites" in capsys.readouterr().err


@pytest.mark.cuda
@pytest.mark.parametrize("solver", SOLVERS)
def test_cuda_equals_cpu(rng, solver):
    arguments = SOLVERS[solver].arguments
    X, y, _ = degenerate(rng, SOLVERS[solver].d)
    cpu, cuda = score_map(X, y, **arguments), score_map(X, y, device="cuda", **arguments)
    np.testing.assert_array_equal(cpu.status, cuda.status)
    tolerances.assert_close(cpu.scores, cuda.scores, tolerances.REFINED)
    fitted = fit_map(torch.from_numpy(X).cuda(), y)
    assert fitted.W.is_cuda
    tolerances.assert_close(
        similarity_map(fitted), similarity_map(fit_map(X, y)), tolerances.REFINED
    )
    tolerances.assert_close(
        transfer_map(fitted, X, y).scores,
        transfer_map(fit_map(X, y), X, y).scores,
        tolerances.REFINED,
    )
