"""The study's hypotheses with their numbers, and the table at the end of an analysis."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from experiments.designs import EXPERIMENTS, INDEPENDENT, every_experiment
from experiments.designs.experiment import ROLES, Experiment, Verdict
from experiments.reports.drawing import draw_analysis
from experiments.reports.omitted import said_of_omitted
from experiments.reports.significance import (
    draw_test,
    holds_nothing,
    labels_of_period,
    sentences,
)
from experiments.runs.experiments import every_result
from experiments.runs.inquiry import Inquiry
from experiments.runs.significance import NO_TEST
from experiments.visible import visible
from gpu_smds import ScoreMap, SignificanceMap
from gpu_smds._files import File
from gpu_smds.sites.status import explain


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


def rows(results: Mapping[str, ScoreMap]) -> list[Row]:
    """The table, one row per experiment that was run."""
    table = []
    for experiment in _experiments(results):
        scores = results[experiment.name]
        facts, landmarks = scores.metadata, scores.metadata["landmarks"]
        layer, values = experiment.layout.best(scores)
        at = {role: _plain(values[position]) for role, position in landmarks.items()}
        undefined = {
            name: count
            for name, (count, _) in explain(scores.worst_status).items()
            if name not in ("ok", "undetermined")
        }
        table.append(Row(experiment.name, at, layer, float(facts["seconds"]), undefined))
    return table


def verdicts(
    results: Mapping[str, ScoreMap],
    tested: SignificanceMap | None = None,
    untested: str | None = None,
) -> list[Verdict]:
    """The hypotheses, as far as the experiments that they need were run.

    They are of what happens to the label that the source holds, and the second one of the label
    that the destination holds too. Where a test found that one holds none, or could not be done
    (``untested`` is why), they are not judged.
    """
    asked = [row.verdict for row in _experiments(results) if row.verdict is not None]
    found = [verdict for verdict in (judge(results) for judge in asked) if verdict is not None]
    return [_judged(verdict, tested, untested) for verdict in found]


def _judged(verdict: Verdict, tested: SignificanceMap | None, untested: str | None) -> Verdict:
    if verdict.why_not is not None:
        return replace(verdict, supported=None)
    whys = [untested] if tested is None else [holds_nothing(tested, role) for role in verdict.of]
    why_not = next((why for why in whys if why is not None), None)
    return verdict if why_not is None else replace(verdict, supported=None, why_not=why_not)


def summary_facts(
    results: Mapping[str, ScoreMap],
    tested: SignificanceMap | None = None,
    untested: str | None = None,
) -> dict[str, Any]:
    """Table, verdicts and what the permutation test says as plain values."""
    facts = next(iter(results.values())).metadata
    return {
        "protocol": facts["protocol"],
        **({"period": facts["period"]} if "period" in facts else {}),
        "table": [asdict(row) for row in rows(results)],
        "verdicts": [_plain_verdict(verdict) for verdict in verdicts(results, tested, untested)],
        "significance": sentences(tested) if tested is not None else [],
        **({"omitted": said} if (said := _omitted(results)) else {}),
    }


def report(
    inquiry: Inquiry,
    results: Mapping[str, ScoreMap],
    files: list[File],
    tested: SignificanceMap | None = None,
) -> None:
    """Print and keep the table, the verdicts and where the files are."""
    screen = inquiry.run.screen
    _write_summary(inquiry, results, tested)
    _print_table(inquiry, results)
    for experiment in _experiments(results):
        if experiment.footnote:
            screen.note(experiment.footnote)
    for sentence in _omitted(results):
        screen.note(sentence)
    for verdict in verdicts(results, tested, _untested(inquiry)):
        screen.note(_verdict_text(verdict))
    for sentence in sentences(tested) if tested is not None else []:
        screen.note(sentence)
    screen.note(f"results  {inquiry.results}")
    for file in files:
        screen.note(f"figure   {file}")


def report_test(inquiry: Inquiry, tested: SignificanceMap) -> None:
    """Draw the permutation test, on the map of Exp 1 too where there is one, and say its result."""
    results = every_result(inquiry)
    _write_summary(inquiry, results, tested)
    kept = {name: scores for name, scores in results.items() if name == INDEPENDENT.name}
    files = draw_analysis(inquiry, kept, None, tested) if kept else [draw_test(inquiry, tested)]
    screen = inquiry.run.screen
    for sentence in sentences(tested):
        screen.note(sentence)
    screen.note(f"results  {inquiry.results / 'significance.csv'}")
    for file in files:
        screen.note(f"figure   {file}")


def _write_summary(
    inquiry: Inquiry, results: Mapping[str, ScoreMap], tested: SignificanceMap | None
) -> None:
    """Keep table and verdicts, if all experiments are there that every protocol has."""
    if results.keys() >= {row.name for row in EXPERIMENTS if row.holds_out is None}:
        untested = _untested(inquiry)
        facts = {"model": inquiry.run.source.name, **summary_facts(results, tested, untested)}
        content = json.dumps(facts, indent=1, ensure_ascii=False)
        inquiry.result("summary.json").write(content.encode("utf-8", "surrogatepass"))
        inquiry.result("summary.txt").write(summary_text(results, tested, untested).encode())


def _untested(inquiry: Inquiry) -> str | None:
    """Why there is no permutation test, though one was asked for."""
    reason = inquiry.facts.get(NO_TEST)
    return None if reason is None else str(reason)


def summary_text(
    results: Mapping[str, ScoreMap],
    tested: SignificanceMap | None = None,
    untested: str | None = None,
) -> str:
    """The verdicts and the result of the permutation test as plain text, safe to print."""
    lines = _omitted(results)
    lines += [_verdict_text(verdict) for verdict in verdicts(results, tested, untested)]
    lines += sentences(tested) if tested is not None else []
    return "".join(f"{visible(line)}\n" for line in lines)


def _print_table(inquiry: Inquiry, results: Mapping[str, ScoreMap]) -> None:
    facts = next(iter(results.values())).metadata
    words, landmarks = facts["words"], facts["landmarks"]
    roles = [role for role in ROLES if role in landmarks]
    cells = []
    for experiment, row in zip(_experiments(results), rows(results), strict=True):
        scores = [row.scores[role] for role in roles]
        cells.append(
            [
                f"{experiment.number} {row.experiment}",
                *("–" if value is None else f"{value:.3f}" for value in scores),
                "–" if row.layer is None else str(row.layer),
                f"{row.seconds:.1f} s",
                ", ".join(f"{n} {name}" for name, n in row.undefined.items()) or "0",
            ]
        )
    run, name = inquiry.run, inquiry.analysis.name
    of = f" ({name})" if name else ""
    run.screen.table(
        f"{run.source.name}: {len(run.prompts)} sentences, {inquiry.options.protocol} protocol"
        f"{labels_of_period(inquiry)}{of}",
        [
            *("experiment", *(words[landmarks[role]] for role in roles)),
            *(("best", "layer"), "time", ("undefined", "sites")),
        ],
        cells,
    )


def _omitted(results: Mapping[str, ScoreMap]) -> list[str]:
    """How many sentences were left out, and at how many sites, by Exp 1, which scores all."""
    found = results.get(INDEPENDENT.name)
    return [] if found is None else said_of_omitted(found)


def _experiments(results: Mapping[str, ScoreMap]) -> list[Experiment]:
    """The experiments that were run, in their order."""
    slots = [scores.metadata.get("hold_out") for scores in results.values()]
    slot = next((slot for slot in slots if slot), None)
    return [row for name, row in every_experiment(slot).items() if name in results]


def _plain_verdict(verdict: Verdict) -> dict[str, Any]:
    return {name: value for name, value in asdict(verdict).items() if name != "of"}


def _verdict_text(verdict: Verdict) -> str:
    if verdict.why_not is not None:
        return f"{verdict.name} cannot be tested: {verdict.why_not} – {verdict.claim}."
    outcome = {True: "supported", False: "not supported", None: "undecided"}[verdict.supported]
    return f"{verdict.name} {outcome} – {verdict.claim}. {verdict.numbers}."


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
