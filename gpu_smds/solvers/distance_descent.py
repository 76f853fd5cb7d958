"""Descent on the loss of incomplete distances: L-BFGS from many starts of many sites at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_smds.geometry.defined_pairs import DefinedPairs

# Pairs of steps and gradient changes that L-BFGS remembers.
MEMORY = 20

# Rounding error of a loss relative to the root of its product with the loss of Z = 0: a difference
# of distances has the rounding error of the distances.
_ROUNDING = 1e-14

# Smaller distances are replaced by this in divisions.
_COINCIDENT = 1e-150

# Bytes of the temporaries over a block of pairs.
_BLOCK_BYTES = {"cpu": 1 << 20, "cuda": 256 << 20}


@dataclass
class Descent:
    """State of the descents from s starts at b sites."""

    x: Tensor  # (b, s, k, r)
    loss: Tensor  # (b, s)
    converged: Tensor  # (b, s)
    iterations: Tensor  # (b, s)

    @classmethod
    def begun(cls, x: Tensor) -> Descent:
        """Room for what descents from starts ``(b, s, k, r)`` reach."""
        b, s = x.shape[:2]
        return cls(
            x.new_empty(x.shape),
            x.new_empty(b, s),
            torch.zeros(b, s, dtype=torch.bool, device=x.device),
            torch.zeros(b, s, dtype=torch.int64, device=x.device),
        )


def descend(
    P: Tensor,
    pairs: DefinedPairs,
    x: Tensor,
    max_iter: int,
    tol: float,
    smoothing: Tensor | None = None,
) -> Descent:
    """Minimise the loss from each start by L-BFGS, with the SMACOF step as safeguard.

    A step is taken only if it lowers the loss. After a rejected step the SMACOF step is tried,
    which lowers the loss in theory. If it is rejected too, only rounding is left and the start
    stops.
    """
    result = Descent.begun(x)
    going = _Running(P, pairs, x, smoothing)
    for iteration in range(max_iter + 1):
        small = going.gradient.square().sum(1) <= 2 * tol**2 * pairs.scale
        going.rested |= small
        running = ~going.rested.view(-1, x.shape[1]).all(1)
        count = int(running.sum())
        if iteration == max_iter or 2 * count <= len(running):
            # Finished sites leave the batch when they are half of it.
            going.write(result, small)
            if iteration == max_iter or count == 0:
                break
            going.keep(running)
        going.step()
    return result


class _Running:
    """Starts that have not reached a minimum yet, those of all sites one after the other.

    Parameters
    ----------
    P
        ``(b, n, r)`` basis of the projections, see :func:`_basis`.
    pairs
        The defined pairs.
    x
        ``(b, s, k, r)`` starts.
    smoothing
        ε² ``(s,)``, see :func:`_errors`.
    """

    def __init__(self, P: Tensor, pairs: DefinedPairs, x: Tensor, smoothing: Tensor | None) -> None:
        b, self._s, self._k, r = x.shape
        self._P, self._pairs, self._smoothing = P, pairs, smoothing
        self._sites = torch.arange(b, device=x.device)
        self.x = x.reshape(b * self._s, self._k * r)
        self.loss, self.gradient = self._value(self.x)
        self._steps = self._changes = x.new_zeros(b * self._s, 0, self._k * r)
        self.rested = torch.zeros_like(self.loss, dtype=torch.bool)
        self.iterations = torch.zeros_like(self.loss, dtype=torch.int64)
        self._plain = torch.ones_like(self.rested)

    def _value(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Losses ``(b s,)`` and gradients ``(b s, k r)``."""
        P, s, k = self._P, self._s, self._k
        b, n, r = P.shape
        Z = P @ x.reshape(-1, s * k, r).mT
        Z = Z.view(-1, n, s, k).permute(3, 1, 0, 2).flatten(2)
        smoothing = None if self._smoothing is None else self._smoothing.repeat(b)
        loss, slopes = errors(Z, self._pairs, smoothing)
        rows = slopes.unflatten(2, (-1, s)).permute(2, 3, 0, 1).reshape(-1, s * k, n)
        return loss, (rows @ P).view(-1, k * r)

    def write(self, result: Descent, small: Tensor) -> None:
        """Write all starts to ``result``; ``small (b s,)`` is true where the gradient vanishes."""
        s, sites = self._s, self._sites
        result.x[sites] = self.x.view(-1, s, self._k, self._P.shape[2])
        result.loss[sites] = self.loss.view(-1, s)
        result.converged[sites] = small.view(-1, s)
        result.iterations[sites] = self.iterations.view(-1, s)

    def keep(self, running: Tensor) -> None:
        """Continue with some sites ``(b,)`` only."""
        self._P, self._sites = self._P[running], self._sites[running]
        kept = running.repeat_interleave(self._s)
        self.x, self.loss, self.gradient = self.x[kept], self.loss[kept], self.gradient[kept]
        self._steps, self._changes = self._steps[kept], self._changes[kept]
        self.rested, self.iterations = self.rested[kept], self.iterations[kept]
        self._plain = self._plain[kept]

    def step(self) -> None:
        """Try one step from every start."""
        step = _lbfgs_step(self._steps, self._changes, self.gradient)
        slope = (step * self.gradient).sum(1)
        self._plain |= ~(slope < 0)
        step = torch.where(self._plain[:, None], -self.gradient, step)
        slope = torch.where(self._plain, -self.gradient.square().sum(1), slope)
        new_loss, new_gradient = self._value(self.x + step)
        # Close to a minimum the loss changes by less than its rounding error: use the gradient.
        level = new_loss <= self.loss + _ROUNDING * (self.loss * self._pairs.scale).sqrt()
        flatter = new_gradient.square().sum(1) < self.gradient.square().sum(1)
        lower = new_loss <= self.loss + 1e-4 * slope
        taken = (lower | (level & flatter)) & ~self.rested
        self.iterations += ~self.rested
        self.rested |= self._plain & ~taken
        self._plain = ~taken
        # A step that is not taken enters the memory as zeros, which _lbfgs_step ignores.
        step = torch.where(taken[:, None], step, 0)
        change = torch.where(taken[:, None], new_gradient - self.gradient, 0)
        self.x = self.x + step
        self.loss = torch.where(taken, new_loss, self.loss)
        self.gradient = self.gradient + change
        self._remember(step, change)

    def _remember(self, step: Tensor, change: Tensor) -> None:
        curved = (step * change).sum(1) > 1e-10 * step.norm(dim=1) * change.norm(dim=1)
        self._steps, self._changes = (
            torch.cat((past[:, 1 - MEMORY :], (new * curved[:, None])[:, None]), dim=1)
            for past, new in ((self._steps, step), (self._changes, change))
        )


def _lbfgs_step(S: Tensor, Y: Tensor, g: Tensor) -> Tensor:
    """−H g with the inverse Hessian H of L-BFGS, for all starts at once.

    The compact form (Byrd, Nocedal & Schnabel 1994, "Representations of quasi-Newton matrices and
    their use in limited memory methods", eq. 3.1) needs products of small matrices instead of two
    loops over the memory.

    Parameters
    ----------
    S, Y
        Steps and changes of the gradient ``(c, m, q)``, oldest first; zeros where a step was
        rejected.
    g
        Gradients ``(c, q)``.
    """
    if not S.shape[1]:
        return -g
    SY, YY = S @ Y.mT, Y @ Y.mT
    curvature = SY.diagonal(dim1=1, dim2=2)
    present = curvature > 0
    R = SY.triu() + torch.diag_embed((~present).to(S))
    # The scale of H comes from the latest pair.
    order = torch.arange(1, S.shape[1] + 1, device=S.device)
    latest = torch.where(present, order, 0).argmax(1, keepdim=True)
    scale = curvature.gather(1, latest) / YY.diagonal(dim1=1, dim2=2).gather(1, latest)
    scale = torch.where(present.any(1, keepdim=True), scale, 1)[..., None]
    Sg, Yg = S @ g[..., None], Y @ g[..., None]
    u = torch.linalg.solve_triangular(R, Sg, upper=True)
    middle = torch.diag_embed(curvature) + scale * YY
    v = torch.linalg.solve_triangular(R.mT, middle @ u - scale * Yg, upper=False)
    Hg: Tensor = scale[..., 0] * g + (S.mT @ v - scale * (Y.mT @ u))[..., 0]
    return -Hg


def errors(
    Z: Tensor, pairs: DefinedPairs, smoothing: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Loss of configurations and its derivative.

    Parameters
    ----------
    Z
        ``(k, n, c)``: the samples of c configurations.
    pairs
        The defined pairs.
    smoothing
        ε² ``(c,)``: distances are taken as sqrt(d² + ε²).

    Returns
    -------
    loss : Tensor
        ``(c,)`` Σ (d − D)² / 4 over ordered pairs.
    derivative : Tensor
        ``(k, n, c)``. Coincident samples have no direction between them and add 0.
    """
    _, n, c = Z.shape
    m = pairs.ideal.shape[1]
    block = max(1, _BLOCK_BYTES.get(Z.device.type, 1 << 20) // (8 * m * c))
    loss = Z.new_zeros(c)
    derivative = torch.empty_like(Z)
    Z = Z.contiguous()
    for start in range(0, n, block):
        rows = slice(start, min(start + block, n))
        ideal = pairs.ideal[rows, :, None]
        others = pairs.neighbours[rows].flatten()
        differences = [z[rows, None] - z.index_select(0, others).view(-1, m, c) for z in Z.unbind()]
        squared = differences[0].square()
        for difference in differences[1:]:
            squared.addcmul_(difference, difference)
        if smoothing is not None:
            squared += smoothing
        distances = squared.sqrt_()
        errors = distances - ideal
        loss += torch.linalg.vector_norm(errors, dim=(0, 1)).square() / 4
        # Coincident samples: a large number times a difference of 0.
        pull = errors.div_(distances.clamp_(min=_COINCIDENT))
        for component, difference in enumerate(differences):
            derivative[component, rows] = difference.mul_(pull).sum(1)
    return loss, derivative
