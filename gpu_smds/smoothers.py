"""A fold's projections as a function of its labels: what is computed once for any number of them.

A ridge map is linear in the embedding of the training labels, so that the projected test rows are
``H Y`` with a matrix H that only the states determine. An orthonormal map is not; there the
products with the states are what all label sets share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gpu_smds.blas import multiply
from gpu_smds.solve import procrustes, ridge_, ridge_svd, signs
from gpu_smds.systems import FoldSystem

#: Embeddings ``(c, k, n_train)`` of c label sets → projected test rows ``(b, c, k, n_test)``, up to
#: a shift, and which are undetermined, a bool tensor that broadcasts to ``(b, c)``.
Smoother = Callable[[Tensor], tuple[Tensor, Tensor]]


def smoother(fold: FoldSystem, trials: Tensor) -> Smoother:
    """What turns embeddings of a fold's training labels into projections of its test rows.

    The solver's first alpha is taken.

    Parameters
    ----------
    fold
        The fold of a block of b sites.
    trials
        ``(t, k, n_train)`` embeddings on which the precision of H is judged; where it does not
        suffice H is formed from the SVD of the states.
    """
    if fold.plan.solver.orthonormal:
        return _procrustes_of(fold)
    H = _hat(fold, trials)
    determined = torch.zeros(1, 1, dtype=torch.bool, device=H.device)

    def linear(Y: Tensor) -> tuple[Tensor, Tensor]:
        return multiply(Y.flatten(0, 1), H.mT).unflatten(1, Y.shape[:2]), determined

    return linear


def _hat(fold: FoldSystem, trials: Tensor) -> Tensor:
    """H ``(b, n_test, n_train)``; its rows take centred embeddings."""
    alpha = fold.plan.solver.alphas[0]
    T = fold.train()
    every = torch.eye(T.shape[1], dtype=T.dtype, device=T.device)
    if alpha == 0:
        return fold.project(ridge_svd(T, every, 0.0))
    t, k, _ = trials.shape
    Y = trials.flatten(0, 1).mT
    if fold.in_features:
        # The test rows are right-hand sides like any other.
        test = fold.states.x[:, fold.rows.test]
        test = (test if fold.scale is None else test / fold.scale[:, None]).mT
        right = torch.cat((multiply(T.mT, Y), test), dim=-1)
        fit = ridge_(fold.matrix(T), right, fold.probe, alpha, cancelled=fold.cancelled)
        H = multiply(fit.solution[..., t * k :].mT, T.mT)
    else:
        K_test = fold.test_gram(T)
        probe = multiply(K_test.mT, signs(fold.rows.n_test, T)[:, None])[..., 0]
        right = torch.cat((Y.expand(len(T), -1, -1), K_test.mT), dim=-1)
        fit = ridge_(fold.matrix(T), right, probe, alpha, intercept=True)
        H = fit.solution[..., t * k :].mT
    tried = replace(fit, solution=fit.solution[..., : t * k])
    doubtful = tried.doubtful(multiply(H, Y), _spans(t, k))
    if bool(doubtful.any()):
        Wt = torch.zeros_like(T.mT)
        Wt[doubtful] = ridge_svd(T[doubtful], every, alpha)
        H[doubtful] = fold.project(Wt)[doubtful]
    return H


def _procrustes_of(fold: FoldSystem) -> Smoother:
    fold.states.materialise()
    T = fold.train()

    def rotated(Y: Tensor) -> tuple[Tensor, Tensor]:
        c, k, _ = Y.shape
        M = multiply(T.mT, Y.flatten(0, 1).mT).unflatten(2, (c, k)).movedim(2, 1)
        Wt, undetermined = procrustes(M)
        Z = fold.project(Wt.movedim(1, 2).flatten(2)).mT
        return Z.unflatten(1, (c, k)), undetermined

    return rotated


def _spans(t: int, k: int) -> Sequence[slice]:
    return [slice(i * k, (i + 1) * k) for i in range(t)]
