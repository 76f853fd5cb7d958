"""The five metrics: how well projected distances match the ideal ones, batched over sites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from gpu_smds._arguments import shown
from gpu_smds.metrics.projections import Projections, block_bytes
from gpu_smds.metrics.reference import Ideal, probabilities

# The closed form 1 − S = sqrt(1 − ρ²) loses half the digits near a perfect fit: below this stress
# the residuals are summed instead. At this threshold the error of the closed form is still under
# 1e-12.
_NEAR_PERFECT = 1e-3


class StressMetrics(Enum):
    """Names of the metrics of smds, as in ``smds.stress``; metrics of your own need none."""

    SCALE_NORMALIZED_STRESS = "scale_normalized_stress"
    NON_METRIC_STRESS = "non_metric_stress"
    SHEPARD_GOODNESS_SCORE = "shepard_goodness_score"
    NORMALIZED_STRESS = "normalized_stress"
    NORMALIZED_KL_DIVERGENCE = "normalized_kl_divergence"


def scale_normalized_score(p: Projections) -> Tensor:
    """1 − sqrt(Σ(D − aD̂)² / ΣD²) with the best scale a = ΣDD̂ / ΣD̂².

    The default metric (Smelser, Miller & Kobourov 2024).
    """
    cross, squares = p.sums
    cosine_squared = cross.square() / (p.ideal.sum_of_squares * squares)
    return 1 - _exact_where_small(p, (1 - cosine_squared).clamp(min=0).sqrt(), cross / squares)


def normalized_score(p: Projections) -> Tensor:
    """1 − sqrt(Σ(D̂ − D)² / ΣD²), which changes with the scale of the projection."""
    cross, squares = p.sums
    total = p.ideal.sum_of_squares
    stress = ((squares - 2 * cross + total).clamp(min=0) / total).sqrt()
    return 1 - _exact_where_small(p, stress, torch.ones_like(cross))


def non_metric_score(p: Projections) -> Tensor:
    """1 − Σ(f(D) − D̂)² / ΣD̂² with f the best non-decreasing function of D.

    No square root is taken, as in smds. If rounding splits the largest ideal distance into two,
    smds gives NaN (its regression does not extrapolate beyond the last abscissa); here the score is
    defined.
    """
    residual = (p.ideal.groups.fit(p.pairs) - p.pairs).square().sum(1)
    return 1 - residual / p.pairs.square().sum(1)


def shepard_score(p: Projections) -> Tensor:
    """Spearman's rank correlation of D and D̂."""
    ordered, order = p.pairs.sort(dim=1)
    count = ordered.shape[1]
    place = torch.arange(count, dtype=torch.float64, device=ordered.device)
    begins = torch.ones_like(ordered, dtype=torch.bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    # Ties share the mean of their first and last place.
    first = torch.where(begins, place, 0.0).cummax(1).values
    ends = begins.roll(-1, 1)
    ends[:, -1] = True
    last = torch.where(ends, place, count).flip(1).cummin(1).values.flip(1)
    ranks = (first + last) / 2 - (count - 1) / 2
    products: Tensor = (p.ideal.ranks[order] * ranks).sum(1)
    correlation: Tensor = products / torch.linalg.vector_norm(ranks, dim=1)
    return correlation


def kl_score(p: Projections) -> Tensor:
    """exp(−KL(P‖Q)), Gaussian neighbour probabilities of the ideal and projected distances."""
    P, Q = p.ideal.probabilities, probabilities(p.matrix)
    return torch.exp(-(P * (P / Q).log_()).sum((1, 2)))


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes
    ----------
    score
        Function that computes the score of every site.
    whole
        Whether it needs all projected distances at once.
    ranks
        Whether it ranks the ideal distances, so that it is not defined if all are equal.
    reads
        Attributes of the ideal distances that it reads, in addition to the distances.
    """

    score: Callable[[Projections], Tensor]
    whole: bool
    reads: tuple[str, ...] = ()
    ranks: bool = False


METRICS = {
    "scale_normalized_stress": Metric(scale_normalized_score, whole=False),
    "non_metric_stress": Metric(non_metric_score, True, ("pair_index", "groups")),
    "shepard_goodness_score": Metric(shepard_score, True, ("pair_index", "ranks"), ranks=True),
    "normalized_stress": Metric(normalized_score, whole=False),
    "normalized_kl_divergence": Metric(kl_score, True, ("probabilities",)),
}


def metric_name(metric: str | StressMetrics) -> str:
    """Name of a metric given as a string or as an enum value of ours or of smds.

    Raises
    ------
    ValueError
        Unknown name.
    """
    name = getattr(metric, "value", metric)
    if not isinstance(name, str) or name not in METRICS:
        raise ValueError(f"unknown metric {shown(metric)}: choose one of {', '.join(METRICS)}")
    return str(name)


def prepare(ideal: Ideal, metrics: Sequence[str]) -> None:
    """Compute once, before threads start, what the metrics derive from the ideal distances."""
    for name in metrics:
        for attribute in METRICS[name].reads:
            getattr(ideal, attribute)


def needs_whole(metrics: Sequence[str]) -> bool:
    """Whether one of the metrics reads all distances at once."""
    return any(METRICS[name].whole for name in metrics)


def bytes_of_pairs(n: int) -> int:
    """Bytes that metrics over all pairs of n samples take: distances, also sorted and ranked."""
    return 17 * 8 * n**2


def score_projections(Z: Tensor, ideal: Ideal, metrics: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Score projections ``(b, n, k)`` by several metrics.

    Returns
    -------
    scores : Tensor
        ``(metrics, b)``.
    collapsed : Tensor
        ``(b,)`` bool, true where all samples are projected to one point, so that there is no score.
    """
    size = max(len(Z), 1)
    if needs_whole(metrics) or not ideal.complete:
        size = max(1, block_bytes(Z) // (8 * ideal.n**2))
    scores = Z.new_empty(len(metrics), len(Z))
    collapsed = torch.zeros(len(Z), dtype=torch.bool, device=Z.device)
    for start in range(0, len(Z), size):
        span = slice(start, start + size)
        p = Projections(Z[span], ideal)
        if needs_whole(metrics):
            _ = p.matrix  # the sums then read it instead of recomputing it
        for m, name in enumerate(metrics):
            scores[m, span] = METRICS[name].score(p)
        collapsed[span] = ~(p.sums[1] > 0)
    return scores, collapsed


def _exact_where_small(p: Projections, stress: Tensor, scale: Tensor) -> Tensor:
    close = stress < _NEAR_PERFECT
    if bool(close.any()):
        sites = close.nonzero()[:, 0]
        exact = p.residual(sites, scale[sites])
        stress[sites] = (exact / p.ideal.sum_of_squares).sqrt()
    return stress
