"""The distances and points of an ideal shape are of one shape."""

import cases
import numpy as np
import tolerances
import torch
from scipy.spatial.distance import pdist, squareform

from gpu_smds import CircularShape


def test_points_and_distances_of_the_circle_agree(rng):
    y = torch.from_numpy(cases.labels(rng, 40))
    shape = CircularShape()
    expected = squareform(pdist(shape.points(y).numpy()))
    tolerances.assert_close(shape(y.numpy()), expected, tolerances.LAST_BITS)


def test_radius_is_without_effect(rng):
    y = cases.labels(rng, 20)
    np.testing.assert_array_equal(CircularShape(radious=7.0)(y), CircularShape()(y))
