"""The commands: what is done for every model, and what is shown at the end."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from rich.table import Table

from experiments import summary
from experiments.console import Screen
from experiments.discovery import discover_run, report_discovery
from experiments.draw import draw_comparison, draw_run
from experiments.lock import only_one
from experiments.manifest import check_identity, read_manifest
from experiments.options import Options
from experiments.results import EVERY, EXPERIMENTS, load_result, result_path
from experiments.run import Run, columns_of, free_memory, run_folder
from experiments.significance import draw_test, load_significance, sentences, significance_run
from experiments.tables import write_text
from experiments.transfer import report_transfer, transfer_run
from extract import ExtractError, UsageError
from extract.states import write_json
from gpu_smds import ScoreMap, SignificanceMap


def execute(command: str, options: Options, screen: Screen) -> None:
    """Run a command for every model, one after another.

    ``command`` is "extract", "figures", "all" or the name of an experiment.
    """
    folders = [run_folder(model, options) for model in options.models]
    if len(set(folders)) < len(folders):
        raise UsageError("the same model is named twice")
    # All models are checked before the first is loaded.
    runs = [
        Run.prepare(command, model, options, folder, screen)
        for model, folder in zip(options.models, folders, strict=True)
    ]
    if options.dry_run:
        for run in runs:
            run.dry_run(command)
        return
    finished = []
    with ExitStack() as held:
        for folder in folders:
            if command == "figures" and not folder.exists():
                raise UsageError(f"{folder} holds no run: start with gpu-smds all")
            held.enter_context(only_one(folder))
        for model, run in zip(options.models, runs, strict=True):
            if not options.force and read_manifest(run.folder) != run.manifest:
                # Another process was at work there until a moment ago.
                run = Run.prepare(command, model, options, run.folder, screen)
            try:
                results = figures_again(run) if command == "figures" else _one(command, run)
            except BaseException:
                with suppress(ExtractError):  # the error that is under way says more
                    run.saved()
                raise
            run.saved()
            finished.append((run, results))
            free_memory()
    if command in ("all", "figures") and len(runs) > 1:
        study = options.protocol == "study"
        path = folders[0].parent / ("comparison.png" if study else "comparison-clean.png")
        draw_comparison(path, [(run.source.name, results) for run, results in finished])
        screen.note(f"models side by side: {path}")


def _one(command: str, run: Run) -> dict[str, ScoreMap]:
    states, columns = run.states()
    if command == "extract":
        n, layers, positions, d = states.shape
        run.screen.note(
            f"{run.folder}: {n} sentences × {layers} layers × {positions} positions × {d} features"
        )
        return {}
    if command == "discover":
        report_discovery(run, discover_run(run, states, columns))
        return {}
    if command == "transfer":
        report_transfer(run, run.setting(states, columns), transfer_run(run, states, columns))
        return {}
    if command == "significance":
        _report_test(run, significance_run(run, states, columns))
        return {}
    names = run.experiment_names if command == "all" else [command]
    results = run.experiments(names, states, columns)
    setting, tested = None, None
    if command == "all":
        setting = run.setting(states, columns)
        if run.options.permutations != 0:
            try:
                tested = significance_run(run, states, columns, light=True)
            except ValueError as error:  # the experiments are done, and can be shown without it
                run.screen.warn(f"no permutation test: {error}")
    elif command == "independent":
        tested = load_significance(run)
    _report(run, results, draw_run(run, results, setting, tested), tested)
    return results


def figures_again(run: Run) -> dict[str, ScoreMap]:
    """Draw the figures of the results that a folder holds."""
    manifest = read_manifest(run.folder)
    if manifest is None:
        raise UsageError(f"{run.folder} holds no run: start with gpu-smds all")
    check_identity(run.folder, manifest["identity"], run.identity)
    found = {name: load_result(run.results, name, run.identity_of(name)) for name in EVERY}
    results = {name: scores for name, scores in found.items() if scores is not None}
    tested = load_significance(run)
    if not results and tested is None:
        raise UsageError(f"{run.folder} holds no results yet: start with gpu-smds all")
    setting = None
    if manifest.get("extracted"):
        run.manifest = manifest
        states, _ = run.states()
        setting = run.setting(states, columns_of(manifest))
        if result_path(run.results, "transfer").exists():
            report_transfer(run, setting, transfer_run(run, states, columns_of(manifest)))
    if not results and tested is not None:
        _report_test(run, tested)
        return results
    _report(run, results, draw_run(run, results, setting, tested), tested)
    return results


def _report_test(run: Run, tested: SignificanceMap) -> None:
    """Draw the permutation test, on the map of Exp 1 too where there is one, and say its result."""
    independent = load_result(run.results, "independent", run.identity_hash)
    if independent is None:
        files = [draw_test(run, tested)]
    else:
        files = draw_run(run, {"independent": independent}, None, tested)
    for sentence in sentences(tested):
        run.screen.note(sentence)
    run.screen.note(f"results  {run.results / 'significance.csv'}")
    for file in files:
        run.screen.note(f"figure   {file}")


def _report(
    run: Run, results: dict[str, ScoreMap], files: list[Path], tested: SignificanceMap | None = None
) -> None:
    """Print and keep the table, the verdicts and where the files are."""
    facts: dict[str, Any] = {"model": run.source.name, **summary.as_json(results, tested)}
    if results.keys() >= EXPERIMENTS.keys():
        write_json(run.results / "summary.json", facts)
        write_text(run.results / "summary.txt", summary_text(results, tested))
    console = run.screen.console
    words = next(iter(results.values())).metadata["words"]
    landmarks = next(iter(results.values())).metadata["landmarks"]
    table = Table(
        title=f"{run.source.name}: {len(run.prompts)} sentences, {run.options.protocol} protocol"
    )
    table.add_column("experiment", no_wrap=True)
    for role in ("source", "distractor", "destination"):
        if role in landmarks:
            table.add_column(words[landmarks[role]], justify="right")
    table.add_column("best\nlayer", justify="right")
    table.add_column("time", justify="right")
    table.add_column("undefined\nsites", justify="right")
    for row in summary.rows(results):
        cells = [f"{EVERY[row.experiment][0]} {row.experiment}"]
        for role in ("source", "distractor", "destination"):
            if role in landmarks:
                value = row.scores[role]
                cells.append("–" if value is None else f"{value:.3f}")
        cells.append("–" if row.layer is None else str(row.layer))
        cells.append(f"{row.seconds:.1f} s")
        cells.append(", ".join(f"{n} {name}" for name, n in row.undefined.items()) or "0")
        table.add_row(*cells)
    console.print(table)
    if "similarity" in results:
        run.screen.note(
            "similarity: cosine with the source's map, at its own layer; the other scores are at "
            "the best layer of the source"
        )
    for verdict in summary.verdicts(results):
        console.print(_verdict_text(verdict), markup=False, soft_wrap=True)
    for sentence in sentences(tested) if tested is not None else []:
        run.screen.note(sentence)
    run.screen.note(f"results  {run.results}")
    for file in files:
        run.screen.note(f"figure   {file}")


def summary_text(results: dict[str, ScoreMap], tested: SignificanceMap | None = None) -> str:
    """The verdicts and the result of the permutation test as plain text."""
    lines = [_verdict_text(verdict) for verdict in summary.verdicts(results)]
    lines += sentences(tested) if tested is not None else []
    return "".join(f"{line}\n" for line in lines)


def _verdict_text(verdict: summary.Verdict) -> str:
    outcome = {True: "supported", False: "not supported", None: "undecided"}[verdict.supported]
    return f"{verdict.name} {outcome} – {verdict.claim}. {verdict.numbers}."
