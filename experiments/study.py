"""The commands: what is done for every model, and what is shown at the end."""

from __future__ import annotations

import json
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from experiments import summary
from experiments.console import Screen
from experiments.discovery import discover_run, report_discovery
from experiments.draw import draw_models, draw_run
from experiments.folder import RunFolder
from experiments.options import Options
from experiments.results import EVERY, EXPERIMENTS, load_result
from experiments.run import Run, release_memory, run_folder
from experiments.significance import draw_test, load_significance, sentences, significance_run
from experiments.transfer import report_transfer, transfer_run
from experiments.visible import visible
from extract import ExtractError, UsageError
from gpu_smds import ScoreMap, SignificanceMap
from gpu_smds._files import File, FilesError, is_our_picture


def execute(command: str, options: Options, screen: Screen) -> None:
    """Run a command for every model, one after another.

    ``command`` is "extract", "figures", "all" or the name of an experiment.
    """
    paths = [run_folder(model, options) for model in options.models]
    if len(set(paths)) < len(paths):
        raise UsageError("the same model is named twice")
    folders = [RunFolder(path) for path in paths]
    for folder in folders:
        folder.look()
        if command == "figures" and folder.manifest is None:
            raise UsageError(f"{folder} holds no run: start with gpu-smds all")
    # All models are checked before the first is loaded.
    runs = [
        Run.prepare(command, model, options, folder, screen)
        for model, folder in zip(options.models, folders, strict=True)
    ]
    asked = [run.analysis.settings for run in runs]
    if options.as_name is not None and any(settings != asked[0] for settings in asked):
        raise UsageError(
            f"--as {options.as_name} is another question in {runs[0].folder} than in another "
            "folder: name one model at a time"
        )
    if options.dry_run:
        for run in runs:
            run.dry_run(command)
        return
    for run in runs:
        run.check_counts(command)
    finished = []
    with ExitStack() as held:
        changed = [held.enter_context(folder.held()) for folder in folders]
        for model, run, other in zip(options.models, runs, changed, strict=True):
            if other and not options.force_states:
                # Another process was at work there until a moment ago.
                run = Run.prepare(command, model, options, run.folder, screen)
            for sentence in run.folder.check():
                screen.warn(sentence)
            try:
                results = figures_again(run) if command == "figures" else _one(command, run)
            except BaseException:
                with suppress(ExtractError):  # the error that is under way says more
                    run.saved()
                raise
            run.saved()
            for sentence in run.folder.said():
                screen.warn(sentence)
            run.folder.still_there()
            finished.append((run, results))
            release_memory()
    if command in ("all", "figures") and len(runs) > 1:
        of = finished[0][0].analysis.name
        file = _free(paths[0].parent, f"comparison-{of}" if of else "comparison")
        draw_models(file, [(run.source.name, results) for run, results in finished])
        screen.note(f"models side by side: {file}")


def _free(folder: Path, stem: str) -> File:
    """File of a picture that may be written: the first name that is free or of an older one."""
    number, name = 1, f"{stem}.png"
    while True:
        file = File.at(folder / name)
        try:
            file.check(is_our_picture)
        except FilesError:
            number += 1
            name = f"{stem}-{number}.png"
        else:
            return file


def _one(command: str, run: Run) -> dict[str, ScoreMap]:
    states, columns = run.states()
    if command != "extract":
        run.register()
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
    manifest = run.manifest
    if manifest is None:
        raise UsageError("figures draws what is there: leave out --force-states")
    found = {
        name: load_result(run.result(f"{name}.safetensors"), run.identity_of(name))
        for name in EVERY
    }
    results = {name: scores for name, scores in found.items() if scores is not None}
    tested = load_significance(run)
    if not results and tested is None:
        raise UsageError(f"{run.folder} holds no results yet: start with gpu-smds all")
    setting = None
    if manifest["extracted"]:
        states, _ = run.states()
        setting = run.setting(states, run.columns)
        if run.result("transfer.safetensors").is_listed():
            report_transfer(run, setting, transfer_run(run, states, run.columns))
    if not results and tested is not None:
        _report_test(run, tested)
        return results
    _report(run, results, draw_run(run, results, setting, tested), tested)
    return results


def _report_test(run: Run, tested: SignificanceMap) -> None:
    """Draw the permutation test, on the map of Exp 1 too where there is one, and say its result."""
    independent = load_result(run.result("independent.safetensors"), run.identity_hash)
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
    run: Run,
    results: dict[str, ScoreMap],
    files: list[File],
    tested: SignificanceMap | None = None,
) -> None:
    """Print and keep the table, the verdicts and where the files are."""
    facts: dict[str, Any] = {"model": run.source.name, **summary.summary_facts(results, tested)}
    if results.keys() >= EXPERIMENTS.keys():
        content = json.dumps(facts, indent=1, ensure_ascii=False)
        run.result("summary.json").write(content.encode("utf-8", "surrogatepass"))
        run.result("summary.txt").write(summary_text(results, tested).encode())
    words = next(iter(results.values())).metadata["words"]
    landmarks = next(iter(results.values())).metadata["landmarks"]
    roles = [role for role in ("source", "distractor", "destination") if role in landmarks]
    rows = []
    for row in summary.rows(results):
        scores = [row.scores[role] for role in roles]
        rows.append(
            [
                f"{EVERY[row.experiment][0]} {row.experiment}",
                *("–" if value is None else f"{value:.3f}" for value in scores),
                "–" if row.layer is None else str(row.layer),
                f"{row.seconds:.1f} s",
                ", ".join(f"{n} {name}" for name, n in row.undefined.items()) or "0",
            ]
        )
    run.screen.table(
        f"{run.source.name}: {len(run.prompts)} sentences, {run.options.protocol} protocol",
        [
            *("experiment", *(words[landmarks[role]] for role in roles)),
            *(("best", "layer"), "time", ("undefined", "sites")),
        ],
        rows,
    )
    if "similarity" in results:
        run.screen.note(
            "similarity: cosine with the source's map, at its own layer; the other scores are at "
            "the best layer of the source"
        )
    for verdict in summary.verdicts(results):
        run.screen.note(_verdict_text(verdict))
    for sentence in sentences(tested) if tested is not None else []:
        run.screen.note(sentence)
    run.screen.note(f"results  {run.results}")
    for file in files:
        run.screen.note(f"figure   {file}")


def summary_text(results: dict[str, ScoreMap], tested: SignificanceMap | None = None) -> str:
    """The verdicts and the result of the permutation test as plain text, safe to print."""
    lines = [_verdict_text(verdict) for verdict in summary.verdicts(results)]
    lines += sentences(tested) if tested is not None else []
    return "".join(f"{visible(line)}\n" for line in lines)


def _verdict_text(verdict: summary.Verdict) -> str:
    outcome = {True: "supported", False: "not supported", None: "undecided"}[verdict.supported]
    return f"{verdict.name} {outcome} – {verdict.claim}. {verdict.numbers}."
