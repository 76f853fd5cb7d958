"""Which manifold is it? Many of them scored on the same sites, ranked, and told from chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from gpu_smds._files import File, csv_with, plain, read_tensors, save_tensors
from gpu_smds._progress import Meter, Progress
from gpu_smds._validation import (
    as_alphas,
    as_flag,
    as_integer,
    as_labels,
    as_list,
    check_choice,
    resolve_device,
    shown,
)
from gpu_smds.budget import check_fits, resolve_budget
from gpu_smds.checkpoint import Checkpoint, kept
from gpu_smds.folds import resolve_folds
from gpu_smds.manifolds import Manifold, resolve_manifold
from gpu_smds.results import ScoreMap
from gpu_smds.scoring import Scoring
from gpu_smds.shapes import BaseShape
from gpu_smds.sites import Sites
from gpu_smds.status import Status
from gpu_smds.stress import METRICS, metric_name
from gpu_smds.sweep import sweep
from gpu_smds.systems import STANDARDIZE, Solver
from gpu_smds.targets import Target

if TYPE_CHECKING:
    import pandas as pd

#: What discovery tries where nothing is named, the plainest first: the shapes that smds tries, less
#: chain, whose map is fitted by iteration where labels leave distances undefined, and which is the
#: same as discrete_circular where they do not.
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
# Of the table of discover_manifolds; by them one that was written before is known.
_FIRST_COLUMNS = (
    "shape",
    "params",
    *(f"{part}_{next(iter(METRICS))}" for part in ("mean", "std", "fold")),
)
# Scores closer than this are equal: some labels make one shape of two (half a ring is a line).
_EQUAL = 1e-9

# A score counts as more than chance from so many standard deviations above the mean of the scores
# under shuffled labels.
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

        Above chance: more than three standard deviations above the mean of the scores under
        shuffled labels. Everything that is defined, where nothing was shuffled. This is a rough
        cut for maps, not a test.
        """
        score = self.scores.mean[:, 0]
        if self.baseline is None:
            return np.isfinite(score)
        mean, spread = self.baseline.mean(axis=1), self.baseline.std(axis=1, ddof=1)
        above: np.ndarray = score > mean + _ABOVE_CHANCE * spread
        return above

    @property
    def winner(self) -> np.ndarray:
        """``(*sites)`` number of the best manifold that beats its baseline, by the first metric.

        The first of equal ones; −1 where none does, −2 where no manifold has a score.
        """
        score = self.scores.mean[:, 0]
        eligible = np.where(self.beats_baseline, score, -np.inf)
        best = (eligible >= eligible.max(0) - _EQUAL).argmax(0)
        winner = np.where(np.isfinite(eligible).any(0), best, NOTHING)
        return np.where(np.isfinite(score).any(0), winner, UNDEFINED)

    @property
    def margin(self) -> np.ndarray:
        """``(*sites)`` lead of the winner over the best of the others; NaN without a winner.

        0 where one that does not beat its own baseline scores higher.
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
        if self.baseline is not None:
            tensors["baseline"] = self.baseline
        save_tensors(path, _KIND, tensors, header)

    @classmethod
    def load(cls, path: str | Path | File) -> Self:
        """Read what :meth:`save` wrote, all but ``sources``.

        Raises
        ------
        FileNotFoundError, ValueError
            No such file; cut short or not a discovery.
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
        two are layer and position unless it does.
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
) -> Discovery:
    """Score many manifolds on every site; one Gram matrix per site serves them all.

    Parameters
    ----------
    X, y, cv, alpha, orthonormal, standardize, groups, device, memory_budget, progress, checkpoint
        As in :func:`gpu_smds.score_map`.
    manifolds
        Names, shapes or parametrizations; None tries ``DEFAULT_MANIFOLDS``. Those that do not take
        the labels are skipped, with the reason.
    metric
        A metric or a list of them; "all" is all five. The first one ranks.
    n_components
        Components for all manifolds (2 in ``smds``); None takes each one's own.
    n_shuffles, seed
        Shuffles of the labels whose scores are the baseline, at least 2 or none.

    Raises
    ------
    ValueError
        Arguments that do not fit, or no manifold that takes the labels.
    """
    rigid = as_flag(orthonormal, "orthonormal")
    check_choice(standardize, STANDARDIZE, "standardize")
    n_shuffles = as_integer(n_shuffles, "n_shuffles")
    if n_shuffles == 1:
        raise ValueError(f"n_shuffles must be 0 or at least 2, got {n_shuffles}")
    seed = as_integer(seed, "seed", countable=False)
    sites = Sites(X)
    labels = as_labels(y, sites.n)
    every_metric = isinstance(metric, str) and metric == "all"
    given, _ = as_list(tuple(METRICS) if every_metric else metric, "metric")
    metrics = [metric_name(value) for value in given]
    alphas, is_list = as_alphas(alpha)
    if is_list:
        raise ValueError("discover takes one alpha, not a list")
    where = resolve_device(device, sites.device)
    folds = resolve_folds(cv, labels, groups)
    budget = resolve_budget(memory_budget, where)
    shapes = [resolve_manifold(value, n_components) for value in _candidates(manifolds)]
    keep = budget // (8 * len(shapes) * (1 + n_shuffles) * len(folds))

    def targets_of(shape: Manifold, y: np.ndarray, metrics: list[str]) -> Target:
        return Target.of(shape, folds, y[folds.order], where, keep, metrics)

    targets: dict[str, Target] = {}
    skipped = {}
    for name, shape in _named(shapes).items():
        try:
            shape.check(labels)
            targets[name] = targets_of(shape, labels, metrics)
        except ValueError as error:
            skipped[name] = str(error)
    if not targets:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise ValueError(f"no manifold takes these labels ({reasons})")
    rows = sum(fold.n_train for fold in folds.folds)
    components = sum(target.n_components for target in targets.values())
    scored = 9 * len(targets) * len(metrics) * len(folds) * len(sites)
    check_fits(
        n_shuffles * (8 * sites.n + 8 * rows * components + scored),
        f"n_shuffles={n_shuffles:,}",
        "the shuffled labels, what they are fitted to and their scores",
        where,
    )
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(sites.n) for _ in range(n_shuffles)]
    shuffled = [
        targets_of(target.manifold, labels[order], metrics[:1])
        for target in targets.values()
        for order in orders
    ]
    solver = Solver(alphas, rigid, standardize)
    every = [*targets.values(), *shuffled]
    scoring = Scoring.of(sites, folds, solver, every, metrics, labels, where)
    meter = Meter(progress, len(sites), "scoring")
    with kept(checkpoint) as done:
        sweep(sites, [scoring.job], where, budget, meter, done)
    scores, status = scoring.scores.cpu().numpy(), scoring.status.cpu().numpy()
    count = len(targets)
    baseline = None
    if n_shuffles:
        means = scores[count:, 0, 0].mean(axis=1)
        baseline = means.reshape(count, n_shuffles, *sites.site_shape)
    result = ScoreMap(
        scores[:count, :, 0].reshape(count, len(metrics), len(folds), *sites.site_shape),
        status[:count, 0].reshape(count, len(folds), *sites.site_shape),
        ("manifold", "metric", "fold", *(f"site{axis}" for axis in range(len(sites.site_shape)))),
        {"manifold": list(targets), "metric": metrics},
    )
    sources = {name: target.manifold for name, target in targets.items()}
    return Discovery(result, sources, skipped, baseline)


def discover_manifolds(
    X: Any,
    y: Any,
    shapes: Sequence[Any] | None = None,
    smds_components: int = 2,
    n_folds: int = 5,
    n_jobs: int | None = -1,
    save_results: bool = True,
    experiment_name: str = "results",
    create_png_visualization: bool = True,
    clear_cache: bool = True,
    random_state: int | None = None,
    st_run_id: str | None = None,
    save_dir: str | Path | None = None,
    device: Any = None,
) -> tuple[pd.DataFrame, str | None]:
    """Rank manifolds on one site, as ``smds.pipeline.discover_manifolds`` does.

    Parameters
    ----------
    X, y
        States ``(n_samples, n_features)`` and labels.
    shapes
        Shapes, names or parametrizations; None tries those of smds that take the labels.
    smds_components
        Components of every embedding.
    n_folds
        Folds of KFold, unshuffled unless ``random_state`` is given; 0 fits and scores on all.
    n_jobs, create_png_visualization, clear_cache, st_run_id
        Accepted for compatibility and without effect: torch uses all cores, and there are no
        plots and no cache (:class:`Discovery` and :class:`Comparison` draw and test).
    random_state
        Seed that shuffles the folds.
    save_results, experiment_name, save_dir
        With ``save_dir``, ``<experiment_name>.csv`` is written to that folder. None writes
        nothing; smds writes into its own package.
    device
        Where to compute.

    Returns
    -------
    table : DataFrame
        Columns of smds: ``shape``, ``params``, per metric ``mean_``, ``std_`` and ``fold_``,
        ``error``; sorted by the default metric. A shape that does not take the labels has a row
        with the reason here; smds drops it silently.
    path : str or None
        The file.
    """
    import pandas as pd
    from sklearn.model_selection import KFold

    flags = (("save_results", save_results), ("clear_cache", clear_cache))
    for name, flag in (*flags, ("create_png_visualization", create_png_visualization)):
        as_flag(flag, name)
    n_folds = as_integer(n_folds, "n_folds")
    if random_state is not None and not isinstance(random_state, np.random.RandomState):
        random_state = as_integer(random_state, "random_state")
    file = None
    if save_dir is not None and save_results:
        # Before the work, which would be lost if the name were taken.
        file = File.at(Path(save_dir) / plain(f"{experiment_name}.csv"), create_parents=True)
        file.check(csv_with(_FIRST_COLUMNS))
    cv: Any = n_folds or None
    if random_state is not None and n_folds > 1:
        cv = KFold(n_folds, shuffle=True, random_state=random_state)
    candidates = _candidates(("chain", *DEFAULT_MANIFOLDS) if shapes is None else shapes)
    if shapes is None:
        labels = as_labels(y, Sites(X).n)
        candidates = [name for name in candidates if resolve_manifold(name).takes(labels)]
    found = discover(X, y, candidates, "all", cv, n_components=smds_components, device=device)
    rows: list[dict[str, Any]] = []
    for i, manifold in enumerate(found.sources.values()):
        row: dict[str, Any] = {"shape": manifold.name, "params": {}}
        if isinstance(manifold.source, BaseShape):
            row["shape"] = type(manifold.source).__name__
            row["params"] = manifold.source.parameters()
        for m, metric in enumerate(METRICS):
            row |= {
                f"mean_{metric}": found.scores.mean[i, m],
                f"std_{metric}": found.scores.std[i, m],
                f"fold_{metric}": found.scores.scores[i, m].tolist(),
            }
        rows.append(row | {"error": None, "plot_path": None})
    rows += [{"shape": name, "error": reason} for name, reason in found.skipped.items()]
    table = pd.DataFrame(rows).sort_values(
        "mean_scale_normalized_stress", ascending=False, ignore_index=True
    )
    if file is None:
        return table, None
    content = table.to_csv(index=False, lineterminator="\n").encode()
    file.write(content, csv_with(_FIRST_COLUMNS))
    return table, str(file)


def _candidates(manifolds: Any) -> list[Any]:
    """What to try: the manifolds of a list, or the default ones where nothing is given."""
    if manifolds is None:
        return list(DEFAULT_MANIFOLDS)
    if isinstance(manifolds, str | bytes) or not isinstance(manifolds, Iterable):
        raise TypeError(f"manifolds must be a list of manifolds, got {shown(manifolds)}")
    return as_list(list(manifolds), "manifolds")[0]


def _named(manifolds: Sequence[Manifold]) -> dict[str, Manifold]:
    """By name; the same shape with other parameters gets a number."""
    named: dict[str, Manifold] = {}
    for manifold in manifolds:
        name, count = manifold.name, 2
        while name in named:
            name, count = f"{manifold.name} {count}", count + 1
        named[name] = manifold
    return named
