"""``gpu-smds transfer``: does the map of one site decode another, for all pairs of sites?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np

from experiments import protocol, tables
from experiments.figures import draw_layer_transfer, draw_transfer
from experiments.folder import RunFile
from experiments.pairs import Subspaces, layer_pairs, position_pairs, subspaces
from experiments.protocol import Setting, named
from experiments.results import Columns, facts_of, load_result
from experiments.run import Run
from extract import HiddenStates
from gpu_smds import Checkpoint, ScoreMap

#: Words at which layers are compared.
_ROLES = ("source", "destination")
_HOW = {
    "study": "Maps fitted on z-scored states, scored on every site's own z-scored states, same "
    "sentences.",
    "clean": "Maps and z-scores fitted on two thirds of the sentences, scored on the others; mean "
    "of 3 folds.",
}


@dataclass(frozen=True)
class Transfer:
    """All pairs of positions per layer, all pairs of layers at some words, and subspaces."""

    positions: ScoreMap
    layers: dict[str, ScoreMap]
    subspaces: Subspaces


def transfer_run(run: Run, states: HiddenStates, columns: Columns) -> Transfer:
    """Compute all pairs, or read what the folder holds of them."""
    setting = run.setting(states, columns)
    cv = protocol.cross_validation(setting) if setting.clean else None

    def kept(name: str, title: str, compute: Callable[..., ScoreMap]) -> ScoreMap:
        found = (
            None
            if run.options.force
            else load_result(run.result(f"{name}.safetensors"), run.identity_hash)
        )
        if found is not None:
            return found
        started = perf_counter()
        checkpoint = Checkpoint(run.result(f"{name}.partial"))
        with run.screen.progress(title, "sites") as report:
            found = compute(progress=report, checkpoint=checkpoint)
        facts = facts_of(setting, columns, run.identity_hash)
        facts |= {"experiment": name, "seconds": perf_counter() - started}
        found = replace(found, metadata=facts)
        found.save(run.result(f"{name}.safetensors"))
        checkpoint.remove()
        return found

    of_positions = kept(
        "transfer",
        "transfer: every word's map scored on every word",
        lambda **how: position_pairs(setting, cv, **how),
    )
    of_layers = {}
    for role in _ROLES:
        if role in columns.landmarks:
            at = columns.landmarks[role]
            of_layers[role] = kept(
                f"transfer_layers_{role}",
                f"transfer: every layer's map scored on every layer, at {columns.words[at]}",
                lambda at=at, **how: layer_pairs(setting, at, cv, **how),
            )
    compared = subspaces(setting)
    words, as_is = columns.words, run.options.csv_as_is
    tables.write_pairs(run.result("transfer.csv"), of_positions, setting.layers, words, as_is=as_is)
    by_word = {words[columns.landmarks[role]]: scores for role, scores in of_layers.items()}
    tables.write_layer_pairs(
        run.result("transfer_layers.csv"), by_word, setting.layers, as_is=as_is
    )
    tables.write_subspaces(run.result("subspaces.csv"), compared, words, as_is=as_is)
    return Transfer(of_positions, of_layers, compared)


def report_transfer(run: Run, setting: Setting, found: Transfer) -> None:
    """Draw the matrices and say on the screen what they hold."""
    screen, facts = run.screen, found.positions.metadata
    for path in _draw(run, setting, found):
        screen.note(f"figure   {path}")
    screen.note(f"results  {run.results / 'transfer.csv'}")
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


def _draw(run: Run, setting: Setting, found: Transfer) -> list[RunFile]:
    facts, name = found.positions.metadata, run.source.name
    words, tokens, landmarks = facts["words"], facts["tokens"], facts["landmarks"]
    how = _HOW[setting.protocol] + named(setting.protocol)
    layers = facts["layers"]
    stems = ("transfer", "transfer_layers", "subspaces")
    files = [run.figure(f"{stem}.png") for stem in stems]
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
            + named(setting.protocol)
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
