"""The fast forms, each against the plain one that it replaces."""

import importlib.util
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import cases
import numpy as np
import pytest
import tolerances
import torch
from sklearn.model_selection import KFold

from gpu_smds import OnePass, fit_map, score_map, transfer_map
from gpu_smds.geometry.manifold import resolve_manifold
from gpu_smds.kernels.linalg import cholesky_, gram, multiply, scatter
from gpu_smds.kernels.workspace import drop_workspace, keep_workspace, workspace
from gpu_smds.metrics.projections import Projections
from gpu_smds.metrics.reference import Ideal
from gpu_smds.sites.centred import CentredStates
from gpu_smds.sites.centred_by_passes import StreamedStates
from gpu_smds.sites.rows import runs
from gpu_smds.solvers import mixed_precision, ridge
from gpu_smds.solvers.mixed_precision import refine

CPU = torch.device("cpu")
EXACT = {"rtol": 1e-12, "atol": 1e-12}


@pytest.fixture(params=["one core", "all cores"])
def cores(request):
    """Both libraries that matrix products come from."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if request.param == "one core" else max(2, before))
    yield
    torch.set_num_threads(before)


def _plain(monkeypatch):
    for module in ("kernels.pair_term", "sites.centred_by_passes", "metrics.reference"):
        monkeypatch.setattr(f"gpu_smds.{module}.has_fused", lambda device: False)


@pytest.mark.parametrize("shape", [(2, 5, 3), (1, 130, 70), (3, 64, 301)])
def test_symmetric_products(rng, cores, shape):
    x = torch.from_numpy(rng.normal(size=shape))
    torch.testing.assert_close(gram(x), x @ x.mT, **EXACT)
    torch.testing.assert_close(scatter(x), x.mT @ x, **EXACT)
    torch.testing.assert_close(scatter(x[:, 1:4]), x[:, 1:4].mT @ x[:, 1:4], **EXACT)
    torch.testing.assert_close(multiply(x, x.mT), x @ x.mT, **EXACT)


def test_cholesky_and_where_there_is_none(rng, cores):
    x = torch.from_numpy(rng.normal(size=(3, 40, 60)))
    C = x @ x.mT
    C[1, 7, 7] = -1.0
    expected = torch.linalg.cholesky(C[[0, 2]])
    factors, failed = cholesky_(C.clone())
    assert failed.tolist() == [False, True, False]
    torch.testing.assert_close(factors[[0, 2]].tril(), expected, **EXACT)


def test_the_workspace_is_reused_while_it_is_kept():
    like = torch.zeros(1, dtype=torch.float64)
    one, other = workspace("a", (3, 4), like), workspace("a", (3, 4), like)
    assert one.data_ptr() != other.data_ptr()
    keep_workspace()
    first = workspace("a", (3, 4), like)
    assert workspace("a", (2, 2), like).data_ptr() == first.data_ptr()
    assert workspace("b", (2, 2), like).data_ptr() != first.data_ptr()
    assert workspace("a", (2, 2), like.float()).dtype == torch.float32
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append(workspace("a", (3, 4), like)))
    thread.start()
    thread.join()
    assert elsewhere[0].data_ptr() != first.data_ptr()
    drop_workspace()
    assert workspace("a", (3, 4), like).data_ptr() != first.data_ptr()


def test_runs_of_rows():
    assert runs(slice(2, 5)) == [slice(2, 5)]
    assert runs(torch.tensor([0, 1, 5, 6, 7, 3])) == [slice(0, 2), slice(5, 8), slice(3, 4)]
    assert runs(torch.tensor([], dtype=torch.int64)) == []


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", ["rows", "strided sites", "strided features"])
def test_streamed_states_are_the_centred_ones(rng, dtype, layout):
    n, d = 41, 13
    X = torch.from_numpy(rng.normal(size=(n, 3, d)) + 5).to(dtype)
    X[0, :, 4] = 300  # an outlier in the row that sums are taken from
    X[:, 1, 2] = 7  # a feature that does not vary
    if layout == "rows":
        raw = [X[:, i].contiguous() for i in range(3)]
    elif layout == "strided sites":
        raw = list(X.unbind(1))
    else:
        raw = [X[:, i].mT.contiguous().mT for i in range(3)]
    raw[2] = raw[2].clone()
    raw[2][3, 5] = float("nan")
    order = rng.permutation(n)
    before = [site.clone() for site in raw]
    plain = CentredStates(torch.stack([s[order] for s in raw]).double(), torch.finfo(dtype).eps)
    states = StreamedStates(raw).in_order(order)
    assert states.non_finite.tolist() == plain.non_finite.tolist() == [False, False, True]
    assert states.eps == plain.eps
    Wt = torch.from_numpy(rng.normal(size=(3, d, 3)))
    weights = torch.from_numpy(rng.normal(size=(n, 4)))
    weights[: n // 2, 1] = 0
    rows = torch.tensor([3, 9, 4, 5, 6, 40])
    for written in (False, True):
        if written:
            states.materialise()
            torch.testing.assert_close(states.x, plain.x, **EXACT)
        torch.testing.assert_close(states.mean, plain.mean, **EXACT)
        torch.testing.assert_close(states.reduce(weights), plain.reduce(weights), **EXACT)
        torch.testing.assert_close(states.energy, plain.energy, rtol=1e-12, atol=1e-9)
        for part in (slice(0, n), slice(5, 17), rows):
            torch.testing.assert_close(states.project(Wt, part), plain.project(Wt, part), **EXACT)
            for found, expected in zip(states.moments(part), plain.moments(part), strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    assert states.moments()[1][1, 2] == 0
    for site, kept in zip(raw, before, strict=True):
        torch.testing.assert_close(site, kept, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("manifold", ["circular", "spherical", "cluster", "euclidean", "torus"])
def test_fused_pair_term(rng, monkeypatch, manifold):
    y = rng.random((60, 2)) if manifold in ("spherical", "torus") else rng.random(60)
    y = np.floor(4 * y) if manifold == "cluster" else y
    shape = resolve_manifold(manifold)
    Z = torch.from_numpy(rng.normal(size=(4, 60, 3)))
    ideal = Ideal(shape, y, CPU, 1 << 30, whole=False)
    cross, squares = Projections(Z, ideal).sums
    assert (ideal.points is None) == (manifold in ("cluster", "torus"))
    _plain(monkeypatch)
    monkeypatch.setattr("gpu_smds.metrics.projections.fits_fused", lambda Z, points: False)
    for keep in (0, 1 << 30):
        plain = Projections(Z, Ideal(shape, y, CPU, keep, whole=False)).sums
        torch.testing.assert_close(cross, plain[0], **EXACT)
        torch.testing.assert_close(squares, plain[1], **EXACT)


def test_without_a_compiler_the_maps_are_the_same(rng, monkeypatch):
    y = rng.random(50)
    X = rng.normal(size=(50, 2, 3, 20)).astype(np.float32)
    X[4, 1, 1, 3] = np.inf

    def everything():
        fitted = fit_map(X[:, :, 1:2], y, standardize="all")
        return [
            score_map(X, y, standardize=standardize, orthonormal=orthonormal)
            for standardize in (None, "train", "all")
            for orthonormal in (False, True)
        ] + [transfer_map(fitted, X, y), transfer_map(fitted, X, y, cv=3)]

    compiled = everything()
    _plain(monkeypatch)
    monkeypatch.setattr("gpu_smds.metrics.projections.fits_fused", lambda Z, points: False)
    for fast, plain in zip(compiled, everything(), strict=True):
        np.testing.assert_array_equal(fast.status, plain.status)
        np.testing.assert_allclose(fast.scores, plain.scores, atol=tolerances.SCORE, rtol=0)


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
        np.testing.assert_allclose(refined.scores, exactly.scores, rtol=0, atol=tolerances.REFINED)
    exactly = fit_map(X, y, standardize=standardize).W
    refined = fit_map(X, y, standardize=standardize, dtype=torch.float32).W
    torch.testing.assert_close(refined, exactly, rtol=1e-6, atol=1e-6 * float(exactly.abs().max()))
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
    torch.testing.assert_close(
        solved[0][0], torch.linalg.solve(A[0] + torch.eye(40), B), rtol=1e-6, atol=1e-8
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
    np.testing.assert_allclose(fallen_back.scores, score_map(X, y).scores, atol=tolerances.SCORE)


@pytest.mark.parametrize("compiled", [True, False])
def test_one_pass_gives_what_each_map_gives(rng, monkeypatch, compiled):
    """Jobs that read the rows in different orders, and that change their states in place."""
    if not compiled:
        _plain(monkeypatch)
    y = cases.labels(rng, 60)
    X = cases.states(rng, y, (2, 5), 20)
    X[3, 1, 2, 4] = np.nan
    fitted = fit_map(X[:, :, 1:2], y, standardize="all")
    shuffled = KFold(3, shuffle=True, random_state=1)
    wanted = [
        {"cv": shuffled},
        {"standardize": "all", "alpha": [0.5, 1.0]},
        {"cv": shuffled, "standardize": "train", "dtype": torch.float32},
        {"orthonormal": True, "standardize": "all", "cv": [(np.arange(40), np.arange(40, 60))]},
    ]
    once = OnePass(X, memory_budget=1 << 22)
    pending = [once.score_map(y, **arguments) for arguments in wanted]
    pending += [once.transfer_map(fitted, y), once.transfer_map(fitted, y, cv=3)]
    with pytest.raises(ValueError, match="call run"):
        pending[0]()
    seen = []
    once.run(progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (10, 10)
    expected = [score_map(X, y, **arguments) for arguments in wanted]
    expected += [transfer_map(fitted, X, y), transfer_map(fitted, X, y, cv=3)]
    for result, alone in zip(pending, expected, strict=True):
        found = result()
        assert found.dims == alone.dims
        np.testing.assert_array_equal(found.status, alone.status)
        np.testing.assert_allclose(found.scores, alone.scores, rtol=0, atol=tolerances.CHUNK)
    with pytest.raises(ValueError, match="make another"):
        once.score_map(y)


class _Store:
    """States that are read on demand, which says when it is read a second time."""

    def __init__(self, X):
        self.X, self.shape, self.dtype = X, X.shape, X.dtype
        self.reads, self.second = 0, threading.Event()

    def __getitem__(self, index):
        self.reads += 1
        if self.reads == 2:
            self.second.set()
        return self.X[index]


def test_the_next_block_is_read_while_one_is_worked_on(rng):
    y, store = rng.random(40), _Store(rng.normal(size=(40, 6, 8)))
    ahead = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # Called when a block is done; without reading ahead the second would have to wait for it.
        found = score_map(
            store, y, progress=lambda *_: ahead.append(store.second.wait(timeout=20))
        ).scores
    finally:
        torch.set_num_threads(threads)
    assert ahead == [True, True, True]
    assert store.reads == 3
    tolerances.assert_same(found, score_map(store.X, y).scores)


def test_inference_mode_reaches_the_threads(rng):
    y, X = rng.random(40), torch.from_numpy(rng.normal(size=(40, 6, 8)))
    with torch.inference_mode():
        inside = score_map(X, y), transfer_map(fit_map(X[:, :1], y), X, y)
    outside = score_map(X, y), transfer_map(fit_map(X[:, :1], y), X, y)
    for a, b in zip(inside, outside, strict=True):
        tolerances.assert_same(a.scores, b.scores)


def test_maps_from_several_threads_at_once(rng):
    from threadpoolctl import threadpool_info

    y, X = rng.random(40), rng.normal(size=(40, 30, 8))
    alone, torchs = score_map(X, y), torch.get_num_threads()
    before = [pool["num_threads"] for pool in threadpool_info()]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: score_map(X, y), range(6)))
    for result in found:
        tolerances.assert_same(result.scores, alone.scores)
    assert [pool["num_threads"] for pool in threadpool_info()] == before
    assert torch.get_num_threads() == torchs


def test_a_pass_without_a_map(rng):
    with pytest.raises(ValueError, match="plan a map first"):
        OnePass(rng.normal(size=(40, 3, 8))).run()


def test_blas_threads_are_put_back(rng):
    from threadpoolctl import threadpool_info

    def threads():
        return [(pool["filepath"], pool["num_threads"]) for pool in threadpool_info()]

    X, y = rng.normal(size=(40, 6, 8)), rng.random(40)
    score_map(X, y)  # loads what it needs
    before, torchs = threads(), torch.get_num_threads()
    score_map(X, y)
    with pytest.raises(ZeroDivisionError):
        score_map(X, y, progress=lambda done, total: 1 // 0)
    assert threads() == before
    assert torch.get_num_threads() == torchs


_INTERPRETED = """
import torch
from gpu_smds.kernels._triton_pair_term import cross_terms
from gpu_smds.kernels.pair_term import fused_cross
generator = torch.Generator().manual_seed(0)
for b, n, k, p in ((1, 1, 2, 2), (3, 33, 2, 2), (2, 100, 3, 2), (2, 64, 1, 1), (1, 70, 2, 3)):
    Z = torch.randn(b, n, k, generator=generator, dtype=torch.float64)
    points = torch.randn(p, n, generator=generator, dtype=torch.float64)
    D = torch.cdist(points.mT, points.mT, compute_mode="donot_use_mm_for_euclid_dist")
    expected = (torch.cdist(Z, Z, compute_mode="donot_use_mm_for_euclid_dist") * D).sum((1, 2)) / 2
    Zt = Z.mT.contiguous()
    for found in (cross_terms(Zt, points, None), cross_terms(Zt, None, D)):
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
print("all equal")
"""


def test_triton_kernel_in_the_interpreter():
    """The kernel that CUDA runs, in Triton's interpreter, which is chosen before its import."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed: it comes with torch for CUDA on Linux")
    done = subprocess.run(
        [sys.executable, "-c", _INTERPRETED],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "all equal" in done.stdout
