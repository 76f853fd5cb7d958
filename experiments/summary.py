"""The study's hypotheses with their numbers, and the table at the end of a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from experiments.results import EVERY, best_layer
from experiments.significance import sentences
from gpu_smds import ScoreMap, SignificanceMap
from gpu_smds.sites.status import explain

# Where a verdict tips. The study states them in words; these are its figures.
SMEARED = 0.8  # H1: an unrelated word scores above this
DIFFERENT = 0.1  # H2: cosine of two maps below this; the study found 0.01 to 0.02
FAILS = 0.5  # H2: a score this low is near chance, which is 0.35 to 0.40
FALLS = 0.05  # H3: loss of score that is more than the spread of a random draw


@dataclass(frozen=True)
class Row:
    """One experiment of the table.

    ``scores`` are at the landmarks and at ``layer``, the best layer of the source; for the
    similarity they are cosines with the source.
    """

    experiment: str
    scores: dict[str, float | None]
    layer: int | None
    seconds: float
    undefined: dict[str, int]


@dataclass(frozen=True)
class Verdict:
    """A hypothesis, whether the numbers support it, and the numbers."""

    name: str
    claim: str
    supported: bool | None
    numbers: str


def rows(results: dict[str, ScoreMap]) -> list[Row]:
    """The table, one row per experiment that was run."""
    table = []
    for experiment in EVERY:
        if experiment not in results:
            continue
        scores = results[experiment]
        facts, landmarks = scores.metadata, scores.metadata["landmarks"]
        if experiment == "similarity":
            layer: int | None = facts["similarity_layer"]
            values = scores.mean[0, landmarks["source"]]
        else:
            best = best_layer(scores, landmarks["source"])
            layer = facts["layers"][best] if best >= 0 else None
            values = scores.mean[best]
        at = {role: _plain(values[position]) for role, position in landmarks.items()}
        undefined = {
            name: count
            for name, (count, _) in explain(scores.worst_status).items()
            if name not in ("ok", "undetermined")
        }
        table.append(Row(experiment, at, layer, float(facts["seconds"]), undefined))
    return table


def verdicts(results: dict[str, ScoreMap]) -> list[Verdict]:
    """H1 to H3 as far as the experiments they need were run."""
    found = []
    if "independent" in results:
        found.append(_smeared(results["independent"]))
    if "similarity" in results and "reuse" in results:
        found.append(_rotated(results["similarity"], results["reuse"]))
    if "independent" in results and "rigid" in results:
        found.append(_stretched(results["independent"], results["rigid"]))
    return [verdict for verdict in found if verdict is not None]


def summary_facts(
    results: dict[str, ScoreMap], tested: SignificanceMap | None = None
) -> dict[str, Any]:
    """Table, verdicts and what the permutation test says as plain values."""
    return {
        "protocol": next(iter(results.values())).metadata["protocol"],
        "table": [asdict(row) for row in rows(results)],
        "verdicts": [asdict(verdict) for verdict in verdicts(results)],
        "significance": sentences(tested) if tested is not None else [],
    }


def _smeared(independent: ScoreMap) -> Verdict | None:
    landmarks, words = independent.metadata["landmarks"], independent.metadata["words"]
    if "distractor" not in landmarks:
        return None
    source, distractor = landmarks["source"], landmarks["distractor"]
    layer = best_layer(independent, distractor)
    score = float(independent.mean[layer, distractor])
    after = independent.mean[:, source + 1 :]
    before = independent.mean[:, :source]
    best = [np.nanmax(column) for column in after.T if np.isfinite(column).any()]
    text = (
        f"{words[distractor]} reaches {score:.2f} (layer {independent.metadata['layers'][layer]}); "
        f"{sum(b > SMEARED for b in best)} of {len(best)} positions after {words[source]} pass "
        f"{SMEARED} at their best layer"
    )
    if np.isfinite(before).any():
        text += f"; before it the highest is {np.nanmax(before):.2f}"
    return Verdict(
        "H1",
        f"smeared: after {words[source]}, unrelated words score above {SMEARED}",
        _known(score, score > SMEARED),
        text,
    )


def _rotated(similarity: ScoreMap, reuse: ScoreMap) -> Verdict | None:
    facts = similarity.metadata
    landmarks, words = facts["landmarks"], facts["words"]
    if "destination" not in landmarks:
        return None
    source, destination = landmarks["source"], landmarks["destination"]
    layer = facts["similarity_layer"]
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
    return Verdict(
        "H2",
        f"rotated, not copied: the maps of {words[source]} and {words[destination]} differ, so one "
        "does not decode the other",
        _known(cosine + scores[destination], cosine < DIFFERENT and scores[destination] < FAILS),
        text,
    )


def _stretched(independent: ScoreMap, rigid: ScoreMap) -> Verdict | None:
    landmarks, words = independent.metadata["landmarks"], independent.metadata["words"]
    layer = best_layer(independent, landmarks["source"])
    parts, falls = [], []
    for role in ("source", "distractor", "destination"):
        if role in landmarks:
            position = landmarks[role]
            free, stiff = independent.mean[layer, position], rigid.mean[layer, position]
            parts.append(f"{words[position]} {free:.2f} → {stiff:.2f}")
            falls.append(free - stiff)
    return Verdict(
        "H3",
        "a stretched circle, not a rigid one: the score falls from Exp 1 to Exp 4",
        _known(sum(falls), min(falls) > FALLS),
        f"at layer {independent.metadata['layers'][layer]}: {', '.join(parts)}",
    )


def _known(value: float, supported: bool) -> bool | None:
    """None where a number is missing."""
    return bool(supported) if np.isfinite(value) else None


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
