"""Which figures a run gets, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments import protocol
from experiments.figures import (
    CirclePanel,
    Model,
    draw_circle,
    draw_comparison,
    draw_independent,
    draw_map,
    draw_similarity,
)
from experiments.protocol import Setting, named
from experiments.results import HELD_OUT, best_layer
from experiments.run import NAME_SLOT, Run
from experiments.significance import chance_band, draw_test, said, significant_sites
from extract import month_starts
from extract.prompts import MONTHS
from gpu_smds import ScoreMap, SignificanceMap
from gpu_smds._files import File, tensor_bytes

_RIDGE = "Ridge SMDS on the states as they are, mean of 3 shuffled folds"
_CLEAN = {
    "independent": f"{_RIDGE} that never split equal sentences.",
    "similarity": "Maps fitted on z-scored states of all sentences.",
    "reuse": (
        "Map and z-score of the source fitted on two thirds of the sentences, scored on every "
        "position's z-scored states of the others; mean of 3 folds."
    ),
    "rigid": (
        "Orthonormal map of z-scored states; map and z-score fitted on two thirds of the "
        "sentences, scored on the others; mean of 3 folds."
    ),
    "unseen_labels": f"{_RIDGE}; sentences of one label are all in one fold.",
    "unseen_names": f"{_RIDGE}; sentences of one name are all in one fold.",
}
_STUDY = {
    "independent": (f"{_RIDGE}. On a circle unstructured data score about 0.35–0.40."),
    "similarity": "Maps fitted on z-scored states of all sentences.",
    "reuse": (
        "Map fitted on the z-scored states of the source and scored on every position's own "
        "z-scored states, same sentences."
    ),
    "rigid": (
        "Orthonormal map of states z-scored over all sentences, fitted on the first 80 %, scored "
        "on the last 20 %."
    ),
}


def caption_of(scores: ScoreMap) -> str:
    """How a result was made, for its figure."""
    facts = scores.metadata
    name = facts["experiment"]
    text = (_CLEAN if facts["protocol"] == "clean" else _STUDY)[name]
    if name == "unseen_names" and facts.get("hold_out"):
        text = text.replace("name ", f"{facts['hold_out']} ")
    return text + named(facts["protocol"])


def _question(name: str, facts: Mapping[str, Any]) -> str:
    question, slot = HELD_OUT[name][1], facts.get("hold_out")
    other = name == "unseen_names" and slot != NAME_SLOT
    return question.replace("names", f"values of {slot}") if other else question


def sites_of(scores: ScoreMap) -> dict[str, Any]:
    """Scores of a result with the names of their layers and positions, as a map is drawn."""
    facts = scores.metadata
    return {
        "ok": np.isfinite(scores.mean),
        **{name: facts[name] for name in ("layers", "words", "tokens", "landmarks")},
    }


def shape_of(scores: ScoreMap) -> str:
    """What a result looked for, as a noun."""
    manifold = str(scores.metadata.get("manifold", "circular"))
    return "circle" if manifold == "circular" else f"{manifold.replace('_', ' ')} manifold"


def draw_results(
    file: Callable[[str], File],
    model: str,
    results: dict[str, ScoreMap],
    tested: SignificanceMap | None = None,
) -> list[File]:
    """Draw the figure of every experiment at hand; returns the files.

    Where Exp 1 was tested, what is significant is outlined on its map, and its curves have the band
    of chance.
    """
    files = []
    for name, scores in results.items():
        path, facts, sites = file(f"{name}.png"), scores.metadata, sites_of(scores)
        source = facts["words"][facts["landmarks"]["source"]]
        caption = caption_of(scores)
        if name == "independent":
            marks: dict[str, Any] = {}
            if tested is not None:
                marks = {"significant": significant_sites(tested), "chance": chance_band(tested)}
                caption += f" {said(tested)} Grey: 95 % of the scores of permuted labels."
            draw_independent(
                path,
                scores.mean,
                status_ok=sites.pop("ok"),
                **sites,
                curve_layers=facts["curve_layers"],
                title=f"{model}: is there a {shape_of(scores)}? (Exp 1, independent)",
                caption=caption,
                **marks,
            )
        elif name == "similarity":
            draw_similarity(
                path,
                scores.mean[0],
                facts["words"],
                facts["tokens"],
                facts["landmarks"],
                facts["similarity_layer"],
                title=f"{model}: is it the same subspace? (Exp 2, similarity)",
                caption=caption,
            )
        elif name == "reuse":
            title = f"{model}: does the map of {source} decode the rest? (Exp 3, reuse)"
            draw_map(path, scores.mean, **sites, title=title, caption=caption)
        elif name in HELD_OUT:
            title = f"{model}: {_question(name, facts)} (Exp {HELD_OUT[name][0]})"
            draw_map(path, scores.mean, **sites, title=title, caption=caption)
        else:
            title = f"{model}: is it a rigid {shape_of(scores)}? (Exp 4, rigid)"
            draw_map(path, scores.mean, **sites, cmap="Reds", title=title, caption=caption)
        files.append(path)
    return files


def draw_projections(
    path: File,
    kept: File,
    model: str,
    setting: Setting,
    results: dict[str, ScoreMap],
    study_labels: bool,
) -> list[File]:
    """Draw the circle at the landmarks of the best layer, whose points are written to ``kept``.

    None for other manifolds.
    """
    scores = results.get("independent")
    if scores is None or setting.manifold != "circular":
        return []
    landmarks = scores.metadata["landmarks"]
    best = best_layer(scores, landmarks["source"])
    if best < 0:
        return []
    labels = setting.labels
    low, high = (0.0, 1.0) if setting.clean else (float(labels.min()), float(labels.max()))
    arrays = {}
    panels = []
    words = scores.metadata["words"]
    for role in ("source", "distractor", "destination"):
        if role not in landmarks or not np.isfinite(scores.mean[best, landmarks[role]]):
            continue
        found = protocol.circle(setting, best, landmarks[role])
        turns = (found.labels - low) / (high - low)
        arrays[role] = found.points
        panels.append(CirclePanel(words[landmarks[role]], found.points, None, turns, found.score))
    arrays["labels"] = np.asarray(setting.labels)
    kept.write(tensor_bytes("gpu_smds.Circle", arrays, {}))
    draw_circle(
        path,
        panels,
        _ticks(low, high, study_labels),
        title=f"{model}: the circle at layer {scores.metadata['layers'][best]}",
        caption=(
            "Every sentence projected by a map that was fitted without it (3 folds). Panels are "
            "turned, mirrored and scaled as a whole, the smallest label at the top. Grey: the "
            "ideal circle." + named(setting.protocol)
        ),
    )
    return [path]


def draw_models(path: File, models: Sequence[tuple[str, dict[str, ScoreMap]]]) -> None:
    """Exp 1 of several models side by side."""
    shown, title, caption = [], "", ""
    for name, results in models:
        if "independent" in results:
            scores = results["independent"]
            title = f"Is there a {shape_of(scores)}? (Exp 1)"
            caption = caption_of(scores)
            facts = scores.metadata
            shown.append(
                Model(
                    name=name,
                    mean=scores.mean,
                    ok=np.isfinite(scores.mean),
                    layers=facts["layers"],
                    words=facts["words"],
                    landmarks=facts["landmarks"],
                )
            )
    draw_comparison(path, shown, title=title, caption=caption)


def _ticks(low: float, high: float, study_labels: bool) -> list[tuple[str, float]]:
    """Names around the circle, on the scale of the labels from ``low`` to ``high``."""
    if study_labels:
        starts = [(start - low) / (high - low) for start in month_starts()]
        return [(name[:3], s) for s, name in zip(starts, MONTHS, strict=True)]
    return [(f"{low + share * (high - low):.3g}", share) for share in (0, 0.25, 0.5, 0.75)]


def draw_run(
    run: Run,
    results: dict[str, ScoreMap],
    setting: Setting | None,
    tested: SignificanceMap | None = None,
) -> list[File]:
    """Draw all figures that a run's results allow."""
    name = run.source.name
    files = draw_results(run.figure, name, results, tested)
    if tested is not None:
        files.append(draw_test(run, tested, results.get("independent")))
    if setting is not None:
        study, kept = run.options.prompts is None, run.result("circle.safetensors")
        path = run.figure("circle.png")
        files += draw_projections(path, kept, name, setting, results, study)
    return files
