"""Which manifold is it? Many manifolds scored on the same sites and compared with chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from gpu_smds._arguments import as_integer, as_list, shown
from gpu_smds._files import File, read_tensors, save_tensors
from gpu_smds._memory import check_fits
from gpu_smds._progress import Progress
from gpu_smds.crossval.ideals import Ideals, Target
from gpu_smds.crossval.question import Question
from gpu_smds.crossval.score_job import ScoreJob
from gpu_smds.geometry.manifold import Manifold, resolve_manifold, shape_of
from gpu_smds.geometry.periods import as_periods
from gpu_smds.geometry.shapes import PeriodicShape, periodic_names
from gpu_smds.maps.omitted_rows import Omission, omits
from gpu_smds.maps.score_map import ScoreMap
from gpu_smds.metrics.scores import METRICS
from gpu_smds.sites.checkpoint import Checkpoint, kept
from gpu_smds.sites.place import Place
from gpu_smds.sites.status import Status
from gpu_smds.solvers.spec import SolverSpec

if TYPE_CHECKING:
    import pandas as pd

#: Manifolds that discovery tries by default, the simplest first: the shapes that smds tries,
#: without chain. If labels leave distances undefined, the map of chain is fitted by iteration; if
#: they do not, chain is the same as discrete_circular.
DEFAULT_MANIFOLDS = (
    "euclidean",
    "log_linear",
    "semicircular",
    "circular",
    "discrete_circular",
    "spiral",
    "cluster",
    "torus",
    "klein_bottle",
    "spherical",
    "cylindrical",
    "geodesic",
)

_KIND = "gpu_smds.Discovery"
# Scores closer than this count as equal: for some labels two shapes are the same (half a ring is a
# line).
_EQUAL = 1e-9

# A score counts as above chance if it is more than this number of standard deviations above the
# mean of the scores under shuffled labels.
_ABOVE_CHANCE = 3.0

#: Values of :attr:`Discovery.winner` where no manifold wins.
NOTHING, UNDEFINED = -1, -2


@dataclass(frozen=True)
class Discovery:
    """Scores of many manifolds on the same sites.

    Attributes
    ----------
    scores
        Axes ``(manifold, metric, fold, *sites)``; ``scores.coords`` names manifolds and metrics.
    sources
        The manifolds by those names.
    skipped
        Manifolds that do not take the labels, and why.
    baseline
        ``(manifold, shuffles, *sites)`` means over folds of the first metric under shuffled
        labels, or None.
    """

    scores: ScoreMap
    sources: dict[str, Manifold] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    baseline: np.ndarray | None = None

    @property
    def manifolds(self) -> list[str]:
        """Names along the first axis."""
        return list(self.scores.coords["manifold"])

    @property
    def beats_baseline(self) -> np.ndarray:
        """``(manifold, *sites)`` bool: the first metric is above chance.

        Above chance means more than three standard deviations above the mean of the scores under
        shuffled labels. Without shuffles, every defined score counts as above chance. This is a
        rough threshold for maps, not a test.
        """
        score = self.scores.mean[:, 0]
        if self.baseline is None:
            return np.isfinite(score)
        mean, spread = self.baseline.mean(axis=1), self.baseline.std(axis=1, ddof=1)
        above: np.ndarray = score > mean + _ABOVE_CHANCE * spread
        return above

    @property
    def winner(self) -> np.ndarray:
        """``(*sites)`` index of the best manifold that beats its baseline, by the first metric.

        The first of equal ones; −1 where no manifold beats its baseline, −2 where none has a score.
        """
        score = self.scores.mean[:, 0]
        eligible = np.where(self.beats_baseline, score, -np.inf)
        best = (eligible >= eligible.max(0) - _EQUAL).argmax(0)
        winner = np.where(np.isfinite(eligible).any(0), best, NOTHING)
        return np.where(np.isfinite(score).any(0), winner, UNDEFINED)

    @property
    def margin(self) -> np.ndarray:
        """``(*sites)`` lead of the winner over the best of the others; NaN without a winner.

        0 where a manifold that does not beat its own baseline scores higher.
        """
        score, winner = self.scores.mean[:, 0], self.winner
        index = np.maximum(winner, 0)[None]
        own = np.take_along_axis(score, index, axis=0)[0]
        others = np.where(np.isfinite(score), score, -np.inf)
        np.put_along_axis(others, index, -np.inf, axis=0)
        second = others.max(0)
        lead = np.where(np.isfinite(second), np.maximum(own - second, 0), own)
        return np.where(winner >= 0, lead, np.nan)

    def save(self, path: str | Path | File) -> None:
        """Write a safetensors file, atomically. The manifolds are kept by name only."""
        header = {
            "dims": self.scores.dims,
            "coords": self.scores.coords,
            "metadata": self.scores.metadata,
            "skipped": self.skipped,
        }
        tensors = {"scores": self.scores.scores, "status": self.scores.status}
        if self.scores.omitted is not None:
            tensors["omitted"] = self.scores.omitted
        if self.baseline is not None:
            tensors["baseline"] = self.baseline
        save_tensors(path, _KIND, tensors, header)

    @classmethod
    def load(cls, path: str | Path | File) -> Self:
        """Read a file that :meth:`save` wrote; ``sources`` is empty.

        Raises
        ------
        FileNotFoundError, ValueError
            There is no such file, or it is incomplete or not a discovery.
        """
        with read_tensors(path, _KIND) as (tensors, facts):
            scores = ScoreMap.of_file(tensors, facts)
            baseline = tensors.get("baseline")
            n_manifolds, *sites = scores.mean[:, 0].shape
            if scores.dims[:3] != ("manifold", "metric", "fold"):
                raise ValueError(f"its axes are {scores.dims}")
            if baseline is not None and (len(baseline), *baseline.shape[2:]) != (
                n_manifolds,
                *sites,
            ):
                raise ValueError("its baseline is of other sites")
            return cls(scores, {}, dict(facts["skipped"]), baseline)

    def table(self, axes: Sequence[str] | None = None) -> pd.DataFrame:
        """Tidy table, one row per manifold, site and metric, ranked per site and metric.

        Columns: ``manifold``, one per site axis, ``metric``, ``mean``, ``std``, ``fold_0`` …,
        ``status``, ``rank`` (1 is best; empty where undefined). ``axes`` names the site axes;
        by default, two are called layer and position.
        """
        import pandas as pd

        sites = self.scores.scores.shape[3:]
        if axes is None:
            axes = ("layer", "position") if len(sites) == 2 else self.scores.dims[3:]
        metrics = self.scores.coords["metric"]
        index = pd.MultiIndex.from_product(
            [self.manifolds, metrics, *(range(size) for size in sites)],
            names=["manifold", "metric", *axes],
        )
        folds = np.moveaxis(self.scores.scores, 2, -1).reshape(len(index), -1)
        frame = pd.DataFrame(
            {"mean": self.scores.mean.ravel(), "std": self.scores.std.ravel()}
            | {f"fold_{f}": folds[:, f] for f in range(folds.shape[1])},
            index=index,
        ).reset_index()
        status = np.broadcast_to(self.scores.worst_status[:, None], self.scores.mean.shape).ravel()
        frame["status"] = [Status(value).name.lower() for value in status]
        site = [*axes, "metric"]
        frame["rank"] = frame.groupby(site)["mean"].rank(ascending=False, method="min")
        ordered = ["manifold", *axes, "metric", *frame.columns[len(site) + 1 :]]
        return frame[ordered].sort_values([*site, "rank"], ignore_index=True)


def discover(
    X: Any,
    y: Any,
    manifolds: Any = None,
    metric: Any = "scale_normalized_stress",
    cv: Any = 5,
    alpha: float = 1.0,
    orthonormal: bool = False,
    standardize: str | None = None,
    n_components: int | None = None,
    n_shuffles: int = 0,
    seed: int = 0,
    groups: Any = None,
    device: Any = None,
    memory_budget: int | None = None,
    progress: Progress = False,
    checkpoint: str | Path | Checkpoint | None = None,
    solver: Any = None,
    period: Any = None,
    non_finite: str = "undefined",
) -> Discovery:
    """Score many manifolds on every site; one Gram matrix per site serves them all.

    Parameters
    ----------
    X, y, cv, alpha, orthonormal, standardize, groups, device, memory_budget, progress
        As in :func:`gpu_smds.score_map`.
    checkpoint, solver
        As in :func:`gpu_smds.score_map`.
    manifolds
        Names, shapes or parametrizations; None tries ``DEFAULT_MANIFOLDS``. Those that do not take
        the labels are skipped, with the reason.
    metric
        A metric or a list of them; "all" is all five. The first one ranks.
    n_components
        Components for all manifolds (2 in ``smds``); None takes the default of each.
    n_shuffles, seed
        Number of shuffles of the labels, at least 2 or 0, whose scores are the baseline; their
        seed.
    non_finite
        As in :func:`gpu_smds.score_map`. Labels are shuffled anew among the rows that are left.
    period
        Of the labels, for every manifold that closes on itself and has none of its own: a number in
        their units, ``"day"``, ``"week"`` or ``"year"`` for labels in days, or two numbers for two
        columns of labels. See :class:`gpu_smds.CircularShape`.

    Raises
    ------
    ValueError
        Arguments do not fit each other, or no manifold takes the labels.
    """
    how = SolverSpec.of(alpha, orthonormal, standardize, None, solver, single="discover")
    n_shuffles = as_integer(n_shuffles, "n_shuffles")
    if n_shuffles == 1:
        raise ValueError(f"n_shuffles must be 0 or at least 2, got {n_shuffles}")
    seed = as_integer(seed, "seed", countable=False)
    place = Place.of(X, device, memory_budget)
    metrics = list(METRICS) if isinstance(metric, str) and metric == "all" else metric
    tried = with_period(candidates(manifolds), n_components, period)
    question = Question.of(place.sites.n, y, tried, metrics, cv, groups, n_components)
    if period is not None and len(as_periods(period)) > np.size(question.labels[0]):
        raise ValueError(
            f"period={shown(period)} is of two columns of labels, and there is one: give one number"
        )
    omission = Omission.of(place) if omits(non_finite) else None
    targets, skipped, scores = _planned(place, question, how, n_shuffles, seed)
    with kept(checkpoint) as done:
        place.run([scores.job(place, question)], "scoring", progress, done)
        if omission is not None:
            # A checkpoint holds the results of the pass over all sites.
            final = scores.empty_like()
            final.take(slice(None), scores)
            scores = final
            # Every part scores the same manifolds, so that the results have the same targets.
            same = replace(question, manifolds=tuple(of.manifold for of in targets.values()))
            for left in omission.parts(place, question.labels, scores.status, progress):
                few = same.keeping(left.rows)
                _, not_taken, found = _planned(left.place, few, how, n_shuffles, seed)
                if not not_taken:  # else the sites stay undefined
                    left.place.run([found.job(left.place, few)], "scoring")
                    scores.take(left.sites, found)
    site_shape = place.sites.site_shape
    result = _result(question, targets, skipped, n_shuffles, scores, site_shape)
    if omission is None:
        return result
    return replace(result, scores=replace(result.scores, omitted=omission.at(site_shape)))


def _planned(
    place: Place, question: Question, how: SolverSpec, n_shuffles: int, seed: int
) -> tuple[dict[str, Target], dict[str, str], ScoreJob]:
    """Manifolds that take the labels, why others do not, and the job that scores all targets."""
    keep = question.share(place.budget, len(question.manifolds) * (1 + n_shuffles))
    targets, skipped = _targets(question, place, keep)
    shuffled = _shuffled(question, list(targets.values()), n_shuffles, seed, place, keep)
    every = [*targets.values(), *shuffled]
    ideals = Ideals(every, question.metrics, question.folds, how, place.device)
    return targets, skipped, ScoreJob.of(place, question, how, ideals)


def _targets(
    question: Question, place: Place, keep: int
) -> tuple[dict[str, Target], dict[str, str]]:
    """The manifolds that take the labels, by name, and why the others do not."""
    targets: dict[str, Target] = {}
    skipped = {}
    for name, manifold in _named(question.manifolds).items():
        try:
            manifold.check(question.labels)
            targets[name] = question.target(manifold, place.device, keep)
        except ValueError as error:
            skipped[name] = str(error)
    if not targets:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise ValueError(f"no manifold takes these labels ({reasons})")
    return targets, skipped


def _shuffled(
    question: Question,
    targets: Sequence[Target],
    n_shuffles: int,
    seed: int,
    place: Place,
    keep: int,
) -> list[Target]:
    """Every target with every shuffle of the labels, to be scored by the first metric."""
    folds, n = question.folds, place.sites.n
    rows = sum(fold.n_train for fold in folds.folds)
    components = sum(target.n_components for target in targets)
    scored = 9 * len(targets) * len(question.metrics) * len(folds) * len(place.sites)
    check_fits(
        n_shuffles * (8 * n + 8 * rows * components + scored),
        f"n_shuffles={n_shuffles:,}",
        "the shuffled labels, their embeddings and their scores",
        place.device,
    )
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(n) for _ in range(n_shuffles)]
    first = question.metrics[:1]
    return [
        question.target(target.manifold, place.device, keep, question.labels[order], first)
        for target in targets
        for order in orders
    ]


def _result(
    question: Question,
    targets: dict[str, Target],
    skipped: dict[str, str],
    n_shuffles: int,
    job: ScoreJob,
    site_shape: tuple[int, ...],
) -> Discovery:
    scores, status = job.arrays()
    count = len(targets)
    baseline = None
    if n_shuffles:
        means = scores[count:, 0, 0].mean(axis=1)
        baseline = means.reshape(count, n_shuffles, *site_shape)
    n_folds, metrics = len(question.folds), list(question.metrics)
    result = ScoreMap(
        scores[:count, :, 0].reshape(count, len(metrics), n_folds, *site_shape),
        status[:count, 0].reshape(count, n_folds, *site_shape),
        ("manifold", "metric", "fold", *(f"site{axis}" for axis in range(len(site_shape)))),
        {"manifold": list(targets), "metric": metrics},
    )
    sources = {name: target.manifold for name, target in targets.items()}
    return Discovery(result, sources, skipped, baseline)


def candidates(manifolds: Any) -> list[Any]:
    """Manifolds to try: those of a list, or the default ones if None is given."""
    if manifolds is None:
        return list(DEFAULT_MANIFOLDS)
    if isinstance(manifolds, str | bytes) or not isinstance(manifolds, Iterable):
        raise TypeError(f"manifolds must be a list of manifolds, got {shown(manifolds)}")
    return as_list(list(manifolds), "manifolds")[0]


def with_period(manifolds: list[Any], n_components: int | None, period: Any) -> list[Any]:
    """Manifolds to try, with a period of the labels where they close on themselves.

    Raises
    ------
    ValueError
        Not a period, or none of the manifolds closes on itself.
    """
    if period is None:
        return manifolds
    resolved = [resolve_manifold(manifold, n_components) for manifold in manifolds]
    if not any(isinstance(shape_of(manifold.source), PeriodicShape) for manifold in resolved):
        raise ValueError(
            f"period is of manifolds that close on themselves, and none of these does: leave it "
            f"out, or try one of {', '.join(periodic_names())}"
        )
    return [manifold.with_period(period) for manifold in resolved]


def _named(manifolds: Sequence[Manifold]) -> dict[str, Manifold]:
    """Manifolds by name; the same shape with other parameters gets a number."""
    named: dict[str, Manifold] = {}
    for manifold in manifolds:
        name, count = manifold.name, 2
        while name in named:
            name, count = f"{manifold.name} {count}", count + 1
        named[name] = manifold
    return named
