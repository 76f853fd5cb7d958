"""Ridge with ``dtype=torch.float32``: float32 products and factors, refined in float64.

For hardware with slow float64. Sites that do not converge are fitted in float64
(:mod:`gpu_smds.solvers.ridge`). Minimum norm and orthonormal maps ignore the dtype.

For real states, the float32 system is too inaccurate to be solved, and often not even positive
definite. But it is a good preconditioner: conjugate gradients on the float64 states, with two thin
products per step, then need only a few steps. The rounding error of the product of a matrix with
its transpose is relative to its diagonal, so the diagonal is enlarged by several roundings.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gpu_smds.kernels.linalg import cholesky_

# Number of float32 roundings by which the diagonal is enlarged. With fewer, the factorisation may
# fail; with more, more steps are needed.
_ROUNDINGS = 16
# A system is solved when its residual, measured by the preconditioner, has fallen by this factor:
# the relative error of the projections is then about the same.
_TOLERANCE = 1e-9
_MOST_STEPS = 100
# Factor by which the true residual may exceed that of the recursion.
_SLACK = 10.0
# Number of steps between two checks of the residual; each check waits for the GPU.
_LOOK = 2


def refine(
    system: Tensor, apply: Callable[[Tensor], Tensor], B: Tensor, alpha: float, intercept: bool
) -> tuple[Tensor, Tensor]:
    """Solve A S = B with a float32 approximation of A, by preconditioned conjugate gradients.

    Parameters
    ----------
    system
        Float32 approximation of A − αI ``(b, m, m)``. It is overwritten.
    apply
        Function that returns the exact product A V for float64 V ``(b, m, k)``.
    B
        ``(b, m, k)`` or ``(m, k)`` float64 right-hand sides.
    alpha
        Ridge penalty, > 0.
    intercept
        True if A and B are centred and ``system`` is not, as in
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
        running = (size > goal) & ~unsolved[:, None, None]
        if step % _LOOK == 0 and not bool(running.any()):
            break
        image = apply(direction)
        length = torch.where(running, size / (direction * image).sum(-2, keepdim=True), 0)
        solution += length * direction
        residual -= length * image
        preconditioned = precondition(residual)
        before, size = size, (residual * preconditioned).sum(-2, keepdim=True)
        direction = preconditioned + torch.where(running, size / before, 0) * direction
    # The residual of the recursion is checked against the true residual. NaN counts as unsolved.
    residual = B - apply(solution)
    size = (residual * precondition(residual)).sum(-2, keepdim=True)
    solved = (size >= 0) & (size <= _SLACK**2 * goal)
    return solution, unsolved | ~solved.all(-1).all(-1)
