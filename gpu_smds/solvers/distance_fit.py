"""Linear maps fitted to incomplete ideal distances, batched over sites.

If some distances are undefined, there is no classical MDS embedding to regress on. smds then
minimises the squared errors of the defined distances over the map (``SupervisedMDS._fit_scipy``),
and so does this module. The problem is metric MDS restricted to linear combinations of given
variables (de Leeuw & Heiser 1980, "Multidimensional scaling with restrictions on the
configuration"): the SMACOF step T ← (XᵀLX)⁺ XᵀB(Z)Z, with L the Laplacian of the graph of defined
pairs, never raises the loss. In coordinates where XᵀLX is the identity, that step is a gradient
step of length 1. L-BFGS therefore works in these coordinates, and the SMACOF step is used when
L-BFGS oversteps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gpu_smds.geometry.defined_pairs import DefinedPairs

# Pairs of steps and gradient changes that L-BFGS remembers.
_MEMORY = 20

# Smoothing replaces distances by sqrt(d² + ε²) with decreasing ε, which lets samples pass through
# each other (Groenen, Heiser & Meulman 1999, "Global optimization in least-squares multidimensional
# scaling by distance smoothing"). The first ε² of a start is a fraction, its strength, of the
# largest squared ideal distance; _SMOOTHING holds the later ε² relative to the first. Half of the
# random starts are smoothed; smoothing all would miss minima that differ in few samples. The best
# start is then smoothed with several strengths: the largest moves all samples, the smallest single
# samples.
_SMOOTHING = (1, 0.25, 0.06, 0.015)
_SMOOTH_ITERATIONS = 10
_RANDOM_STRENGTH = 0.25
_SHAKING_STRENGTHS = (0.5, 0.25, 0.125, 0.06, 0.03, 0.015, 0.008, 0.004)

# Iterations from the start of smds in the coordinates of smds: they mostly decide which minimum it
# reaches.
_RAW_ITERATIONS = 60

# After _FIRST_LOOK iterations the worse half of the starts is dropped, and every start with more
# than _HOPELESS times the best loss. After _SCREENING more iterations, or at the tolerance, the
# best start is chosen.
_FIRST_LOOK, _HOPELESS, _SCREENING, _SCREENING_TOL = 20, 2.0, 40, 1e-6

# A later start replaces an earlier one only if it lowers the loss by the fraction _GAIN of the
# loss, or by the fraction _ZERO of ΣD² for losses that are zero up to rounding. Otherwise rounding
# would choose between equal minima.
_GAIN, _ZERO = 1e-9, 1e-20

# Rounding error of a loss relative to the root of its product with the loss of Z = 0: a difference
# of distances has the rounding error of the distances.
_ROUNDING = 1e-14

# Smaller distances are replaced by this in divisions.
_COINCIDENT = 1e-150

# Bytes of the temporaries over a block of pairs; bytes of a chunk of sites.
_BLOCK_BYTES = {"cpu": 1 << 20, "cuda": 256 << 20}
_CHUNK_BYTES = {"cpu": 512 << 20, "cuda": 8 << 30}


@dataclass(frozen=True)
class DistanceFit:
    """Maps fitted to incomplete distances.

    Attributes
    ----------
    Wt
        ``(b, d, k)``, smds' ``W_`` is ``Wt.mT``. NaN where states are NaN or infinite.
    loss
        ``(b,)`` Σ (‖zᵢ − zⱼ‖ − Dᵢⱼ)² over the defined ordered pairs, as smds sums it.
    converged
        ``(b,)`` bool, whether the gradient vanished to the tolerance. The minimum is local.
    iterations
        ``(b,)`` int, of the best start.
    """

    Wt: Tensor
    loss: Tensor
    converged: Tensor
    iterations: Tensor


def fit_distances(
    X: Tensor,
    D: Tensor | DefinedPairs,
    n_components: int,
    *,
    tol: float = 1e-11,
    max_iter: int = 2000,
    chunk: int | None = None,
) -> DistanceFit:
    """Fit linear maps to the defined ideal distances, each site by itself.

    Counterpart of ``SupervisedMDS._fit_scipy`` in smds, with the same loss. Deviations: gradients
    are exact; iterations stop at a vanishing gradient and not after 15,000 evaluations of the loss;
    and several starts compete: that of smds, MDS of the distances completed by shortest paths, and
    seeded random ones. Where the states do not determine W, it is the one of minimum norm; smds
    keeps the values of its random start there.

    Parameters
    ----------
    X
        States ``(b, n, d)``. Only their differences matter: a common offset of a site is removed.
    D
        Ideal distances ``(n, n)``, symmetric; negative = undefined. Or the :class:`DefinedPairs` of
        them, so that several calls share these.
    n_components
        Columns k of the map.
    tol
        A site has converged if the length of the gradient, in the coordinates where XᵀLX is the
        identity, is at most this fraction of the root of the sum of the squared distances.
    max_iter
        Maximum number of iterations after the screening of the starts.
    chunk
        Number of sites processed together; by default as many as fit into a fixed amount of memory.
        It changes results by rounding only. At a nearly flat minimum, rounding changes W by up to
        1e-6 of its largest entry, but not the loss.

    Raises
    ------
    ValueError
        Shapes that do not match, or distances that are NaN, asymmetric or all undefined.
    """
    shape = tuple(D.laplacian.shape if isinstance(D, DefinedPairs) else D.shape)
    if X.ndim != 3 or shape != (X.shape[1], X.shape[1]) or n_components < 1:
        raise ValueError(
            f"X must be (sites, n, d), D (n, n) and n_components at least 1; got {tuple(X.shape)}, "
            f"{shape} and {n_components}"
        )
    pairs = D
    if not isinstance(pairs, DefinedPairs):
        pairs = DefinedPairs.of(pairs.to(X.device, torch.float64), n_components)
    b, n, d = X.shape
    if chunk is None:
        # The states, root @ states and the three factors of its SVD, (n, min(n, d)) or smaller.
        chunk = max(1, _CHUNK_BYTES.get(X.device.type, 512 << 20) // (48 * n * max(d, 1)))
    Wt = X.new_full((b, d, n_components), torch.nan, dtype=torch.float64)
    loss = Wt.new_full((b,), torch.nan)
    converged = torch.zeros(b, dtype=torch.bool, device=X.device)
    iterations = torch.zeros(b, dtype=torch.int64, device=X.device)
    usable = X.isfinite().all(-1).all(-1).nonzero().squeeze(1)
    for sites in usable.split(chunk) if len(usable) else ():
        states = X[sites].to(torch.float64)
        centred = states - states.mean(1, keepdim=True)
        size = torch.linalg.vector_norm(states, dim=(1, 2))
        P, S, Vt = _basis(centred, size, pairs)
        x, screening = _best_start(P, S, Vt, pairs)
        found = _descend(P, pairs, x, max_iter, tol)
        fitted = Vt.mT @ (torch.where(S > 0, 1 / S, 0)[..., None] * found.x[:, 0].mT)
        reached, _ = _errors((centred @ fitted).permute(2, 1, 0).contiguous(), pairs)
        Wt[sites], loss[sites], iterations[sites] = (
            fitted,
            4 * reached,
            (screening + found.iterations)[:, 0],
        )
        # W is computed with the inverse singular values of X: if the basis is nearly singular, W in
        # floating point may not reach the loss that was found in the basis.
        kept = reached <= found.loss[:, 0] * (1 + 1e-6) + 1e-12 * pairs.scale
        converged[sites] = found.converged[:, 0] & kept
    return DistanceFit(Wt, loss, converged, iterations)


def bytes_of_distance_fit(n: int, d: int) -> int:
    """Bytes that the fit of one site allocates for n samples and d features."""
    small = min(n, d)
    return 8 * (8 * n * n + 2 * n * d + 4 * small * small)


def _basis(X: Tensor, size: Tensor, pairs: DefinedPairs) -> tuple[Tensor, Tensor, Tensor]:
    """Basis P of the projections Z = P xᵀ that the states allow, with PᵀLP = I.

    Parameters
    ----------
    X
        Centred states ``(b, n, d)``.
    size
        ``(b,)`` norm of the states before centring, to which the rounding error is relative.
    pairs
        The defined pairs.

    Returns
    -------
    P : Tensor
        ``(b, n, r)``, r = min(n', d). P S Vt is X up to shifts of whole components of the graph.
    S : Tensor
        ``(b, r)`` singular values of root @ X. Values up to max(n, d)·eps of the largest value that
        is possible for states of this size count as zero, so that features that differ only by
        rounding count as one feature. The columns of P that belong to them are zero.
    Vt : Tensor
        ``(b, r, d)`` with orthonormal rows. Wt = V S⁻¹ xᵀ is the map of minimum norm.
    """
    U, S, Vt = torch.linalg.svd(pairs.root @ X, full_matrices=False)
    cut = max(X.shape[1:]) * torch.finfo(S.dtype).eps * pairs.stretch * size[:, None]
    S = torch.where(cut < S, S, 0)
    return pairs.inverse_root @ (U * (S > 0)[:, None]), S, Vt


def _best_start(P: Tensor, S: Tensor, Vt: Tensor, pairs: DefinedPairs) -> tuple[Tensor, Tensor]:
    """Coordinates ``(b, 1, k, r)`` reached from the best start, and the number of iterations."""
    b, r, d = Vt.shape
    s, n, k = pairs.starts.shape
    # The start of smds in the coordinates of smds, up to a rotation, which does not change L-BFGS,
    # and a factor, with which a gradient step of length 1 still never raises the loss. This start
    # mostly reaches the minimum of smds; the other starts may find better ones.
    W = torch.from_numpy(np.random.default_rng(42).normal(scale=0.01, size=(k, d))).to(P)
    largest = S[:, :1].clamp(min=torch.finfo(S.dtype).tiny)
    ratio = (S / largest)[:, None]
    raw = (W @ Vt.mT * largest[..., None])[:, None]
    raw = _descend(P * ratio, pairs, raw, _RAW_ITERATIONS, 0).x * ratio[:, None]

    # Project the starts on the configurations that the states allow, in the metric of the pairs.
    projected = pairs.starts.mT.reshape(s * k, n) @ pairs.laplacian @ P
    embedding, drawn = projected.view(b, s, k, r).split((1, s - 1), dim=1)
    length = torch.linalg.vector_norm(drawn, dim=(2, 3), keepdim=True)
    drawn = torch.where(length > 0, drawn / length, 0) * pairs.scale**0.5
    half = (s - 1) // 2
    smooth = _smooth(P, pairs, drawn[:, :half], (_RANDOM_STRENGTH,) * half)
    best, _ = _screen(P, pairs, torch.cat((raw, embedding, smooth, drawn[:, half:]), dim=1))

    shaken = best.expand(-1, len(_SHAKING_STRENGTHS), -1, -1)
    shaken = _smooth(P, pairs, shaken, _SHAKING_STRENGTHS)
    return _screen(P, pairs, torch.cat((best, shaken), dim=1))


def _smooth(P: Tensor, pairs: DefinedPairs, x: Tensor, strengths: tuple[float, ...]) -> Tensor:
    """Coordinates ``(b, s, k, r)`` after descents with decreasing smoothing."""
    largest = float(pairs.ideal.max()) ** 2
    for part in _SMOOTHING:
        smoothing = torch.tensor(strengths).to(x) * (part * largest)
        x = _descend(P, pairs, x, _SMOOTH_ITERATIONS, 0, smoothing).x
    return x


def _screen(P: Tensor, pairs: DefinedPairs, x: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates ``(b, 1, k, r)`` reached from the best start, and its iterations ``(b, 1)``."""
    first_look = _descend(P, pairs, x, _FIRST_LOOK, _SCREENING_TOL)
    ordered, rank = first_look.loss.sort(dim=1, stable=True)
    rank, ordered = rank[:, : (x.shape[1] + 1) // 2], ordered[:, : (x.shape[1] + 1) // 2]
    hopeful = ordered <= _HOPELESS * ordered[:, :1] + _ZERO * pairs.scale
    # The starts keep their order, because the first of equal starts is chosen. If a site keeps
    # fewer starts than another, its best start fills the gap, so that sites do not affect each
    # other.
    kept = torch.where(hopeful, rank, rank[:, :1])[:, : int(hopeful.sum(1).max())].sort(1).values
    site = torch.arange(len(x), device=x.device)[:, None]
    found = _descend(P, pairs, first_look.x[site, kept], _SCREENING, _SCREENING_TOL)
    least = found.loss.min(1, keepdim=True).values
    good = found.loss <= least * (1 + _GAIN) + _ZERO * pairs.scale
    first = good.to(torch.uint8).argmax(1, keepdim=True)
    return found.x[site, first], _FIRST_LOOK + found.iterations[site, first]


@dataclass
class _Descent:
    """State of the descents from s starts at b sites."""

    x: Tensor  # (b, s, k, r)
    loss: Tensor  # (b, s)
    converged: Tensor  # (b, s)
    iterations: Tensor  # (b, s)

    @classmethod
    def begun(cls, x: Tensor) -> _Descent:
        b, s = x.shape[:2]
        return cls(
            x.new_empty(x.shape),
            x.new_empty(b, s),
            torch.zeros(b, s, dtype=torch.bool, device=x.device),
            torch.zeros(b, s, dtype=torch.int64, device=x.device),
        )


def _descend(
    P: Tensor,
    pairs: DefinedPairs,
    x: Tensor,
    max_iter: int,
    tol: float,
    smoothing: Tensor | None = None,
) -> _Descent:
    """Minimise the loss from each start by L-BFGS, with the SMACOF step as safeguard.

    A step is taken only if it lowers the loss. After a rejected step the SMACOF step is tried,
    which lowers the loss in theory. If it is rejected too, only rounding is left and the start
    stops.
    """
    result = _Descent.begun(x)
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
        loss, slopes = _errors(Z, self._pairs, smoothing)
        rows = slopes.unflatten(2, (-1, s)).permute(2, 3, 0, 1).reshape(-1, s * k, n)
        return loss, (rows @ P).view(-1, k * r)

    def write(self, result: _Descent, small: Tensor) -> None:
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
            torch.cat((past[:, 1 - _MEMORY :], (new * curved[:, None])[:, None]), dim=1)
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


def _errors(
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
