"""The settings in force as ``run.toml`` in the folder of a run, with which it can be repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tomli_w

from experiments.options import DECLARED, GROUPS, NO_PERIOD, key_of
from experiments.runs.analysis import CLEAN, MAIN, SETTINGS, noted_of, shown_name
from experiments.runs.questions import known_in
from experiments.runs.run import Run
from experiments.runs.significance import NAME as TEST
from experiments.runs.sites import layers_of
from experiments.settings import ANALYSIS

FILE = "run.toml"
_HEAD = (
    "# The settings of this run. The same again, in another folder:\n"
    f"# gpu-smds all --config {FILE} --out OTHER\n"
    "# (discover, transfer and significance likewise, by their own commands)\n\n"
)


def write_settings(run: Run) -> None:
    """Write the settings of the states and of all analyses of the folder."""
    with run.folder.changing():
        content = (_HEAD + tomli_w.dumps(settings_of(run))).encode("utf-8", "surrogatepass")
        file = run.folder.file(FILE)
        if not file.is_listed() or file.folder.read(FILE) != content:
            file.write(content)


def settings_of(run: Run) -> dict[str, Any]:
    """Tables of the file, by their names."""
    manifest, options, source = run.manifest, run.options, run.source
    assert manifest is not None
    batch_size, batch_tokens = manifest["batches_asked"]
    values = {
        "models": run.inputs.model,
        "revision": (source.commit or options.revision) if source.kind == "hub" else None,
        "quantize": run.inputs.quantize,
        "dtype": options.dtype,
        "device": manifest["device"],
        "prompts": None if options.prompts is None else str(options.prompts),
        "template": options.template,
        "table": None if options.table is None else str(options.table),
        "label": list(options.label) or None,
        "text": options.text,
        "ignore": list(options.ignore) or None,
        "task": options.task if options.draws and options.own_sentences else None,
        "samples": options.samples if options.draws else None,
        "seed": options.seed if options.draws else None,
        "positions": options.positions,
        "chat": options.chat or None,
        "layers": options.layers,
        "final_norm": options.final_norm,
        "batch_size": batch_size,
        "batch_tokens": batch_tokens,
        "memory_budget": manifest.get("memory_budget"),
        # Finished states are in files, whatever was asked since.
        "save": run.plan is None or options.save,
        "csv_as_is": manifest.get("csv_as_is", False),
    }
    tables: dict[str, Any] = {}
    for group in GROUPS:
        of_group = {
            key_of(name): value
            for name, value in values.items()
            if value is not None and DECLARED[name].group == group
        }
        if of_group:
            tables[group.lower()] = of_group
    known = known_in(run)
    if known:
        tables[ANALYSIS] = [_analysis(run, name, settings) for name, settings in known.items()]
    return tables


def _analysis(run: Run, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Table of one analysis."""
    manifest = run.manifest or {}
    noted = noted_of(manifest, name)
    # As it is noted, that no test was asked for included.
    whole = {**settings, **(noted.get("main" if name == MAIN else "settings") or {})}
    found = {key_of("as_name"): "protocol-clean" if name == CLEAN else shown_name(name)}
    test = noted.get(TEST)
    if test is not None and test.get("protocol", "study") == whole.get("protocol", "study"):
        whole["permutations"] = test.get("permutations", whole.get("permutations"))
        whole["test_layers"] = _layers_of_test(run, settings, test["layers"])
    if noted.get("memory_budget") not in (None, manifest.get("memory_budget")):
        whole["memory_budget"] = noted["memory_budget"]
    if run.options.draws and run.options.own_sentences:  # a task may have a period
        whole["period"] = NO_PERIOD if whole.get("period") is None else whole["period"]
    keys = (*SETTINGS, "test_layers", "memory_budget")
    return found | {key_of(key): whole[key] for key in keys if whole.get(key) is not None}


def _layers_of_test(run: Run, settings: Mapping[str, Any], tested: Sequence[int]) -> str:
    return "all" if len(tested) >= len(layers_of(run, settings.get("only_layers"))) else "curves"
