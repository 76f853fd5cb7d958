"""The settings in force as ``run.toml`` in the folder of a run, with which it can be repeated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tomli_w

from experiments.options import DECLARED, GROUPS, key_of
from experiments.runs.analysis import CLEAN, MAIN, NAME_OF_MAIN, SETTINGS, known_analyses
from experiments.runs.inquiry import default_slot
from experiments.runs.run import Run
from experiments.runs.significance import NAME as TEST
from experiments.settings import ANALYSIS
from extract.capture import parse_layers

FILE = "run.toml"
_HEAD = (
    "# The settings of this run. The same again, in another folder:\n"
    f"# gpu-smds all --config {FILE} --out OTHER\n\n"
)


def write_settings(run: Run) -> None:
    """Write the settings of the states and of all analyses of the folder."""
    with run.folder.alone():
        content = (_HEAD + tomli_w.dumps(settings_of(run))).encode("utf-8", "surrogatepass")
        file = run.folder.file(FILE)
        if not file.is_listed() or file.folder.read(FILE) != content:
            file.write(content)


def settings_of(run: Run) -> dict[str, Any]:
    """Tables of the file, by their names."""
    manifest, options, source = run.manifest, run.options, run.source
    assert manifest is not None
    batch_size, batch_tokens = manifest["batches_asked"]
    own = options.prompts is not None
    values = {
        "models": run.inputs.model,
        "revision": (source.commit or options.revision) if source.kind == "hub" else None,
        "quantize": run.inputs.quantize,
        "dtype": options.dtype,
        "device": manifest["device"],
        "prompts": str(options.prompts) if own else None,
        "samples": None if own else options.samples,
        "seed": None if own else options.seed,
        "positions": options.positions,
        "layers": options.layers,
        "final_norm": options.final_norm,
        "batch_size": batch_size,
        "batch_tokens": batch_tokens,
        "memory_budget": options.memory_budget or manifest.get("memory_budget"),
        "save": options.save,
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
    known = known_analyses(manifest, default_slot(run.prompts))
    tables[ANALYSIS] = [_analysis(run, name, settings) for name, settings in known.items()]
    return tables


def _analysis(run: Run, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Table of one analysis."""
    manifest = run.manifest or {}
    noted = manifest if name in (MAIN, CLEAN) else manifest["analyses"][name]
    # As it is noted, that no test was asked for included.
    whole = {**settings, **((noted.get("main" if name == MAIN else "settings")) or {})}
    called = {MAIN: NAME_OF_MAIN, CLEAN: "protocol-clean"}.get(name, name)
    found = {key_of("as_name"): called}
    found |= {key_of(key): whole[key] for key in SETTINGS if whole.get(key) is not None}
    decided = noted.get(TEST)
    if decided is not None and name != CLEAN:
        only = settings.get("only_layers")
        every = run.layers if only is None else parse_layers(only, max(run.layers) + 1)
        some = len(decided["layers"]) < len(every)
        found[key_of("test_layers")] = "curves" if some else "all"
    return found
