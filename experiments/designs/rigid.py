"""Exp 4: is it a rigid manifold? An orthonormal map, last fifth of the sentences held out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from experiments.designs.experiment import (
    ROLES,
    Experiment,
    Results,
    Shown,
    Verdict,
    layer_of_source,
    shape_of,
)
from experiments.designs.setting import Setting, cross_validation

if TYPE_CHECKING:
    from gpu_smds import OnePass, ScoreMap
    from gpu_smds._files import File

#: H3 holds where the score falls by more than this, the spread of a random draw.
FALLS = 0.05


def _plan(setting: Setting, once: OnePass) -> Callable[[], ScoreMap]:
    """Orthonormal map of z-scored states.

    The z-score is fitted on all samples, as in the study; the score is clipped to [0, 1]. Clean:
    the folds of Exp 1, z-scores of the training part.
    """
    n = len(setting.labels)
    split = int(0.8 * n)
    held_out = [(np.arange(split), np.arange(split, n))]
    planned = once.score_map(
        setting.labels,
        manifold=setting.ideal,
        cv=cross_validation(setting) if setting.clean else held_out,
        alpha=0,
        orthonormal=True,
        standardize="train" if setting.clean else "all",
        non_finite=setting.non_finite,
    )

    def result() -> ScoreMap:
        found = planned()
        scores = found.scores if setting.clean else np.clip(found.scores, 0, 1)
        return replace(found, scores=scores, dims=("fold", "layer", "position"))

    return result


def _draw(file: File, shown: Shown) -> None:
    from experiments.figures import draw_map

    mean, ok = shown.scores.mean, np.isfinite(shown.scores.mean)
    draw_map(file, mean, ok, **shown.axes, cmap="Reds", title=shown.title, caption=shown.caption)


def _stretched(results: Results) -> Verdict | None:
    """H3, from what the landmarks lose against Exp 1."""
    independent, rigid = results.get("independent"), results["rigid"]
    if independent is None:
        return None
    landmarks, words = independent.metadata["landmarks"], independent.metadata["words"]
    layer = layer_of_source(independent)
    parts, falls = [], []
    for role in ROLES:
        if role in landmarks:
            position = landmarks[role]
            free, stiff = independent.mean[layer, position], rigid.mean[layer, position]
            parts.append(f"{words[position]} {free:.2f} → {stiff:.2f}")
            falls.append(free - stiff)
    return Verdict(
        "H3",
        f"a stretched {shape_of(rigid)}, not a rigid one: the score falls from Exp 1 to Exp 4",
        bool(min(falls) > FALLS) if np.isfinite(falls).all() else None,
        f"at layer {independent.metadata['layers'][layer]}: {', '.join(parts)}",
    )


RIGID = Experiment(
    number="4",
    name="rigid",
    question="is it rigid?",
    help="is it a rigid circle? (orthonormal map, last fifth held out)",
    title="is it a rigid {shape}?",
    captions={
        "study": (
            "Orthonormal map of states z-scored over all sentences, fitted on the first 80 %, "
            "scored on the last 20 %."
        ),
        "clean": (
            "Orthonormal map of z-scored states; map and z-score fitted on two thirds of the "
            "sentences, scored on the others; mean of 3 folds."
        ),
    },
    plan=_plan,
    figure=_draw,
    verdict=_stretched,
)
