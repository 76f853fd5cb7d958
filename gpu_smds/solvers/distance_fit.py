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

from gpu_smds.geometry.defined_pairs import DefinedPairs, count_of_starts
from gpu_smds.solvers.distance_descent import MEMORY, descend, errors

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


# Bytes of a chunk of sites.
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
        found = descend(P, pairs, x, max_iter, tol)
        fitted = Vt.mT @ (torch.where(S > 0, 1 / S, 0)[..., None] * found.x[:, 0].mT)
        reached, _ = errors((centred @ fitted).permute(2, 1, 0).contiguous(), pairs)
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


def bytes_of_distance_fit(n: int, d: int, k: int) -> int:
    """Bytes that the fit of one site allocates for n samples, d features and k components."""
    small = min(n, d)
    basis = 8 * n * n + 2 * n * d + 4 * small * small
    # Per start the memory of L-BFGS, and a few configurations.
    starts = (1 + count_of_starts(k)) * k * (2 * MEMORY * small + 8 * n)
    return 8 * (basis + starts)


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
    raw = descend(P * ratio, pairs, raw, _RAW_ITERATIONS, 0).x * ratio[:, None]

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
        x = descend(P, pairs, x, _SMOOTH_ITERATIONS, 0, smoothing).x
    return x


def _screen(P: Tensor, pairs: DefinedPairs, x: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates ``(b, 1, k, r)`` reached from the best start, and its iterations ``(b, 1)``."""
    first_look = descend(P, pairs, x, _FIRST_LOOK, _SCREENING_TOL)
    ordered, rank = first_look.loss.sort(dim=1, stable=True)
    rank, ordered = rank[:, : (x.shape[1] + 1) // 2], ordered[:, : (x.shape[1] + 1) // 2]
    hopeful = ordered <= _HOPELESS * ordered[:, :1] + _ZERO * pairs.scale
    # The starts keep their order, because the first of equal starts is chosen. If a site keeps
    # fewer starts than another, its best start fills the gap, so that sites do not affect each
    # other.
    kept = torch.where(hopeful, rank, rank[:, :1])[:, : int(hopeful.sum(1).max())].sort(1).values
    site = torch.arange(len(x), device=x.device)[:, None]
    found = descend(P, pairs, first_look.x[site, kept], _SCREENING, _SCREENING_TOL)
    least = found.loss.min(1, keepdim=True).values
    good = found.loss <= least * (1 + _GAIN) + _ZERO * pairs.scale
    first = good.to(torch.uint8).argmax(1, keepdim=True)
    return found.x[site, first], _FIRST_LOOK + found.iterations[site, first]
