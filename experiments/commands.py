"""The commands: what is done for every model and every analysis, and what is shown at the end."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from experiments.console import Screen
from experiments.designs import INDEPENDENT
from experiments.designs.permutation import LEVEL
from experiments.options import Options
from experiments.reports.discovery import report_discovery
from experiments.reports.drawing import draw_analysis, draw_models
from experiments.reports.summary import report, report_test
from experiments.reports.transfer import report_transfer
from experiments.reports.undrawable import saying_what_is_undrawable
from experiments.runs.analysis import LATER
from experiments.runs.discovery import discovery_of, kept_discovery
from experiments.runs.experiments import every_result, results_of
from experiments.runs.extraction import release_memory, states_of, wait_until_saved
from experiments.runs.folder import RunFolder
from experiments.runs.inquiry import Inquiry
from experiments.runs.periods import missing_period
from experiments.runs.preparation import prepare
from experiments.runs.run import Run, run_folder
from experiments.runs.significance import NO_TEST, kept_significance, significance_of
from experiments.runs.toml_file import write_settings
from experiments.runs.transfer import transfer_of
from experiments.runs.trial import check_sizes, dry_run
from extract import ExtractError, HiddenStates, UsageError
from gpu_smds import ScoreMap
from gpu_smds._files import File, FilesError, is_our_picture
from gpu_smds.geometry.joined_ends import PeriodWarning

Results = dict[str, ScoreMap]


def execute(command: str, questions: Sequence[Options], screen: Screen) -> None:
    """Run a command; see :func:`_execute`."""
    with warnings.catch_warnings():
        # Said once, by the name of the option, and not for every experiment.
        warnings.simplefilter("ignore", PeriodWarning)
        _execute(command, questions, screen)


def _execute(command: str, questions: Sequence[Options], screen: Screen) -> None:
    """Run a command for every model, one after another.

    Parameters
    ----------
    command
        "extract", "figures", "all" or the name of an experiment or test.
    questions
        The options, once for each analysis; they differ in settings of the analysis only.
    screen
        Where it is told what happens.
    """
    options = questions[0]
    paths = [run_folder(model, options) for model in options.models]
    if len(set(paths)) < len(paths):
        raise UsageError("the same model is named twice")
    folders = [RunFolder(path) for path in paths]
    for folder in folders:
        folder.look()
        if command == "figures" and folder.manifest is None:
            raise UsageError(f"{folder} holds no run: start with gpu-smds all")

    def prepared(model: str, folder: RunFolder) -> tuple[Run, list[Inquiry]]:
        return prepare(command, model, questions, folder, screen)

    # All models are checked before the first is loaded.
    runs = [prepared(model, folder) for model, folder in zip(options.models, folders, strict=True)]
    _check_names([inquiries for _, inquiries in runs])
    _warn_of_periods(command, runs, screen)
    if options.dry_run:
        for run, inquiries in runs:
            dry_run(run, inquiries, command)
        return
    for _, inquiries in runs:
        for inquiry in inquiries:
            check_sizes(inquiry)
    _warn_of_few(questions, screen)
    finished = []
    with saying_what_is_undrawable(screen), ExitStack() as stack:
        # Who reads the model has the folder for itself.
        shared = [run.has_states for run, _ in runs]
        changed = [
            stack.enter_context(run.folder.held(share))
            for (run, _), share in zip(runs, shared, strict=True)
        ]
        for number, (run, inquiries) in enumerate(runs):
            if changed[number] and not options.force_states:
                # Another process was at work there until a moment ago.
                run, inquiries = prepared(options.models[number], run.folder)
                if shared[number] and not run.has_states:
                    raise ExtractError(
                        f"{run.folder} was changed by another process: give the same command again"
                    )
            results = _done(command, run, inquiries, shared[number])
            finished.append((run.source.name, results))
            release_memory()
        stack.close()
        if command in ("all", "figures") and len(runs) > 1:
            _compare(paths[0].parent, finished, screen)


def _warn_of_periods(
    command: str, runs: Sequence[tuple[Run, Sequence[Inquiry]]], screen: Screen
) -> None:
    """Say so where two different labels become one point for want of a period."""
    if command == "figures":
        return
    asked = ((inquiry.options, run.prompts) for run, of in runs for inquiry in of)
    said = (missing_period(command, options, prompts) for options, prompts in asked)
    for sentence in dict.fromkeys(text for text in said if text is not None):
        screen.warn(sentence)


def _warn_of_few(questions: Sequence[Options], screen: Screen) -> None:
    """Say so where no p can be small enough, before hours of work."""
    least = round(1 / LEVEL) - 1
    counts = {question.permutations for question in questions if question.permutations}
    for count in sorted(count for count in counts if count < least):
        screen.warn(
            f"--permutations {count}: the smallest p is 1/{count + 1}, so that nothing can be "
            f"significant at {LEVEL:.0%}: give at least {least}"
        )


def _check_names(asked: Sequence[Sequence[Inquiry]]) -> None:
    """Refuse a name that is another question in another model's folder."""
    first = {inquiry.number: inquiry for inquiry in asked[0]}
    for inquiries in asked[1:]:
        for inquiry in inquiries:
            one = first.get(inquiry.number)
            if one is None or inquiry.asked.as_name is None:
                continue
            here, there = one.analysis.settings, inquiry.analysis.settings
            both = here.keys() & there.keys() - {*LATER}
            if any(here[name] != there[name] for name in both):
                raise UsageError(
                    f"--as {inquiry.asked.as_name} is another question in {one.run.folder} than in "
                    f"{inquiry.run.folder}: name one model at a time"
                )


def _done(
    command: str, run: Run, inquiries: Sequence[Inquiry], shared: bool
) -> dict[int, tuple[str, Results]]:
    """Do the work of one model: name of the analysis and results, by number of the question.

    ``shared`` says that others may use the states of the folder, too.
    """
    screen = run.screen
    for sentence in run.folder.check(["", "states/"] if shared else None):
        screen.warn(sentence)
    try:
        states = states_of(run) if command != "figures" or run.has_states else None
        if command == "extract":
            assert states is not None
            n, layers, positions, d = states.shape
            screen.note(
                f"{run.folder}: {n} sentences × {layers} layers × {positions} positions × {d} "
                "features"
            )
            write_settings(run)
        found = {inquiry.number: _analysed(inquiry, states) for inquiry in inquiries}
    except BaseException:
        with suppress(ExtractError):  # the error that is under way says more
            wait_until_saved(run)
        raise
    wait_until_saved(run)
    for sentence in run.folder.files.said():
        screen.warn(sentence)
    run.folder.still_there()
    return found


def _analysed(inquiry: Inquiry, states: HiddenStates | None) -> tuple[str, Results]:
    """Do one analysis, while nobody else writes to it."""
    run, command = inquiry.run, inquiry.command
    with ExitStack() as stack:
        with run.folder.changing():
            inquiry = inquiry.placed()
            stack.enter_context(run.folder.analysing(inquiry.analysis))
            if command != "figures":
                inquiry.register()
        for sentence in run.folder.files.said():
            run.screen.warn(sentence)
        if command == "figures":
            return inquiry.analysis.name, _figures_again(inquiry, states)
        assert states is not None
        results = _WORK.get(command, _experiment)(inquiry, states)
        inquiry.done()
        write_settings(run)
    return inquiry.analysis.name, results


def _all(inquiry: Inquiry, states: HiddenStates) -> Results:
    results = results_of(inquiry, list(inquiry.experiments), states)
    setting, tested = inquiry.setting(states), None
    if inquiry.options.permutations != 0:
        untested = None
        try:
            tested = significance_of(inquiry, states, light=True)
        except ValueError as error:  # the experiments are done, and can be shown without it
            untested = str(error)
            inquiry.run.screen.warn(f"no permutation test: {error}")
        if inquiry.facts.get(NO_TEST) != untested:
            inquiry.note(**{NO_TEST: untested})
    else:
        tested = kept_significance(inquiry)
        if "permutations" not in inquiry.analysis.settings:
            inquiry.note_settings(permutations=0)
    report(inquiry, results, draw_analysis(inquiry, results, setting, tested), tested)
    return results


def _experiment(inquiry: Inquiry, states: HiddenStates) -> Results:
    results = results_of(inquiry, [inquiry.command], states)
    tested = kept_significance(inquiry) if inquiry.command == "independent" else None
    report(inquiry, results, draw_analysis(inquiry, results, None, tested), tested)
    return results


def _discover(inquiry: Inquiry, states: HiddenStates) -> Results:
    report_discovery(inquiry, discovery_of(inquiry, states))
    return {}


def _transfer(inquiry: Inquiry, states: HiddenStates) -> Results:
    report_transfer(inquiry, inquiry.setting(states), transfer_of(inquiry, states))
    return {}


def _significance(inquiry: Inquiry, states: HiddenStates) -> Results:
    report_test(inquiry, significance_of(inquiry, states))
    return {}


#: What commands do for an analysis; those of experiments are named after them.
_WORK: Mapping[str, Callable[[Inquiry, HiddenStates], Results]] = {
    "all": _all,
    "discover": _discover,
    "transfer": _transfer,
    "significance": _significance,
}


def _figures_again(inquiry: Inquiry, states: HiddenStates | None) -> Results:
    """Draw the figures of the results that a folder holds."""
    results, tested = every_result(inquiry), kept_significance(inquiry)
    discovered = kept_discovery(inquiry)
    transferred = states is not None and inquiry.result("transfer.safetensors").is_listed()
    if not results and tested is None and discovered is None and not transferred:
        raise UsageError(f"{inquiry.run.folder} holds no results yet: start with gpu-smds all")
    setting = None if states is None else inquiry.setting(states)
    if transferred and states is not None and setting is not None:
        report_transfer(inquiry, setting, transfer_of(inquiry, states))
    if discovered is not None:
        report_discovery(inquiry, discovered)
    if results:
        report(inquiry, results, draw_analysis(inquiry, results, setting, tested), tested)
    elif tested is not None:
        report_test(inquiry, tested)
    return results


def _compare(
    folder: Path, finished: Sequence[tuple[str, Mapping[int, tuple[str, Results]]]], screen: Screen
) -> None:
    """Draw Exp 1 of all models side by side, for every question that all were asked."""
    (_, first), *others = finished
    for number, (name, _) in first.items():
        if not all(number in results for _, results in others):
            continue
        of_models = [(model, results[number][1]) for model, results in finished]
        if not any(INDEPENDENT.name in results for _, results in of_models):
            continue
        file = _free(folder, f"comparison-{name}" if name else "comparison")
        draw_models(file, of_models)
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
