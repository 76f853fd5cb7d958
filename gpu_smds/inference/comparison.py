"""Is one manifold better than another? Repeated k-fold, Friedman's test, Nemenyi's post-hoc test.

The tests of smds (Demšar 2006, "Statistical comparisons of classifiers over multiple data sets").
Scores of repeated folds share samples and are not independent, so the p-values are optimistic:
they rank manifolds rather than prove a difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gpu_smds._arguments import as_integer, as_share
from gpu_smds._files import SOFTWARE, File, is_our_picture
from gpu_smds._memory import check_fits
from gpu_smds.maps.discovery import Discovery, discover
from gpu_smds.maps.score_map import ScoreMap
from gpu_smds.sites.array import Sites

if TYPE_CHECKING:
    import pandas as pd

# Seeds of the repeats, as in smds.
_FIRST_SEED, _SEED_STEP = 42, 1337
# Minimum bytes of the objects of a result, in addition to its scores.
_OF_A_RESULT = 1000


@dataclass(frozen=True)
class Comparison:
    """Scores of manifolds on the same folds, and the tests on them.

    Attributes
    ----------
    scores
        Axes ``(manifold, metric, fold, *sites)``, the folds of all repeats one after another.
    n_folds
        Folds per repeat.
    skipped
        Manifolds that do not take the labels, and why.
    """

    scores: ScoreMap
    n_folds: int
    skipped: dict[str, str]

    @property
    def manifolds(self) -> list[str]:
        """Names along the first axis."""
        return list(self.scores.coords["manifold"])

    def _scores(self, metric: str | None) -> np.ndarray:
        metrics = self.scores.coords["metric"]
        found: np.ndarray = self.scores.scores[:, metrics.index(metric or metrics[0])]
        return found

    def friedman(self, metric: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Friedman's statistic and p-value, each ``(*sites)``; NaN where a score is NaN.

        Raises
        ------
        ValueError
            Fewer than three manifolds.
        """
        from scipy.stats import friedmanchisquare

        scores = self._scores(metric)
        if len(scores) < 3:
            raise ValueError(f"Friedman's test compares at least 3 manifolds, got {len(scores)}")
        with np.errstate(invalid="ignore"):
            result = friedmanchisquare(*scores, axis=0)
        # If all scores are NaN, scipy ranks them like numbers.
        defined = np.isfinite(scores).all(axis=(0, 1))
        statistic, p = np.asarray(result.statistic), np.asarray(result.pvalue)
        return np.where(defined, statistic, np.nan), np.where(defined, p, np.nan)

    def ranks(self, metric: str | None = None) -> np.ndarray:
        """Mean ranks over folds ``(manifold, *sites)``, 1 is best; NaN where a score is NaN."""
        from scipy.stats import rankdata

        scores = self._scores(metric)
        ranks: np.ndarray = rankdata(-scores, axis=0, nan_policy="propagate").mean(axis=1)
        return ranks

    def critical_difference(self, alpha: float = 0.05) -> float:
        """Mean ranks further apart than this differ by Nemenyi's test at level ``alpha``."""
        from scipy.stats import studentized_range

        alpha = as_share(alpha, "alpha")
        k, n = len(self.manifolds), self.scores.scores.shape[2]
        q = studentized_range.ppf(1 - alpha, k, np.inf) / np.sqrt(2)
        return float(q * np.sqrt(k * (k + 1) / (6 * n)))

    def frame(self, site: tuple[int, ...] = (), metric: str | None = None) -> pd.DataFrame:
        """Scores of one site as smds tabulates them: rows ``(run_id, fold_id)``, columns shapes.

        Raises
        ------
        ValueError
            ``site`` does not index the site axes.
        """
        import pandas as pd

        scores = self._scores(metric)
        if len(site) != scores.ndim - 2:
            raise ValueError(f"site must have {scores.ndim - 2} indices, got {site}")
        values = scores.reshape(*scores.shape[:2], -1)[
            ..., np.ravel_multi_index(site, scores.shape[2:]) if site else 0
        ]
        runs = values.shape[1] // self.n_folds
        rows = pd.MultiIndex.from_product(
            [range(runs), range(self.n_folds)], names=["run_id", "fold_id"]
        )
        return pd.DataFrame(values.T, index=rows, columns=self.manifolds)

    def nemenyi(self, site: tuple[int, ...] = (), metric: str | None = None) -> pd.DataFrame:
        """p-values of every pair of manifolds at one site, by scikit-posthocs."""
        from scikit_posthocs import posthoc_nemenyi_friedman

        frame = self.frame(site, metric).dropna(axis=1).reset_index(drop=True)
        if frame.shape[1] < 2:
            raise ValueError(f"fewer than two manifolds have scores at site {site}")
        p_values: pd.DataFrame = posthoc_nemenyi_friedman(frame)
        return p_values

    def draw(
        self, path: str | Path | File, site: tuple[int, ...] = (), metric: str | None = None
    ) -> None:
        """Draw the critical-difference diagram of one site as PNG.

        Manifolds are placed by mean rank; those joined by a bar do not differ at the 5 % level.
        """
        from matplotlib.figure import Figure
        from scikit_posthocs import critical_difference_diagram

        p_values = self.nemenyi(site, metric)
        frame = self.frame(site, metric)[list(p_values)]
        ranks = frame.rank(axis=1, ascending=False).mean()
        figure = Figure(figsize=(8, 1.4 + 0.22 * len(ranks)), dpi=200, layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(f"mean rank over {len(frame)} folds (1 is best)", fontsize=10, pad=14)
        critical_difference_diagram(
            ranks,
            p_values,
            ax=axes,
            label_fmt_left="{label}  {rank:.2f}",
            label_fmt_right="{rank:.2f}  {label}",
            label_props={"fontsize": 9},
            crossbar_props={"color": "0.3", "linewidth": 3},
        )
        picture = BytesIO()
        figure.savefig(picture, format="png", metadata={"Software": SOFTWARE})
        File.of(path).write(picture.getvalue(), is_our_picture)


def compare_manifolds(
    X: Any,
    y: Any,
    manifolds: Any = None,
    metric: Any = "scale_normalized_stress",
    n_repeats: int = 10,
    n_folds: int = 5,
    **arguments: Any,
) -> Comparison:
    """Score manifolds on repeated shuffled folds, for tests per site.

    Parameters
    ----------
    X, y, manifolds, metric
        As in :func:`gpu_smds.discover`.
    n_repeats, n_folds
        Repeats of KFold, with the seeds of ``smds``: 42, 1379, …
    **arguments
        Further arguments of :func:`gpu_smds.discover`, such as ``alpha`` or ``device``.
    """
    from sklearn.model_selection import KFold

    n_repeats = as_integer(n_repeats, "n_repeats", least=1)
    n_folds = as_integer(n_folds, "n_folds", least=2)
    # A lower bound: one manifold and one metric.
    _check_repeats(n_repeats, 9 * n_folds * len(Sites(X)))
    repeats: list[Discovery] = []
    for repeat in range(n_repeats):
        # One call per repeat: its folds are a partition and share one Gram matrix per site.
        cv = KFold(n_folds, shuffle=True, random_state=_FIRST_SEED + _SEED_STEP * repeat)
        repeats.append(discover(X, y, manifolds, metric, cv, **arguments))
        if repeat == 0:
            found = repeats[0].scores
            _check_repeats(n_repeats, found.scores.nbytes + found.status.nbytes)
    first = repeats[0]
    scores = ScoreMap(
        np.concatenate([found.scores.scores for found in repeats], axis=2),
        np.concatenate([found.scores.status for found in repeats], axis=1),
        first.scores.dims,
        first.scores.coords,
        omitted=first.scores.omitted,
    )
    return Comparison(scores, n_folds, first.skipped)


def _check_repeats(n_repeats: int, scores: int) -> None:
    """Raise ValueError if the results of all repeats do not fit the memory.

    Each repeat takes twice the bytes of its scores, as they are concatenated, and its objects.
    """
    needed = n_repeats * (2 * scores + _OF_A_RESULT)
    check_fits(needed, f"n_repeats={n_repeats:,}", "their scores", torch.device("cpu"))
