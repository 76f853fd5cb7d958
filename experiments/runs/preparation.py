"""Everything that can be checked before any work, for one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from experiments.console import Screen
from experiments.options import Options
from experiments.runs.analysis import shown_name, stored_name, will_compute
from experiments.runs.categories import crowded, with_categories
from experiments.runs.extraction import READ_BY
from experiments.runs.folder import RunFolder
from experiments.runs.inputs import Inputs, check_manifolds, check_question
from experiments.runs.inquiry import Inquiry
from experiments.runs.manifest import check_states
from experiments.runs.plan import Plan
from experiments.runs.questions import known_in, known_in_folder, with_settings_of_name
from experiments.runs.room import check_room
from experiments.runs.run import Run
from experiments.runs.sentences import with_task
from experiments.runs.sites import canonical
from experiments.runs.source import with_source, with_words
from extract import UsageError


def prepare(
    command: str, model: str, questions: Sequence[Options], folder: RunFolder, screen: Screen
) -> tuple[Run, list[Inquiry]]:
    """Check everything that can be checked before any work; writes nothing.

    Parameters
    ----------
    command, model
        What is to be done, with which model.
    questions
        The options, once for each analysis; they differ in settings of the analysis only.
    folder
        Of the run; it has been looked at.
    screen
        Where notes go.

    Raises
    ------
    UsageError, ExtractError
        With what to do about it.
    """
    questions = [with_task(command, question) for question in questions]
    for question in questions:
        check_manifolds(question)
    run = _run_of(command, model, questions[0], folder, screen)
    # A name brings its settings, also where the folder is begun anew.
    known = known_in_folder(folder, run.prompts)
    if run.fresh and known:
        named = ", ".join(map(shown_name, known))
        screen.warn(f"{folder}: the states and all analyses are replaced ({named})")
    asked = [with_settings_of_name(command, question, known) for question in questions]
    asked = _with_landmarks(command, asked, run, known)
    asked = [with_categories(command, question, run.prompts) for question in asked]
    for question in asked:
        check_question(command, question, run.prompts)
    _say_repeats(run)
    for line in dict.fromkeys(crowded(command, question, run.prompts) for question in asked):
        if line is not None:
            screen.warn(line)
    run.inputs = replace(run.inputs, options=asked[0])
    if command != "figures" and not run.has_states:
        run.plan = _plan_of(run)
    inquiries = _inquiries(command, asked, run)
    run.begins_with = {of.analysis.name: of.analysis.settings for of in inquiries}
    return run, inquiries


def _run_of(command: str, model: str, options: Options, folder: RunFolder, screen: Screen) -> Run:
    """The run of a folder, which goes on if it is the same."""
    found = None if options.force_states else folder.manifest
    reads = command != "figures" and not (found and found["extracted"])
    inputs = Inputs.of(model, options, folder.path, found, reads, screen)
    run = Run(inputs, folder, found is None, screen)
    if found is None:
        return run
    may_replace = command != "figures"
    check_states(folder.path, found["identity"]["states"], run.identity, may_replace)
    _check_fingerprint(run)
    half_read = reads and "states/progress.jsonl" in found["files"] and READ_BY not in found
    if run.is_of_0_1_0 and half_read:
        screen.warn(
            f"{folder}: the interrupted run of version 0.1.0 is begun again, since that version "
            "could not tell whether the model had changed"
        )
        return replace(run, fresh=True)
    return run


def _say_repeats(run: Run) -> None:
    """Say how many sentences repeat another one: they are no samples of their own."""
    n, different = len(run.prompts), len(set(run.prompts.texts))
    if different < n:
        run.screen.note(f"{n - different} of {n} sentences repeat another one: {different} differ")


def _with_landmarks(
    command: str, questions: Sequence[Options], run: Run, known: Mapping[str, Any]
) -> list[Options]:
    """The questions with words as the sentences have them, and a source where none is named."""
    found, said = [], set()
    for question in questions:
        question = with_words(question, run.prompts)
        is_named = question.as_name is not None and stored_name(question.as_name) in known
        if command != "extract" and not is_named:  # a name brings its source
            question, sentence = with_source(question, run.prompts)
            if sentence is not None and sentence not in said:
                run.screen.note(sentence)
                said.add(sentence)
        found.append(question)
    return found


def _plan_of(run: Run) -> Plan:
    inputs = run.inputs
    run.screen.note(f"{run.source.name}: loading the tokenizer")
    plan = Plan.of(
        run.source,
        run.prompts,
        run.options,
        inputs.quantize,
        run.device,
        run.folder.path,
        _batches_of(run),
        run.manifest,
    )
    if not run.options.dry_run:
        check_room(plan)
    return plan


def _inquiries(command: str, questions: Sequence[Options], run: Run) -> list[Inquiry]:
    """The analyses, each of which the next one knows of."""
    if command == "extract":
        return []
    known = known_in(run)
    found: list[Inquiry] = []
    for number, question in enumerate(questions):
        question = replace(question, only_layers=canonical(run, question.only_layers))
        inquiry = Inquiry.of(command, question, run, known, number)
        name = inquiry.analysis.name
        if name in (other.analysis.name for other in found):
            run.screen.note(f"{shown_name(name)} is asked for again: done once")
            continue
        inquiry.say_where(known)
        known[name] = inquiry.analysis.settings | will_compute(command, inquiry.options)
        found.append(inquiry)
    return found


def _batches_of(run: Run) -> list[int] | None:
    """Batches of an interrupted run, if they are what is asked for now."""
    found, options = run.manifest, run.options
    asked = [options.batch_size, options.batch_tokens]
    if found is None or found.get("batches_asked") != asked:
        return None
    return list(found["batches"]) if found.get("device") == str(run.device) else None


def _check_fingerprint(run: Run) -> None:
    """Compare the whole model with the one that a folder of version 0.1.0 was first used with.

    Raises
    ------
    UsageError
        They differ.
    """
    noted = (run.manifest or {}).get("fingerprint")
    if run.is_of_0_1_0 and noted is not None and noted != run.source.fingerprint():
        raise UsageError(
            f"{run.folder} holds a run of another model: choose another --out, or --force-states "
            "to replace it"
        )
