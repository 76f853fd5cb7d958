"""Checkpoints of maps that were forged or are of another version. None of them may be believed."""

import json

import numpy as np
from safetensors.numpy import load, save

KIND = "gpu_smds.Checkpoint"


def _tensors(change):
    """Change the arrays, and leave out the checksum, as whoever forges does."""

    def spoil(content: bytes) -> bytes:
        tensors = dict(load(content))
        facts = _header(content)["__metadata__"][KIND]
        return save(change(tensors) or tensors, {KIND: facts})

    return spoil


def _facts(change):
    def spoil(content: bytes) -> bytes:
        facts = json.loads(_header(content)["__metadata__"][KIND])
        return save(dict(load(content)), {KIND: json.dumps(change(facts))})

    return spoil


def _header(content: bytes):
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


def _all_done(tensors):
    """Every block is said to be finished; those that are not have a hash of nothing."""
    tensors["done"] = np.ones_like(tensors["done"])


#: Name → what becomes of the bytes of a sound one.
FORGED = {
    "of version 0.1.0": _tensors(lambda t: {n: v for n, v in t.items() if n != "digests"}),
    "all done": _tensors(_all_done),
    "too few blocks": _tensors(lambda t: t.update(done=t["done"][:1])),
    "too many blocks": _tensors(lambda t: t.update(done=np.ones(10_000, bool))),
    "numbers for done": _tensors(lambda t: t.update(done=t["done"].astype(np.int64))),
    "long hashes": _tensors(lambda t: t.update(digests=np.zeros((len(t["done"]), 32), np.uint8))),
    "no results": _tensors(lambda t: {n: v for n, v in t.items() if n != "result_0"}),
    "results of another shape": _tensors(lambda t: t.update(result_0=t["result_0"][:1])),
    "results of another dtype": _tensors(lambda t: t.update(result_0=t["result_0"].astype("f4"))),
    "blocks of no sites": _facts(lambda f: f | {"size": 0}),
    "blocks of fewer than no sites": _facts(lambda f: f | {"size": -3}),
    "blocks of very many sites": _facts(lambda f: f | {"size": 10**30}),
    "blocks of text": _facts(lambda f: f | {"size": "8"}),
    "facts that are a list": _facts(lambda f: [f]),
    "another key": _facts(lambda f: f | {"key": "0" * 64}),
    "cut": lambda content: content[:-100],
}
