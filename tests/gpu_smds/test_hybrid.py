"""``HybridSMDS`` against that of smds."""

import cases
import numpy as np
import pytest
import tolerances
import torch
from manifolds import METRICS
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from gpu_smds import (
    HybridSMDS,
)

N = 60


@pytest.fixture
def data(rng):
    y = rng.integers(0, 12, N).astype(float)
    return cases.states(rng, y / 12, (), 10, outlier=5.0), y


@pytest.mark.parametrize("reducer", [PLSRegression(2), PCA(3), LinearRegression()], ids=str)
@pytest.mark.parametrize("bypass", [False, True])
def test_hybrid_against_smds(data, reducer, bypass):
    import smds

    X, y = data
    if isinstance(reducer, LinearRegression):
        with pytest.raises(TypeError, match="has no transform"):
            HybridSMDS(reducer=reducer).fit(X, y).transform(X)
        return
    labels = np.stack([y, y**2], axis=1) if bypass else y
    arguments = {"reducer": reducer, "bypass_mds": bypass, "manifold": "semicircular"}
    theirs = smds.HybridSMDS(**arguments).fit(X, labels)
    ours = HybridSMDS(**arguments).fit(X, labels)
    assert ours.transform(X).shape == theirs.transform(X).shape
    scores = [ours.score(X, labels, m) for m in METRICS if not bypass]
    expected = [theirs.score(X, labels, m) for m in METRICS if not bypass]
    tolerances.assert_close(scores, expected, tolerances.SCORE)
    tolerances.assert_close(
        ours.inverse_transform(ours.transform(X)),
        theirs.inverse_transform(theirs.transform(X)),
        tolerances.SCORE,
        relative=True,
    )
    assert isinstance(
        ours.fit(torch.from_numpy(X), labels).transform(torch.from_numpy(X)), torch.Tensor
    )


def test_hybrid_wrong_use(data, tmp_path):
    X, y = data
    with pytest.raises(ValueError, match="needs a reducer"):
        HybridSMDS().fit(X, y)
    with pytest.raises(ValueError, match="leaves no distance undefined"):
        HybridSMDS(manifold="chain", reducer=PCA(2)).fit(X, y)
    with pytest.raises(NotImplementedError, match="skops"):
        HybridSMDS(reducer=PCA(2)).fit(X, y).save(tmp_path / "model")
