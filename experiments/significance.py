"""``gpu-smds significance``: is the score of Exp 1 more than chance, at every layer and word?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments import protocol, tables
from experiments.facts import check_test
from experiments.figures import draw_significance
from experiments.plan import duration, seconds_for, seconds_of
from experiments.protocol import Part, Setting, named
from experiments.results import Columns
from extract import ExtractError, HiddenStates
from gpu_smds import Checkpoint, ScoreMap, SignificanceMap, significance_map

if TYPE_CHECKING:
    from experiments.run import Run

#: Permutations of the command, and of the light version that ``all`` runs.
THOROUGH, LIGHT = 1000, 200
#: Seconds that the light version may take on all sites; else it takes the layers of the curves.
PATIENCE = 120.0
#: Family-wise error.
LEVEL = 0.05
NAME = "significance"


def significance_run(
    run: Run, states: HiddenStates, columns: Columns, light: bool = False
) -> SignificanceMap:
    """Test Exp 1 at every site, or, light, at those that take two minutes; kept in the folder.

    A result of the folder with at least as many permutations, on as many layers, is used again.
    """
    setting = run.setting(states, columns)
    count = run.options.permutations or (LIGHT if light else THOROUGH)
    kept = None if run.options.force else load_significance(run)
    path = run.result(f"{NAME}.safetensors")
    layers = _layers(run, setting, count, kept) if light else tuple(setting.layers)
    enough = kept is not None and kept.metadata["n_permutations"] >= count
    if kept is not None and enough and kept.metadata["layers"] == list(layers):
        if not light:
            run.screen.note(f"{run.source.name}: {path} is used again")
        if not run.result(f"{NAME}.csv").is_listed():
            _write_table(run, kept)
        return kept
    started = perf_counter()
    checkpoint = Checkpoint(run.result(f"{NAME}.partial"))
    title = f"significance: {count} permutations of the labels, {_listed(layers, setting.layers)}"
    with run.screen.progress(title, "sites") as report:
        found = _test(setting, layers, None, count, report, checkpoint)
    facts = {
        **found.metadata,
        "experiment": NAME,
        "identity": run.identity_hash,
        "seconds": perf_counter() - started,
        "layers": list(layers),
        "of_layers": list(setting.layers),
        "words": list(columns.words),
        "tokens": list(columns.tokens),
        "landmarks": columns.landmarks,
        "protocol": setting.protocol,
    }
    found = replace(found, metadata=facts)
    _write_table(run, found)
    found.save(path)
    checkpoint.remove()
    return found


def _write_table(run: Run, found: SignificanceMap) -> None:
    facts, as_is = found.metadata, run.options.csv_as_is
    tables.write_significance(
        run.result(f"{NAME}.csv"),
        found,
        facts["layers"],
        facts["words"],
        facts["tokens"],
        as_is=as_is,
    )


def load_significance(run: Run) -> SignificanceMap | None:
    """Read the test from a run's folder; None where there is none of this run.

    Raises
    ------
    ExtractError
        The file is damaged.
    """
    file = run.result(f"{NAME}.safetensors")
    if not file.is_listed():
        return None
    try:
        found = SignificanceMap.load(file)
        if found.metadata.get("identity") != run.identity_hash:
            return None
        check_test(found.metadata, found.score.shape, len(found.null))
    except ValueError as error:
        raise ExtractError(f"{file} is damaged ({error}): delete it, or use --force") from error
    return found


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
    some = len(facts["layers"]) < len(facts["of_layers"])
    at = f"layers {', '.join(map(str, facts['layers']))} only" if some else "all layers"
    return (
        f"Outline: family-wise p at most {LEVEL:g} over all tested sites ({at}), by "
        f"{facts['n_permutations']} permutations of the labels within the folds, equal sentences "
        "together."
    )


def draw_test(run: Run, found: SignificanceMap, independent: ScoreMap | None = None) -> Any:
    """Draw z of all sites; returns the file."""
    facts = found.metadata
    path = run.figure(f"{NAME}.png")
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
        title=f"{run.source.name}: is the score of Exp 1 more than chance?",
        caption="z: score less its mean under permuted labels, in standard deviations. "
        + said(found)
        + named(facts["protocol"]),
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
        f"sites ({facts['n_permutations']} permutations, {_listed(layers, facts['of_layers'])})"
    )
    before = slice(0, source)
    if defined[:, before].any():
        text += (
            f"; before {words[source]} {int(flags[:, before].sum())} of "
            f"{int(defined[:, before].sum())}"
        )
    parts = [
        f"{words[landmarks[role]]} {_where(flags[:, landmarks[role]], layers)}"
        for role in ("source", "distractor", "destination")
        if role in landmarks
    ]
    return [text, ", ".join(parts)]


def _where(flags: np.ndarray, layers: Sequence[int]) -> str:
    """At which of the tested layers a word is significant."""
    at = np.flatnonzero(flags)
    if not len(at):
        return "nowhere"
    if len(at) > 3 and flags[at[0] :].all():
        return f"from layer {layers[at[0]]} on"
    return f"in {len(at)} of {len(layers)} layers, first in {layers[at[0]]}"


def _test(
    setting: Setting,
    layers: Sequence[int],
    positions: slice | None,
    count: int,
    progress: Any = False,
    checkpoint: Checkpoint | None = None,
) -> SignificanceMap:
    """Permutation test of Exp 1 at some layers.

    Equal sentences have equal states and labels. Taken apart by permutations, but together in truth
    on both sides of the study's folds, they would make chance look smaller than it is.
    """
    return significance_map(
        Part(setting.states, [setting.layers.index(layer) for layer in layers], positions),
        setting.labels,
        count,
        manifold=setting.ideal,
        cv=protocol.cross_validation(setting),
        groups=setting.sentences,
        exchange="rows" if setting.sentences is None else "whole_groups",
        device=setting.device,
        memory_budget=setting.memory_budget,
        progress=progress,
        checkpoint=checkpoint,
    )


def _layers(
    run: Run, setting: Setting, count: int, kept: SignificanceMap | None
) -> tuple[int, ...]:
    """Layers of the light version; decided once, so that a resumed run does the same."""
    assert run.manifest is not None
    if kept is not None and kept.metadata["n_permutations"] >= count:
        return tuple(kept.metadata["layers"])
    asked = {"permutations": count, "protocol": setting.protocol, "device": str(setting.device)}
    decided: dict[str, Any] | None = run.analysis_facts.get(NAME)
    if (
        decided is None
        or any(decided.get(key) != value for key, value in asked.items())
        or not {*decided["layers"]} <= {*setting.layers}
    ):
        seconds = seconds_of_test(setting, count, len(setting.layers) * setting.states.shape[2])
        light = seconds > PATIENCE
        chosen = protocol.curve_layers(setting) if light else tuple(setting.layers)
        decided = {**asked, "layers": list(chosen), "estimated_seconds": round(seconds, 1)}
        run.note_analysis(**{NAME: decided})
        if light:
            run.screen.note(
                f"significance of all layers would take about {duration(seconds)}: tested at "
                f"layers {', '.join(map(str, chosen))} (gpu-smds significance tests all)"
            )
    return tuple(decided["layers"])


def seconds_of_test(setting: Setting, count: int, sites: int) -> float:
    """Estimate of the time of a test of so many sites, from a few of them."""
    middle = (setting.layers[len(setting.layers) // 2],)

    def seconds(some: int) -> float:
        return seconds_of(lambda positions: _test(setting, middle, positions, some), setting, sites)

    return seconds_for(seconds, count, THOROUGH // 4, THOROUGH)


def _listed(layers: Sequence[int], every: Sequence[int]) -> str:
    if len(layers) == len(every):
        return "all layers"
    return f"layers {', '.join(map(str, layers))}"
