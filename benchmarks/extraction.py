"""What reading the states costs beyond the model's own forward pass.

    python -m benchmarks.extraction                      SmolLM2, as it comes
    python -m benchmarks.extraction --model ./my-model --quantize 4bit
    python -m benchmarks.extraction --random llama-3.1-8b --quantize 4bit --experiments

The same batches go through the bare model and through the extraction, in turn and several times;
times are medians, ratios those of neighbouring runs. Memory is the peak while each runs, model
included. ``--random`` makes a model of that size with random weights: reading one costs the same.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, LlamaConfig

from benchmarks.environment import environment
from benchmarks.memory import peak_memory
from benchmarks.output import OUT, output, write_facts
from experiments.designs import experiments_of
from experiments.designs.passes import on_all_sites
from experiments.designs.setting import Setting
from experiments.designs.similarity import similarity
from experiments.options import Options
from experiments.runs.extraction import release_memory
from experiments.runs.plan import Plan
from experiments.runs.room import check_room
from extract import study_prompts
from extract.batches import cut
from extract.capture import extract_states, known_token, padded, read_lengths
from extract.models import load_model, load_tokenizer, model_device
from extract.sources import ModelSource, resolve_model

#: Sizes of models whose weights need not be at hand.
RANDOM = {
    "llama-3.1-8b": {
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
    },
    "llama-tiny": {
        "vocab_size": 49152,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
}


def main() -> None:
    """Run the comparison and write its JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2", help="as for gpu-smds")
    parser.add_argument("--random", choices=RANDOM, help="a model of random weights instead")
    parser.add_argument("--quantize", default="none", help="none, 4bit, 8bit or study")
    parser.add_argument("--dtype", help="of the model and its states")
    parser.add_argument("--device", help="as for gpu-smds")
    parser.add_argument("--samples", type=int, default=1000, help="sentences")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each kind")
    parser.add_argument("--experiments", action="store_true", help="time the four experiments too")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the JSON file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = resolve_model(arguments.model)
        if arguments.random:
            source = random_model(Path(folder) / "model", arguments.random, arguments.dtype)
        name = arguments.random or source.name
        path = output(arguments.out, f"extraction-{name}-{arguments.quantize}.json")
        facts = measure(source, arguments, Path(folder))
    write_facts(path, facts)
    print(json.dumps({k: v for k, v in facts.items() if k != "environment"}, indent=1))
    print(f"written to {path}")


def random_model(folder: Path, name: str, dtype: str | None) -> ModelSource:
    """Save a model of random weights with SmolLM2's tokenizer."""
    tokenizer = load_tokenizer(resolve_model("smollm2"))
    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, dtype or "bfloat16"))
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModel.from_config(LlamaConfig(**RANDOM[name]))
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    del model
    release_memory()
    return resolve_model(str(folder))


def measure(source: ModelSource, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Time and memory of the bare model, of the extraction and, if asked, of the experiments."""
    device = model_device(arguments.device)
    prompts = study_prompts(arguments.samples)
    options = Options(dtype=arguments.dtype)
    plan = Plan.of(source, prompts, options, arguments.quantize, device, folder)
    check_room(plan)
    started = perf_counter()
    loaded = [
        load_model(
            source,
            device,
            arguments.dtype,
            arguments.quantize,
            config=plan.config,
            spread=plan.spread,
        )
    ]
    _wait(device)
    load = perf_counter() - started
    pad = known_token(loaded[0], plan.tokenizer.pad_token_id)
    batches = [
        padded(plan.tokens, plan.positions, rows, pad)
        for rows in cut(read_lengths(plan.tokens, plan.positions), plan.sizes)
    ]

    @torch.inference_mode()
    def bare() -> None:
        for ids, mask, _ in batches:
            loaded[0](input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False)
        _wait(device)

    folders: list[tempfile.TemporaryDirectory[str]] = []

    def extraction() -> Any:
        while folders:
            folders.pop().cleanup()
        folders.append(tempfile.TemporaryDirectory(dir=folder))
        found = extract_states(
            lambda: loaded[0],
            plan.tokens,
            plan.positions,
            folder=Path(folders[0].name),
            layers=plan.layers,
            sizes=plan.sizes,
            metadata={},
            pad_token_id=pad,
            place=plan.place,
        )
        seconds.append(perf_counter() - started)
        found.saved()
        return found

    seconds: list[float] = []
    peaks = {
        "bare_peak_bytes": _peak(bare, device),
        "extraction_peak_bytes": _peak(extraction, device),
    }
    found: list[Any] = []
    times: dict[str, list[float]] = {"bare": [], "extraction": [], "read": []}
    for _ in range(arguments.repeats):
        started = perf_counter()
        bare()
        times["bare"].append(perf_counter() - started)
        seconds.clear()
        found.clear()  # it may hold all states on the GPU
        started = perf_counter()
        found.append(extraction().states)
        times["extraction"].append(perf_counter() - started)
        times["read"].append(seconds[0])
    ratios = [b / a for a, b in zip(times["bare"], times["extraction"], strict=True)]
    facts: dict[str, Any] = {
        "model": arguments.random or source.name,
        "random_weights": bool(arguments.random),
        "quantize": arguments.quantize,
        "dtype": str(plan.dtype).removeprefix("torch."),
        "device": str(device),
        "sentences": arguments.samples,
        "tokens": sum(map(len, plan.tokens.ids)),
        "batches": len(batches),
        "states_bytes": plan.states,
        "weight_bytes": plan.weights,
        "load_s": load,
        "bare_s": float(np.median(times["bare"])),
        # With the files complete, and until the states could be used.
        "extraction_s": float(np.median(times["extraction"])),
        "states_ready_s": float(np.median(times["read"])),
        "ratio": float(np.median(ratios)),
        "ratios": ratios,
        "states_on": str(found[0].tensors[0].device),
        **peaks,
    }
    bare_peak, peak = peaks.values()
    if bare_peak and peak:
        facts["peak_ratio"] = peak / bare_peak
    loaded.clear()
    release_memory()
    if arguments.experiments:
        facts |= _experiments(found[0], prompts.labels, plan, device)
        whole = facts["states_ready_s"] + facts["experiments_s"]
        facts["whole_over_bare_and_load"] = (load + whole) / (load + facts["bare_s"])
    return facts | {"environment": environment()}


def _experiments(
    states: Any, labels: np.ndarray, plan: Plan, device: torch.device
) -> dict[str, float]:
    source = plan.positions.landmarks["source"]
    setting = Setting(states, labels, plan.layers, len(plan.layers), source, device=device)
    started = perf_counter()
    on_all_sites([row for row in experiments_of(()).values() if row.plan], setting)
    similarity(setting)
    _wait(device)
    return {"experiments_s": perf_counter() - started}


def _peak(call: Any, device: torch.device) -> int | None:
    """Bytes at the peak of a call, those of the model and the mapped states included."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device) if device.type == "cuda" else _resident()
    found = peak_memory(call, device)
    return None if found is None or before is None else before + found


def _resident() -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
