"""Where the sentences lie on the circle at one site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.designs.setting import Setting, cross_validation


@dataclass(frozen=True)
class ProjectedCircle:
    """Held-out projections of one site, turned onto the ideal circle.

    Attributes
    ----------
    points
        ``(n, 2)``; NaN where the site is undefined in the fold, or the sentence is left out.
    labels
        ``(n,)``.
    score
        Mean score over the folds.
    """

    points: np.ndarray
    labels: np.ndarray
    score: float


def circle(setting: Setting, layer: int, position: int) -> ProjectedCircle:
    """Held-out projections of one site with the folds of Exp 1.

    A fold's embedding is determined up to rotation and reflection; each fold's projections are
    turned so that its embedding lies on the points that the labels name.
    """
    import torch

    from gpu_smds import fit_map, score_map
    from gpu_smds.geometry.manifold import resolve_manifold

    here = setting.states[:, layer, position : position + 1]
    states = np.asarray(here.double().cpu())[:, 0]
    labels = setting.labels
    points = np.full((len(labels), 2), np.nan)
    shape: Any = resolve_manifold(setting.ideal).source
    cv = cross_validation(setting)
    finite = np.isfinite(states).all(1) | (setting.non_finite != "omit")
    for rows in cv if isinstance(cv, list) else cv.split(states):
        train, test = (part[finite[part]] for part in rows)
        fitted = fit_map(states[train], labels[train], manifold=shape)
        # The ideal points of the training labels, for which Y stands up to a rigid motion.
        ideal = shape.points(torch.from_numpy(labels[train])).numpy()
        centre = ideal.mean(0)
        U, _, Vt = np.linalg.svd(fitted.Y.cpu().numpy().T @ (ideal - centre))
        points[test] = fitted.transform(states[test]) @ (U @ Vt) + centre
    how = {"manifold": shape, "cv": cv, "non_finite": setting.non_finite}
    score = float(score_map(states, labels, **how).mean)
    return ProjectedCircle(points, labels, score)
