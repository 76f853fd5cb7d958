"""The hat matrix of a ridge fit: projections as a linear function of the labels.

The projected test rows are ``H Y``, where H depends only on the states. If there are many more
samples than features, H is kept as two thin factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gpu_smds.kernels.linalg import multiply
from gpu_smds.solvers.fold_solver import FoldView
from gpu_smds.solvers.minimum_norm import ridge_factors, ridge_svd
from gpu_smds.solvers.ridge_forms import Form, form_of


def hat_factors(fold: FoldView, alpha: float, trials: Tensor) -> list[Tensor]:
    """Hᵀ ``(b, n_train, n_test)`` for centred embeddings, or factors with this product.

    Parameters
    ----------
    fold
        The fold of b sites.
    alpha
        Ridge penalty, ≥ 0.
    trials
        ``(t, k, n_train)`` embeddings on which the precision of H is judged; where it is not
        sufficient, H is computed from the SVD of the states.
    """
    form = form_of(fold)
    if alpha == 0:
        every = torch.eye(fold.n_train, dtype=form.train.dtype, device=form.train.device)
        return [fold.project(ridge_svd(form.train, every, 0.0)).mT]
    t, k, _ = trials.shape
    Y = trials.flatten(0, 1)
    right = torch.cat((form.right_of(Y), form.right_of_hat()), dim=-1)
    solved = form.solve(form.matrix, right, alpha)
    factors = form.hat(solved.solution[..., t * k :])
    tried = replace(solved, solution=solved.solution[..., : t * k])
    spans = [slice(i * k, (i + 1) * k) for i in range(t)]
    doubtful = tried.doubtful(apply_hat(Y, factors).mT, spans)
    return _from_svd(form, alpha, factors, doubtful) if bool(doubtful.any()) else factors


def apply_hat(Y: Tensor, factors: Sequence[Tensor]) -> Tensor:
    """Projections ``(b, c, n_test)`` of embeddings ``(c, n_train)``."""
    for factor in factors:
        Y = multiply(Y, factor)
    return Y


def _from_svd(form: Form, alpha: float, factors: list[Tensor], doubtful: Tensor) -> list[Tensor]:
    """The factors, with doubtful sites replaced by those from the SVD of the states."""
    T = form.train
    U, gain, Vt = ridge_factors(T[doubtful], alpha)
    maps = torch.zeros(len(T), T.shape[2], gain.shape[1], dtype=T.dtype, device=T.device)
    maps[doubtful] = Vt.mT * gain[:, None]
    solved = form.fold.project(maps).mT[doubtful]
    if len(factors) == 1:
        Ht = factors[0].clone()
        Ht[doubtful] = multiply(U, solved)
        return [Ht]
    # Two factors are used with more samples than features, so that U is as wide as the states.
    left, right = T.clone(), factors[1].clone()
    left[doubtful], right[doubtful] = U, solved
    return [left, right]
