"""Embeddings of ideal distances, from the distances and from points."""

import cases
import numpy as np
import tolerances
import torch

from gpu_smds import CircularShape
from gpu_smds.geometry.classical_mds import classical_mds, embed_points


def test_embedding_of_points_is_classical_mds(rng):
    points = torch.from_numpy(rng.normal(size=(30, 3)))
    D = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    for k in (1, 2, 3):
        Y, determined = embed_points(points, k)
        Z, determined_too = classical_mds(D, k)
        assert determined
        assert determined_too
        tolerances.assert_close((Y @ Y.mT).numpy(), (Z @ Z.mT).numpy(), tolerances.ROUNDING)
    wide, _ = embed_points(points, 5)
    assert wide.shape == (30, 5)
    assert (wide[:, 3:] == 0).all()


def test_large_label_sets_embed_without_a_distance_matrix(rng):
    """Of 50,000 × 50,000 distances, 20 GB; what is embedded is the circle, turned and centred."""
    y = torch.from_numpy(cases.labels(rng, 50_000))
    shape = CircularShape()
    Y, determined = embed_points(shape.points(y), 2)
    assert determined
    assert Y.shape == (50_000, 2)
    tolerances.assert_close(Y.mean(0), 0, tolerances.ROUNDING)
    # Along its axes, the longer one first.
    scatter = (Y.mT @ Y / len(Y)).numpy()
    tolerances.assert_close(scatter, np.diag(scatter.diagonal()), tolerances.ROUNDING)
    assert scatter[0, 0] > scatter[1, 1] > 0
    # With its distances: from the first samples, which span the plane, to all others.
    points = shape.points(y)
    for i in range(3):
        found = torch.linalg.vector_norm(Y - Y[i], dim=1)
        expected = torch.linalg.vector_norm(points - points[i], dim=1)
        tolerances.assert_close(found, expected, tolerances.ROUNDING)
    some = rng.choice(50_000, 200, replace=False)
    # All labels are there, so the few are normalised as they are among the many.
    some = np.r_[some, int(y.argmin()), int(y.argmax())]
    found = torch.cdist(Y[some], Y[some], compute_mode="donot_use_mm_for_euclid_dist")
    tolerances.assert_close(found, shape(y[some].numpy()), tolerances.ROUNDING)
