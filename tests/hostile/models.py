"""Model folders whose weights and configuration do not belong together, and what is to be said.

A later kind of damage joins with a row here.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

UP = "layers.1.mlp.up_proj.weight"


def changed(folder: Path, to: Path, weights=lambda tensors: tensors, **config) -> str:
    """Copy a folder with other weights and other entries of its configuration."""
    shutil.copytree(folder, to)
    file = to / "model.safetensors"
    tensors = weights(load_file(file))
    save_file({n: t.clone().contiguous() for n, t in tensors.items()}, file, {"format": "pt"})
    found = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(found | config))
    return str(to)


def without(part):
    return lambda tensors: {name: t for name, t in tensors.items() if part not in name}


def named(form):
    return lambda tensors: {form.format(name): tensor for name, tensor in tensors.items()}


def with_tensor(name, *shape):
    return lambda tensors: tensors | {name: torch.zeros(shape)}


def cut(part):
    return lambda tensors: {n: t[:-1] if part in n else t for n, t in tensors.items()}


# what is wrong → architecture, change of the weights, of the configuration, what the line says.
DAMAGED = {
    "prefix": ("llama", named("module.{}"), {}, r"lacks 29 .* begin with 'module\.', save"),
    "prefixes": ("llama", named("module.model.{}"), {}, r"lacks 29 .* begin with 'module\.', s"),
    "compiled": ("gpt2", named("_orig_mod.{}"), {}, r"lacks 40 .* begin with '_orig_mod\.'"),
    "unknown prefix": ("gpt2", named("student.{}"), {}, r"begin with 'student\.'"),
    "one tensor": ("llama", without(UP), {}, rf"lacks 1 weight \({UP}\) .*: download or copy"),
    "one norm": ("llama", without("norm.weight"), {}, "lacks 7 weights"),
    "last norm": ("gpt2", without("ln_f"), {}, r"2 weights \(ln_f\.bias, ln_f\.weight\)"),
    "embeddings": ("gpt2", without("wte"), {}, r"lacks 1 weight \(wte\.weight\)"),
    "one layer": ("llama", without("layers.1."), {}, r"lacks 9 .*layers\.1\..*download or copy"),
    "last layer": ("llama", without("layers.2."), {}, "lacks 9 .* has 3 layers, the weights 2"),
    "deeper": ("llama", dict, {"num_hidden_layers": 12}, "lacks 81 .* 12 layers, the weights 3"),
    "deeper gpt2": ("gpt2", dict, {"n_layer": 4}, r"lacks 12 .*\(h\.3\..*4 layers, the weights 3"),
    "shallower": (
        "llama",
        dict,
        {"num_hidden_layers": 2},
        "holds 9 .* has 2 layers, the weights 3",
    ),
    "shallower gpt2": ("gpt2", dict, {"n_layer": 1}, "holds 22 .* has 1 layer, the weights 3"),
    "shape": ("llama", cut(UP), {}, rf"has 1 weight \({UP} is 47×32\) .* \(48×32 for the first"),
    "width": ("llama", dict, {"hidden_size": 64, "head_dim": 16}, r"29 weights .*420×32, "),
    "inner width": ("llama", dict, {"intermediate_size": 64}, "has 9 weights"),
    "vocabulary": ("gpt2", dict, {"vocab_size": 421}, r"wte\.weight is 420×32\) .*\(421×32"),
    "bias": (
        "llama",
        with_tensor("layers.0.self_attn.q_proj.bias", 32),
        {},
        r"holds 1 .*\(layers\.0\.self_attn\.q_proj\.bias\) .* no place: give the config\.json",
    ),
    "bias of a head model": (
        "llama",
        with_tensor("model.layers.0.self_attn.q_proj.bias", 32),
        {},
        r"holds 1 .*\(model\.layers\.0\.self_attn\.q_proj\.bias\)",
    ),
    "lora": (
        "llama",
        with_tensor("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", 2, 32),
        {},
        r"holds 1 .*lora_A.*: merge the adapter",
    ),
    "experts fewer": ("mixtral", dict, {"num_local_experts": 3}, "another shape"),
    "one expert": ("mixtral", without("layers.1.block_sparse_moe.experts.1.w1"), {}, "lacks some"),
}
