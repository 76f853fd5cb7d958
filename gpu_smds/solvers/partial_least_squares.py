"""Partial least squares, batched over sites."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gpu_smds._arguments import as_integer
from gpu_smds.kernels.linalg import multiply
from gpu_smds.solvers.fold_solver import FoldSize, FoldSolver, FoldView, Labels

# A direction counts as absent if the remaining covariance of states and labels is at most the
# fraction _ABSENT of the first, and as not unique if the next one equals it to the fraction _TIED.
_ABSENT = 1e-12
_TIED = 1e-11


@dataclass(frozen=True)
class PartialLeastSquares(FoldSolver):
    """The directions of the states with the most covariance with the embedding: PLS2 (Wold 1975).

    Counterpart of ``HybridSMDS(reducer=PLSRegression(n_components=n_latent))`` in smds, whose
    projections are the scores of the states on the latent variables. States and embedding are
    z-scored on the training rows, as in scikit-learn. scikit-learn finds each direction by power
    iteration with a tolerance of 1e-6 by default. Here the directions are exact, as with
    ``tol=1e-24, max_iter=100000`` in scikit-learn. The sign of a latent variable is arbitrary.

    Only XᵀY is deflated, not the states, so that each latent variable needs two passes over the
    states (Dayal & MacGregor 1997, "Improved PLS algorithms", the first one).

    Attributes
    ----------
    n_latent
        Number of latent variables, which is the width of the projection. It is independent of
        ``n_components``, the width of the embedding; scikit-learn calls it ``n_components``. If
        states and labels have fewer common directions, the remaining columns of the projection are
        0 and the status is ``UNDETERMINED``.
    """

    name: ClassVar[str] = "pls"
    scales: ClassVar[bool] = True
    fits_distances: ClassVar[bool] = False

    n_latent: int = 2

    def __post_init__(self) -> None:
        as_integer(self.n_latent, "n_latent", least=1)

    def width(self, k: int) -> int:
        """As :meth:`FoldSolver.width`."""
        return self.n_latent

    @property
    def least_features(self) -> int:
        """As :attr:`FoldSolver.least_features`: one for each latent variable."""
        return self.n_latent

    def bytes_per_site(self, size: FoldSize) -> int:
        """As :meth:`FoldSolver.bytes_per_site`: rotations, loadings, XᵀY twice, and scores."""
        return 8 * (size.d * (3 * self.n_latent + 3 * size.columns) + 2 * size.n_train)

    def fit(self, fold: FoldView, labels: Labels) -> tuple[Tensor, Tensor]:
        """As :meth:`FoldSolver.fit`."""
        X, n = fold.train(), fold.n_train
        unbiased = (max(n - 1, 1) / max(n, 1)) ** 0.5
        spread = torch.linalg.vector_norm(labels.Y, dim=0) / max(n, 1) ** 0.5 / unbiased
        covariance = labels.products / torch.where(spread > 0, spread, 1)
        left = covariance.clone()
        first = torch.linalg.vector_norm(covariance, dim=(1, 2))
        undetermined = torch.zeros(len(X), dtype=torch.bool, device=X.device)
        rotations = X.new_zeros(len(X), X.shape[2], self.n_latent)
        loadings = torch.zeros_like(rotations)
        for a in range(self.n_latent):
            values, vectors = torch.linalg.eigh(multiply(left.mT, left))
            strength = values[:, -1].clamp(min=0).sqrt()
            if values.shape[1] > 1:
                undetermined |= values[:, -1] - values[:, -2] <= _TIED * values[:, -1]
            absent = ~(strength > _ABSENT * first)
            undetermined |= absent
            w = multiply(left, vectors[..., -1:]) / torch.where(absent, 1, strength)[:, None, None]
            # The direction in terms of the original states, which are not deflated.
            r = w - multiply(rotations, multiply(loadings.mT, w))
            r = r.masked_fill(absent[:, None, None], 0)
            scores = multiply(X, r)
            size = scores.square().sum((1, 2))
            share = 1 / torch.where(size > 0, size, 1)
            loading = multiply(X.mT, scores) * share[:, None, None]
            left = left - multiply(loading, multiply(r.mT, covariance))
            rotations[..., a], loadings[..., a] = r[..., 0], loading[..., 0]
        # The fold divides by the standard deviation with n, scikit-learn by that with n − 1.
        return rotations * unbiased, undetermined
