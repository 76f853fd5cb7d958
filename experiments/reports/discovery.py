"""Which manifold wins where: map, table and sentences."""

from __future__ import annotations

import numpy as np

from experiments.designs.setting import FOLDS
from experiments.figures import draw_winners
from experiments.reports.omitted import said_of_omitted
from experiments.reports.significance import labels_of_period, named
from experiments.runs.inquiry import Inquiry
from gpu_smds import Discovery
from gpu_smds.maps.discovery import NOTHING, UNDEFINED


def report_discovery(inquiry: Inquiry, found: Discovery) -> None:
    """Draw the map of winners and say on the screen what it holds."""
    facts = found.scores.metadata
    layers, words, landmarks = facts["layers"], facts["words"], facts["landmarks"]
    winner, margin, mean = found.winner, found.margin, found.scores.mean[:, 0]
    path = inquiry.figure("discover.png")
    shuffles = 0 if found.baseline is None else found.baseline.shape[1]
    draw_winners(
        path,
        winner,
        margin,
        found.manifolds,
        layers,
        words,
        facts["tokens"],
        landmarks,
        title=f"{inquiry.run.source.name}: which manifold is it?",
        caption=_caption(shuffles) + named(inquiry),
    )
    rows = []
    for m in np.argsort([-(winner == m).sum() for m in range(len(mean))], kind="stable"):
        cells = [found.manifolds[m], str(int((winner == m).sum()))]
        if np.isfinite(mean[m]).any():
            i, p = np.unravel_index(np.nanargmax(mean[m]), mean[m].shape)
            cells += [f"{mean[m, i, p]:.3f}", str(layers[i]), words[p]]
        rows.append(cells)
    screen = inquiry.run.screen
    screen.table(
        f"{inquiry.run.source.name}: {len(found.manifolds)} manifolds, {FOLDS} folds"
        + labels_of_period(inquiry),
        ["manifold", "sites won", "best score", "layer", "word"],
        rows,
        left=["word"],
    )
    for position in landmarks.values():
        screen.note(_at(found, position))
    for sentence in said_of_omitted(found.scores):
        screen.note(sentence)
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
    screen.note(f"results  {inquiry.result('discover.csv')}")
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
