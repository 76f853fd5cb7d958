"""The p-values mean what they say: uniform on noise, few false claims, small where a circle is.

The data sets and the check are those of benchmarks/calibration.py, smaller.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binom

from benchmarks.calibration import (
    KINDS,
    LEVEL,
    Size,
    copied,
    noise,
    noise_row,
    on_noise,
    power,
    uniformity,
)
from gpu_smds import score_map, significance_map

SIZE = Size(samples=60, sites=4, features=6, permutations=39)
SETS = 200
# What a valid test leaves with a probability of 1 %; the seeds are fixed, so it does not.
SURELY = 0.01
# What it leaves never.
IMPOSSIBLE = 1e-6
STRENGTHS = (0.0, 0.2, 0.35, 0.7)


@pytest.fixture(autouse=True)
def one_thread():
    """On states as small as these two threads are slower than one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _few_false_claims(claims):
    low, high = binom.interval(0.99, len(claims), LEVEL)
    return low <= claims.sum() <= high


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.valid])
def test_noise(kind):
    found = on_noise(kind, SETS, SIZE)
    assert uniformity(found.p[:, 0], found.permutations) > SURELY
    assert _few_false_claims((found.p_family <= LEVEL).any(1))
    assert (found.q <= LEVEL).any(1).sum() <= binom.ppf(0.995, len(found.q), LEVEL)
    # Every p is a multiple of 1 / (m + 1), as it is counted.
    row = noise_row(KINDS[kind], found)
    assert sum(row["counts"]) == row["data_sets"] == len(found.p)


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if not kind.valid])
def test_what_is_exchanged_wrongly_is_noticed(kind):
    """Copies that permuted labels do not share, or that training and test part share."""
    found = on_noise(kind, SETS // 4, SIZE)
    assert uniformity(found.p[:, 0], found.permutations) < IMPOSSIBLE
    assert not _few_false_claims((found.p_family <= LEVEL).any(1))


def test_a_leaky_statistic_is_noticed():
    """The score of the samples fitted on against held-out ones of permuted labels."""
    broken, sound = [], []
    for number in range(SETS // 4):
        rng = np.random.default_rng([number, 1])
        X, y = noise(rng, SIZE.samples, SIZE), rng.random(SIZE.samples)
        found = significance_map(X, y, SIZE.permutations, seed=number)
        seen = score_map(X, y, cv=None).mean
        broken.append((found.null[:, 0] > seen[0]).mean())
        sound.append(found.p[0])
    assert uniformity(np.array(broken), SIZE.permutations) < IMPOSSIBLE
    assert uniformity(np.array(sound), SIZE.permutations) > SURELY


def test_no_correction_is_noticed():
    found = on_noise("holdout", SETS, replace(SIZE, permutations=19))
    assert _few_false_claims((found.p_family <= LEVEL).any(1))
    assert not _few_false_claims((found.p <= LEVEL).any(1))


def test_power_grows_from_the_level_to_certainty():
    found = list(power(STRENGTHS, 80, SIZE).values())
    alone = np.array([(one.p[:, 0] <= LEVEL).mean() for one in found])
    family = np.array([(one.p_family[:, 0] <= LEVEL).mean() for one in found])
    assert _few_false_claims(found[0].p[:, 0] <= LEVEL)
    for rates in (alone, family):
        # The noise is the same at all strengths: what is left of chance is little.
        assert (np.diff(rates) > -0.03).all()
        assert rates[0] < 0.15
        assert rates[-1] > 0.95
    assert (family <= alone).all()
    # What is found at one site is no reason to claim the others.
    for one in found:
        assert _few_false_claims((one.p_family[:, 1:] <= LEVEL).any(1))


def test_the_check_takes_steps_for_what_they_are():
    """Uniform on few multiples is uniform; on them as they are the test would not believe it."""
    rng = np.random.default_rng(0)
    for m in (4, 19):
        p = rng.integers(1, m + 2, 500) / (m + 1)
        assert uniformity(p, m) > SURELY
        assert uniformity(p**1.5, m) < IMPOSSIBLE


def test_copies():
    sizes = np.bincount(copied(60))
    assert sorted(set(sizes.tolist())) == [2, 3]
    assert sizes.sum() == 60
