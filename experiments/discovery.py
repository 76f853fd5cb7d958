"""``gpu-smds discover``: which manifold wins where."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from time import perf_counter

import numpy as np
from sklearn.model_selection import KFold

from experiments import tables
from experiments.facts import check_discovery
from experiments.figures import draw_winners
from experiments.folder import RunFile
from experiments.protocol import FOLD_SEED, FOLDS
from experiments.results import Columns
from experiments.run import Run
from extract import ExtractError, HiddenStates, UsageError
from gpu_smds import Checkpoint, Discovery, discover
from gpu_smds.maps.discovery import NOTHING, UNDEFINED


def discover_run(run: Run, states: HiddenStates, columns: Columns) -> Discovery:
    """Score many manifolds on every site, on the folds of Exp 1; kept in the run's folder.

    Raises
    ------
    UsageError
        No manifold takes the labels.
    """
    options = run.options
    asked = json.dumps([run.identity_hash, options.manifolds, options.shuffles])
    identity = hashlib.sha256(asked.encode()).hexdigest()
    path = run.result("discover.safetensors")
    if path.is_listed() and not options.force:
        kept = _kept(path, identity)
        if kept is not None:
            run.screen.note(f"{run.source.name}: {path} is used again")
            if not run.result("discover.csv").is_listed():
                _write_table(run, kept)
            return kept
    started = perf_counter()
    checkpoint = Checkpoint(run.result("discover.partial"))
    with run.screen.progress("discovery: which manifold is it?", "sites") as report:
        try:
            found = discover(
                states,
                run.prompts.labels,
                options.manifolds,
                cv=KFold(FOLDS, shuffle=True, random_state=FOLD_SEED),
                n_shuffles=options.shuffles,
                device=run.device,
                memory_budget=run.memory_budget,
                progress=report,
                checkpoint=checkpoint,
            )
        except ValueError as error:
            raise UsageError(str(error)) from error
    facts = {
        "experiment": "discover",
        "identity": identity,
        "seconds": perf_counter() - started,
        "layers": list(states.layers),
        "words": list(columns.words),
        "tokens": list(columns.tokens),
        "landmarks": columns.landmarks,
    }
    found = replace(found, scores=replace(found.scores, metadata=facts))
    _write_table(run, found)
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


def _write_table(run: Run, found: Discovery) -> None:
    facts, as_is = found.scores.metadata, run.options.csv_as_is
    tables.write_discovery(
        run.result("discover.csv"),
        found,
        facts["layers"],
        facts["words"],
        facts["tokens"],
        as_is=as_is,
    )


def report_discovery(run: Run, found: Discovery) -> None:
    """Draw the map of winners and say on the screen what it holds."""
    facts = found.scores.metadata
    layers, words, landmarks = facts["layers"], facts["words"], facts["landmarks"]
    winner, margin, mean = found.winner, found.margin, found.scores.mean[:, 0]
    path = run.figure("discover.png")
    shuffles = run.options.shuffles
    draw_winners(
        path,
        winner,
        margin,
        found.manifolds,
        layers,
        words,
        facts["tokens"],
        landmarks,
        title=f"{run.source.name}: which manifold is it?",
        caption=_caption(shuffles),
    )
    rows = []
    for m in np.argsort([-(winner == m).sum() for m in range(len(mean))], kind="stable"):
        cells = [found.manifolds[m], str(int((winner == m).sum()))]
        if np.isfinite(mean[m]).any():
            i, p = np.unravel_index(np.nanargmax(mean[m]), mean[m].shape)
            cells += [f"{mean[m, i, p]:.3f}", str(layers[i]), words[p]]
        rows.append(cells)
    screen = run.screen
    screen.table(
        f"{run.source.name}: {len(found.manifolds)} manifolds, {FOLDS} folds",
        ["manifold", "sites won", "best score", "layer", "word"],
        rows,
        left=["word"],
    )
    for position in landmarks.values():
        screen.note(_at(found, position))
    defined = int((winner != UNDEFINED).sum())
    if shuffles:
        screen.note(
            f"nothing beats shuffled labels at {int((winner == NOTHING).sum())} of {defined} sites"
        )
    other_labels = [name for name, why in found.skipped.items() if "takes labels of shape" in why]
    if other_labels:
        screen.note(f"not tried, since they take other labels: {', '.join(other_labels)}")
    for name in found.skipped.keys() - set(other_labels):
        screen.note(f"not tried: {name} ({found.skipped[name]})")
    screen.note(f"results  {run.result('discover.csv')}")
    screen.note(f"figure   {path}")


def _caption(shuffles: int) -> str:
    caption = (
        f"Ridge SMDS, mean of {FOLDS} shuffled folds. Colour: the manifold of the highest score; "
        "strength: its lead over the next."
    )
    if shuffles:
        caption += (
            f" A manifold must lie more than three standard deviations above its scores under "
            f"{shuffles} shuffles of the labels."
        )
    return caption


def _at(found: Discovery, position: int) -> str:
    """The ranking at a position, in the layer where its winner scores best."""
    facts, mean = found.scores.metadata, found.scores.mean[:, 0, :, position]
    word = facts["words"][position]
    won = np.where(found.winner[:, position] >= 0, np.nan_to_num(mean, nan=-1).max(0), -1)
    if won.max() < 0:
        return f"{word}: no manifold wins"
    i = int(won.argmax())
    order = np.argsort(-np.nan_to_num(mean[:, i], nan=-1))[:3]
    ranked = ", ".join(f"{found.manifolds[m]} {mean[m, i]:.3f}" for m in order)
    return f"{word}, layer {facts['layers'][i]}: {ranked}"
