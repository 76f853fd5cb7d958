"""Saved score maps are what they were, and damaged files are refused."""

import json

import cases
import numpy as np
import pytest

from gpu_smds import ScoreMap, Status, score_map


def test_score_map_file_and_dict(rng, tmp_path):
    y = cases.labels(rng, 30)
    X = cases.states(rng, y, (2, 2), 6)
    X[0, 1, 1] = np.nan
    result = score_map(X, y, alpha=[0.1, 1.0])
    path = tmp_path / "scores.safetensors"
    result.save(path)
    again = ScoreMap.load(path)
    np.testing.assert_array_equal(again.scores, result.scores)
    np.testing.assert_array_equal(again.status, result.status)
    assert again.dims == result.dims
    assert dict(again.coords) == dict(result.coords)
    assert [p.name for p in tmp_path.iterdir()] == ["scores.safetensors"]
    plain = json.loads(json.dumps(result.to_dict()))
    assert plain["scores"][0][0][1][1] is None
    assert plain["scores"][1][2][0][1] == result.scores[1, 2, 0, 1]
    assert result.explain()["non_finite"] == (6, Status.NON_FINITE.explanation)


def test_damaged_files(tmp_path):
    path = tmp_path / "scores.safetensors"
    with pytest.raises(FileNotFoundError, match="does not exist"):
        ScoreMap.load(path)
    path.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ")
    with pytest.raises(ValueError, match="does not hold a ScoreMap"):
        ScoreMap.load(path)
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match="damaged"):
        ScoreMap.load(path)
