"""Is a score more than chance? A permutation test of every site."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_smds._progress import Meter, Progress
from gpu_smds._validation import (
    as_alphas,
    as_flag,
    as_integer,
    as_labels,
    check_choice,
    resolve_device,
)
from gpu_smds.budget import check_fits, most_sites, resolve_budget
from gpu_smds.checkpoint import Checkpoint, fingerprint, kept
from gpu_smds.exchange import (
    EXCHANGES,
    as_groups,
    draw_permutations,
    exchange_blocks,
    exchangeable,
)
from gpu_smds.fitting import bytes_per_site
from gpu_smds.folds import Folds, resolve_folds
from gpu_smds.manifolds import resolve_manifold
from gpu_smds.p_values import SignificanceMap
from gpu_smds.relabelled import AcrossParts, Relabelled, WithinParts, repeats_rows
from gpu_smds.sites import Block, Sites
from gpu_smds.smoothers import in_factors, smoother
from gpu_smds.states import CentredStates
from gpu_smds.status import Status
from gpu_smds.stress import bytes_of_pairs, metric_name, needs_whole
from gpu_smds.sweep import Job, sweep
from gpu_smds.systems import STANDARDIZE, Plan, Solver, fold_systems
from gpu_smds.targets import Target, Targets

# Bytes of the embeddings and projections of the permutations that are worked on together.
_CHUNK_BYTES = {"cpu": 4 << 20, "cuda": 512 << 20}
# Label sets, the given one among them, on which the precision of a site's factor is judged.
_TRIALS = 5


def significance_map(
    X: Any,
    y: Any,
    n_permutations: int = 1000,
    seed: int = 0,
    manifold: Any = "circular",
    cv: Any = 3,
    alpha: float = 1.0,
    orthonormal: bool = False,
    standardize: str | None = None,
    metric: Any = "scale_normalized_stress",
    n_components: int | None = None,
    groups: Any = None,
    exchange: str | None = None,
    shuffle: str = "within_folds",
    device: Any = None,
    memory_budget: int | None = None,
    progress: Progress = False,
    checkpoint: str | Path | Checkpoint | None = None,
) -> SignificanceMap:
    """Test the score of every site against its scores under permuted labels.

    A site's states are factorised once per fold; all permutations are right-hand sides of that
    factor. The permutations are the same at every site, so that sites keep their dependence and
    the family-wise correction loses nothing to it. smds has no counterpart.

    Parameters
    ----------
    X, y, manifold, cv, alpha, orthonormal, standardize, metric, n_components
        As in :func:`gpu_smds.score_map`, one manifold, alpha and metric. The distances must be
        complete (chain's are not).
    n_permutations
        Number m of permutations; the smallest p is 1 / (m + 1).
    seed
        Of the generator that draws them.
    groups
        ``(n_samples,)`` names, for ``exchange``; also passed to the splitter. To split by one
        grouping and exchange by another give ``cv=list(splitter.split(X, y, others))``.
    exchange
        What moves. "rows": every label by itself. "within_groups": labels move only between
        samples of one group (blocked, say by name). "whole_groups": groups keep their labels
        together and exchange them with groups of the same size (samples that are not
        independent). None is "rows", or "within_groups" where groups are given.
    shuffle
        "within_folds": labels move within the test blocks of the cross-validation, so that every
        training and test part keeps its labels, ideal embedding and distances. "global": labels
        move between them, and embeddings and distances are computed for each permutation.
    device, memory_budget, progress, checkpoint
        As in :func:`gpu_smds.score_map`. Arithmetic is float64.

    Returns
    -------
    SignificanceMap
        One entry per site.

    Raises
    ------
    ValueError, TypeError
        Arguments that do not fit each other; incomplete distances; labels that cannot move.
    """
    count = as_integer(n_permutations, "n_permutations", least=1)
    seed = as_integer(seed, "seed", countable=False)
    rigid = as_flag(orthonormal, "orthonormal")
    check_choice(standardize, STANDARDIZE, "standardize")
    check_choice(shuffle, ("within_folds", "global"), "shuffle")
    if exchange is None:
        exchange = "rows" if groups is None else "within_groups"
    check_choice(exchange, EXCHANGES, "exchange")
    alphas, is_list = as_alphas(alpha)
    if is_list or isinstance(manifold, list | tuple) or isinstance(metric, list | tuple):
        raise ValueError("significance_map takes one manifold, metric and alpha, not lists")
    sites = Sites(X)
    where = resolve_device(device, sites.device)
    budget = resolve_budget(memory_budget, where)
    labels = as_labels(y, sites.n)
    shape = resolve_manifold(manifold, n_components)
    measure = metric_name(metric)
    with warnings.catch_warnings():
        # They are for the exchange as well, which a splitter cannot know.
        warnings.filterwarnings("ignore", "The groups parameter is ignored")
        folds = resolve_folds(cv, labels, groups)
    if repeats_rows(folds, sites.n):
        raise ValueError("cv scores a sample twice in one fold, which no permutation keeps apart")
    names = None if groups is None else as_groups(groups, sites.n)
    drawn, in_order, collected = _drawn(
        labels, folds, names, exchange, shuffle, count, seed, len(sites), budget, where
    )
    ordered = labels[folds.order]
    target = Target.of(shape, folds, ordered, where, budget // (8 * len(folds)), [measure])
    _refuse_incomplete(target)
    relabelled: Relabelled
    if shuffle == "global":
        relabelled = AcrossParts(shape, folds, ordered, in_order, measure, where, budget // 2)
    else:
        relabelled = WithinParts(target, folds, in_order, where)
    solver = Solver(alphas, rigid, standardize)
    plan = Plan.of(folds, solver, relabelled.observed, sites.n)
    scores = torch.full((len(sites), len(in_order)), torch.nan, dtype=torch.float64, device=where)
    status = torch.zeros(len(sites), dtype=torch.int8, device=where)

    per_site, size = _memory(
        sites, folds, solver, relabelled.observed, measure, len(in_order), where, budget
    )
    chunks = [slice(i, min(i + size, len(in_order))) for i in range(0, len(in_order), size)]

    def visit(block: Block, states: CentredStates) -> None:
        total = torch.zeros(len(block), len(in_order), dtype=torch.float64, device=where)
        state = torch.zeros(len(block), dtype=torch.int8, device=where)
        for fold in fold_systems(states, plan):
            f = fold.number
            trials = relabelled.embeddings(f, slice(0, _TRIALS))
            smooth = smoother(fold, trials, len(in_order))
            for chunk in chunks:
                Z, undetermined = smooth(relabelled.embeddings(f, chunk))
                causes = {
                    Status.UNDETERMINED: undetermined,
                    Status.CONSTANT: fold.constant[:, None],
                    Status.NON_FINITE: states.non_finite[:, None],
                }
                values, why = relabelled.score(f, chunk, Z, causes)
                total[:, chunk] += values
                if chunk.start == 0:
                    state = state.maximum(why[:, 0])
                # A permutation without a score leaves nothing to compare with.
                state = state.maximum((why * values.isnan()).amax(1))
        span = slice(block.start, block.stop)
        mean = total / len(folds)
        scores[span] = mean.masked_fill(mean.isnan().any(1, keepdim=True), torch.nan)
        status[span] = state

    results = (scores, status)

    def key() -> str:
        named = (shape.name, measure, solver, shuffle, folds.order)
        return fingerprint(labels, *named, in_order, *folds.parts, *relabelled.observed.stacked)

    shared = relabelled.bytes + collected
    job = Job(visit, folds.order, per_site, most_sites(True), results, key, shared)
    with kept(checkpoint) as done:
        sweep(sites, [job], where, budget, Meter(progress, len(sites), "permutations"), done)
    found = _by_permutation(scores).reshape(len(in_order), *sites.site_shape)
    return SignificanceMap.of(
        found[0],
        found[1:],
        status.cpu().numpy().reshape(sites.site_shape),
        drawn,
        {
            "n_permutations": count,
            "seed": seed,
            "exchange": exchange,
            "shuffle": shuffle,
            "manifold": shape.name,
            "metric": measure,
        },
    )


def _drawn(
    labels: np.ndarray,
    folds: Folds,
    groups: np.ndarray | None,
    exchange: str,
    shuffle: str,
    count: int,
    seed: int,
    n_sites: int,
    budget: int,
    device: torch.device,
) -> tuple[np.ndarray, Tensor, int]:
    """Permutations of the labels.

    As they are given out ``(count, n)``; with the labels as they are in front ``(count + 1, n)`` in
    the folds' order of rows; and the bytes of both and of the scores under them.
    """
    n = len(labels)
    blocks = exchange_blocks(folds, n)
    if shuffle == "global":
        blocks = np.zeros(n, dtype=np.int64)
    # Permutations, in two orders of rows, and the scores under them, where they are collected.
    collected = 8 * n * count + 32 * n_sites * (count + 1)
    what, use = f"n_permutations={count:,}", "the permutations and the scores under them"
    check_fits(collected, what, use, torch.device("cpu"))
    check_fits(4 * n * count + 8 * n_sites * (count + 1), what, use, device)
    if collected > budget:
        raise ValueError(
            f"memory_budget of {budget:,} bytes is too small: {count} permutations and "
            f"the scores under them take {collected:,}"
        )
    movable = exchangeable(blocks, groups, exchange)
    if all((labels[rows] == labels[rows[:1]]).all() for rows in movable):
        raise ValueError(
            "all labels that may change places are equal, so that permuting them changes nothing: "
            'where groups share one label, exchange="whole_groups"'
        )
    drawn = draw_permutations(blocks, groups, exchange, count, seed)
    place = np.argsort(folds.order).astype(np.int32)
    in_order = torch.from_numpy(
        np.concatenate([np.arange(n, dtype=np.int32)[None], place[drawn[:, folds.order]]])
    )
    return drawn, in_order, collected


def _memory(
    sites: Sites,
    folds: Folds,
    solver: Solver,
    targets: Targets,
    metric: str,
    count: int,
    device: torch.device,
    budget: int,
) -> tuple[int, int]:
    """Bytes that a site takes, and how many permutations are worked on together."""
    k = targets.stacked[0].shape[1]
    largest = max(folds.folds, key=lambda fold: fold.n_train)
    n_train, n_test = largest.n_train, max(fold.n_test for fold in folds.folds)
    # Embeddings and projections in several copies, and the row numbers that bring them about.
    thin = 8 * (k * (2 * n_train + 4 * n_test) + 2 * (n_train + n_test))
    thin += 8 * k * 2 * sites.d * solver.orthonormal
    together = min(_CHUNK_BYTES.get(device.type, 4 << 20), budget // 8) // thin
    size = min(count, max(1, together))
    per_site = bytes_per_site(sites, folds, solver, k, device, written=True)
    thin_factors = in_factors(n_train, n_test, sites.d)
    hat = sites.d * (n_train + n_test) if thin_factors else n_test * n_train
    per_site += 8 * (2 * hat + n_train * sites.d + count)
    per_site += 16 * (n_test + _TRIALS * k) * max(min(n_train, sites.d), 1) + thin * size
    if solver.orthonormal and sites.d > n_train:
        per_site += 8 * n_train * (n_train + n_test)
    if 0.0 in solver.alphas and not solver.orthonormal:
        per_site += 8 * n_train**2
    if needs_whole([metric]):
        per_site += bytes_of_pairs(n_test)
    return per_site, size


def _refuse_incomplete(target: Target) -> None:
    embeddings = [e for e in target.embeddings if e is not None]
    if any(e.incomplete is not None for e in embeddings) or not all(
        ideal.complete for ideal in target.ideals if ideal is not None
    ):
        raise ValueError(
            f"{target.manifold.name} leaves distances undefined, and its fit is no function of an "
            "embedding: there is no permutation test of it here"
        )


def _by_permutation(scores: Tensor) -> np.ndarray:
    return np.ascontiguousarray(scores.cpu().numpy().T)
