"""The ridge penalty chosen by nested cross-validation at every site."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gpu_smds._arguments import as_alphas
from gpu_smds._labels import as_labels
from gpu_smds._progress import Progress
from gpu_smds.crossval.folds import counts_folds, split_rows
from gpu_smds.crossval.sorted_rows import shuffled, warn_if_sorted
from gpu_smds.geometry.manifold import resolve_manifold
from gpu_smds.inference.permutations import as_groups
from gpu_smds.maps.one_pass import OnePass
from gpu_smds.maps.score_map import ScoreMap
from gpu_smds.sites.array import Sites
from gpu_smds.sites.checkpoint import Checkpoint


@dataclass(frozen=True)
class NestedMap:
    """Scores with a penalty chosen on the training part of each fold.

    Attributes
    ----------
    scores
        Axes ``(fold, *sites)``: each test part scored with its fold's own choice.
    alpha
        ``(fold, *sites)`` the chosen penalty; NaN where undefined.
    path
        Axes ``(alpha, fold, *sites)``: the test parts scored with every penalty. For inspection,
        not for a choice.
    inner
        ``(alpha, fold, *sites)`` mean score over the inner folds, by which the penalty was chosen.
    """

    scores: ScoreMap
    alpha: np.ndarray
    path: ScoreMap
    inner: np.ndarray


def nested_map(
    X: Any,
    y: Any,
    alphas: Any,
    cv: Any = 3,
    inner_cv: Any = 3,
    manifold: Any = "circular",
    standardize: str | None = None,
    metric: Any = "scale_normalized_stress",
    n_components: int | None = None,
    groups: Any = None,
    device: Any = None,
    memory_budget: int | None = None,
    progress: Progress = False,
    checkpoint: str | Path | Checkpoint | None = None,
) -> NestedMap:
    """Score every site with a ridge penalty chosen by cross-validation within each training part.

    Each training part is split again. The penalty with the best mean score on the inner test parts
    is chosen (the largest of equals), and then the outer test part is scored with it. Every
    training set is decomposed once for all penalties, or factorised for each if that is less work.
    smds has no counterpart.

    Parameters
    ----------
    X, y, manifold, metric, n_components, groups, device, memory_budget, progress, checkpoint
        As in :func:`gpu_smds.score_map`, with one manifold and one metric.
    alphas
        Penalties to choose from, such as ``np.logspace(-2, 6, 17)``.
    cv
        Outer folds, as in :func:`gpu_smds.score_map`, but not None.
    inner_cv
        How each training part is split. Here and in ``cv``, an int splits by groups if groups are
        given.
    standardize
        None or "train". "all" is refused, because the choice would depend on the test part.

    Raises
    ------
    ValueError
        Arguments that do not fit each other, or a training part that is too small to split.
    """
    from sklearn.model_selection import GroupKFold

    values, is_list = as_alphas(alphas, "alphas")
    if not is_list or isinstance(manifold, list | tuple) or isinstance(metric, list | tuple):
        raise ValueError("nested_map takes a list of alphas, and one manifold and metric")
    if standardize == "all":
        raise ValueError('standardize="all" shows the test part to the choice: use "train" or None')
    if cv is None:
        raise ValueError("cv=None holds nothing out, so that there is nothing to choose for")
    n = Sites(X).n
    read = as_labels(y, n)
    if read.categories:
        resolve_manifold(manifold, n_components).refuse_categories()
    labels = read.values
    names = None if groups is None else as_groups(groups, n)
    if inner_cv is None:
        raise ValueError("inner_cv=None holds nothing out, so that there is nothing to choose by")
    if names is not None:
        cv, inner_cv = (GroupKFold(s) if counts_folds(s) else s for s in (cv, inner_cv))
    outer = split_rows(cv, labels, names)
    said = counts_folds(cv) and warn_if_sorted(
        read, [test for _, test in outer], shuffled("cv", cv)
    )
    inner = []
    for train, _ in outer:
        parts = None if names is None else names[train]
        split = split_rows(inner_cv, labels[train], parts, "inner_cv")
        if counts_folds(inner_cv) and not said:
            held_out = [held for _, held in split]
            part_of = replace(read, values=labels[train])
            said = warn_if_sorted(part_of, held_out, shuffled("inner_cv", inner_cv))
        inner.append([(train[fit], train[held]) for fit, held in split])
    once = OnePass(X, device, memory_budget)
    arguments: dict[str, Any] = {
        "manifold": manifold,
        "alpha": list(values),
        "standardize": standardize,
        "metric": metric,
        "n_components": n_components,
    }
    on_test = once.score_map(labels, cv=outer, **arguments)
    # Inner folds never hold a row of their outer test part.
    within = once.score_map(labels, cv=[pair for pairs in inner for pair in pairs], **arguments)
    once.run(progress, checkpoint)
    path, choosing = on_test(), within()
    ends = np.cumsum([len(pairs) for pairs in inner])[:-1]
    means = np.stack([part.mean(1) for part in np.split(choosing.scores, ends, axis=1)], axis=1)
    worst = np.stack([p.max((0, 1)) for p in np.split(choosing.status, ends, axis=1)])
    return _chosen(np.array(values), path, means, worst)


def _chosen(values: np.ndarray, path: ScoreMap, inner: np.ndarray, worst: np.ndarray) -> NestedMap:
    """Pick the penalties by the inner means ``(alpha, fold, *sites)``."""
    falling = np.argsort(-values, kind="stable")
    usable = np.isfinite(inner).all(0)
    best = falling[np.where(np.isfinite(inner), inner, -np.inf)[falling].argmax(0)]
    scores = np.take_along_axis(path.scores, best[None], 0)[0]
    status = np.take_along_axis(path.status, best[None], 0)[0]
    picked = replace(
        path,
        scores=np.where(usable, scores, np.nan),
        status=np.where(usable, status, np.maximum(status, worst)),
        dims=path.dims[1:],
        coords={},
    )
    return NestedMap(picked, np.where(usable, values[best], np.nan), path, inner)
