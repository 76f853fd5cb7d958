"""Orthonormal maps: Procrustes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gpu_smds.kernels.linalg import gram, multiply
from gpu_smds.solvers.fold_solver import FoldSize, FoldSolver, FoldView, Labels, PermutedProjections

# The k × k matrix MᵀM has the squared condition number of M. Below this ratio of its eigenvalues
# the error would reach the ninth digit, and an SVD of M is used instead.
_SQUARED_CONDITION = 1e-6

# Products between samples are computed if the columns of all label sets, times this number, exceed
# the training samples (measured on the CPU at 4096 features).
_WORTH = 8


@dataclass(frozen=True)
class Procrustes(FoldSolver):
    """The map with orthonormal rows that is closest to XᵀY (Schönemann 1966).

    Counterpart of ``SupervisedMDS(orthonormal=True)`` in smds.
    """

    name: ClassVar[str] = "procrustes"
    reads_rows: ClassVar[bool] = False
    refits: ClassVar[bool] = False

    def fit(self, fold: FoldView, labels: Labels) -> tuple[Tensor, Tensor]:
        """As :meth:`FoldSolver.fit`; it needs only the products of states and labels."""
        return closest_rotation(labels.products)

    def permuted(self, fold: FoldView, trials: Tensor, count: int) -> PermutedProjections:
        """As :meth:`FoldSolver.permuted`, all label sets at once."""
        T = fold.train()

        def rotated(Y: Tensor) -> tuple[Tensor, Tensor]:
            c, k, _ = Y.shape
            M = multiply(T.mT, Y.flatten(0, 1).mT).unflatten(2, (c, k)).movedim(2, 1)
            Wt, undetermined = closest_rotation(M)
            Z = fold.project(Wt.movedim(1, 2).flatten(2)).mT
            return Z.unflatten(1, (c, k)), undetermined

        n_train, d = T.shape[1:]
        if d <= n_train or _WORTH * count * trials.shape[1] <= n_train:
            return rotated
        # With M = TᵀY the map is M (MᵀM)^(−1/2), so that products between samples suffice.
        K, K_test = gram(T), fold.project(T.mT)

        def from_products(Y: Tensor) -> tuple[Tensor, Tensor]:
            c, k, _ = Y.shape
            rows = Y.flatten(0, 1)
            image = multiply(rows, K).unflatten(1, (c, k))
            root, hard = inverse_root(Y @ image.mT)
            if bool(hard.any()):
                return rotated(Y)
            Z = root @ multiply(rows, K_test.mT).unflatten(1, (c, k))
            return Z, torch.zeros_like(hard)

        return from_products

    def bytes_of_permutations(self, size: FoldSize, trials: int) -> tuple[int, int]:
        """As :meth:`FoldSolver.bytes_of_permutations`."""
        between = size.n_train * (size.n_train + size.n_test) * (size.d > size.n_train)
        rows = size.n_train * size.d
        return 8 * (rows + between), 16 * size.columns * size.d


def closest_rotation(M: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal map closest to M: the polar factor UVᵀ of its SVD.

    Parameters
    ----------
    M
        XᵀY ``(*batch, d, k)``.

    Returns
    -------
    Wt : Tensor
        ``(*batch, d, k)`` with orthonormal columns (rows where d < k).
    undetermined : Tensor
        ``(*batch,)`` bool, true where the rank of M is below min(d, k), so that the map is not
        unique.
    """
    d, k = M.shape[-2:]
    if d < k:
        transposed, undetermined = closest_rotation(M.mT)
        return transposed.mT, undetermined
    root, hard = inverse_root(M.mT @ M)
    Wt = M @ root
    undetermined = torch.zeros_like(hard)
    if bool(hard.any()):
        U, S, Vt = torch.linalg.svd(M[hard], full_matrices=False)
        Wt[hard] = U @ Vt
        undetermined[hard] = S[..., -1] <= d * torch.finfo(S.dtype).eps * S[..., 0]
    return Wt, undetermined


def inverse_root(G: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse square roots ``(*batch, k, k)`` of MᵀM, and where M itself must be decomposed.

    The latter is ``(*batch)`` bool, true where squaring the condition number of M loses too many
    digits.
    """
    values, vectors = torch.linalg.eigh(G)
    hard = values[..., 0] <= _SQUARED_CONDITION * values[..., -1]
    root = values.clamp(min=torch.finfo(values.dtype).tiny).rsqrt()
    return (vectors * root[..., None, :]) @ vectors.mT, hard
