"""Which manifold wins where, in an analysis: read from its folder, or computed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from time import perf_counter

from experiments.designs.shapes import score_shapes
from experiments.runs import tables
from experiments.runs.analysis import will_compute
from experiments.runs.facts import check_discovery
from experiments.runs.inquiry import Inquiry
from extract import ExtractError, HiddenStates, UsageError
from gpu_smds import Checkpoint, Discovery


def discovery_of(inquiry: Inquiry, states: HiddenStates) -> Discovery:
    """Score many manifolds on every site, on the folds of Exp 1; kept in the folder.

    Raises
    ------
    UsageError
        No manifold takes the labels.
    """
    options, screen = inquiry.options, inquiry.run.screen
    path = inquiry.result("discover.safetensors")
    kept = None if options.force else kept_discovery(inquiry)
    if kept is not None:
        screen.note(f"{inquiry.run.source.name}: {path} is used again")
        if not inquiry.result("discover.csv").is_listed():
            _write_table(inquiry, kept)
        return kept
    started = perf_counter()
    checkpoint = Checkpoint(inquiry.result("discover.partial"))
    setting, columns = inquiry.setting(states), inquiry.columns
    with screen.progress("discovery: which manifold is it?", "sites") as report:
        try:
            found = score_shapes(setting, options.manifolds, options.shuffles, report, checkpoint)
        except ValueError as error:
            raise UsageError(str(error)) from error
    facts = {
        "experiment": "discover",
        "identity": _identity(inquiry),
        "seconds": perf_counter() - started,
        "layers": list(setting.layers),
        "words": list(columns.words),
        "tokens": list(columns.tokens),
        "landmarks": columns.landmarks,
    }
    found = replace(found, scores=replace(found.scores, metadata=facts))
    _write_table(inquiry, found)
    found.save(path)
    inquiry.note_settings(**will_compute("discover", options))
    checkpoint.remove()
    return found


def kept_discovery(inquiry: Inquiry) -> Discovery | None:
    """A discovery that was asked for like this before; None where there is none."""
    file = inquiry.result("discover.safetensors")
    if not file.is_listed():
        return None
    try:
        found = Discovery.load(file)
        facts = found.scores.metadata
        if facts.get("identity") != _identity(inquiry):
            return None
        check_discovery(facts, found.scores.mean.shape[2:])
    except ValueError as error:
        raise ExtractError(f"{file} is damaged ({error}): delete it, or use --force") from error
    return found


def _identity(inquiry: Inquiry) -> str:
    """What the result depends on: not the protocol, since the folds are those of the study."""
    options = replace(inquiry.options, protocol="study")
    alike = replace(inquiry, options=options)
    asked = json.dumps([alike.identity_hash, options.manifolds, options.shuffles])
    return hashlib.sha256(asked.encode()).hexdigest()


def _write_table(inquiry: Inquiry, found: Discovery) -> None:
    facts, as_is = found.scores.metadata, inquiry.options.csv_as_is
    tables.write_discovery(
        inquiry.result("discover.csv"),
        found,
        facts["layers"],
        facts["words"],
        facts["tokens"],
        as_is=as_is,
    )
