"""Data for fits to incomplete ideal distances, computed once for all sites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, shortest_path
from torch import Tensor

from gpu_smds.geometry.classical_mds import classical_mds

# Number of random starts by k, in addition to the start of smds and the MDS start. On a line
# samples cannot pass each other without raising the loss, so that almost every order of the samples
# has a minimum of its own.
_RANDOM_STARTS = {1: 64}
_RANDOM_STARTS_ELSE = 8


@dataclass(frozen=True)
class DefinedPairs:
    """The defined pairs, shared by all sites.

    They are stored as a list of neighbours per sample. An (n, n) matrix would be mostly empty,
    since chains define few pairs. A list of edges would need scatter sums, whose order varies on
    GPUs.
    """

    neighbours: Tensor  # (n, m), padded with the sample itself: distance 0, ideal distance 0
    ideal: Tensor  # (n, m)
    laplacian: Tensor  # (n, n) of the graph of pairs, all weights 1
    root: Tensor  # (n', n) with rootᵀ root = L, n' = n − components of the graph
    inverse_root: Tensor  # (n, n'), its pseudo-inverse
    stretch: float  # largest singular value of root
    scale: float  # Σ D² / 4 over ordered pairs: the loss of Z = 0 as in _errors
    starts: Tensor  # (s, n, k) configurations to start from

    @classmethod
    def of(cls, D: Tensor, k: int) -> DefinedPairs:
        """Prepare distances ``(n, n)`` float64, negative = undefined, for maps to k components."""
        defined = D >= 0
        defined.fill_diagonal_(False)
        if not torch.equal(D, D.mT) or bool(D.isposinf().any()):
            raise ValueError("ideal distances must be symmetric, without NaN or infinity")
        if not bool(defined.any()):
            raise ValueError("all ideal distances between different samples are undefined")
        degree = defined.sum(1)
        order = torch.sort(~defined, dim=1, stable=True).indices[:, : int(degree.max())]
        padding = torch.arange(order.shape[1], device=D.device) >= degree[:, None]
        own = torch.arange(len(D), device=D.device)[:, None]

        components = int(connected_components(_graph(D), directed=False)[0])
        # Samples of equal labels have equal rows, so paths are computed between labels only.
        rows, label = torch.unique(D, dim=0, return_inverse=True)
        first = torch.full((len(rows),), len(D), device=D.device)
        first = first.scatter_reduce(0, label, own[:, 0], "amin")
        paths = np.asarray(shortest_path(_graph(D[first][:, first]), directed=False))
        completed = torch.from_numpy(paths).to(D)[label][:, label]
        # Distances between components of the graph are not known: take the largest known path.
        completed[completed.isinf()] = completed[completed.isfinite()].max()

        laplacian = torch.diag(degree.to(D)) - defined.to(D)
        values, vectors = torch.linalg.eigh(laplacian)
        # Eigenvalue 0 belongs to shifts of whole components, which change no distance.
        values, vectors = values[components:].sqrt(), vectors[:, components:]
        ideal = D.gather(1, order).masked_fill(padding, 0)
        return cls(
            neighbours=torch.where(padding, own, order),
            ideal=ideal,
            laplacian=laplacian,
            root=values[:, None] * vectors.mT,
            inverse_root=vectors / values,
            stretch=float(values[-1]),
            scale=float(ideal.square().sum()) / 4,
            starts=_starts(completed, k),
        )


def _starts(completed: Tensor, k: int) -> Tensor:
    """Configurations ``(s, n, k)``: MDS of completed distances ``(n, n)``, then random ones."""
    embedding, _ = classical_mds(completed, k)
    count = count_of_starts(k) - 1
    drawn = np.random.default_rng(0).normal(size=(count, *embedding.shape))
    return torch.cat((embedding[None], torch.from_numpy(drawn).to(embedding)))


def count_of_starts(k: int) -> int:
    """Number of configurations in k dimensions to start from."""
    return 1 + _RANDOM_STARTS.get(k, _RANDOM_STARTS_ELSE)


def _graph(D: Tensor) -> csr_array:
    """Graph of the defined distances; explicit zeros of the sparse array are edges of length 0."""
    distances = D.cpu().numpy()
    edges = (distances >= 0).nonzero()
    return csr_array((distances[edges], edges), shape=D.shape)
