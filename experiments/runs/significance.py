"""The permutation test of an analysis: read from its folder, or computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

from experiments.designs.counts import LIGHT, THOROUGH
from experiments.designs.permutation import PATIENCE, permutation_test, seconds_of_test
from experiments.designs.setting import Setting, curve_layers
from experiments.designs.timing import duration
from experiments.runs import tables
from experiments.runs.facts import check_test
from experiments.runs.inquiry import Inquiry
from extract import ExtractError, HiddenStates
from gpu_smds import Checkpoint, SignificanceMap

NAME = "significance"
#: What the manifest says of an analysis that could not be tested: why.
NO_TEST = "no_test"


def significance_of(inquiry: Inquiry, states: HiddenStates, light: bool = False) -> SignificanceMap:
    """Test Exp 1 at every site, or, light, at those that take two minutes; kept in the folder.

    A result of the folder with at least as many permutations, on as many layers, is used again.
    """
    setting, screen = inquiry.setting(states), inquiry.run.screen
    count = _count(inquiry, light)
    kept = None if inquiry.options.force else kept_significance(inquiry)
    path = inquiry.result(f"{NAME}.safetensors")
    layers = _layers(inquiry, setting, count, kept) if light else tuple(setting.layers)
    if kept is not None and _covers(kept, layers, count):
        if not light:
            screen.note(f"{inquiry.run.source.name}: {path} is used again")
        if not inquiry.result(f"{NAME}.csv").is_listed():
            _write_table(inquiry, kept)
        return kept
    started = perf_counter()
    checkpoint = Checkpoint(inquiry.result(f"{NAME}.partial"))
    title = f"significance: {count} permutations of the labels, {listed(layers, setting.layers)}"
    with screen.progress(title, "sites") as report:
        found = permutation_test(setting, layers, count, progress=report, checkpoint=checkpoint)
    columns = inquiry.columns
    facts = {
        **found.metadata,
        "experiment": NAME,
        "identity": inquiry.identity_hash,
        "seconds": perf_counter() - started,
        "layers": list(layers),
        "of_layers": list(setting.layers),
        "words": list(columns.words),
        "tokens": list(columns.tokens),
        "landmarks": columns.landmarks,
        "protocol": setting.protocol,
    }
    found = replace(found, metadata=facts)
    _write_table(inquiry, found)
    found.save(path)
    inquiry.note_settings(permutations=count)
    inquiry.note(**{NAME: _of_test(setting, count, layers)})
    checkpoint.remove()
    return found


def _count(inquiry: Inquiry, light: bool) -> int:
    """Permutations: those asked for, else as many as there were, and no fewer than is usual."""
    noted = int(inquiry.analysis.settings.get("permutations", 0))
    usual = (noted or LIGHT) if light else max(noted, THOROUGH)
    return inquiry.options.permutations or usual


def _covers(kept: SignificanceMap, layers: Sequence[int], count: int) -> bool:
    return {*layers} <= {*kept.metadata["layers"]} and kept.metadata["n_permutations"] >= count


def _of_test(setting: Setting, count: int, layers: Sequence[int]) -> dict[str, Any]:
    """What is noted of a test: with so many permutations on these layers."""
    device = str(setting.device)
    return {
        "permutations": count,
        "protocol": setting.protocol,
        "device": device,
        "layers": list(layers),
    }


def _write_table(inquiry: Inquiry, found: SignificanceMap) -> None:
    facts, as_is = found.metadata, inquiry.options.csv_as_is
    tables.write_significance(
        inquiry.result(f"{NAME}.csv"),
        found,
        facts["layers"],
        facts["words"],
        facts["tokens"],
        as_is=as_is,
    )


def kept_significance(inquiry: Inquiry) -> SignificanceMap | None:
    """Read the test from the folder of an analysis; None where there is none of it.

    Raises
    ------
    ExtractError
        The file is damaged.
    """
    file = inquiry.result(f"{NAME}.safetensors")
    if not file.is_listed():
        return None
    try:
        found = SignificanceMap.load(file)
        if found.metadata.get("identity") != inquiry.identity_hash:
            return None
        check_test(found.metadata, found.score.shape, len(found.null))
    except ValueError as error:
        raise ExtractError(f"{file} is damaged ({error}): delete it, or use --force") from error
    return found


def _layers(
    inquiry: Inquiry, setting: Setting, count: int, kept: SignificanceMap | None
) -> tuple[int, ...]:
    """Layers of the light version; decided once, so that a resumed run does the same."""
    wanted = inquiry.options.test_layers
    if wanted is not None:
        return curve_layers(setting) if wanted == "curves" else tuple(setting.layers)
    if kept is not None and kept.metadata["n_permutations"] >= count:
        return tuple(kept.metadata["layers"])
    decided: dict[str, Any] | None = inquiry.facts.get(NAME)
    asked = _of_test(setting, count, decided["layers"] if decided else ())
    if (
        decided is None
        or any(decided.get(key) != value for key, value in asked.items())
        or not {*decided["layers"]} <= {*setting.layers}
    ):
        seconds = seconds_of_test(setting, count, len(setting.layers) * setting.states.shape[2])
        few = seconds > PATIENCE
        chosen = curve_layers(setting) if few else tuple(setting.layers)
        decided = {**_of_test(setting, count, chosen), "estimated_seconds": round(seconds, 1)}
        inquiry.note(**{NAME: decided})
        if few:
            inquiry.run.screen.note(
                f"significance of all layers would take about {duration(seconds)}: tested at "
                f"layers {', '.join(map(str, chosen))} (gpu-smds significance tests all)"
            )
    return tuple(decided["layers"])


def listed(layers: Sequence[int], every: Sequence[int]) -> str:
    """Layers that were tested, for people."""
    if len(layers) == len(every):
        return "all layers"
    return f"layers {', '.join(map(str, layers))}"
