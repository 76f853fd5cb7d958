"""Result files of a run: one safetensors and one CSV file per experiment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from experiments import protocol, tables
from experiments.facts import check_scores
from experiments.folder import RunFile
from experiments.protocol import Setting
from extract import ExtractError
from gpu_smds import Checkpoint, ScoreMap
from gpu_smds._files import File

#: Experiment of the study → (its number, question).
EXPERIMENTS: dict[str, tuple[str, str]] = {
    "independent": ("1", "is the manifold there, at each site?"),
    "similarity": ("2", "is it the same subspace at every position?"),
    "reuse": ("3", "does the source's map decode the other positions?"),
    "rigid": ("4", "is it rigid?"),
}
#: Further ones of the clean protocol, variants of Exp 1.
HELD_OUT: dict[str, tuple[str, str]] = {
    "unseen_labels": ("1a", "is it there for labels that the map has not seen?"),
    "unseen_names": ("1b", "is it there for names that the map has not seen?"),
}
EVERY = EXPERIMENTS | HELD_OUT


@dataclass(frozen=True)
class Columns:
    """What the positions are called, and which are landmarks."""

    words: tuple[str, ...]
    tokens: tuple[str, ...]
    landmarks: dict[str, int]


def load_result(file: RunFile, identity: str) -> ScoreMap | None:
    """Read an experiment's scores; None where there are none of this run.

    Raises
    ------
    ExtractError
        The file is damaged.
    """
    if not file.is_listed():
        return None
    try:
        scores = ScoreMap.load(file)
        if scores.metadata.get("identity") != identity:
            return None
        check_scores(scores.metadata, scores.mean.shape)
    except ValueError as error:
        raise ExtractError(f"{file} is damaged ({error}): delete it, or use --force") from error
    return scores


def compute_results(
    experiments: Sequence[str],
    setting: Setting,
    columns: Columns,
    identity: str,
    progress: Callable[[int, int], None],
    checkpoint: Checkpoint | None = None,
) -> dict[str, ScoreMap]:
    """Run experiments that share one pass over the states, or Exp 2, and note on what."""
    started = perf_counter()
    if list(experiments) == ["similarity"]:
        found = {"similarity": (protocol.similarity(setting, progress, checkpoint), 1.0)}
    else:
        found = protocol.on_all_sites(experiments, setting, progress, checkpoint)
    seconds = perf_counter() - started
    facts = facts_of(setting, columns, identity)
    return {
        name: replace(scores, metadata={"experiment": name, "seconds": seconds * share, **facts})
        for name, (scores, share) in found.items()
    }


def facts_of(setting: Setting, columns: Columns, identity: str) -> dict[str, Any]:
    """What travels with every result: what it is of, and how its sites are called."""
    return {
        "identity": identity,
        "layers": list(setting.layers),
        "n_states": setting.n_states,
        "words": list(columns.words),
        "tokens": list(columns.tokens),
        "landmarks": columns.landmarks,
        "curve_layers": list(protocol.curve_layers(setting)),
        "similarity_layer": protocol.similarity_layer(setting),
        "protocol": setting.protocol,
        "manifold": setting.manifold,
        **({"hold_out": setting.hold_out} if setting.hold_out else {}),
    }


def save_result(
    file: Callable[[str], File], experiment: str, scores: ScoreMap, *, csv_as_is: bool = False
) -> None:
    """Write the CSV file for people, then the scores, whose presence says that both are there.

    ``file`` gives a file of the results by its name.
    """
    facts, table = scores.metadata, file(f"{experiment}.csv")
    words, tokens = facts["words"], facts["tokens"]
    if experiment == "similarity":
        layer = facts["similarity_layer"]
        tables.write_similarity(table, scores, layer, words, tokens, as_is=csv_as_is)
    else:
        tables.write_scores(table, scores, facts["layers"], words, tokens, as_is=csv_as_is)
    scores.save(file(f"{experiment}.safetensors"))


def best_layer(scores: ScoreMap, position: int) -> int:
    """Index along the layer axis of the highest mean score at a position; -1 where none is."""
    column = scores.mean[:, position]
    return -1 if np.isnan(column).all() else int(np.nanargmax(column))
