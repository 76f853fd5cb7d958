"""Which manifold wins where, in an analysis: read from its folder, or computed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from time import perf_counter

from experiments.designs.shapes import score_shapes
from experiments.runs import tables
from experiments.runs.facts import check_discovery
from experiments.runs.files import RunFile
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
    asked = json.dumps([inquiry.identity_hash, options.manifolds, options.shuffles])
    identity = hashlib.sha256(asked.encode()).hexdigest()
    path = inquiry.result("discover.safetensors")
    if path.is_listed() and not options.force:
        kept = _kept(path, identity)
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
        "identity": identity,
        "seconds": perf_counter() - started,
        "layers": list(setting.layers),
        "words": list(columns.words),
        "tokens": list(columns.tokens),
        "landmarks": columns.landmarks,
    }
    found = replace(found, scores=replace(found.scores, metadata=facts))
    _write_table(inquiry, found)
    found.save(path)
    checkpoint.remove()
    return found


def _kept(file: RunFile, identity: str) -> Discovery | None:
    """A discovery that was asked for like this before; None where it is another one."""
    try:
        found = Discovery.load(file)
        facts = found.scores.metadata
        if facts.get("identity") != identity:
            return None
        check_discovery(facts, found.scores.mean.shape[2:])
    except ValueError as error:
        raise ExtractError(f"{file} is damaged ({error}): delete it, or use --force") from error
    return found


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
