"""Which figures a run gets, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from experiments import protocol
from experiments.figures import (
    CirclePanel,
    Model,
    draw_circle,
    draw_independent,
    draw_map,
    draw_similarity,
)
from experiments.figures import draw_comparison as draw_models
from experiments.protocol import Setting
from experiments.results import best_layer
from extract import month_starts
from extract.prompts import MONTHS
from gpu_smds import ScoreMap

_CAPTIONS = {
    "independent": (
        "Ridge SMDS on the states as they are, mean of 3 shuffled folds. On a circle unstructured "
        "data score about 0.35–0.40."
    ),
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


def draw_results(folder: Path, model: str, results: dict[str, ScoreMap]) -> list[Path]:
    """Draw the figure of every experiment at hand; returns the files."""
    files = []
    for name, scores in results.items():
        path, facts, sites = folder / f"{name}.png", scores.metadata, sites_of(scores)
        source = facts["words"][facts["landmarks"]["source"]]
        caption = _CAPTIONS[name]
        if name == "independent":
            draw_independent(
                path,
                scores.mean,
                status_ok=sites.pop("ok"),
                **sites,
                curve_layers=facts["curve_layers"],
                title=f"{model}: is there a {shape_of(scores)}? (Exp 1, independent)",
                caption=caption,
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
        else:
            title = f"{model}: is it a rigid {shape_of(scores)}? (Exp 4, rigid)"
            draw_map(path, scores.mean, **sites, cmap="Reds", title=title, caption=caption)
        files.append(path)
    return files


def draw_projections(
    folder: Path, model: str, setting: Setting, results: dict[str, ScoreMap], study_labels: bool
) -> list[Path]:
    """Draw the circle at the landmarks of the best layer; none for other manifolds."""
    scores = results.get("independent")
    if scores is None or setting.manifold != "circular":
        return []
    landmarks = scores.metadata["landmarks"]
    best = best_layer(scores, landmarks["source"])
    if best < 0:
        return []
    kept = folder.parent / "results" / "circle.safetensors"
    arrays = {}
    panels = []
    words = scores.metadata["words"]
    for role in ("source", "distractor", "destination"):
        if role not in landmarks or not np.isfinite(scores.mean[best, landmarks[role]]):
            continue
        found = protocol.circle(setting, best, landmarks[role])
        low, high = found.labels.min(), found.labels.max()
        turns = (found.labels - low) / (high - low)
        arrays[role] = found.points
        panels.append(CirclePanel(words[landmarks[role]], found.points, None, turns, found.score))
    arrays["labels"] = np.asarray(setting.labels)
    save_file(arrays, kept)
    path = folder / "circle.png"
    draw_circle(
        path,
        panels,
        _ticks(setting.labels, study_labels),
        title=f"{model}: the circle at layer {scores.metadata['layers'][best]}",
        caption=(
            "Every sentence projected by a map that was fitted without it (3 folds). Panels are "
            "turned, mirrored and scaled as a whole, the smallest label at the top. Grey: the "
            "ideal circle."
        ),
    )
    return [path]


def draw_comparison(path: Path, models: Sequence[tuple[str, dict[str, ScoreMap]]]) -> None:
    """Exp 1 of several models side by side."""
    shown, title = [], ""
    for name, results in models:
        if "independent" in results:
            scores = results["independent"]
            title = f"Is there a {shape_of(scores)}? (Exp 1)"
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
    draw_models(path, shown, title=title, caption=_CAPTIONS["independent"])


def _ticks(labels: np.ndarray, study_labels: bool) -> list[tuple[str, float]]:
    """Names around the circle, on the scale of the min-max-normalised labels."""
    low, high = float(labels.min()), float(labels.max())
    if study_labels:
        starts = [(start - low) / (high - low) for start in month_starts()]
        return [(name[:3], s) for s, name in zip(starts, MONTHS, strict=True)]
    return [(f"{low + share * (high - low):.3g}", share) for share in (0, 0.25, 0.5, 0.75)]


def draw_run(run: Any, results: dict[str, ScoreMap], setting: Setting | None) -> list[Path]:
    """Draw all figures that a run's results allow."""
    folder: Path = run.folder / "figures"
    files = draw_results(folder, run.source.name, results)
    if setting is not None:
        study = run.options.prompts is None
        files += draw_projections(folder, run.source.name, setting, results, study)
    return files
