"""Results as tables for people: one CSV row per site.

Words and tokens that a spreadsheet would take for a formula get an apostrophe in front
(:mod:`extract.cells`) unless ``as_is``; numbers stay numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.designs.experiment import Layout, std_of
from experiments.designs.pairs import Subspaces
from extract.cells import csv_text, neutralised
from gpu_smds import Discovery, ScoreMap, SignificanceMap, Status
from gpu_smds._files import File, csv_with


def write_result(path: Path | File, layout: Layout, scores: ScoreMap, *, as_is: bool) -> None:
    """The scores of an experiment in its own columns; an undefined score is an empty cell.

    Where sentences may be left out, the last column says how many.
    """
    omitted = None if scores.omitted is None else scores.omitted.ravel()
    _write(path, layout.columns, layout.rows(scores), as_is, omitted)


def write_significance(
    path: Path | File,
    found: SignificanceMap,
    layers: Sequence[int],
    words: Sequence[str],
    tokens: Sequence[str],
    *,
    as_is: bool = False,
) -> None:
    """One row per tested site."""
    values = (
        found.score,
        found.null_mean,
        found.null_sd,
        found.z,
        found.p,
        found.p_family,
        found.q,
    )
    rows = (
        (layer, p, words[p], tokens[p], *(v[i, p] for v in values), found.status[i, p])
        for i, layer in enumerate(layers)
        for p in range(len(words))
    )
    header = (
        *("layer", "position", "word", "token", "score", "null_mean", "null_sd", "z"),
        *("p", "p_family", "q", "status"),
    )
    _write(path, header, rows, as_is)


def write_discovery(
    path: Path | File,
    found: Discovery,
    layers: Sequence[int],
    words: Sequence[str],
    tokens: Sequence[str],
    *,
    as_is: bool = False,
) -> None:
    """One row per site and manifold, best first; ``baseline`` is the mean of shuffled labels."""
    mean, std, status = found.scores.mean[:, 0], found.scores.std[:, 0], found.scores.worst_status
    chance = np.full_like(mean, np.nan) if found.baseline is None else found.baseline.mean(axis=1)
    above, manifolds = found.beats_baseline, found.manifolds
    order = np.argsort(np.where(np.isfinite(mean), -mean, np.inf), axis=0, kind="stable")
    rows = (
        (
            *(layer, p, words[p], tokens[p], manifolds[m], mean[m, i, p], std[m, i, p]),
            *(chance[m, i, p], "yes" if above[m, i, p] else "no", status[m, i, p]),
        )
        for i, layer in enumerate(layers)
        for p in range(len(words))
        for m in order[:, i, p]
    )
    header = (
        *("layer", "position", "word", "token", "manifold", "score", "std"),
        *("baseline", "above_baseline", "status"),
    )
    omitted = found.scores.omitted
    _write(path, header, rows, as_is, omitted if omitted is None else omitted.repeat(len(mean)))


def _write(
    path: Path | File,
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    as_is: bool,
    omitted: Iterable[int] | None = None,
) -> None:
    """A table whose last cells are statuses, and after these how many sentences were left out."""
    header = header if omitted is None else (*header, "omitted")
    table: list[Sequence[object]] = [header]
    more = itertools.repeat(()) if omitted is None else ((int(count),) for count in omitted)
    for (*cells, status), of_row in zip(rows, more, strict=omitted is not None):
        cells = [_cell(cell, as_is) for cell in cells]
        table.append([*cells, Status(int(str(status))).name.lower(), *of_row])
    File.of(path).write(csv_text(table).encode("utf-8", "surrogatepass"), csv_with(header))


def _cell(value: object, as_is: bool) -> object:
    if isinstance(value, str):
        return value if as_is else neutralised(value)
    if isinstance(value, float | np.floating):
        return f"{value:.10g}" if np.isfinite(value) else ""
    return value


def write_pairs(
    path: Path | File,
    scores: ScoreMap,
    layers: Sequence[int],
    words: Sequence[str],
    *,
    as_is: bool = False,
) -> None:
    """One row per layer and pair of positions: the source's map, scored on the target.

    ``layer,source,source_word,target,target_word,score,std,status``, as an experiment's own.
    """
    mean, std, status = scores.mean, std_of(scores), scores.worst_status
    rows = (
        (layer, a, words[a], b, words[b], mean[i, a, b], std[i, a, b], status[i, a, b])
        for i, layer in enumerate(layers)
        for a in range(len(words))
        for b in range(len(words))
    )
    header = (
        *("layer", "source", "source_word", "target", "target_word"),
        *("score", "std", "status"),
    )
    _write(path, header, rows, as_is)


def write_layer_pairs(
    path: Path | File, found: Mapping[str, ScoreMap], layers: Sequence[int], *, as_is: bool = False
) -> None:
    """One row per word and pair of layers: the source's map, scored on the target.

    ``word,source_layer,target_layer,score,std,status``, as an experiment's own; ``found`` holds
    the scores ``(fold, source, target)`` of each word.
    """
    rows = (
        (word, layers[a], layers[b], mean[a, b], std[a, b], status[a, b])
        for word, scores in found.items()
        for mean, std, status in [(scores.mean, std_of(scores), scores.worst_status)]
        for a in range(len(layers))
        for b in range(len(layers))
    )
    _write(path, ("word", "source_layer", "target_layer", "score", "std", "status"), rows, as_is)


def write_subspaces(
    path: Path | File, found: Subspaces, words: Sequence[str], *, as_is: bool = False
) -> None:
    """One row per pair of positions: cosine of the flattened maps, principal angles in degrees."""
    degrees, k = np.degrees(found.angles), found.angles.shape[2]
    rows = (
        (found.layer, a, words[a], b, words[b], found.cosines[a, b], *degrees[a, b], status)
        for a in range(len(words))
        for b, status in enumerate(found.status[a])
    )
    header = (
        *("layer", "position_a", "word_a", "position_b", "word_b", "cosine"),
        *(f"angle_{i + 1}" for i in range(k)),
        "status",
    )
    _write(path, header, rows, as_is)
