"""Blocks of sites are read ahead and shared among cores, and threads are left as they were."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import tolerances
import torch

from gpu_smds import fit_map, score_map, transfer_map


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
