"""The experiments of an analysis: read from its folder, or computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from experiments.designs import every_experiment
from experiments.designs.experiment import Experiment
from experiments.designs.held_out import UNSEEN_NAMES
from experiments.runs.files import RunFile
from experiments.runs.inquiry import Inquiry
from experiments.runs.results import compute_results, load_result, save_result
from extract import HiddenStates
from gpu_smds import Checkpoint, ScoreMap

#: What earlier versions called Exp 1b whatever was held out.
_FORMER = UNSEEN_NAMES.name


def results_of(inquiry: Inquiry, names: Sequence[str], states: HiddenStates) -> dict[str, ScoreMap]:
    """Read the experiments' results from the folder, or compute them."""
    rows = inquiry.experiments
    kept = {} if inquiry.options.force else kept_results(inquiry, [rows[name] for name in names])
    for name, scores in kept.items():
        if not inquiry.result(f"{name}.csv").is_listed():
            _save(inquiry, rows[name], scores)
            _remove_former(inquiry, name)
    results = dict(kept)
    for group in _groups(inquiry, names, results):
        results |= _compute(inquiry, group, states)
    if set(names) == set(rows):
        # Of other groups, which were interrupted and not taken up again.
        files = inquiry.run.folder.files
        for name in rows:
            for key in files.listed(f"{inquiry.analysis.results}{name}", ".partial"):
                files.remove(key)
    return {name: results[name] for name in names}


def kept_results(inquiry: Inquiry, experiments: Iterable[Experiment]) -> dict[str, ScoreMap]:
    """Results that the folder holds of this analysis.

    Raises
    ------
    ExtractError
        A file is damaged.
    """
    found = {}
    for row in experiments:
        file = inquiry.result(f"{row.name}.safetensors")
        scores = load_result(file, inquiry.identity_of(row), row.layout.shape)
        if scores is None and row.holds_out == "slot":
            file = inquiry.result(f"{_FORMER}.safetensors")
            scores = load_result(file, inquiry.identity_of(row), row.layout.shape)
        if scores is not None:
            found[row.name] = scores
    return found


def _remove_former(inquiry: Inquiry, name: str) -> None:
    """Remove what has another name now, once it is there by that name."""
    if inquiry.experiments[name].holds_out == "slot" and name != _FORMER:
        for end in ("csv", "safetensors"):
            inquiry.run.folder.files.remove(f"{inquiry.analysis.results}{_FORMER}.{end}")
        inquiry.run.folder.files.remove(f"{inquiry.analysis.figures}{_FORMER}.png")


def every_result(inquiry: Inquiry) -> dict[str, ScoreMap]:
    """All results that the folder holds of this analysis, of whatever experiment."""
    return kept_results(inquiry, every_experiment(inquiry.hold_out).values())


def _groups(
    inquiry: Inquiry, names: Sequence[str], results: dict[str, ScoreMap]
) -> list[list[Experiment]]:
    """Experiments that are missing, by the pass over the states that they share."""
    rows = inquiry.experiments
    missing = [rows[name] for name in names if name not in results]
    together = [row for row in missing if row.plan is not None]
    every = [row for row in rows.values() if row.plan is not None]
    if together and {row.name for row in every} <= set(names) and _partial(inquiry, every).exists():
        # A pass over all of them was interrupted while their results were being written.
        together = every
    # The quick ones first: they have a pass of their own, over one layer.
    own = [[row] for row in missing if row.plan is None]
    return [*own, together] if together else own


def _compute(
    inquiry: Inquiry, group: list[Experiment], states: HiddenStates
) -> dict[str, ScoreMap]:
    run = inquiry.run
    # It stays until the results are kept, so that an interrupted pass can go on.
    checkpoint = Checkpoint(_partial(inquiry, group))
    with run.screen.progress(_title(group), "sites") as report:
        found = compute_results(
            group,
            inquiry.setting(states),
            inquiry.columns,
            inquiry.identity_hash,
            report,
            checkpoint,
        )
    for row in group:
        facts = {**found[row.name].metadata, "identity": inquiry.identity_of(row)}
        found[row.name] = replace(found[row.name], metadata=facts)
        _save(inquiry, row, found[row.name])
    checkpoint.remove()
    return found


def _partial(inquiry: Inquiry, group: Sequence[Experiment]) -> RunFile:
    """What is done of some experiments' pass over the states."""
    return inquiry.result("+".join(row.name for row in group) + ".partial")


def _save(inquiry: Inquiry, experiment: Experiment, scores: ScoreMap) -> None:
    save_result(inquiry.result, experiment, scores, csv_as_is=inquiry.options.csv_as_is)


def _title(group: Sequence[Experiment]) -> str:
    if len(group) == 1:
        return f"Exp {group[0].number} {group[0].name}: {group[0].question}"
    listed = ", ".join(f"{row.number} {row.name}" for row in group)
    return f"Exp {listed}: in one pass over the states"
