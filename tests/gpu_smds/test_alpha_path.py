"""Many penalties from one eigendecomposition are as good as a factor for each."""

import cases
import numpy as np
import pytest
import tolerances
import torch
from cases import SOLVERS, SPLITS, degenerate

from gpu_smds import Status, score_map
from gpu_smds.kernels.linalg import gram
from gpu_smds.solvers import ridge_forms, ridge_systems
from gpu_smds.solvers.minimum_norm import ridge_svd
from gpu_smds.solvers.ridge_systems import ridge_, ridge_path, signs

N = cases.N
ALPHAS = [0.0, 1e-9, *np.logspace(-3, 6, 13), 1e9, 1e14]
RIDGE = {
    name: (SOLVERS[name].arguments.get("standardize"), SOLVERS[name].d) for name in cases.RIDGE
}


def _one_by_one(X, y, alphas, **more):
    return np.stack([score_map(X, y, alpha=alpha, **more).scores for alpha in alphas])


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", RIDGE)
def test_a_path_is_its_penalties_one_by_one(rng, name, split):
    standardize, d = RIDGE[name]
    X, y, status = degenerate(rng, d)
    assert len(ALPHAS) == 17
    more = {"standardize": standardize, "cv": SPLITS[split]}
    many = score_map(X, y, alpha=ALPHAS, **more)
    expected = _one_by_one(X, y, ALPHAS, **more)
    tolerances.assert_close(many.scores, expected, tolerances.SCORE)
    assert np.ptp(many.scores[:, 0, 0, 0]) > tolerances.DIFFERS  # the penalty matters
    np.testing.assert_array_equal(many.worst_status[3], status)
    np.testing.assert_array_equal(np.isnan(many.scores), many.status > Status.UNDETERMINED)


@pytest.mark.parametrize("standardize", [None, "train", "all"])
@pytest.mark.parametrize("shape", [(300, 160), (60, 120)])
def test_massive_features_do_not_blur_the_others(rng, shape, standardize):
    """A few features thousands of times the others, as language models have.

    An eigendecomposition by itself errs by eps times the largest eigenvalue everywhere: scores
    were off by 1e-3 here before its solutions were refined.
    """
    n, d = shape
    y = cases.labels(rng, n)
    X = cases.states(rng, y, (4,), d, outlier=1.0)
    X[:, 0, :3] *= 1e4
    X[:, 1, d // 2] *= 1e5
    X[:, 2, -3:] *= 1e6
    X[:, 3] += 1e3 * rng.normal(size=(n, 2)) @ rng.normal(size=(2, d))
    many = score_map(X, y, alpha=ALPHAS, standardize=standardize)
    expected = _one_by_one(X, y, ALPHAS[::3], standardize=standardize)
    tolerances.assert_close(many.scores[::3], expected, tolerances.SCORE)


@pytest.fixture
def one_core():
    """So that matrices this small are not shared by threads that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("massive", [1.0, 1e3, 1e5])
def test_solutions_are_those_of_the_svd(rng, one_core, massive):
    """Without help from the fall-back, from the states themselves."""
    X = torch.from_numpy(rng.normal(size=(2, 240, 120)))
    X[0, :, :3] *= massive
    X -= X.mean(1, keepdim=True)
    Y = torch.from_numpy(rng.normal(size=(240, 2)))
    Y -= Y.mean(0)
    alphas = [float(alpha) for alpha in np.logspace(-3, 5, 17)]
    C, probe = gram(X.mT), X.mT @ signs(240, X)
    before = C.clone()
    path = list(ridge_path(C, X.mT @ Y, probe, alphas))
    tolerances.assert_close(C, before, 0)
    assert len(path) == 17
    for alpha, fit in list(zip(alphas, path, strict=True))[::4]:
        single = ridge_(before.clone(), X.mT @ Y, probe, alpha)
        expected = X @ ridge_svd(X, Y, alpha)
        spread = expected.std()
        assert not fit.failed.any()
        assert not fit.doubtful(X @ fit.solution, [slice(None)]).any()
        tolerances.assert_close(X @ fit.solution, expected, tolerances.SCORE * float(spread))
        for own, other in zip(fit.root, single.root, strict=True):
            tolerances.assert_close(own, other, tolerances.ROUNDING, relative=True)
        for own, other in ((fit.solution, single.solution), (fit.probe, single.probe)):
            assert (own - other).norm() < tolerances.SCORE * other.norm()


def test_what_no_refinement_saves_has_failed(one_core):
    """Not positive definite, or so badly graded that the steps do not converge."""
    rng = np.random.default_rng(0)
    C = torch.from_numpy(rng.normal(size=(3, 120, 120)))
    C = C @ C.mT + torch.eye(120)
    C[1, 0] = C[1, :, 0] = 0
    C[1, 0, 0] = -1.0
    scale = torch.ones(120, dtype=torch.float64)
    scale[::2] = 1e9
    C[2] *= scale[:, None] * scale
    B = torch.from_numpy(rng.normal(size=(3, 120, 2)))
    fits = list(ridge_path(C, B, B[..., 0], [1e-3, 1e-2]))
    for fit in fits:
        assert fit.failed.tolist() == [False, True, True]


def _count(monkeypatch, module, name):
    counted, plain = [], getattr(module, name)

    def watched(C, *rest, **named):
        counted.append(len(C))
        return plain(C, *rest, **named)

    monkeypatch.setattr(module, name, watched)
    return counted


@pytest.mark.parametrize("name", RIDGE)
def test_one_eigendecomposition_for_each_training_set(rng, monkeypatch, name):
    standardize, d = RIDGE[name]
    X, y, _ = degenerate(rng, d)
    decomposed = _count(monkeypatch, ridge_systems, "eigh")
    factored = _count(monkeypatch, ridge_forms, "ridge_")
    for cv, folds in ((4, 4), (None, 1)):
        score_map(X, y, alpha=ALPHAS[1:], standardize=standardize, cv=cv)
        assert sum(decomposed) == 6 * folds  # of each of the six sites
        assert not factored
        decomposed.clear()
    few = ALPHAS[1:16]
    score_map(X, y, alpha=few, standardize=standardize)
    assert not decomposed
    assert sum(factored) == 6 * 3 * len(few)


def test_several_manifolds_share_a_path(rng):
    X, y, _ = degenerate(rng, 12)
    manifolds = ["circular", "semicircular", "euclidean"]
    many = score_map(X, y, manifold=manifolds, alpha=ALPHAS)
    for m, manifold in enumerate(manifolds):
        one = score_map(X, y, manifold=manifold, alpha=ALPHAS)
        tolerances.assert_same(many.scores[m], one.scores)


@pytest.mark.parametrize("d", [12, 90])
def test_budget_and_threads_change_nothing(rng, d):
    X, y, _ = degenerate(rng, d)
    whole = score_map(X, y, alpha=ALPHAS)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found = score_map(X, y, alpha=ALPHAS, memory_budget=4 << 20)
            tolerances.assert_same(found.scores, whole.scores)
        # One site, which has all threads to itself.
        alone = score_map(X[:, 0, 0], y, alpha=ALPHAS, cv=None)
        split = score_map(X, y, alpha=ALPHAS, cv=None)
        tolerances.assert_same(alone.scores, split.scores[:, :, 0, 0])
    finally:
        torch.set_num_threads(threads)


@pytest.mark.cuda
@pytest.mark.parametrize("name", RIDGE)
def test_cuda_equals_cpu(rng, name):
    standardize, d = RIDGE[name]
    X, y, _ = degenerate(rng, d)
    cpu = score_map(X, y, alpha=ALPHAS, standardize=standardize)
    cuda = score_map(X, y, alpha=ALPHAS, standardize=standardize, device="cuda")
    np.testing.assert_array_equal(cpu.status, cuda.status)
    tolerances.assert_close(cpu.scores, cuda.scores, tolerances.REFINED)
