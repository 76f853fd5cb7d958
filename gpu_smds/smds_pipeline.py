"""Counterparts of the functions of ``smds.pipeline``, for one site."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from gpu_smds._arguments import as_flag, as_integer
from gpu_smds._files import File, csv_with, is_our_picture, plain
from gpu_smds._labels import as_labels
from gpu_smds.crossval.folds import resolve_folds
from gpu_smds.crossval.sorted_rows import warn_if_sorted
from gpu_smds.geometry.manifold import resolve_manifold
from gpu_smds.geometry.shapes import BaseShape
from gpu_smds.inference.comparison import compare_manifolds
from gpu_smds.maps.discovery import DEFAULT_MANIFOLDS, candidates, discover
from gpu_smds.metrics.scores import METRICS
from gpu_smds.sites.array import Sites

if TYPE_CHECKING:
    import pandas as pd

# First columns of the table of discover_manifolds, by which an older one is recognised.
_FIRST_COLUMNS = (
    "shape",
    "params",
    *(f"{part}_{next(iter(METRICS))}" for part in ("mean", "std", "fold")),
)


def discover_manifolds(
    X: Any,
    y: Any,
    shapes: Sequence[Any] | None = None,
    smds_components: int = 2,
    n_folds: int = 5,
    n_jobs: int | None = -1,
    save_results: bool = True,
    experiment_name: str = "results",
    create_png_visualization: bool = True,
    clear_cache: bool = True,
    random_state: int | None = None,
    st_run_id: str | None = None,
    save_dir: str | Path | None = None,
    device: Any = None,
    period: Any = None,
) -> tuple[pd.DataFrame, str | None]:
    """Rank manifolds on one site, as ``smds.pipeline.discover_manifolds`` does.

    Parameters
    ----------
    X, y
        States ``(n_samples, n_features)`` and labels.
    shapes
        Shapes, names or parametrizations; None tries those of smds that take the labels.
    smds_components
        Components of every embedding.
    n_folds
        Folds of KFold, unshuffled unless ``random_state`` is given; 0 fits and scores on all.
    n_jobs, create_png_visualization, clear_cache, st_run_id
        Accepted for compatibility; no effect: torch uses all cores, and there are no plots and no
        cache (:class:`Discovery` and :class:`Comparison` draw and test).
    random_state
        Seed that shuffles the folds.
    save_results, experiment_name, save_dir
        With ``save_dir``, ``<experiment_name>.csv`` is written to that folder. None writes
        nothing; smds writes into its own package.
    device
        Where to compute.
    period
        Of the labels, as in :func:`gpu_smds.discover`; smds has none.

    Returns
    -------
    table : DataFrame
        Columns of smds: ``shape``, ``params``, per metric ``mean_``, ``std_`` and ``fold_``,
        ``error``; sorted by the default metric. A shape that does not take the labels has a row
        with the reason here; smds drops it silently.
    path : str or None
        The file.
    """
    import pandas as pd
    from sklearn.model_selection import KFold

    flags = (("save_results", save_results), ("clear_cache", clear_cache))
    for name, flag in (*flags, ("create_png_visualization", create_png_visualization)):
        as_flag(flag, name)
    n_folds = as_integer(n_folds, "n_folds")
    if random_state is not None and not isinstance(random_state, np.random.RandomState):
        random_state = as_integer(random_state, "random_state")
    file = None
    if save_dir is not None and save_results:
        # Checked before the work, which would be lost if the file could not be replaced.
        file = File.at(Path(save_dir) / plain(f"{experiment_name}.csv"), create_parents=True)
        file.check(csv_with(_FIRST_COLUMNS))
    cv: Any = n_folds or None
    if n_folds > 1:
        shuffle = random_state is not None
        cv = KFold(n_folds, shuffle=shuffle, random_state=random_state)
    tried = candidates(("chain", *DEFAULT_MANIFOLDS) if shapes is None else shapes)
    if shapes is None:
        labels = as_labels(y, Sites(X).n).values
        tried = [name for name in tried if resolve_manifold(name).takes(labels)]
    found = discover(
        X, y, tried, "all", cv, n_components=smds_components, device=device, period=period
    )
    if n_folds > 1 and random_state is None:
        given = as_labels(y, Sites(X).n)
        warn_if_sorted(given, resolve_folds(n_folds, given.values).tests, "random_state=0")
    rows: list[dict[str, Any]] = []
    for i, manifold in enumerate(found.sources.values()):
        row: dict[str, Any] = {"shape": manifold.name, "params": {}}
        if isinstance(manifold.source, BaseShape):
            row["shape"] = type(manifold.source).__name__
            row["params"] = manifold.source.parameters()
        for m, metric in enumerate(METRICS):
            row |= {
                f"mean_{metric}": found.scores.mean[i, m],
                f"std_{metric}": found.scores.std[i, m],
                f"fold_{metric}": found.scores.scores[i, m].tolist(),
            }
        rows.append(row | {"error": None, "plot_path": None})
    rows += [{"shape": name, "error": reason} for name, reason in found.skipped.items()]
    table = pd.DataFrame(rows).sort_values(
        "mean_scale_normalized_stress", ascending=False, ignore_index=True
    )
    if file is None:
        return table, None
    content = table.to_csv(index=False, lineterminator="\n").encode()
    file.write(content, csv_with(_FIRST_COLUMNS))
    return table, str(file)


def run_statistical_validation(
    X: Any,
    y: Any,
    n_repeats: int = 10,
    n_folds: int = 5,
    experiment_name: str = "st_experiment",
    shapes: Sequence[Any] | None = None,
    save_dir: str | Path | None = None,
    period: Any = None,
) -> tuple[dict[str, pd.DataFrame], Path | None]:
    """Compare manifolds on one site by all metrics, as the function of ``smds`` does.

    Counterpart of ``smds.pipeline.statistical_testing``. Embeddings have two components.

    Parameters
    ----------
    X, y
        States ``(n_samples, n_features)`` and labels.
    n_repeats, n_folds, shapes
        As in :func:`compare_manifolds`.
    experiment_name, save_dir
        With ``save_dir``, a folder of this name is created in it, with scores and p-values as CSV
        and the critical-difference diagram per metric. None writes nothing; smds writes into its
        own package.
    period
        As in :func:`discover_manifolds`.

    Returns
    -------
    tables : dict
        Metric → scores, rows ``(run_id, fold_id)``, a column per shape.
    folder : Path or None
        The folder that was written.
    """
    folder = None if save_dir is None else Path(save_dir) / plain(experiment_name)
    files = (
        {} if folder is None else {metric: _MetricFiles.at(folder / metric) for metric in METRICS}
    )
    found = compare_manifolds(
        X, y, shapes, "all", n_repeats, n_folds, n_components=2, period=period
    )
    tables = {metric: found.frame((), metric) for metric in METRICS}
    for metric, of in files.items():
        of.scores.write(_csv(tables[metric]), csv_with(_SCORES_COLUMNS))
        of.p_values.write(_csv(found.nemenyi((), metric)), _is_square)
        found.draw(of.figure, (), metric)
    return tables, folder


# First columns of a table of scores.
_SCORES_COLUMNS = ("run_id", "fold_id")


@dataclass(frozen=True)
class _MetricFiles:
    """Output files of one metric."""

    scores: File
    p_values: File
    figure: File

    @classmethod
    def at(cls, folder: Path) -> Self:
        """Files of a folder; raises FilesError if one exists that this program did not write."""
        files = [
            File.at(folder / name, create_parents=True)
            for name in ("scores.csv", "p_values.csv", "critical_difference.png")
        ]
        # A table of p-values looks like any square matrix; it is ours only beside our scores.csv.
        of_p_values = _is_square if files[0].exists() else _nobodys
        tests: tuple[Callable[[bytes], bool], ...] = (
            csv_with(_SCORES_COLUMNS),
            of_p_values,
            is_our_picture,
        )
        for file, ours in zip(files, tests, strict=True):
            file.check(ours)
        return cls(*files)


def _nobodys(head: bytes) -> bool:
    return False


def _csv(table: pd.DataFrame) -> bytes:
    content: bytes = table.to_csv(lineterminator="\n").encode()
    return content


def _is_square(head: bytes) -> bool:
    """Whether a CSV file has the same names along both of its sides."""
    rows = list(csv.reader(head.decode("utf-8", "replace").splitlines()))
    return bool(rows) and bool(rows[0]) and rows[0] == ["", *(row[0] for row in rows[1:] if row)]
