import cases
import numpy as np
import pytest
import tolerances
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gpu_smds import SupervisedMDS, score_map

N = 60


@pytest.fixture
def data(rng):
    y = cases.labels(rng, N)
    return cases.states(rng, y, (), 12), y


def test_cross_validation_is_the_score_map(data):
    X, y = data
    cv = KFold(3, shuffle=True, random_state=0)
    scores = cross_val_score(SupervisedMDS(), X, y, cv=cv)
    tolerances.assert_close(scores, score_map(X, y, cv=cv).scores, tolerances.SCORE)
    piped = cross_val_score(make_pipeline(StandardScaler(), SupervisedMDS()), X, y, cv=cv)
    expected = score_map(X, y, cv=cv, standardize="train").scores
    tolerances.assert_close(piped, expected, tolerances.SCORE)


def test_grid_search_and_clone(data):
    X, y = data
    search = GridSearchCV(SupervisedMDS(), {"alpha": [0.1, 1e3]}, cv=3).fit(X, y)
    expected = score_map(X, y, alpha=[0.1, 1e3], cv=3).mean
    tolerances.assert_close(search.cv_results_["mean_test_score"], expected, tolerances.SCORE)
    assert clone(SupervisedMDS(alpha=3.0)).alpha == 3.0


def test_torch_in_torch_out(data):
    X, y = data
    by_numpy = SupervisedMDS().fit(X, y)
    by_torch = SupervisedMDS().fit(torch.from_numpy(X), torch.from_numpy(y))
    for name in ("W_", "Y_"):
        assert isinstance(getattr(by_torch, name), torch.Tensor)
        tolerances.assert_same(getattr(by_torch, name).numpy(), getattr(by_numpy, name))
    Z = by_torch.transform(torch.from_numpy(X))
    tolerances.assert_same(Z.numpy(), by_numpy.transform(X))
    assert isinstance(by_torch.inverse_transform(Z), torch.Tensor)
    tolerances.assert_same(by_torch.score(torch.from_numpy(X), y), by_numpy.score(X, y))


def test_files(data, tmp_path):
    X, y = data
    model = SupervisedMDS(alpha=0.5).fit(X, y)
    model.save(tmp_path / "model.safetensors")
    again = SupervisedMDS.load(tmp_path / "model.safetensors")
    assert again.alpha == 0.5
    tolerances.assert_same(again.score(X, y), model.score(X, y))
    tolerances.assert_same(again.transform(X), model.transform(X))


@pytest.mark.parametrize(
    ("X", "y", "arguments", "says"),
    [
        (np.ones((5, 3)), np.arange(5.0), {}, "the same in every sample"),
        (np.full((5, 3), np.nan), np.arange(5.0), {}, "NaN"),
        (np.eye(5), np.ones(5), {}, "all labels are equal"),
        (np.eye(5), np.arange(4.0), {}, "labels"),
        (np.eye(5), np.arange(5.0), {"parametrization": "other"}, "must be 'computed'"),
        (np.eye(5)[0], np.arange(5.0), {}, "1D array|2D array"),
        (torch.eye(5)[0], np.arange(5.0), {}, "n_features"),
        (torch.full((5, 2), torch.inf), np.arange(5.0), {}, "infinity"),
    ],
)
def test_what_cannot_be_fitted(X, y, arguments, says):
    with pytest.raises(ValueError, match=says):
        SupervisedMDS(**arguments).fit(X, y)


def test_wrong_states_after_the_fit(data):
    X, y = data
    model = SupervisedMDS().fit(X, y)
    for wrong in (X[:, :5], torch.from_numpy(X[:, :5])):
        with pytest.raises(ValueError, match="5 features"):
            model.transform(wrong)
    with pytest.raises(ValueError, match="unknown metric"):
        model.score(X, y, metric="accuracy")
    with pytest.raises(ValueError, match="60 samples but y has 3"):
        model.score(X, y[:3])
    assert np.isnan(model.score(X, np.ones(N)))
