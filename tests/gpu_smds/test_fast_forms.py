"""The fast forms, each against the plain one that it replaces."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tolerances
import torch
from cases import SOLVERS, SPLITS, degenerate
from plain_forms import without_fused_forms

from gpu_smds import fit_map, score_map, transfer_map
from gpu_smds.geometry.manifold import resolve_manifold
from gpu_smds.kernels.linalg import cholesky_, gram, multiply, scatter
from gpu_smds.metrics.projections import Projections
from gpu_smds.metrics.reference import Ideal
from gpu_smds.sites.centred import CentredStates
from gpu_smds.sites.centred_by_passes import StreamedStates
from gpu_smds.sites.rows import runs

CPU = torch.device("cpu")


@pytest.fixture(params=["one core", "all cores"])
def cores(request):
    """Both libraries that matrix products come from."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if request.param == "one core" else max(2, before))
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(2, 5, 3), (1, 130, 70), (3, 64, 301)])
def test_symmetric_products(rng, cores, shape):
    x = torch.from_numpy(rng.normal(size=shape))
    tolerances.assert_close(gram(x), x @ x.mT, tolerances.ROUNDING)
    tolerances.assert_close(scatter(x), x.mT @ x, tolerances.ROUNDING)
    tolerances.assert_close(scatter(x[:, 1:4]), x[:, 1:4].mT @ x[:, 1:4], tolerances.ROUNDING)
    tolerances.assert_close(multiply(x, x.mT), x @ x.mT, tolerances.ROUNDING)


def test_cholesky_and_where_there_is_none(rng, cores):
    x = torch.from_numpy(rng.normal(size=(3, 40, 60)))
    C = x @ x.mT
    C[1, 7, 7] = -1.0
    expected = torch.linalg.cholesky(C[[0, 2]])
    factors, failed = cholesky_(C.clone())
    assert failed.tolist() == [False, True, False]
    tolerances.assert_close(factors[[0, 2]].tril(), expected, tolerances.ROUNDING)


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
            tolerances.assert_close(states.x, plain.x, tolerances.ROUNDING)
        tolerances.assert_close(states.mean, plain.mean, tolerances.ROUNDING)
        tolerances.assert_close(states.reduce(weights), plain.reduce(weights), tolerances.ROUNDING)
        tolerances.assert_close(states.energy, plain.energy, tolerances.ROUNDING, relative=True)
        for part in (slice(0, n), slice(5, 17), rows):
            tolerances.assert_close(
                states.project(Wt, part), plain.project(Wt, part), tolerances.ROUNDING
            )
            for found, expected in zip(states.moments(part), plain.moments(part), strict=True):
                others = np.arange(d) != 4  # not the outlier, whose variance is thousands
                tolerances.assert_close(found[:, others], expected[:, others], tolerances.SOLUTION)
                tolerances.assert_close(found, expected, tolerances.ROUNDING, relative=True)
    assert states.moments()[1][1, 2] == 0
    for site, kept in zip(raw, before, strict=True):
        tolerances.assert_close(site, kept, 0)


@pytest.mark.parametrize("manifold", ["circular", "spherical", "cluster", "euclidean", "torus"])
def test_fused_pair_term(rng, monkeypatch, manifold):
    y = rng.random((60, 2)) if manifold in ("spherical", "torus") else rng.random(60)
    y = np.floor(4 * y) if manifold == "cluster" else y
    shape = resolve_manifold(manifold)
    Z = torch.from_numpy(rng.normal(size=(4, 60, 3)))
    ideal = Ideal(shape, y, CPU, 1 << 30, whole=False)
    cross, squares = Projections(Z, ideal).sums
    assert (ideal.points is None) == (manifold in ("cluster", "torus"))
    without_fused_forms(monkeypatch)
    monkeypatch.setattr("gpu_smds.metrics.projections.fits_fused", lambda Z, points: False)
    for keep in (0, 1 << 30):
        plain = Projections(Z, Ideal(shape, y, CPU, keep, whole=False)).sums
        tolerances.assert_close(cross, plain[0], tolerances.LAST_BITS, relative=True)
        tolerances.assert_close(squares, plain[1], tolerances.LAST_BITS, relative=True)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_without_a_compiler_the_maps_are_the_same(rng, monkeypatch, solver, dtype):
    arguments = SOLVERS[solver].arguments
    X, y, status = degenerate(rng, SOLVERS[solver].d)
    X = X.astype(dtype)

    def everything():
        fitted = fit_map(X[:, :, :1], y, **arguments)
        found = [score_map(X, y, cv=cv, **arguments) for cv in SPLITS.values()]
        return [*found, transfer_map(fitted, X, y), transfer_map(fitted, X, y, cv=3)]

    compiled = everything()
    without_fused_forms(monkeypatch)
    monkeypatch.setattr("gpu_smds.metrics.projections.fits_fused", lambda Z, points: False)
    np.testing.assert_array_equal(compiled[0].worst_status, status)
    for fast, plain in zip(compiled, everything(), strict=True):
        np.testing.assert_array_equal(fast.status, plain.status)
        tolerances.assert_close(fast.scores, plain.scores, tolerances.SCORE)


_INTERPRETED = """
import tolerances
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
        tolerances.assert_close(found, expected, tolerances.LAST_BITS, relative=True)
print("all equal")
"""


def test_triton_kernel_in_the_interpreter():
    """The kernel that CUDA runs, in Triton's interpreter, which is chosen before its import."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed: it comes with torch for CUDA on Linux")
    done = subprocess.run(
        [sys.executable, "-c", _INTERPRETED],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "all equal" in done.stdout
