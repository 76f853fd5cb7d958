"""What the permutation test says: sentences and figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.designs.exchange import STUCK
from experiments.designs.experiment import ROLES, of_period
from experiments.designs.permutation import LEVEL
from experiments.designs.setting import said_of
from experiments.figures import draw_significance
from experiments.options import period_of
from experiments.reports.omitted import said_of_left_out
from experiments.runs.files import RunFile
from experiments.runs.inquiry import Inquiry
from experiments.runs.significance import NAME, listed
from gpu_smds import ScoreMap, SignificanceMap


def named(inquiry: Inquiry) -> str:
    """Period of the labels, and which analysis a figure is of, for the end of its caption.

    Nothing for labels without a period, and for the first analysis.
    """
    period, name = inquiry.options.period, inquiry.analysis.name
    said = "" if period is None else f" Labels{of_period(period_of(period))}."
    return said + (f" Analysis: {name}." if name else "")


def labels_of_period(inquiry: Inquiry) -> str:
    """The period of the labels, for the end of a heading; nothing where there is none."""
    period = inquiry.options.period
    return "" if period is None else f", labels{of_period(period_of(period))}"


def on_all_layers(found: SignificanceMap, values: np.ndarray) -> np.ndarray:
    """Values ``(tested layers, T)`` as ``(L, T)``, NaN at layers that were not tested."""
    tested, every = found.metadata["layers"], found.metadata["of_layers"]
    spread = np.full((len(every), values.shape[1]), np.nan)
    spread[[every.index(layer) for layer in tested]] = values
    return spread


def significant_sites(found: SignificanceMap) -> np.ndarray:
    """``(L, T)``: 1 where significant, 0 where not, NaN where not tested or undefined."""
    flags = np.where(np.isnan(found.p_family), np.nan, found.p_family <= LEVEL)
    return on_all_layers(found, flags)


def chance_band(found: SignificanceMap) -> tuple[np.ndarray, np.ndarray]:
    """Ends ``(L, T)`` of the interval of 95 % of the scores of permuted labels."""
    low, high = found.band()
    return on_all_layers(found, low), on_all_layers(found, high)


def said(found: SignificanceMap) -> str:
    """What was tested and how, as a sentence for captions."""
    facts = found.metadata
    within = facts.get("within", [])
    together = "each different sentence once" if facts.get("once") else "equal sentences together"
    some = len(facts["layers"]) < len(facts["of_layers"])
    at = f"layers {', '.join(map(str, facts['layers']))} only" if some else "all layers"
    return (
        f"Outline: family-wise p at most {LEVEL:g} over all tested sites ({at}), by "
        f"{facts['n_permutations']} permutations of the labels within the folds"
        + (f" and the values of {' and '.join(within)}" if within else "")
        + f", {together}."
    )


def _exchanged(found: SignificanceMap) -> str | None:
    """What the test exchanged, and the smallest p; None where it is every label with every one."""
    facts = found.metadata
    within = facts.get("within", [])
    if not (facts.get("repeated") or within):
        return None
    of = f"{facts['units']} sentences"
    if facts.get("once"):
        of = (
            f"{facts['units']} different sentences, each taken once, so that the folds keep equal "
            "ones together"
        )
    elif facts["repeated"]:
        of = f"{facts['units']} groups of equal sentences"
    least = max(1 / (facts["n_permutations"] + 1), 10.0 ** -facts["log10_exchanges"])
    return (
        f"exchanged: the labels of {of}"
        + (f", within the values of {' and '.join(within)}" if within else "")
        + f", in 10^{facts['log10_exchanges']:.0f} ways; the smallest p is {least:.2g}"
        + (
            f"; {facts['unchanged']:.0%} of the labels stay what they are under a permutation, so "
            "that the test finds less than there is"
            if facts["unchanged"] > STUCK
            else ""
        )
    )


def draw_test(
    inquiry: Inquiry, found: SignificanceMap, independent: ScoreMap | None = None
) -> RunFile:
    """Draw z of all sites; returns the file."""
    facts = found.metadata
    path = inquiry.figure(f"{NAME}.png")
    z = on_all_layers(found, found.z)
    ok = np.isfinite(on_all_layers(found, found.score))
    if independent is not None:
        ok = np.isfinite(independent.mean)  # untested sites are not undefined ones
    else:
        untested = [i for i, n in enumerate(facts["of_layers"]) if n not in facts["layers"]]
        ok[untested] = True
    draw_significance(
        path,
        z,
        on_all_layers(found, found.p_family),
        ok,
        facts["of_layers"],
        facts["words"],
        facts["tokens"],
        facts["landmarks"],
        title=f"{inquiry.run.source.name}: is the score of Exp 1 more than chance?",
        caption="z: score less its mean under permuted labels, in standard deviations. "
        + said(found)
        + said_of(facts["protocol"])
        + named(inquiry),
    )
    return path


def sentences(found: SignificanceMap) -> list[str]:
    """What the test says, for the screen and the summary."""
    facts = found.metadata
    words, landmarks, layers = facts["words"], facts["landmarks"], facts["layers"]
    flags, defined = found.significant(LEVEL), np.isfinite(found.p_family)
    source = landmarks["source"]
    text = (
        f"significant at a family-wise {LEVEL:.0%}: {int(flags.sum())} of {int(defined.sum())} "
        f"sites ({facts['n_permutations']} permutations, {listed(layers, facts['of_layers'])})"
    )
    before = slice(0, source)
    if defined[:, before].any():
        text += (
            f"; before {words[source]} {int(flags[:, before].sum())} of "
            f"{int(defined[:, before].sum())}"
        )
    parts = [
        f"{words[landmarks[role]]} {_where(flags[:, landmarks[role]], layers)}"
        for role in ROLES
        if role in landmarks
    ]
    more = said_of_left_out(facts.get("left_out", 0), "the test")
    if exchanged := _exchanged(found):
        more.append(exchanged)
    return [text, ", ".join(parts), *more]


def holds_nothing(found: SignificanceMap, role: str) -> str | None:
    """Why nothing follows from a test for the label at a landmark; None where it is there."""
    facts, count = found.metadata, found.metadata["n_permutations"]
    position = facts["landmarks"][role]
    if found.significant(LEVEL)[:, position].any():
        return None
    if 1 / (count + 1) > LEVEL:
        return f"{count} permutations cannot show anything at {LEVEL:.0%}"
    if 10.0 ** -facts.get("log10_exchanges", np.inf) > LEVEL:
        return "the labels can change places in too few ways to show anything"
    undefined = not np.isfinite(found.p_family)[:, position].any()
    why = ", since it has no score in any tested layer" if undefined else ""
    return f"{facts['words'][position]} is nowhere significant{why}"


def _where(flags: np.ndarray, layers: Sequence[int]) -> str:
    """At which of the tested layers a word is significant."""
    at = np.flatnonzero(flags)
    if not len(at):
        return "nowhere"
    if len(at) > 3 and flags[at[0] :].all():
        return f"from layer {layers[at[0]]} on"
    return f"in {len(at)} of {len(layers)} layers, first in {layers[at[0]]}"
