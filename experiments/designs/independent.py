"""Exp 1: is there a manifold at each layer and word? Ridge on the states as they are, 3 folds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.designs.experiment import Experiment, Results, Shown, Verdict, best_layer
from experiments.designs.setting import Setting, cross_validation

if TYPE_CHECKING:
    from gpu_smds import OnePass, ScoreMap
    from gpu_smds._files import File

#: H1 holds where an unrelated word scores above this. The study states it in words.
SMEARED = 0.8
HOW = "Ridge SMDS on the states as they are, mean of 3 shuffled folds"


def plan_ridge(setting: Setting, once: OnePass, cv: Any) -> Callable[[], ScoreMap]:
    """Scores of every site on some folds."""
    scores = once.score_map(
        setting.labels, manifold=setting.ideal, cv=cv, non_finite=setting.non_finite
    )
    return lambda: replace(scores(), dims=("fold", "layer", "position"))


def _plan(setting: Setting, once: OnePass) -> Callable[[], ScoreMap]:
    return plan_ridge(setting, once, cross_validation(setting))


def _draw(file: File, shown: Shown) -> None:
    from experiments.figures import draw_independent

    scores = shown.scores
    draw_independent(
        file,
        scores.mean,
        np.isfinite(scores.mean),
        **shown.axes,
        curve_layers=scores.metadata["curve_layers"],
        title=shown.title,
        caption=shown.caption,
        **shown.marks,
    )


def _smeared(results: Results) -> Verdict | None:
    """H1, from the scores at the distractor and after the source."""
    found = results["independent"]
    landmarks, words = found.metadata["landmarks"], found.metadata["words"]
    source = landmarks["source"]
    claim = f"smeared: after {words[source]}, unrelated words score above {SMEARED}"
    if "distractor" not in landmarks:
        ask = f"name a word after {words[source]} that has nothing to do with it by --distractor"
        return Verdict("H1", claim, None, "", ask)
    distractor = landmarks["distractor"]
    layer = best_layer(found, distractor)
    score = float(found.mean[layer, distractor])
    after, before = found.mean[:, source + 1 :], found.mean[:, :source]
    best = [np.nanmax(column) for column in after.T if np.isfinite(column).any()]
    why_not = (
        None
        if distractor > source
        else f"{words[distractor]} does not stand after {words[source]}: name another --distractor"
    )
    text = (
        f"{words[distractor]} reaches {score:.2f} (layer {found.metadata['layers'][layer]}); "
        f"{sum(b > SMEARED for b in best)} of {len(best)} positions after {words[source]} pass "
        f"{SMEARED} at their best layer"
    )
    if np.isfinite(before).any():
        text += f"; before it the highest is {np.nanmax(before):.2f}"
    return Verdict(
        "H1",
        claim,
        bool(score > SMEARED) if np.isfinite(score) else None,
        text,
        why_not,
    )


INDEPENDENT = Experiment(
    number="1",
    name="independent",
    question="is the manifold there, at each site?",
    help="is there a circle at each layer and word? (ridge, 3-fold)",
    title="is there a {shape}?",
    captions={
        "study": f"{HOW}.",
        "clean": f"{HOW} that never split equal sentences.",
    },
    chance="On a circle unstructured data score about 0.35–0.40.",
    plan=_plan,
    figure=_draw,
    verdict=_smeared,
)
