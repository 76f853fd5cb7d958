"""Scores of projections by their definition."""

import numpy as np
import pytest
import tolerances
import torch
from scipy.spatial.distance import pdist, squareform

from gpu_smds.geometry.manifold import Manifold
from gpu_smds.metrics.reference import Ideal
from gpu_smds.metrics.scores import score_projections


@pytest.mark.parametrize("n", [2, 3, 200])
def test_stress_by_its_definition(rng, n):
    D = squareform(rng.random(n * (n - 1) // 2))
    Z = rng.normal(size=(5, n, 2))
    Z[3] = 1.0
    manifold = Manifold("given", lambda y: D, 2)
    ideal = Ideal(manifold, np.arange(float(n)), torch.device("cpu"), 0)
    scores, collapsed = score_projections(torch.from_numpy(Z), ideal, ["scale_normalized_stress"])
    for i in (0, 1, 2, 4):
        d, e = squareform(D, checks=False), pdist(Z[i])
        scale = d @ e / (e @ e)
        expected = 1 - np.sqrt(((d - scale * e) ** 2).sum() / (d @ d))
        tolerances.assert_close(scores[0, i], expected, tolerances.ROUNDING)
    assert collapsed.tolist() == [False, False, False, True, False]
