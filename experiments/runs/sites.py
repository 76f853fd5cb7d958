"""Which layers and positions an analysis looks at, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from experiments.designs.experiment import ROLES
from experiments.options import Options
from experiments.runs.results import Columns
from experiments.runs.run import Run
from extract import HiddenStates, UsageError
from extract.capture import parse_layers
from extract.landmarks import LAST, first_columns, landmarks_of, slots_in_order


def layers_of(run: Run, asked: str | None) -> tuple[int, ...]:
    """Layers of an analysis: all that were kept, or those of ``--only-layers``.

    Raises
    ------
    UsageError
        One of them was not kept.
    """
    kept = run.layers
    if asked is None:
        return kept
    try:
        wanted = parse_layers(asked, max(kept) + 1)
    except UsageError as error:
        raise UsageError(
            f"--only-layers {asked}: write numbers and ranges, such as 0,5,10-15, of the layers "
            f"that were kept: {_listed(kept)}"
        ) from error
    lacking = sorted({*wanted} - {*kept})
    if lacking:
        raise UsageError(
            f"--only-layers {asked}: no states of layer {lacking[0]} were kept, but of "
            f"{_listed(kept)}"
        )
    return wanted


def canonical(run: Run, asked: str | None) -> str | None:
    """``--only-layers`` as it is noted: the same layers are the same text, all of them none."""
    wanted = layers_of(run, asked)
    if wanted == run.layers:
        return None
    starts = [i for i, layer in enumerate(wanted) if i == 0 or layer != wanted[i - 1] + 1]
    ends = [*(start - 1 for start in starts[1:]), len(wanted) - 1]
    ranges = [(wanted[a], wanted[b]) for a, b in zip(starts, ends, strict=True)]
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ranges)


def only(states: HiddenStates, layers: tuple[int, ...]) -> HiddenStates:
    """The states of some layers."""
    chosen = [states.layers.index(layer) for layer in layers]
    return replace(
        states,
        tensors=[states.tensors[i] for i in chosen],
        layers=layers,
        nonfinite=states.nonfinite[chosen] if len(states.nonfinite) else states.nonfinite,
    )


def columns_of(run: Run, options: Options) -> Columns:
    """Names of the positions, and the landmarks that the options name.

    Raises
    ------
    UsageError
        A word for a landmark that no position has.
    """
    facts, noted = _noted(run)
    asked = {role: str(getattr(options, role)) for role in ROLES}
    landmarks = dict(facts["landmarks"])
    if any(noted.get(role) != word for role, word in asked.items()):
        first = facts.get("first")
        if first is None and facts.get("mode") == "raw":
            raise UsageError(
                f"{run.folder} is of an earlier version, which did not note the words of raw "
                "positions: other ones can be asked for after --force-states"
            )
        first = first or first_columns(facts["words"])
        named = facts.get("named")
        if named is None and LAST in asked.values():
            raise UsageError(
                f"{run.folder} is of an earlier version, which did not note the last token: it can "
                "be asked for after --force-states"
            )
        landmarks = landmarks_of(
            first,
            slots_in_order(run.prompts),
            options.source,
            options.destination,
            options.distractor,
            named,
            options.chat or facts.get("mode") == "slots",
        )
    return Columns(tuple(facts["words"]), tuple(facts["tokens"]), landmarks)


def _noted(run: Run) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The positions with the landmarks of the first question, and its words for them."""
    if run.plan is not None:
        return run.plan.positions.facts(), {role: getattr(run.options, role) for role in ROLES}
    assert run.manifest is not None
    return run.manifest["positions"], run.manifest["identity"]["experiments"]


def _listed(layers: tuple[int, ...]) -> str:
    first, last = layers[0], layers[-1]
    if len(layers) == last - first + 1:
        return f"{first} to {last}"
    return ", ".join(map(str, layers))
