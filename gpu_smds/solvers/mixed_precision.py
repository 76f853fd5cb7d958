"""Ridge on hardware with slow float64: float32 products and factors, refined in float64.

The float32 system of real states is not good enough to be solved, often not even positive
definite. It is good enough to precondition: conjugate gradients on the float64 states themselves,
whose every step is two thin products, then need a handful of steps. The product of a matrix with
its transpose is rounded relative to its diagonal, so the diagonal is enlarged by as many roundings.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gpu_smds.kernels.linalg import cholesky_

# By how many float32 roundings the diagonal is enlarged. With fewer the factor may fail; with more
# the steps become more.
_ROUNDINGS = 16
# A system is solved when its residual, measured by the preconditioner, has fallen by this factor:
# the projections are then off by about as much.
_TOLERANCE = 1e-9
_MOST_STEPS = 100
# By how much the true residual may be above that of the recursion.
_SLACK = 10.0
# Steps between two looks at the residual, each of which waits for a GPU.
_LOOK = 2


def refine(
    system: Tensor, apply: Callable[[Tensor], Tensor], B: Tensor, alpha: float, intercept: bool
) -> tuple[Tensor, Tensor]:
    """Solve A S = B with a float32 approximation of A, by preconditioned conjugate gradients.

    Parameters
    ----------
    system
        A − αI ``(b, m, m)`` float32, approximately. It is lost.
    apply
        The exact product A V of float64 ``(b, m, k)``.
    B
        ``(b, m, k)`` or ``(m, k)`` float64 right-hand sides.
    alpha
        Ridge penalty, > 0.
    intercept
        A and B are centred and ``system`` is not, as in
        :func:`gpu_smds.solvers.ridge_systems.ridge_`.

    Returns
    -------
    solution : Tensor
        ``(b, m, k)`` float64.
    unsolved : Tensor
        ``(b,)`` bool, where there is no factor or the steps did not converge.
    """
    diagonal = system.diagonal(dim1=-2, dim2=-1)
    diagonal += alpha
    diagonal *= 1 + _ROUNDINGS * torch.finfo(torch.float32).eps
    factor, unsolved = cholesky_(system)

    def solve(R: Tensor) -> Tensor:
        half = torch.linalg.solve_triangular(factor, R.float(), upper=False)
        full: Tensor = torch.linalg.solve_triangular(factor.mT, half, upper=True)
        return full.double()

    ones = solve(B.new_ones(len(system), system.shape[-1], 1)) if intercept else None

    def precondition(R: Tensor) -> Tensor:
        solved = solve(R)
        if ones is None:
            return solved
        return solved - ones * (solved.sum(-2, keepdim=True) / ones.sum(-2, keepdim=True))

    residual = B.expand(len(system), *B.shape[-2:]).clone()
    solution = torch.zeros_like(residual)
    direction = preconditioned = precondition(residual)
    size = (residual * preconditioned).sum(-2, keepdim=True)
    goal = _TOLERANCE**2 * size
    for step in range(_MOST_STEPS):
        running = size > goal
        if step % _LOOK == 0 and not bool(running.any()):
            break
        image = apply(direction)
        length = torch.where(running, size / (direction * image).sum(-2, keepdim=True), 0)
        solution += length * direction
        residual -= length * image
        preconditioned = precondition(residual)
        before, size = size, (residual * preconditioned).sum(-2, keepdim=True)
        direction = preconditioned + torch.where(running, size / before, 0) * direction
    # What the recursion believes is checked against the system itself. NaN, of a site without a
    # factor, is not below the goal either.
    residual = B - apply(solution)
    size = (residual * precondition(residual)).sum(-2, keepdim=True)
    solved = (size >= 0) & (size <= _SLACK**2 * goal)
    return solution, unsolved | ~solved.all(-1).all(-1)
