"""What the pairs of sites say: matrices and sentences."""

from __future__ import annotations

import numpy as np

from experiments.designs.setting import Setting, said_of
from experiments.figures import draw_layer_transfer, draw_transfer
from experiments.reports.omitted import said_of_left_out
from experiments.reports.significance import named
from experiments.runs.files import RunFile
from experiments.runs.inquiry import Inquiry
from experiments.runs.transfer import Transfer

_HOW = {
    "study": "Maps fitted on z-scored states, scored on every site's own z-scored states, same "
    "sentences.",
    "clean": "Maps and z-scores fitted on two thirds of the sentences, scored on the others; mean "
    "of 3 folds.",
}


def report_transfer(inquiry: Inquiry, setting: Setting, found: Transfer) -> None:
    """Draw the matrices and say on the screen what they hold."""
    screen, facts = inquiry.run.screen, found.positions.metadata
    for path in _draw(inquiry, setting, found):
        screen.note(f"figure   {path}")
    screen.note(f"results  {inquiry.results / 'transfer.csv'}")
    for sentence in said_of_left_out(facts.get("left_out", 0), "the comparison"):
        screen.note(sentence)
    words, landmarks, layers = facts["words"], facts["landmarks"], facts["layers"]
    source = landmarks["source"]
    mean = found.positions.mean
    others = ~np.eye(len(words), dtype=bool)
    after = np.arange(len(words)) > source
    pairs = mean[:, others & after[:, None] & after[None]]
    own = mean[:, np.diag(after)]
    if np.isfinite(pairs).any():
        screen.note(
            f"after {words[source]}: a map scores {np.nanmedian(own):.2f} at its own word and "
            f"{np.nanmedian(pairs):.2f} at others (medians over layers and words)"
        )
    if "destination" in landmarks:
        at = mean[:, source, landmarks["destination"]]
        if np.isfinite(at).any():
            best = int(np.nanargmax(at))
            screen.note(
                f"the map of {words[source]} scores at most {at[best]:.2f} at "
                f"{words[landmarks['destination']]} (layer {layers[best]})"
            )


def _draw(inquiry: Inquiry, setting: Setting, found: Transfer) -> list[RunFile]:
    facts, name = found.positions.metadata, inquiry.run.source.name
    words, tokens, landmarks = facts["words"], facts["tokens"], facts["landmarks"]
    how = _HOW[setting.protocol] + said_of(setting.protocol) + named(inquiry)
    layers = facts["layers"]
    stems = ("transfer", "transfer_layers", "subspaces")
    files = [inquiry.figure(f"{stem}.png") for stem in stems]
    mean = found.positions.mean
    draw_transfer(
        files[0],
        [(layer, mean[layers.index(layer)]) for layer in facts["curve_layers"]],
        words,
        tokens,
        landmarks,
        title=f"{name}: does one word's map decode another?",
        caption=how,
    )
    draw_layer_transfer(
        files[1],
        [(words[landmarks[role]], scores.mean) for role, scores in found.layers.items()],
        layers,
        title=f"{name}: does one layer's map decode another?",
        caption=how,
    )
    compared = found.subspaces
    draw_transfer(
        files[2],
        [
            ("cosine of the flattened maps", compared.cosines),
            ("cosine of the smallest principal angle", np.cos(compared.angles[..., 0])),
        ],
        words,
        tokens,
        landmarks,
        title=f"{name}: do the maps read the same subspace? (layer {compared.layer})",
        caption=(
            "Maps fitted on z-scored states of all sentences. The left cosine changes with the "
            "scale of the maps' rows and the basis of the embedding, the right one does not: 1 "
            "where two maps share a "
            f"direction; two random maps of {setting.states.shape[3]} features have about "
            f"{_random_cosine(compared.angles.shape[2], setting.states.shape[3]):.2f}."
            + said_of(setting.protocol)
            + named(inquiry)
        ),
        axes_labels=("map of", "map of"),
        colorbar_label="cosine",
    )
    return files


def _random_cosine(k: int, d: int) -> float:
    """Median cosine of the smallest angle between random k-dimensional subspaces of d features."""
    rng = np.random.default_rng(0)
    if d <= k:
        return 1.0
    largest = []
    for _ in range(64):
        a, b = (np.linalg.qr(rng.standard_normal((d, k)))[0] for _ in range(2))
        largest.append(np.linalg.svd(a.T @ b, compute_uv=False)[0])
    return float(np.median(largest))
