"""A fold's projections as a function of its labels: what is computed once for any number of them.

A ridge map is linear in the embedding of the training labels, so that the projected test rows are
``H Y`` with a matrix H that only the states determine – or with its two thin factors, where there
are many more samples than features. An orthonormal map is not linear; there the products with the
states are what all label sets share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gpu_smds.blas import gram, multiply
from gpu_smds.solve import inverse_root, procrustes, ridge_, ridge_svd, signs
from gpu_smds.systems import FoldSystem

# From so many columns for each training sample on, products between samples are worth forming
# (measured on the CPU at 4096 features).
_WORTH = 8

#: Embeddings ``(c, k, n_train)`` of c label sets → projected test rows ``(b, c, k, n_test)``, up to
#: a shift, and which are undetermined, a bool tensor that broadcasts to ``(b, c)``.
Smoother = Callable[[Tensor], tuple[Tensor, Tensor]]


def smoother(fold: FoldSystem, trials: Tensor, count: int) -> Smoother:
    """What turns embeddings of a fold's training labels into projections of its test rows.

    The solver's first alpha is taken.

    Parameters
    ----------
    fold
        The fold of a block of b sites.
    trials
        ``(t, k, n_train)`` embeddings on which the precision of H is judged; where it does not
        suffice H is formed from the SVD of the states.
    count
        Number of label sets that it will be used for.
    """
    if fold.plan.solver.orthonormal:
        return _procrustes_of(fold, count)
    factors = _hat(fold, trials)
    determined = torch.zeros(1, 1, dtype=torch.bool, device=trials.device)

    def linear(Y: Tensor) -> tuple[Tensor, Tensor]:
        Z = _through(Y.flatten(0, 1), factors)
        return Z.unflatten(1, Y.shape[:2]), determined

    return linear


def in_factors(n_train: int, n_test: int, d: int) -> bool:
    """Whether two factors of H are fewer numbers than H itself."""
    return d * (n_train + n_test) < n_train * n_test


def _hat(fold: FoldSystem, trials: Tensor) -> list[Tensor]:
    """Hᵀ ``(b, n_train, n_test)`` of centred embeddings, or factors whose product it is."""
    alpha = fold.plan.solver.alphas[0]
    T = fold.train()
    if alpha == 0:
        every = torch.eye(T.shape[1], dtype=T.dtype, device=T.device)
        return [fold.project(ridge_svd(T, every, 0.0)).mT]
    t, k, _ = trials.shape
    Y = trials.flatten(0, 1)
    if fold.in_features:
        # The test rows are right-hand sides like any other.
        test = fold.states.x[:, fold.rows.test]
        test = (test if fold.scale is None else test / fold.scale[:, None]).mT
        right = torch.cat((multiply(T.mT, Y.mT), test), dim=-1)
        fit = ridge_(fold.matrix(T), right, fold.probe, alpha, cancelled=fold.cancelled)
        solved = fit.solution[..., t * k :]
        thin = in_factors(fold.rows.n_train, fold.rows.n_test, T.shape[-1])
        factors = [T, solved] if thin else [multiply(T, solved)]
    else:
        K_test = fold.test_gram(T)
        probe = multiply(K_test.mT, signs(fold.rows.n_test, T)[:, None])[..., 0]
        right = torch.cat((Y.mT.expand(len(T), -1, -1), K_test.mT), dim=-1)
        fit = ridge_(fold.matrix(T), right, probe, alpha, intercept=True)
        factors = [fit.solution[..., t * k :]]
    tried = replace(fit, solution=fit.solution[..., : t * k])
    doubtful = tried.doubtful(_through(Y, factors).mT, _spans(t, k))
    return _from_svd(fold, T, factors, doubtful) if bool(doubtful.any()) else factors


def _from_svd(fold: FoldSystem, T: Tensor, factors: list[Tensor], doubtful: Tensor) -> list[Tensor]:
    """The same at doubtful sites from the SVD of the states."""
    U, S, Vt = torch.linalg.svd(T[doubtful], full_matrices=False)
    gain = S / (S.square() + fold.plan.solver.alphas[0])
    maps = torch.zeros(len(T), T.shape[2], S.shape[1], dtype=T.dtype, device=T.device)
    maps[doubtful] = Vt.mT * gain[:, None]
    solved = fold.project(maps).mT[doubtful]
    if len(factors) == 1:
        Ht = factors[0].clone()
        Ht[doubtful] = multiply(U, solved)
        return [Ht]
    # With factors there are more samples than features, so that U is as wide as the states.
    left, right = T.clone(), factors[1].clone()
    left[doubtful], right[doubtful] = U, solved
    return [left, right]


def _through(Y: Tensor, factors: Sequence[Tensor]) -> Tensor:
    for factor in factors:
        Y = multiply(Y, factor)
    return Y


def _procrustes_of(fold: FoldSystem, count: int) -> Smoother:
    fold.states.materialise()
    T = fold.train()

    def rotated(Y: Tensor) -> tuple[Tensor, Tensor]:
        c, k, _ = Y.shape
        M = multiply(T.mT, Y.flatten(0, 1).mT).unflatten(2, (c, k)).movedim(2, 1)
        Wt, undetermined = procrustes(M)
        Z = fold.project(Wt.movedim(1, 2).flatten(2)).mT
        return Z.unflatten(1, (c, k)), undetermined

    n_train, d = T.shape[1:]
    if d <= n_train or _WORTH * count * fold.embedding.shape[1] <= n_train:
        return rotated
    # With M = TᵀY the map is M (MᵀM)^(−1/2), so that products between samples are all it takes.
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


def _spans(t: int, k: int) -> Sequence[slice]:
    return [slice(i * k, (i + 1) * k) for i in range(t)]
