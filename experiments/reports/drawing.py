"""Which figures an analysis gets, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from experiments.designs import INDEPENDENT, every_experiment
from experiments.designs.circle import circle
from experiments.designs.experiment import ROLES, Shown, layer_of_source, shape_of
from experiments.designs.setting import Setting, said_of
from experiments.figures import CirclePanel, Model, draw_circle, draw_comparison
from experiments.reports.significance import (
    chance_band,
    draw_test,
    named,
    said,
    significant_sites,
)
from experiments.reports.turn import ends_of_turn, names_of_labels, ticks
from experiments.runs.inquiry import Inquiry
from gpu_smds import ScoreMap, SignificanceMap
from gpu_smds._files import File, tensor_bytes


def draw_analysis(
    inquiry: Inquiry,
    results: dict[str, ScoreMap],
    setting: Setting | None,
    tested: SignificanceMap | None = None,
) -> list[File]:
    """Draw all figures that the results of an analysis allow."""
    name = inquiry.run.source.name
    files = draw_results(inquiry.figure, name, results, tested, named(inquiry))
    if tested is not None:
        files.append(draw_test(inquiry, tested, results.get(INDEPENDENT.name)))
    if setting is not None:
        study, kept = not inquiry.options.own_sentences, inquiry.result("circle.safetensors")
        path = inquiry.figure("circle.png")
        note = named(inquiry)
        names = names_of_labels(inquiry)
        files += draw_projections(path, kept, name, setting, results, study, note, names)
    return files


def draw_results(
    file: Callable[[str], File],
    model: str,
    results: Mapping[str, ScoreMap],
    tested: SignificanceMap | None = None,
    note: str = "",
) -> list[File]:
    """Draw the figure of every experiment at hand; returns the files.

    Where Exp 1 was tested, what is significant is outlined on its map, and its curves have the band
    of chance. ``note`` is added to all captions.
    """
    files = []
    for name, scores in results.items():
        path, facts = file(f"{name}.png"), scores.metadata
        row = every_experiment(facts.get("hold_out"))[name]
        caption, marks = row.caption(facts) + note, {}
        if tested is not None and row is INDEPENDENT:
            marks = {"significant": significant_sites(tested), "chance": chance_band(tested)}
            caption += f" {said(tested)} Grey: 95 % of the scores of permuted labels."
        row.figure(path, Shown(scores, row.titled(model, scores), caption, marks))
        files.append(path)
    return files


def draw_projections(
    path: File,
    kept: File,
    model: str,
    setting: Setting,
    results: Mapping[str, ScoreMap],
    study_labels: bool,
    note: str = "",
    names: Mapping[float, str] | None = None,
) -> list[File]:
    """Draw the circle at the landmarks of the best layer, whose points are written to ``kept``.

    None for other manifolds. ``names`` are those of the labels, if they are few.
    """
    scores = results.get(INDEPENDENT.name)
    if scores is None or setting.manifold != "circular":
        return []
    landmarks = scores.metadata["landmarks"]
    best = layer_of_source(scores)
    if best < 0:
        return []
    low, high = ends_of_turn(setting)
    arrays = {}
    panels = []
    words = scores.metadata["words"]
    for role in ROLES:
        if role not in landmarks or not np.isfinite(scores.mean[best, landmarks[role]]):
            continue
        found = circle(setting, best, landmarks[role])
        turns = (found.labels - low) / (high - low)
        arrays[role] = found.points
        drawn = np.isfinite(found.points).all(1)
        word, points = words[landmarks[role]], found.points[drawn]
        panels.append(CirclePanel(word, points, None, turns[drawn], found.score))
    at_top = "the smallest label" if setting.period is None else "label 0"
    arrays["labels"] = np.asarray(setting.labels)
    kept.write(tensor_bytes("gpu_smds.Circle", arrays, {}))
    draw_circle(
        path,
        panels,
        ticks(low, high, study_labels, setting.period, names),
        title=f"{model}: the circle at layer {scores.metadata['layers'][best]}",
        caption=(
            "Every sentence projected by a map that was fitted without it (3 folds). Panels are "
            f"turned, mirrored and scaled as a whole, {at_top} at the top. Grey: the ideal circle."
            + said_of(setting.protocol)
            + note
        ),
    )
    return [path]


def draw_models(path: File, models: Sequence[tuple[str, dict[str, ScoreMap]]]) -> None:
    """Exp 1 of several models side by side."""
    shown, title, caption = [], "", ""
    for name, results in models:
        if INDEPENDENT.name in results:
            scores = results[INDEPENDENT.name]
            title = f"Is there a {shape_of(scores)}? (Exp 1)"
            facts = scores.metadata
            caption = INDEPENDENT.caption(facts)
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
