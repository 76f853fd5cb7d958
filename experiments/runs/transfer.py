"""All pairs of sites of an analysis: read from its folder, or computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

from experiments.designs.finite_sentences import finite_everywhere
from experiments.designs.pairs import Subspaces, layer_pairs, position_pairs, subspaces
from experiments.designs.setting import Setting, cross_validation
from experiments.runs import tables
from experiments.runs.inquiry import Inquiry
from experiments.runs.results import facts_of, load_result
from extract import HiddenStates
from gpu_smds import Checkpoint, ScoreMap

#: Words at which layers are compared.
_ROLES = ("source", "destination")


@dataclass(frozen=True)
class Transfer:
    """All pairs of positions per layer, all pairs of layers at some words, and subspaces."""

    positions: ScoreMap
    layers: dict[str, ScoreMap]
    subspaces: Subspaces


def transfer_of(inquiry: Inquiry, states: HiddenStates) -> Transfer:
    """Compute all pairs, or read what the folder holds of them.

    Two sites can be compared by the sentences of both only: with ``--non-finite omit`` by those
    that are finite everywhere.
    """
    every, columns = inquiry.setting(states), inquiry.columns
    setting = finite_everywhere(every, every.layers)
    cv = cross_validation(setting) if setting.clean else None
    of_positions, new = _kept_or_computed(
        inquiry,
        setting,
        "transfer",
        "transfer: every word's map scored on every word",
        lambda layers, positions: (layers, positions, positions),
        lambda **how: position_pairs(setting, cv, **how),
    )
    of_layers = {}
    for role in _ROLES:
        if role in columns.landmarks:
            at = columns.landmarks[role]
            of_layers[role], new_too = _kept_or_computed(
                inquiry,
                setting,
                f"transfer_layers_{role}",
                f"transfer: every layer's map scored on every layer, at {columns.words[at]}",
                lambda layers, positions: (layers, layers),
                lambda at=at, **how: layer_pairs(setting, at, cv, **how),
            )
            new |= new_too
    found = Transfer(of_positions, of_layers, subspaces(setting))
    files = [inquiry.result(f"{stem}.csv") for stem in ("transfer", "transfer_layers", "subspaces")]
    if new or not all(file.is_listed() for file in files):
        _write_tables(inquiry, setting, found)
    return found


def _kept_or_computed(
    inquiry: Inquiry,
    setting: Setting,
    name: str,
    title: str,
    shape: Callable[[int, int], tuple[int, ...]],
    compute: Callable[..., ScoreMap],
) -> tuple[ScoreMap, bool]:
    """Scores, and whether they are new."""
    file, identity = inquiry.result(f"{name}.safetensors"), inquiry.identity_hash
    found = None if inquiry.options.force else load_result(file, identity, shape)
    if found is not None:
        return found, False
    started = perf_counter()
    checkpoint = Checkpoint(inquiry.result(f"{name}.partial"))
    with inquiry.run.screen.progress(title, "sites") as report:
        found = compute(progress=report, checkpoint=checkpoint)
    facts = facts_of(setting, inquiry.columns, identity)
    facts |= {"experiment": name, "seconds": perf_counter() - started}
    if left_out := len(inquiry.run.prompts) - len(setting.labels):
        facts["left_out"] = left_out
    found = replace(found, metadata=facts)
    found.save(file)
    checkpoint.remove()
    return found, True


def _write_tables(inquiry: Inquiry, setting: Setting, found: Transfer) -> None:
    columns, as_is, layers = inquiry.columns, inquiry.options.csv_as_is, setting.layers
    words, landmarks = columns.words, columns.landmarks
    tables.write_pairs(inquiry.result("transfer.csv"), found.positions, layers, words, as_is=as_is)
    by_word = {words[landmarks[role]]: scores for role, scores in found.layers.items()}
    tables.write_layer_pairs(inquiry.result("transfer_layers.csv"), by_word, layers, as_is=as_is)
    tables.write_subspaces(inquiry.result("subspaces.csv"), found.subspaces, words, as_is=as_is)
