"""Regularised linear systems of many sites: by Cholesky, or for many penalties at once.

All functions take float64 tensors of b sites and one column per right-hand side, and report where
the result has lost its digits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_smds.kernels.linalg import cholesky_, eigh, multiply

# Estimated relative error of a projection above which the SVD replaces the Gram forms. The estimate
# is pessimistic by two to three orders of magnitude, so accepted projections are accurate to 1e-10.
_DOUBTFUL = 1e-8

# Refinement stops after a step that changes the solution by at most this fraction. The remaining
# error is about the square of that, as each step reduces the error by the error of the first
# solution.
_CLOSE = 1e-6
_MOST_STEPS = 3
# About the number of arrays that a step holds.
_COPIES = 8


@dataclass(frozen=True)
class RidgeSolution:
    """Solution of one regularised system per site.

    Attributes
    ----------
    solution
        ``(*batch, m, k)``: the map ``Wt`` in the primal form, ``A`` in the dual.
    probe
        ``(*batch, m)`` the solution for the probe.
    root
        ``(*batch, m)`` square roots of the system's diagonal, before subtractions.
    failed
        ``(*batch)`` bool, where the matrix is not positive definite in floating point.
    """

    solution: Tensor
    probe: Tensor
    root: Tensor
    failed: Tensor

    def doubtful(self, Z: Tensor, columns: Sequence[slice]) -> Tensor:
        """Sites ``(*batch)`` whose projections ``(*batch, n, K)`` may have lost their digits.

        A computed product XᵀX and its Cholesky factorisation are exact for a system with an error
        E, where |Eᵢⱼ| is at most about m·eps·√(CᵢᵢCⱼⱼ) (Demmel 1989; Higham 2002, theorem 10.5): a
        feature with large values does not spoil the others. To first order, the error of the
        projections of states x is then xᵀ(C + αI)⁻¹E W. The probe is a combination of those states
        with random signs, so its solution has the size of (C + αI)⁻¹x. ``columns`` gives the
        columns of each manifold among the K columns; each manifold is judged by its own scale.
        """
        size = self.root.shape[-1] * torch.finfo(Z.dtype).eps
        reach = size * torch.linalg.vector_norm(self.root * self.probe, dim=-1)
        weighted = self.root[..., None] * self.solution
        lost = self.failed
        for span in columns:
            error = reach * torch.linalg.vector_norm(weighted[..., span], dim=(-2, -1))
            part = Z[..., span]
            spread = torch.linalg.vector_norm(part - part.mean(-2, keepdim=True), dim=(-2, -1))
            lost = lost | ~(error <= _DOUBTFUL * spread / Z.shape[-2] ** 0.5)
        return lost


def primal(n_train: int, d: int) -> bool:
    """Whether to solve the features × features system and not the samples × samples one.

    It is chosen if it is smaller or hardly larger than the other, because in it features with large
    values, which language models have, do not spoil the others.
    """
    return 5 * d <= 6 * n_train


def signs(n: int, like: Tensor) -> Tensor:
    """Fixed random signs ``(n,)``, scaled to norm 1, with which a probe combines n states."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, 2, (n,), generator=generator).to(like) * 2 - 1
    unit: Tensor = drawn / max(n, 1) ** 0.5
    return unit


def ridge_(
    C: Tensor,
    B: Tensor,
    probe: Tensor,
    alpha: float,
    intercept: bool = False,
    cancelled: Tensor | None = None,
) -> RidgeSolution:
    """Solve (C + αI) S = B by Cholesky, in primal or dual form. C is overwritten.

    Parameters
    ----------
    C
        Primal: scatter XᵀX of the centred training states. Dual: their Gram matrix XXᵀ.
        ``(*batch, m, m)``.
    B
        Primal: XᵀY; the solution is the map. Dual: centred Y; the map is Xᵀ times the solution.
        ``(*batch, m, k)``.
    probe
        ``(*batch, m)`` combination of the states to be projected (primal) or of their products
        with the training states (dual), by :func:`signs`.
    alpha
        Ridge penalty, > 0.
    intercept
        For the dual form of states that are not centred. The result is then the solution for the
        centred states: (HCH + αI) S = HB with H = I − 11ᵀ/m, and its columns sum to zero. It is
        computed as the solution of the uncentred system minus a multiple of the solution for a
        column of ones.
    cancelled
        ``(*batch, m)`` amount that was subtracted from the diagonal to get C; its digits are lost.
    """
    diagonal = C.diagonal(dim1=-2, dim2=-1)
    diagonal += alpha
    root = (diagonal if cancelled is None else diagonal + cancelled).clamp(min=0).sqrt()
    factor, failed = cholesky_(C)
    half = torch.linalg.solve_triangular(factor, _beside(C, B, probe, intercept), upper=False)
    solved = torch.linalg.solve_triangular(factor.mT, half, upper=True)
    return _solution(solved, root, failed, intercept)


def ridge_path(
    C: Tensor,
    B: Tensor,
    probe: Tensor,
    alphas: Sequence[float],
    intercept: bool = False,
    cancelled: Tensor | None = None,
) -> Iterator[RidgeSolution]:
    """As :func:`ridge_` for many penalties, from one eigendecomposition. C is not changed.

    An eigendecomposition has an error of eps·‖C‖ in every entry, so that a feature with large
    values spoils the others. Its solutions are therefore refined until their error is that of a
    Cholesky factorisation (Skeel 1980; Higham 2002, theorem 12.3), which
    :meth:`RidgeSolution.doubtful` estimates. Solutions for which the refinement does not converge
    are marked as failed.
    """
    values, vectors = eigh(C)
    right = _beside(C, B, probe, intercept)
    inside = multiply(vectors.mT, right)
    diagonal = C.diagonal(dim1=-2, dim2=-1)
    diagonal = diagonal if cancelled is None else diagonal + cancelled
    width = right.shape[-1]
    # Number of penalties solved together, so that they take less memory than another matrix.
    together = max(1, C.shape[-1] // (_COPIES * width))
    for start in range(0, len(alphas), together):
        some = alphas[start : start + together]
        penalty = values.new_tensor(some).repeat_interleave(width)
        gain = 1 / (values[..., None] + penalty)
        root = (diagonal[..., None] + penalty).clamp(min=0).sqrt()
        solved = multiply(vectors, gain * inside.repeat(1, 1, len(some)))
        failed = far = values[..., :1] + penalty <= 0
        for _ in range(_MOST_STEPS):
            residual = right.repeat(1, 1, len(some)) - penalty * solved - multiply(C, solved)
            step = multiply(vectors, gain * multiply(vectors.mT, residual))
            solved = solved + step
            moved, size = (torch.linalg.vector_norm(root * s, dim=-2) for s in (step, solved))
            far = ~(moved <= _CLOSE * size)
            if not bool((far & ~failed).any()):
                break
        lost = (failed | far).unflatten(-1, (-1, width)).any(-1)
        for a in range(len(some)):
            span = slice(a * width, (a + 1) * width)
            yield _solution(solved[..., span], root[..., a * width], lost[..., a], intercept)


def _beside(C: Tensor, B: Tensor, probe: Tensor, intercept: bool) -> Tensor:
    """All right-hand sides: B, the probe, and for an intercept a column of ones."""
    right = torch.cat((B.expand(*C.shape[:-1], B.shape[-1]), probe[..., None]), dim=-1)
    return torch.cat((right, torch.ones_like(right[..., :1])), dim=-1) if intercept else right


def _solution(solved: Tensor, root: Tensor, failed: Tensor, intercept: bool) -> RidgeSolution:
    if intercept:
        solved, ones = solved[..., :-1], solved[..., -1:]
        solved = solved - ones * (solved.sum(-2, keepdim=True) / ones.sum(-2, keepdim=True))
    return RidgeSolution(solved[..., :-1], solved[..., -1], root, failed)
