"""The states of a run: those of its folder, or read by the model."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from experiments.runs.analysis import MAIN
from experiments.runs.manifest import FORMAT_VERSION, versions
from experiments.runs.plan import Plan
from experiments.runs.run import Run
from experiments.runs.upkeep import remove_states
from extract import ExtractError, HiddenStates
from extract.capture import Extraction, extract_states
from extract.models import QUANTIZATIONS, load_model, tokenizer_facts
from extract.reader import n_states
from extract.sources import hub_token
from extract.states import INDEX, layer_name
from gpu_smds._arguments import resolve_budget

#: What the manifest says of states that a version after 0.1.0 reads, which may go on.
READ_BY = "read_by"
#: Files of the states, beside those of the layers.
_OF_STATES = ("states/index.json", "states/progress.jsonl")


def states_of(run: Run) -> HiddenStates:
    """Open the states of the folder, or extract them.

    Raises
    ------
    ExtractError
        Files that were altered, a full disk, a model that cannot be loaded.
    """
    if not run.has_states:
        return _extract(run)
    manifest, screen, options = run.manifest, run.screen, run.options
    assert manifest is not None
    states = _open(run, manifest)
    if manifest.get("csv_as_is", False) != options.csv_as_is and options.force:
        _write_prompts(run)
        run.folder.note(csv_as_is=options.csv_as_is)
    elif manifest.get("csv_as_is", False) != options.csv_as_is:
        screen.warn(
            "tables that are there stay as they are: --force makes them again, with --csv-as-is "
            "or without"
        )
    screen.note(f"{run.source.name}: states of {run.folder} are used again")
    if run.is_of_0_1_0 and "fingerprint" not in manifest:
        screen.note(
            f"{run.folder} is of version 0.1.0, which told models apart by the ends of their "
            "files; from now on the whole files are compared"
        )
        run.folder.note(fingerprint=run.source.fingerprint())
    if not run.folder.file("prompts.csv").is_listed():
        _write_prompts(run)
    return states


def wait_until_saved(run: Run) -> None:
    """Wait until the files of the states are complete, and note that they are.

    Raises
    ------
    ExtractError
        They could not be written; what else was computed is kept.
    """
    if run.unsaved is None or run.manifest is None:
        return
    run.unsaved()
    run.unsaved = None
    save, index = run.options.save, None
    if save:
        content = run.folder.states().read(INDEX)
        index, files = _sha256(content), json.loads(content)["files"]
        digests = {name: facts["sha256"] for name, facts in files.items()}
        run.folder.files.note_states(digests)
        _compare_with_before(run, digests)
    run.folder.note(extracted=save, states_index=index)


def _compare_with_before(run: Run, digests: Mapping[str, str]) -> None:
    """Say so where states that were removed and read again are not the same to the bit."""
    before = (run.manifest or {}).get("states_before")
    if before and before != digests:
        run.screen.warn(
            f"{run.folder}: the states are not those of before to the last bit (other batches, "
            "device or versions); --force computes an analysis again from these"
        )
    run.folder.note(states_before=None)


def load(run: Run) -> Any:
    """Load the model of a run that has a plan."""
    plan = run.plan
    assert plan is not None
    run.screen.note(f"{run.source.name}: loading the model")
    return load_model(
        run.source,
        run.device,
        run.options.dtype,
        run.inputs.quantize,
        hub_token(),
        run.options.trust_remote_code,
        plan.config,
        plan.spread,
        plan.layers,
    )


def release_memory() -> None:
    """Give back what a model held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _open(run: Run, manifest: dict[str, Any]) -> HiddenStates:
    """Open the states; raises ExtractError where they are not those of the manifest."""
    folder = run.folder.states()
    states = HiddenStates.open(folder)
    # The index tells whether the states were altered, and this whether the index was.
    noted = manifest.get("states_index")
    if noted is not None and noted != _sha256(folder.read(INDEX)):
        raise ExtractError(f"{folder.path / INDEX} was changed since it was written: {_again(run)}")
    n, layers, positions, _ = states.shape
    if (n, positions) != (len(run.prompts), len(manifest["positions"]["words"])):
        raise ExtractError(
            f"{folder.path} holds states of {n} sentences and {positions} positions, the run "
            f"has {len(run.prompts)} and {len(manifest['positions']['words'])}: {_again(run)}"
        )
    if max(states.layers) >= manifest["n_states"] or len(set(states.layers)) < layers:
        raise ExtractError(f"{folder.path} holds layers that the model lacks: {_again(run)}")
    return states


def _again(run: Run) -> str:
    return f"remove the states, so that they are read again (gpu-smds remove {run.folder} --states)"


def _extract(run: Run) -> HiddenStates:
    plan, screen, options = run.plan, run.screen, run.options
    assert plan is not None
    for line in plan.positions.report:
        (screen.warn if line.startswith("raw positions") else screen.note)(line)
    loader = _begin(run, plan)
    with screen.progress(f"{run.source.name}: reading sentences", "sentences") as report:
        extracted = extract_states(
            loader,
            plan.tokens,
            plan.positions,
            folder=run.folder.states() if options.save else None,
            layers=plan.layers,
            sizes=plan.sizes,
            metadata=_metadata(run),
            pad_token_id=plan.tokenizer.pad_token_id,
            final_norm=options.final_norm,
            place=plan.place,
            replan=lambda sizes: run.folder.note(batches=sizes),
            progress=report,
        )
    release_memory()
    _say(run, plan, extracted)
    states = extracted.states
    run.folder.note(
        dtype=str(states.dtype).removeprefix("torch."),
        shape=list(states.shape),
        nonfinite=int(states.nonfinite.sum()),
    )
    run.unsaved = extracted.saved
    return states


def _begin(run: Run, plan: Plan) -> Callable[[], Any]:
    """Write the manifest and list the files; returns what loads the model."""
    fresh, facts, found = run.fresh, _facts(run, plan), run.manifest
    if found is not None:
        # It goes on with its own blocks, so that its numbers are the same.
        facts["memory_budget"] = run.memory_budget
    others = found is not None and _read_by(found) != _read_by(facts)
    # What there is goes only once the model is there.
    loaded = [load(run)] if fresh or others else []
    if others:  # the sentences that are read already would not fit the others
        remove_states(run.folder.files)
    run.folder.begin(facts, fresh)
    for sentence in run.folder.files.said():
        run.screen.warn(sentence)
    run.fresh = False
    _write_prompts(run)
    if run.options.save:
        layers = [layer_name(layer) for layer in plan.layers]
        names = [*layers, *(f"{name}.partial" for name in layers)]
        run.folder.files.list_files([*(f"states/{name}" for name in names), *_OF_STATES])
    return lambda: loaded.pop() if loaded else load(run)


def _read_by(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What states that are half read may not differ in, beside their identity."""
    model = {key: value for key, value in facts["model"].items() if key != "name"}
    return {"model": model, "tokenizer": facts["tokenizer"]}


def _metadata(run: Run) -> dict[str, str]:
    """What the files of the states say of themselves."""
    manifest = run.manifest
    assert manifest is not None
    chat = manifest.get("chat")
    return {
        "model": json.dumps(manifest["model"]),
        "revision": str(run.source.revision or manifest["model"]["commit"] or ""),
        "tokenizer": json.dumps(manifest["tokenizer"]),
        "prompts_hash": run.prompts.hash,
        "quantize": run.inputs.quantize,
        **({} if chat is None else {"chat": json.dumps(chat)}),
    }


def _say(run: Run, plan: Plan, extracted: Extraction) -> None:
    """Say what was not as it should be."""
    screen, states = run.screen, extracted.states
    if extracted.damaged:
        screen.warn(f"{extracted.damaged} batches of the interrupted run were damaged: read again")
    if extracted.hooked is False:
        screen.note(
            "the blocks of this model cannot be read one by one: all its hidden states are held"
        )
    bad = int(states.nonfinite.sum())
    if bad:
        screen.warn(
            f"{bad} states are NaN or infinite, so {int((states.nonfinite > 0).sum())} sites "
            f"are undefined ({_named(states, plan.positions.words)}): "
            f"{_overflow_advice(str(states.dtype))}"
        )


def _facts(run: Run, plan: Plan) -> dict[str, Any]:
    """What the manifest says of a run that begins.

    The questions that are asked are noted at once: where it is killed, they are not lost.
    """
    config, source, options = plan.config, run.source, run.options
    named = {name: {"settings": dict(of)} for name, of in run.begins_with.items() if name != MAIN}
    asked = {
        "manifold": options.manifold,
        "source": options.source,
        "destination": options.destination,
        "distractor": options.distractor,
        "protocol": options.protocol,
    }
    return {
        "identity": {"states": run.identity, "experiments": asked},
        "extracted": False,
        "model": source.fingerprint()
        | {"name": source.name, "commit": source.commit, "type": config.model_type},
        "quantization": QUANTIZATIONS.get(run.inputs.quantize),
        "n_states": n_states(config),
        "tokenizer": tokenizer_facts(plan.tokenizer),
        "positions": plan.positions.facts(),
        "chat": None if plan.reading.frame is None else plan.reading.frame.facts(),
        "batches": plan.sizes,
        "batches_asked": [options.batch_size, options.batch_tokens],
        "memory_budget": options.memory_budget or resolve_budget(None, run.device),
        "device": str(run.device),
        "csv_as_is": options.csv_as_is,
        "main": dict(run.begins_with[MAIN]) if MAIN in run.begins_with else None,
        "analyses": named,
        READ_BY: FORMAT_VERSION,
        "versions": versions(),
    }


def _write_prompts(run: Run) -> None:
    run.prompts.to_csv(run.folder.file("prompts.csv"), as_is=run.options.csv_as_is)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _named(states: HiddenStates, words: Sequence[str]) -> str:
    """Where states are not finite: the first layers and words of it."""
    sites = [
        f"layer {states.layers[i]} {words[t]}" for i, t in np.argwhere(states.nonfinite).tolist()
    ]
    return ", ".join(sites[:3]) + (f" and {len(sites) - 3} more" if len(sites) > 3 else "")


def _overflow_advice(dtype: str) -> str:
    if dtype == "torch.float16":
        return "float16 overflows at 65504, use --dtype bfloat16"
    return "use --dtype float32, or look at the model"
