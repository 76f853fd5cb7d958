"""Exp 3: does the source's map decode the other words?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from experiments.designs.experiment import Experiment, Results, Verdict, best_layer
from experiments.designs.setting import Part, Setting, cross_validation

if TYPE_CHECKING:
    from gpu_smds import OnePass, ScoreMap

# Where H2 tips: the study found cosines of 0.01 to 0.02, and near chance is 0.35 to 0.40.
DIFFERENT = 0.1
FAILS = 0.5


def _plan(setting: Setting, once: OnePass) -> Callable[[], ScoreMap]:
    """Per layer one map, of the source.

    It is fitted on the z-scored source states of all samples and scored on every position's own
    z-scored states of the same samples, clipped to [0, 1]. Clean: map and z-scores are fitted on
    each training part, and scored on the held-out sentences.
    """
    import gpu_smds

    fitted = gpu_smds.fit_map(
        Part(setting.states, None, slice(setting.source, setting.source + 1)),
        setting.labels,
        manifold=setting.ideal,
        standardize="train" if setting.clean else "all",
        device=setting.device,
        memory_budget=setting.memory_budget,
        non_finite=setting.non_finite,
    )
    cv = cross_validation(setting) if setting.clean else None
    planned = once.transfer_map(fitted, setting.labels, cv=cv)

    def result() -> ScoreMap:
        found = planned()
        scores, status = found.scores[:, :, 0], found.status[:, :, 0]
        scores = scores if setting.clean else np.clip(scores, 0, 1)
        return replace(found, scores=scores, status=status, dims=("fold", "layer", "position"))

    return result


def _rotated(results: Results) -> Verdict | None:
    """H2, from the maps' cosine (Exp 2) and the source's map at the destination."""
    similarity, reuse = results.get("similarity"), results["reuse"]
    if similarity is None or "destination" not in similarity.metadata["landmarks"]:
        return None
    facts = similarity.metadata
    landmarks, words, layer = facts["landmarks"], facts["words"], facts["similarity_layer"]
    source, destination = landmarks["source"], landmarks["destination"]
    cosine = float(similarity.mean[0, source, destination])
    scores = reuse.mean[reuse.metadata["layers"].index(layer)]
    best = best_layer(reuse, destination)
    text = (
        f"at layer {layer} the cosine {words[source]}–{words[destination]} is {cosine:.3f}, and "
        f"the map of {words[source]} scores {scores[source]:.2f} there and "
        f"{scores[destination]:.2f} at {words[destination]}"
    )
    if best >= 0:
        text += (
            f" (at most {reuse.mean[best, destination]:.2f}, in layer "
            f"{reuse.metadata['layers'][best]})"
        )
    text += f"; supported below {DIFFERENT:g} and {FAILS:g}"
    known = np.isfinite(cosine + scores[destination])
    why_not = (
        None
        if known
        else f"{words[source]} and {words[destination]} lack a cosine or a score at layer {layer}"
    )
    if source == destination:
        why_not = f"{words[source]} is both source and destination, so name another --destination"
    supported = bool(cosine < DIFFERENT and scores[destination] < FAILS)
    return Verdict(
        "H2",
        f"rotated, not copied: the maps of {words[source]} and {words[destination]} differ, so one "
        "does not decode the other",
        supported if known else None,
        text,
        why_not,
        ("source", "destination"),
    )


REUSE = Experiment(
    number="3",
    name="reuse",
    question="does the source's map decode the other positions?",
    help="does the month's map decode the other words?",
    title="does the map of {source} decode the rest?",
    captions={
        "study": (
            "Map fitted on the z-scored states of the source and scored on every position's own "
            "z-scored states, same sentences."
        ),
        "clean": (
            "Map and z-score of the source fitted on two thirds of the sentences, scored on every "
            "position's z-scored states of the others; mean of 3 folds."
        ),
    },
    plan=_plan,
    verdict=_rotated,
)
