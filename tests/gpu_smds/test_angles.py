"""Principal angles between the subspaces that maps read."""

from dataclasses import replace

import cases
import numpy as np
import pytest
import tolerances
import torch
from scipy.linalg import subspace_angles

from gpu_smds import fit_map, principal_angles, similarity_map


@pytest.fixture
def mapped(rng):
    """What turns an array ``(*sites, k, d)`` into a fitted map."""
    fitted = fit_map(rng.normal(size=(9, 2, 3)), rng.random(9))
    return lambda W: replace(fitted, W=torch.as_tensor(W))


def _by_scipy(W):
    *sites, _, _ = W.shape
    return np.array([[subspace_angles(a.T, b.T)[::-1] for b in W] for a in W]).reshape(
        *sites, *sites, -1
    )


def _with_angles(rng, angles, d):
    """Two maps whose subspaces have these angles, in bases of any kind."""
    k = len(angles)
    Q = np.linalg.qr(rng.normal(size=(d, 2 * k)))[0]
    A, B = Q[:, :k], Q[:, :k] * np.cos(angles) + Q[:, k:] * np.sin(angles)
    return np.stack([_basis(rng, k) @ A.T, _basis(rng, k) @ B.T])


def _basis(rng, k):
    return rng.normal(size=(k, k)) + 3 * np.eye(k)


@pytest.mark.parametrize(("k", "d"), [(1, 7), (2, 40), (3, 5), (5, 300), (4, 4)])
def test_random_subspaces_as_in_scipy(rng, mapped, k, d):
    W = rng.normal(size=(2, 4, k, d))
    angles = principal_angles(mapped(W))
    assert angles.shape == (2, 4, 4, k)
    assert angles.dtype == np.float64
    assert (np.diff(angles) >= 0).all()
    assert ((angles >= 0) & (angles <= np.pi / 2)).all()
    np.testing.assert_array_equal(angles, angles.swapaxes(1, 2))
    for layer in range(2):
        mixed = ((angles[layer] < np.pi / 4).any(-1)) & ((angles[layer] > np.pi / 4).any(-1))
        expected = _by_scipy(W[layer])
        tolerances.assert_close(angles[layer][mixed], expected[mixed], tolerances.ARC_COSINE)
        tolerances.assert_close(angles[layer][~mixed], expected[~mixed], tolerances.SOLUTION)
    tolerances.assert_close(np.diagonal(angles, 0, 1, 2), 0, tolerances.LAST_BITS)


@pytest.mark.parametrize(
    "planted",
    [
        [1e-8, 2e-8],
        [1e-8, 1e-5, 0.3],
        [1e-12, np.pi / 4, np.pi / 2 - 1e-8],
        [0.0, np.pi / 2],
        [np.pi / 4 - 1e-9, np.pi / 4 + 1e-9],
    ],
)
def test_planted_angles_small_and_large(rng, mapped, planted):
    W = _with_angles(rng, np.array(planted), 60)
    angles = principal_angles(mapped(W))[0, 1]
    tolerances.assert_close(angles, planted, tolerances.LAST_BITS)
    mixed = min(planted) < np.pi / 4 < max(planted)
    expected = _by_scipy(W)[0, 1]
    tolerances.assert_close(
        angles, expected, tolerances.ARC_COSINE if mixed else tolerances.LAST_BITS
    )


def test_neither_scale_nor_basis_changes_them(rng, mapped):
    W = rng.normal(size=(3, 2, 50))
    angles, cosines = principal_angles(mapped(W)), similarity_map(mapped(W))
    turned = np.stack([_basis(rng, 2) @ w for w in W])
    for other in (turned, 1e-200 * W, W * np.array([1.0, 1e-20])[:, None], W[:, ::-1].copy()):
        tolerances.assert_close(principal_angles(mapped(other)), angles, tolerances.LAST_BITS)
    assert np.abs(similarity_map(mapped(turned)) - cosines).max() > 0.01
    # The same subspace in another basis: no angle, but not the cosine of one map with itself.
    same = mapped(np.stack([W[0], np.array([[1.0, 1.0], [0.0, 1.0]]) @ W[0]]))
    tolerances.assert_close(principal_angles(same), 0, tolerances.LAST_BITS)
    assert similarity_map(same)[0, 1] < 0.95


def test_undefined_sites_are_nan(rng):
    y = cases.labels(rng, 40)
    X = cases.states(rng, y, (2, 4), 12)
    X[:, 0, 1] = 1.5
    X[3, 1, 3, 2] = np.nan
    angles = principal_angles(fit_map(X, y, standardize="all"))
    expected = np.zeros((2, 4, 4), dtype=bool)
    expected[0, 1] = expected[0, :, 1] = expected[1, 3] = expected[1, :, 3] = True
    np.testing.assert_array_equal(np.isnan(angles), expected[..., None].repeat(2, -1))
    alone = principal_angles(fit_map(X[:, 0, [0, 2, 3]], y, standardize="all"))
    keep = np.ix_([0, 2, 3], [0, 2, 3])
    tolerances.assert_close(angles[0][keep], alone, tolerances.CHUNK)


def test_a_subspace_of_fewer_dimensions_has_fewer_angles(rng, mapped):
    W = rng.normal(size=(5, 3, 20))
    W[1, 2] = 0  # two dimensions
    W[2, 1] = 2 * W[2, 0] - W[2, 2]  # two
    W[3] = W[3, :1] * np.array([1.0, -2.0, 1e-6])[:, None]  # one
    W[4] = 0  # none
    angles = principal_angles(mapped(W))
    dimensions = np.array([3, 2, 2, 1, 0])
    defined = np.minimum.outer(dimensions, dimensions)
    np.testing.assert_array_equal((~np.isnan(angles)).sum(-1), defined)
    for a in range(4):
        for b in range(4):
            found = angles[a, b, : defined[a, b]]
            expected = subspace_angles(W[a].T, W[b].T)[::-1]
            tolerances.assert_close(found, expected, tolerances.SOLUTION)


def test_more_components_than_features(rng, mapped):
    angles = principal_angles(mapped(rng.normal(size=(2, 3, 2))))
    tolerances.assert_close(angles[..., :2], 0, tolerances.LAST_BITS)
    assert np.isnan(angles[..., 2]).all()


def test_site_axes(rng, mapped):
    W = rng.normal(size=(2, 3, 4, 2, 9))
    angles = principal_angles(mapped(W))
    assert angles.shape == (2, 3, 4, 4, 2)
    tolerances.assert_close(angles[1, 2], principal_angles(mapped(W[1, 2])), tolerances.LAST_BITS)
    assert principal_angles(mapped(W[:, :, :0])).shape == (2, 3, 0, 0, 2)
    with pytest.raises(ValueError, match="no site axis"):
        principal_angles(mapped(W[0, 0, 0]))


@pytest.mark.cuda
def test_cuda_equals_cpu(rng, mapped):
    W = torch.from_numpy(rng.normal(size=(2, 5, 3, 40)))
    W[0, 1] = torch.nan
    W[0, 2, 1] = 0
    tolerances.assert_close(
        principal_angles(mapped(W.cuda())), principal_angles(mapped(W)), tolerances.ROUNDING
    )
    small = torch.from_numpy(_with_angles(rng, np.array([1e-8, 1e-5]), 60))
    found = principal_angles(mapped(small.cuda()))[0, 1]
    for angle, planted in zip(found, [1e-8, 1e-5], strict=True):
        tolerances.assert_close(angle, planted, tolerances.REFINED, relative=True)
