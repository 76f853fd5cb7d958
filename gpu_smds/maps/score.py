"""Cross-validated scores of every site."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from gpu_smds._progress import Progress
from gpu_smds.crossval.question import Question
from gpu_smds.crossval.score_job import ScoreJob
from gpu_smds.maps.omitted_rows import Omission, omits
from gpu_smds.maps.score_map import ScoreMap
from gpu_smds.sites.checkpoint import Checkpoint, kept
from gpu_smds.sites.job import Job
from gpu_smds.sites.place import Place
from gpu_smds.solvers.spec import SolverSpec


def score_map(
    X: Any,
    y: Any,
    manifold: Any = "circular",
    cv: Any = 3,
    alpha: Any = 1.0,
    orthonormal: bool = False,
    standardize: str | None = None,
    metric: Any = "scale_normalized_stress",
    n_components: int | None = None,
    groups: Any = None,
    device: Any = None,
    dtype: torch.dtype | None = None,
    memory_budget: int | None = None,
    progress: Progress = False,
    checkpoint: str | Path | Checkpoint | None = None,
    solver: Any = None,
    non_finite: str = "undefined",
) -> ScoreMap:
    """Cross-validated SMDS score of every site.

    The counterpart of fitting ``smds.SupervisedMDS(manifold=..., alpha=...)`` on each training
    part and calling ``score`` on each test part, at every site by itself.

    Parameters
    ----------
    X
        Hidden states ``(n_samples, *sites, n_features)``: torch tensor or numpy array of any
        float dtype (float8 is read as float32), with any number of site axes, or an object with
        ``shape``, ``dtype`` and ``X[:, i, j, a:b]`` that reads lazily. Of a table, pass
        ``X.to_numpy()``.
    y
        Labels ``(n_samples,)`` or ``(n_samples, k)``: numbers, dates, which become days since
        1970-01-01, or, for cluster, polytope and hierarchical, text. Of numpy, torch, pandas or
        lists; a missing one is an error.
    manifold
        A name, a shape object (ours or of smds), a parametrization, or a callable labels →
        distance matrix. A callable and a shape of smds need ``n_components``.
    cv
        An int, a scikit-learn splitter, an iterable of (train, test) indices, or None to fit
        and score on all samples. An int is ``KFold`` without shuffling, as in scikit-learn: where
        rows are sorted by label, so that training parts leave out a part of the labels, a
        UserWarning says what to pass instead.
    alpha
        Ridge penalty; 0 is minimum-norm least squares. The default is that of smds 1.6.6. In a
        list, each penalty needs a factorisation; 16 or more share one eigendecomposition.
    orthonormal
        Orthonormal Procrustes instead of ridge; ``alpha`` then has no effect.
    standardize
        None, "train" (z-score fitted on the training part) or "all" (on all samples).
    metric
        Name of a stress metric (:data:`gpu_smds.METRICS`) or a ``StressMetrics`` value.
    n_components
        Components of the embedding; None takes the manifold's own number.
    groups
        Passed to the splitter.
    device
        Where to compute; None takes the device of X (the CPU for numpy and lazy stores).
    dtype
        None or torch.float64: all arithmetic is float64. torch.float32 is for GPUs with slow
        float64: the large matrix products and factorisations of ridge are float32, and its solution
        is refined on the float64 states until it is as accurate. Sites where the refinement does
        not converge are fitted in float64. It has no effect on orthonormal maps and alpha = 0.
    memory_budget
        Bytes to allocate beyond the input; None takes a share of the free memory.
    progress
        True for a bar on standard error, or a callable (done sites, all sites).
    checkpoint
        A file that keeps the finished results: after any interruption, the same call continues from
        there. The file is removed at the end (see :class:`gpu_smds.Checkpoint`).
    solver
        How maps are fitted. None is "ridge", or "procrustes" if ``orthonormal`` is true. "pls" is
        partial least squares, the counterpart of ``smds.HybridSMDS`` with scikit-learn's
        ``PLSRegression``. Its latent variables are the projection: two by default, or the number
        that ``solver=gpu_smds.PartialLeastSquares(n_latent=...)`` gives (``n_components`` is the
        width of the embedding). ``alpha`` and ``standardize`` then have no effect.
    non_finite
        What is done about rows (samples) that hold NaN or inf at a site. "undefined" gives the site
        no score. "omit" leaves these rows out there, of training and test parts, and counts them in
        :attr:`ScoreMap.omitted`: the score is that of a call on the rows that are left, with what
        is left of the same folds. Shapes that map labels to [0, 1] then do so by the labels that
        are left; a ``period`` is kept. A site with too few rows left has a status that says so. The
        other sites keep every bit. What is left out is computed after all other sites, and again
        if the call is interrupted then.

    Lists of manifolds, metrics or alphas each add a leading axis and share one Gram matrix.

    Returns
    -------
    ScoreMap
        Axes ``(manifold, metric, alpha, fold, *sites)``, the first three only for lists.

    Raises
    ------
    ValueError, TypeError
        Arguments that do not fit each other; the message says what to pass instead. A site that
        cannot be scored raises no error: its score is NaN and its status says why.
    """
    place = Place.of(X, device, memory_budget)
    question = Question.of(place.sites.n, y, manifold, metric, cv, groups, n_components)
    how = SolverSpec.of(alpha, orthonormal, standardize, dtype, solver)
    plan = ScorePlan.of(place, question, how, omits(non_finite))
    with kept(checkpoint) as done:
        place.run([plan.job], "scoring", progress, done)
        plan.finish(progress)
    return plan.result()


@dataclass(frozen=True)
class ScorePlan:
    """A score map that is not computed yet.

    Attributes
    ----------
    job
        The job to run.
    """

    job: Job
    _place: Place
    _question: Question
    _solver: SolverSpec
    _scores: ScoreJob
    # Results with rows left out. A checkpoint holds those of the job, which stay as they are.
    _final: ScoreJob
    _omission: Omission | None

    @classmethod
    def of(cls, place: Place, question: Question, solver: SolverSpec, omit: bool = False) -> Self:
        """Plan the scores of all sites; ``omit`` says that rows may be left out."""
        ideals = question.ideals(solver, place.device, place.budget)
        scores = ScoreJob.of(place, question, solver, ideals)
        omission = Omission.of(place) if omit else None
        final = scores.empty_like() if omit else scores
        job = scores.job(place, question)
        return cls(job, place, question, solver, scores, final, omission)

    @classmethod
    def asked(cls, place: Place, y: Any, *arguments: Any, **named: Any) -> Self:
        """Plan :func:`score_map` with these arguments, from ``y`` on, without those of the place.

        Raises
        ------
        TypeError
            Arguments that :func:`score_map` does not take, or that say where to compute.
        """
        bound = inspect.signature(score_map).bind(None, y, *arguments, **named)
        if taken := _OF_THE_PLACE & bound.arguments.keys():
            raise TypeError(f"{min(taken)} is not taken here: it is set for the whole pass")
        bound.apply_defaults()
        of_question, of_solver = (
            [bound.arguments[name] for name in names]
            for names in (_OF_THE_QUESTION, _OF_THE_SOLVER)
        )
        question = Question.of(place.sites.n, y, *of_question)
        omit = omits(bound.arguments["non_finite"])
        return cls.of(place, question, SolverSpec.of(*of_solver), omit)

    def finish(self, progress: Progress = False) -> None:
        """Compute the sites of which rows are left out, once the job has run."""
        if self._omission is None:
            return
        final, labels = self._final, self._question.labels
        final.take(slice(None), self._scores)
        for left in self._omission.parts(self._place, labels, final.status, progress):
            question = self._question.keeping(left.rows)
            plan = type(self).of(left.place, question, self._solver)
            left.place.run([plan.job], "scoring")
            final.take(left.sites, plan._scores)

    def result(self) -> ScoreMap:
        """The scores, once the job has run."""
        scores, status = self._final.arrays()
        # Each list that was given is an axis; the other axes have length 1 and are dropped.
        listed = self._question.lists | ({"alpha"} if self._solver.many else set())
        coords: dict[str, list[Any]] = {
            "manifold": self._question.names,
            "metric": list(self._question.metrics),
            "alpha": list(self._solver.alphas),
        }
        site_shape = self._place.sites.site_shape
        dims = (
            *(name for name in coords if name in listed),
            "fold",
            *(f"site{axis}" for axis in range(len(site_shape))),
        )
        sizes = dict(zip(("manifold", "metric", "alpha", "fold"), scores.shape, strict=False))
        kept = [sizes[dim] for dim in dims if dim in sizes]
        kept_status = [sizes[dim] for dim in dims if dim in sizes and dim != "metric"]
        return ScoreMap(
            scores.reshape(*kept, *site_shape),
            status.reshape(*kept_status, *site_shape),
            dims,
            coords,
            fold_sizes=self._question.folds.sizes,
            omitted=None if self._omission is None else self._omission.at(site_shape),
        )


# Arguments of score_map, by the object that takes them in this order.
_OF_THE_QUESTION = ("manifold", "metric", "cv", "groups", "n_components")
_OF_THE_SOLVER = ("alpha", "orthonormal", "standardize", "dtype", "solver")
_OF_THE_PLACE = {"device", "memory_budget", "progress", "checkpoint"}
