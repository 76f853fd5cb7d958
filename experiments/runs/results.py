"""Result files of an analysis: one safetensors and one CSV file per experiment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from experiments.designs.experiment import Experiment
from experiments.designs.passes import on_all_sites
from experiments.designs.setting import Setting, curve_layers, similarity_layer
from experiments.runs import tables
from experiments.runs.facts import check_scores
from experiments.runs.files import RunFile
from extract import ExtractError
from gpu_smds import Checkpoint, ScoreMap
from gpu_smds._files import File


@dataclass(frozen=True)
class Columns:
    """What the positions are called, and which are landmarks."""

    words: tuple[str, ...]
    tokens: tuple[str, ...]
    landmarks: dict[str, int]


def load_result(
    file: RunFile, identity: str, shape: Callable[[int, int], tuple[int, ...]]
) -> ScoreMap | None:
    """Read scores; None where there are none of this analysis.

    ``shape`` is that of their means for so many layers and positions.

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
        check_scores(scores.metadata, scores.mean.shape, shape)
    except ValueError as error:
        raise ExtractError(f"{file} is damaged ({error}): delete it, or use --force") from error
    return scores


def compute_results(
    experiments: Sequence[Experiment],
    setting: Setting,
    columns: Columns,
    identity: str,
    progress: Callable[[int, int], None],
    checkpoint: Checkpoint | None = None,
) -> dict[str, ScoreMap]:
    """Run experiments that share one pass over the states, or a single one, and note on what."""
    started = perf_counter()
    if experiments[0].compute is not None:
        (experiment,) = experiments
        assert experiment.compute is not None
        found = {experiment.name: (experiment.compute(setting, progress, checkpoint), 1.0)}
    else:
        found = on_all_sites(experiments, setting, progress, checkpoint)
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
        "curve_layers": list(curve_layers(setting)),
        "similarity_layer": similarity_layer(setting),
        "protocol": setting.protocol,
        "manifold": setting.manifold,
        **({"period": setting.period} if setting.period is not None else {}),
        **({"hold_out": setting.hold_out} if setting.hold_out else {}),
        **({"analysis_seed": setting.seed} if setting.seed is not None else {}),
    }


def save_result(
    file: Callable[[str], File], experiment: Experiment, scores: ScoreMap, *, csv_as_is: bool
) -> None:
    """Write the CSV file for people, then the scores, whose presence says that both are there.

    ``file`` gives a file of the results by its name.
    """
    table = file(f"{experiment.name}.csv")
    tables.write_result(table, experiment.layout, scores, as_is=csv_as_is)
    scores.save(file(f"{experiment.name}.safetensors"))
