"""Exp 2: is it the same subspace at every word? Cosine of the maps fitted at one layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from experiments.designs.experiment import Experiment, Layout, Shown
from experiments.designs.setting import Part, Progress, Setting, similarity_layer

if TYPE_CHECKING:
    from gpu_smds import Checkpoint, ScoreMap
    from gpu_smds._files import File


def similarity(
    setting: Setting, progress: Progress = False, checkpoint: Checkpoint | None = None
) -> ScoreMap:
    """At one layer, maps fitted on z-scored states of all samples, compared in pairs.

    The result holds the absolute cosine of every pair of flattened maps, axes ``(fold, layer,
    position, position)`` of lengths 1, 1, T, T.
    """
    import gpu_smds

    layer = setting.layers.index(similarity_layer(setting))
    fitted = gpu_smds.fit_map(
        Part(setting.states, [layer]),
        setting.labels,
        manifold=setting.ideal,
        standardize="all",
        device=setting.device,
        memory_budget=setting.memory_budget,
        progress=progress,
        checkpoint=checkpoint,
        non_finite=setting.non_finite,
    )
    status = np.maximum(fitted.status[:, :, None], fitted.status[:, None, :])
    omitted = fitted.omitted
    if omitted is not None:  # from the map that lacks more
        omitted = np.maximum(omitted[:, :, None], omitted[:, None, :])
    dims = ("fold", "layer", "position_a", "position_b")
    cosines = gpu_smds.similarity_map(fitted)[None]
    return gpu_smds.ScoreMap(cosines, status[None], dims, omitted=omitted)


def _rows(scores: ScoreMap) -> Iterable[tuple[object, ...]]:
    facts, value, status = scores.metadata, scores.mean[0], scores.worst_status[0]
    layer, words, tokens = facts["similarity_layer"], facts["words"], facts["tokens"]
    return (
        (layer, a, words[a], tokens[a], b, words[b], tokens[b], value[a, b], status[a, b])
        for a in range(len(words))
        for b in range(len(words))
    )


def _with_the_source(scores: ScoreMap) -> tuple[int | None, np.ndarray]:
    facts = scores.metadata
    return facts["similarity_layer"], scores.mean[0, facts["landmarks"]["source"]]


def _draw(file: File, shown: Shown) -> None:
    from experiments.figures import draw_similarity

    facts = shown.scores.metadata
    draw_similarity(
        file,
        shown.scores.mean[0],
        facts["words"],
        facts["tokens"],
        facts["landmarks"],
        facts["similarity_layer"],
        title=shown.title,
        caption=shown.caption,
    )


_HOW = "Maps fitted on z-scored states of all sentences."

SIMILARITY = Experiment(
    number="2",
    name="similarity",
    question="is it the same subspace at every position?",
    help="is it the same subspace at every word? (cosine of fitted maps)",
    title="is it the same subspace?",
    captions={"study": _HOW, "clean": _HOW},
    compute=similarity,
    layout=Layout(
        columns=(
            *("layer", "position_a", "word_a", "token_a", "position_b", "word_b", "token_b"),
            *("score", "status"),
        ),
        rows=_rows,
        shape=lambda layers, positions: (1, positions, positions),
        best=_with_the_source,
    ),
    figure=_draw,
    footnote=(
        "similarity: cosine with the source's map, at its own layer; the other scores are at the "
        "best layer of the source, of those where all of these words have a score"
    ),
)
