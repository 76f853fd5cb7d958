"""Is the permutation test what it says? P-values of pure noise, and how weak a circle it finds.

    python -m benchmarks.calibration --quick    # 200 data sets of each kind, about a minute
    python -m benchmarks.calibration            # 1000

Noise: many data sets of 90 samples × 8 sites × 12 features and random labels. Half of every
feature's variance comes from three factors that all sites share, so that sites depend on each other
as layers do. Each data set is tested with permutations of its own. P-values of one site must then
be uniform on the multiples of 1/(m + 1). Spread evenly within these steps, p − U/(m + 1), they are
uniform between 0 and 1, and that is what the Kolmogorov–Smirnov test is given: on the steps as they
are it would be conservative.

Copies: every sample occurs two or three times, states and label alike, as repeated sentences do.

Power: a circle of the labels is added to one site, its standard deviation a multiple of the
noise's. All strengths see the same noise and labels.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from scipy.stats import binom, binomtest, kstest
from sklearn.model_selection import GroupKFold

from benchmarks.environment import environment
from benchmarks.output import OUT, output, write_facts
from experiments.figures.style import (
    GRID,
    INK,
    LABEL,
    LINE,
    SERIES,
    TEXT,
    dress,
    legend_above,
    new_figure,
    save,
)
from gpu_smds import significance_map

FIGURE = Path(__file__).parent.parent / "docs" / "images" / "calibration.png"
LEVEL = 0.05
STRENGTHS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)


@dataclass(frozen=True)
class Size:
    """One data set, and how many permutations it is tested with."""

    samples: int = 90
    sites: int = 8
    features: int = 12
    permutations: int = 199


@dataclass(frozen=True)
class Kind:
    """What is tested: which data, split and fit, and what is exchanged.

    Attributes
    ----------
    label
        In words.
    arguments
        Of ``significance_map``.
    copies
        Whether samples occur several times.
    by_group
        Whether the split keeps copies together; else three folds of the rows in their order, which
        is random, or what ``arguments`` says.
    slow
        Whether to take a fifth of the data sets, and 39 permutations.
    valid
        Whether the permutations are the right ones, so that p must be uniform.
    """

    label: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    copies: bool = False
    by_group: bool = False
    slow: bool = False
    valid: bool = True


KINDS = {
    "ridge": Kind("ridge, 3 folds"),
    "orthonormal": Kind("orthonormal, 3 folds", {"orthonormal": True}),
    "holdout": Kind("ridge, hold-out"),
    "global": Kind("ridge, 3 folds, global shuffle", {"shuffle": "global"}, slow=True),
    "groups": Kind(
        "copies: whole groups exchanged",
        {"exchange": "whole_groups"},
        copies=True,
        by_group=True,
    ),
    "rows": Kind(
        "copies: rows exchanged", {"exchange": "rows"}, copies=True, by_group=True, valid=False
    ),
    "groups_split": Kind(
        "copies split over the folds: whole groups exchanged",
        {"exchange": "whole_groups"},
        copies=True,
    ),
    "rows_split": Kind(
        "copies split over the folds: rows exchanged",
        {"exchange": "rows"},
        copies=True,
        valid=False,
    ),
}


@dataclass(frozen=True)
class Tested:
    """P-values ``(data sets, sites)`` with m permutations each; a circle can be at site 0 only."""

    p: np.ndarray
    p_family: np.ndarray
    q: np.ndarray
    permutations: int


# To many processes at once, or one after the other.
Run = Callable[[Callable[[int], np.ndarray], int], Iterable[np.ndarray]]


def one_by_one(call: Callable[[int], np.ndarray], count: int) -> Iterable[np.ndarray]:
    """The results of ``call`` for 0 … count − 1."""
    return map(call, range(count))


def main() -> None:
    """Measure, write the JSON and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the data sets")
    parser.add_argument("--draw", action="store_true", help="only draw what was measured")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the JSON file")
    arguments = parser.parse_args()
    name = "calibration-quick" if arguments.quick else "calibration"
    path = output(arguments.out, f"{name}.json")
    if not arguments.draw:
        facts = measure(*((200, 100) if arguments.quick else (1000, 500)))
        write_facts(path, facts, _compact(facts))
        print(f"written to {path}")
    if not arguments.quick:
        draw(json.loads(path.read()), FIGURE)
        print(f"figure {FIGURE}")


def measure(noise_sets: int, power_sets: int) -> dict[str, Any]:
    """Everything, in as many processes as there are cores."""
    started = perf_counter()
    size = Size()
    facts: dict[str, Any] = {
        "environment": environment(),
        "size": vars(size),
        "level": LEVEL,
        "noise": {},
        "power": [],
    }
    # A data set is so small that a core of its own is more than a share of all.
    context = multiprocessing.get_context("spawn")
    with context.Pool(torch.get_num_threads(), torch.set_num_threads, (1,)) as pool:

        def spread(call: Callable[[int], np.ndarray], count: int) -> Iterable[np.ndarray]:
            return pool.imap(call, range(count), chunksize=5)

        for name, kind in KINDS.items():
            row = noise_row(kind, on_noise(name, noise_sets, size, spread))
            facts["noise"][name] = row
            print(
                f"{kind.label:<52} KS p {row['ks_p']:8.2g}   p ≤ 5 %: {_said(row['one_site'])}   "
                f"family-wise: {_said(row['family'])}"
            )
        for strength, found in power(STRENGTHS, power_sets, size, spread).items():
            row = power_row(strength, found)
            facts["power"].append(row)
            print(
                f"circle {strength:.2f} × noise   p ≤ 5 %: {_said(row['p'])}   "
                f"family-wise: {_said(row['p_family'])}   "
                f"false discoveries {100 * row['false_discoveries']:.1f} %"
            )
    facts["seconds"] = round(perf_counter() - started, 1)
    return facts


def on_noise(kind: str, data_sets: int, size: Size, run: Run = one_by_one) -> Tested:
    """Test data sets without any signal."""
    if KINDS[kind].slow:
        data_sets, size = data_sets // 5, replace(size, permutations=39)
    return _gathered(run(partial(_one, kind, size, 0.0), data_sets), size)


def power(
    strengths: Sequence[float], data_sets: int, size: Size, run: Run = one_by_one
) -> dict[float, Tested]:
    """Test data sets with a circle at site 0, ridge and three folds."""
    return {
        strength: _gathered(run(partial(_one, "ridge", size, strength), data_sets), size)
        for strength in strengths
    }


def uniformity(p: np.ndarray, permutations: int) -> float:
    """P-value of the Kolmogorov–Smirnov test that p is uniform on the multiples of 1/(m + 1)."""
    within = np.random.default_rng(0).random(len(p)) / (permutations + 1)
    return float(kstest(p - within, "uniform").pvalue)


def noise_row(kind: Kind, found: Tested) -> dict[str, Any]:
    """What noise has given, as JSON."""
    steps = found.permutations + 1
    return {
        "label": kind.label,
        "valid": kind.valid,
        "data_sets": len(found.p),
        "permutations": found.permutations,
        "ks_p": float(f"{uniformity(found.p[:, 0], found.permutations):.3g}"),
        "one_site": share(found.p[:, 0] <= LEVEL),
        "any_site_uncorrected": share((found.p <= LEVEL).any(1)),
        "family": share((found.p_family <= LEVEL).any(1)),
        # On noise every discovery is false: their share is that of data sets with any.
        "false_discoveries": share((found.q <= LEVEL).any(1)),
        # How often p was 1/(m + 1), 2/(m + 1), … at the first site.
        "counts": np.bincount(np.rint(found.p[:, 0] * steps).astype(int), minlength=steps + 1)[
            1:
        ].tolist(),
    }


def power_row(strength: float, found: Tested) -> dict[str, Any]:
    """What a circle at site 0 has given, as JSON."""
    discovered = found.q <= LEVEL
    return {
        "strength": strength,
        "data_sets": len(found.p),
        "p": share(found.p[:, 0] <= LEVEL),
        "p_family": share(found.p_family[:, 0] <= LEVEL),
        "q": share(discovered[:, 0]),
        # The other sites hold none.
        "family_elsewhere": share((found.p_family[:, 1:] <= LEVEL).any(1)),
        "false_discoveries": round(
            float((discovered[:, 1:].sum(1) / np.maximum(discovered.sum(1), 1)).mean()), 4
        ),
    }


def share(found: np.ndarray) -> dict[str, float]:
    """Share of data sets with its exact binomial interval (Clopper and Pearson)."""
    ends = binomtest(int(found.sum()), len(found)).proportion_ci(0.95)
    values = {"share": found.mean(), "low": ends.low, "high": ends.high}
    return {name: round(float(value), 4) for name, value in values.items()}


def noise(rng: np.random.Generator, n: int, size: Size) -> np.ndarray:
    """States ``(n, sites, d)`` of variance 1, half of it from three factors that sites share."""
    factors = rng.normal(size=(n, 3))
    loadings = rng.normal(size=(3, size.sites, size.features)) / 3**0.5
    own = rng.normal(size=(n, size.sites, size.features))
    states: np.ndarray = 0.5**0.5 * (np.tensordot(factors, loadings, 1) + own)
    return states


def copied(n: int) -> np.ndarray:
    """Group numbers ``(n,)`` of as many samples twice as three times; n a multiple of 5."""
    return np.repeat(np.arange(2 * n // 5), np.tile([2, 3], n // 5))


def _one(kind: str, size: Size, strength: float, number: int) -> np.ndarray:
    """P, family-wise p and q ``(3, sites)`` of data set so and so."""
    chosen = KINDS[kind]
    n = size.samples
    # Another stream than that of the permutations, whose seed is the number.
    rng = np.random.default_rng([number, 1])
    groups = None
    if chosen.copies:
        groups = copied(n)
        X, y = noise(rng, groups[-1] + 1, size)[groups], rng.random(groups[-1] + 1)[groups]
        order = rng.permutation(n)
        X, y, groups = X[order], y[order], groups[order]
    else:
        X, y = noise(rng, n, size), rng.random(n)
    circle = np.stack([np.cos(2 * np.pi * y), np.sin(2 * np.pi * y)], axis=1)
    directions = np.linalg.qr(rng.normal(size=(size.features, 2)))[0]
    X[:, 0] += strength * size.features**0.5 * circle @ directions.T
    cv: Any = 3
    if kind == "holdout":
        cv = [(np.arange(2 * n // 3), np.arange(2 * n // 3, n))]
    elif chosen.by_group:
        cv = GroupKFold(3)
    found = significance_map(
        X, y, size.permutations, seed=number, cv=cv, groups=groups, **chosen.arguments
    )
    return np.stack([found.p, found.p_family, found.q])


def _gathered(found: Iterable[np.ndarray], size: Size) -> Tested:
    p, p_family, q = np.stack(list(found), axis=1)
    return Tested(p, p_family, q, size.permutations)


def _said(value: Mapping[str, float]) -> str:
    low, middle, high = (100 * value[key] for key in ("low", "share", "high"))
    return f"{middle:5.1f} % ({low:.1f} to {high:.1f})"


def _compact(facts: Mapping[str, Any]) -> str:
    """JSON with the lists of numbers on one line each."""
    text = json.dumps(facts, indent=1)
    return re.sub(r"\[[\d,.\s]+\]", lambda found: " ".join(found[0].split()), text)


def draw(facts: Mapping[str, Any], path: Path) -> None:
    """P-values of noise against the uniform ones, and how often circles are found."""
    noise, curves, size = facts["noise"], facts["power"], facts["size"]
    sets, power_sets = noise["ridge"]["data_sets"], curves[0]["data_sets"]
    figure = new_figure(
        "On noise p-values are uniform; weak circles are found",
        f"Simulated: {size['samples']} samples, {size['sites']} dependent sites, "
        f"{size['features']} features, {size['permutations']} permutations. Left and middle: one "
        f"site in {sets} data sets of noise; grey is where 95 % of all curves of uniform p-values "
        "stay as a whole. Copies: every sample occurs two or three times and must be exchanged as "
        f"one. Right: a circle at one site, {power_sets} data sets per strength; bars are 95 % "
        "binomial intervals, the dashed line is 5 %.",
        height=4.4,
    )
    every, small, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.12))
    for ax, end in ((every, 1.0), (small, 0.1)):
        handles = _distribution(ax, noise, end)
        ticks = np.linspace(0, end, 6)
        ax.set_xticks(ticks)
        ax.set_yticks(ticks)
    dress(every, xlabel="p", ylabel="share of data sets with at most this p", title="all p")
    dress(small, xlabel="p", title="small p")
    _power(right, curves)
    dress(
        right,
        xlabel="circle's standard deviation over noise's",
        ylabel="share of data sets with at most 0.05",
        title="power",
    )
    right.set_box_aspect(1 / 1.12)
    legend_above(figure, handles)
    save(figure, path)


_DRAWN = ("ridge", "orthonormal", "holdout", "groups", "rows")


def _distribution(ax: Axes, noise: Mapping[str, Any], end: float) -> list[Line2D]:
    """Distribution of p at one site, up to some end; its legend entries."""
    first = noise["ridge"]
    at = np.arange(first["permutations"] + 2) / (first["permutations"] + 1)
    low, high = _band(first["data_sets"], first["permutations"])
    ax.fill_between(at, low, high, color="#e2e2e2", linewidth=0)
    ax.plot([0, 1], [0, 1], color="#888888", linewidth=0.8)
    handles = []
    for name, colour in zip(_DRAWN, SERIES, strict=False):
        counts = np.array(noise[name]["counts"])
        handles += ax.plot(
            np.arange(len(counts) + 1) / len(counts),
            np.r_[0, counts.cumsum()] / counts.sum(),
            color=colour,
            linewidth=LINE,
            linestyle="-" if noise[name]["valid"] else (0, (4, 1.5)),
            label=noise[name]["label"],
        )
    ax.set_xlim(0, end)
    ax.set_ylim(0, end)
    ax.set_box_aspect(1)
    return handles


def _band(data_sets: int, permutations: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the distribution of uniform p stays, all of it, with a probability of 95 %.

    At every p an interval of the binomial distribution, of the same level everywhere; the level is
    that which 95 % of simulated curves keep.
    """
    steps = permutations + 1
    at = np.arange(1, steps) / steps
    drawn = np.random.default_rng(0).multinomial(data_sets, np.full(steps, 1 / steps), 10_000)
    below = drawn.cumsum(1)[:, :-1]
    tail = np.minimum(binom.cdf(below, data_sets, at), binom.sf(below - 1, data_sets, at))
    level = float(np.quantile(tail.min(1), 0.05))
    low, high = (binom.ppf(q, data_sets, at) / data_sets for q in (level, 1 - level))
    return np.r_[0, low, 1], np.r_[0, high, 1]


def _power(ax: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Power of the test of one site, and of that of all."""
    strengths = [row["strength"] for row in rows]
    for name, label, place, side, colour, marker in (
        ("p", "p", (0.135, 0.48), "right", "#0072b2", "o"),
        ("p_family", "family-wise p", (0.195, 0.48), "left", "#222222", "s"),
    ):
        middle, low, high = (
            np.array([row[name][key] for row in rows]) for key in ("share", "low", "high")
        )
        ax.errorbar(
            strengths,
            middle,
            (middle - low, high - middle),
            color=colour,
            linewidth=LINE,
            elinewidth=1.1,
            capsize=2.5,
            marker=marker,
            markersize=4.5,
        )
        ax.text(*place, label, fontsize=LABEL, color=colour, ha=side)
    ax.axhline(LEVEL, color="#666666", linewidth=1.0, linestyle=(0, (4, 2)))
    ax.text(strengths[-1], LEVEL + 0.015, "5 %", fontsize=TEXT, color=INK, ha="right")
    ax.set_ylim(-0.02, 1.02)
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.grid(axis="y", color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)


if __name__ == "__main__":
    main()
