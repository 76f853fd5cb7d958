"""Everything that can be checked before any work, for one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from experiments.console import Screen
from experiments.options import Options
from experiments.runs.analysis import NAME_OF_MAIN, known_analyses
from experiments.runs.folder import RunFolder
from experiments.runs.inputs import Inputs, check_manifolds, check_question
from experiments.runs.inquiry import Inquiry, default_slot, with_settings_of_name
from experiments.runs.manifest import check_states
from experiments.runs.plan import Plan
from experiments.runs.room import check_room
from experiments.runs.run import Run
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
    options = questions[0]
    for question in questions:
        check_manifolds(question)
    found = None if options.force_states else folder.manifest
    reads = command != "figures" and not (found and found["extracted"])
    inputs = Inputs.of(model, options, folder.path, found, reads, screen)
    run = Run(inputs, folder, found is None, screen)
    if found is not None:
        check_states(folder.path, found["identity"]["states"], run.identity)
        _check_fingerprint(run)
        half_read = "states/progress.jsonl" in found["files"]
        if run.is_of_0_1_0 and half_read and command != "figures":
            screen.warn(
                f"{folder}: the interrupted run of version 0.1.0 is begun again, since that "
                "version could not tell whether the model had changed"
            )
            run = replace(run, fresh=True)
    # A name brings its settings, also where the folder is begun anew.
    known = known_analyses(folder.manifest, default_slot(inputs.prompts))
    questions = [with_settings_of_name(command, question, known) for question in questions]
    for question in questions:
        check_question(command, question, inputs.prompts)
    inputs = replace(inputs, options=questions[0])
    run = replace(run, inputs=inputs)
    if reads:
        run.plan = _plan_of(run)
    return run, _inquiries(command, questions, run)


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
    )
    if not run.options.dry_run:
        check_room(plan)
    return plan


def _inquiries(command: str, questions: Sequence[Options], run: Run) -> list[Inquiry]:
    """The analyses, each of which the next one knows of."""
    if command == "extract":
        return []
    known = known_analyses(run.manifest, default_slot(run.prompts))
    found: list[Inquiry] = []
    for question in questions:
        inquiry = Inquiry.of(command, question, run, known)
        name = inquiry.analysis.name
        if name in (other.analysis.name for other in found):
            run.screen.note(f"{name or NAME_OF_MAIN} is asked for again: done once")
            continue
        inquiry.say_where(known)
        known[inquiry.analysis.name] = inquiry.analysis.settings
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
