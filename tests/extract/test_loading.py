"""Weights that do not belong to the configuration are refused, and sound ones load."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from hostile.models import DAMAGED, UP, changed, cut, without
from safetensors.torch import load_file, save_file
from tiny_models import ARCHITECTURES, save_tiny
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from extract import ExtractError, align, study_prompts, tokenize
from extract.capture import extract_states
from extract.loading import check_weights
from extract.models import load_model, load_tokenizer
from extract.sources import resolve_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Sound folders by architecture, which the tests copy."""
    folder = tmp_path_factory.mktemp("whole")
    return lambda name: (
        folder / name if (folder / name).exists() else save_tiny(folder / name, name)
    )


@pytest.mark.parametrize("wrong", DAMAGED)
def test_damaged(wrong, whole, tmp_path):
    architecture, weights, config, says = DAMAGED[wrong]
    source = resolve_model(changed(whole(architecture), tmp_path / "m", weights, **config))
    with pytest.raises(ExtractError, match=f"^m .*{says}") as error:
        load_model(source, CPU)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
@pytest.mark.parametrize("wrong", ["prefix", "one tensor", "shallower", "shape", "inner width"])
def test_damaged_and_quantised(wrong, quantize, whole, tmp_path):
    """transformers compares no shapes of what it quantises."""
    pytest.importorskip("bitsandbytes")
    architecture, weights, config, says = DAMAGED[wrong]
    source = resolve_model(changed(whole(architecture), tmp_path / "m", weights, **config))
    with pytest.raises(ExtractError, match=f"^m .*{says}"):
        load_model(source, CPU, quantize=quantize)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sound(architecture, whole, tmp_path):
    """As saved without head, and with one, which is left over or tied."""
    folder = whole(architecture)
    load_model(resolve_model(str(folder)), CPU)
    for tied in (False, True):
        config = AutoConfig.from_pretrained(folder, tie_word_embeddings=tied)
        shutil.copytree(folder, tmp_path / str(tied))
        AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / str(tied))
        load_model(resolve_model(str(tmp_path / str(tied))), CPU)


BUFFERS = {
    "llama": ("model.layers.0.self_attn.rotary_emb.inv_freq", "layers.1.self_attn.k_scale"),
    "gpt2": ("h.0.attn.bias", "transformer.h.1.attn.masked_bias"),
    "gpt_neox": ("layers.0.attention.bias", "gpt_neox.layers.0.attention.rotary_emb.inv_freq"),
}


@pytest.mark.parametrize("architecture", BUFFERS)
def test_old_buffers_and_heads_are_no_error(architecture, whole, tmp_path):
    more = {name: torch.zeros(4) for name in (*BUFFERS[architecture], "score.weight", "cls.bias")}
    folder = changed(whole(architecture), tmp_path / "m", lambda tensors: tensors | more)
    load_model(resolve_model(folder), CPU)


def test_a_pooler_that_was_not_saved_is_no_error(whole, tmp_path):
    config = transformers.BertConfig(
        vocab_size=420,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
    )
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path / "m")
    load_model(resolve_model(str(tmp_path / "m")), CPU)
    cut = changed(tmp_path / "m", tmp_path / "cut", without("encoder.layer.1."))
    with pytest.raises(ExtractError, match=r"lacks 16 .* has 2 layers, the weights 1"):
        load_model(resolve_model(cut), CPU)


def test_several_files(whole, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(whole("llama"), folder)
    AutoModel.from_pretrained(folder).save_pretrained(tmp_path / "m", max_shard_size="40KB")
    (folder / "model.safetensors").unlink()
    parts = sorted(folder.glob("model-*.safetensors"))
    assert len(parts) > 2
    load_model(resolve_model(str(folder)), CPU)
    tensors = load_file(parts[1])
    name = sorted(tensors)[0]
    save_file({n: t for n, t in tensors.items() if n != name}, parts[1], {"format": "pt"})
    with pytest.raises(ExtractError, match=rf"lacks 1 weight \({name}\)"):
        load_model(resolve_model(str(folder)), CPU)


@pytest.mark.parametrize("quantize", ["4bit", "8bit", "study"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_sound_and_quantised(architecture, quantize, whole, tmp_path):
    pytest.importorskip("bitsandbytes")
    model = load_model(resolve_model(str(whole(architecture))), CPU, quantize=quantize)
    if quantize == "4bit":  # as it is saved: its own weights, packed
        shutil.copytree(whole(architecture), tmp_path / "m")
        model.save_pretrained(tmp_path / "m")
        load_model(resolve_model(str(tmp_path / "m")), CPU)


@pytest.mark.smollm2
def test_the_embedded_smollm2_is_sound():
    load_model(resolve_model("smollm2"), CPU, layers=range(31))


# architecture, what is missing, wanted states, whether they depend on it.
PARTS = [
    ("llama", "layers.2.", (0, 1, 2), False),
    ("llama", "layers.2.", (3,), True),
    ("llama", "layers.1.", (0, 2), True),
    ("llama", "layers.0.", (0,), False),
    ("llama", "norm.weight", (0, 1, 2), True),  # those of the blocks too
    ("gpt2", "ln_f", (0, 1, 2), False),
    ("gpt2", "ln_f", (0, 3), True),
    ("gpt2", "wpe", (0,), True),
    ("opt", "decoder.final_layer_norm", (0, 1, 2), False),
    ("opt", "decoder.layers.1.", (1,), False),
    ("opt", "decoder.embed_positions", (0,), True),
    ("mamba", "layers.2.", (1,), False),
    ("mamba", "layers.2.", (2,), True),  # its state 2 is the output of the third block
    ("mamba", "layers.0.", (0,), True),
]


@pytest.mark.parametrize(("architecture", "part", "layers", "needed"), PARTS)
def test_only_what_the_wanted_states_depend_on(architecture, part, layers, needed, whole, tmp_path):
    source = resolve_model(changed(whole(architecture), tmp_path / "m", without(part)))
    if needed:
        with pytest.raises(ExtractError, match="lacks"):
            load_model(source, CPU, layers=layers)
    else:
        load_model(source, CPU, layers=layers)
    with pytest.raises(ExtractError, match="lacks"):
        load_model(source, CPU)


@pytest.mark.parametrize(("layers", "needed"), [((0, 1, 2), True), ((0, 1), False)])
def test_weights_of_layers_that_the_configuration_lacks(layers, needed, whole, tmp_path):
    folder = changed(whole("llama"), tmp_path / "m", num_hidden_layers=2)
    if needed:
        with pytest.raises(ExtractError, match="holds 9 weights"):
            load_model(resolve_model(folder), CPU, layers=layers)
    else:
        load_model(resolve_model(folder), CPU, layers=layers)


def test_wrong_shapes_above_the_wanted_states(whole, tmp_path):
    source = resolve_model(changed(whole("llama"), tmp_path / "m", cut(UP)))
    load_model(source, CPU, layers=(0, 1))
    with pytest.raises(ExtractError, match="another shape"):
        load_model(source, CPU, layers=(2,))


def test_two_lists_of_blocks_leave_it_open_which_is_meant():
    """An encoder beside a decoder: what lacks is then wanted."""
    two = torch.nn.Module()
    two.base_model_prefix = "model"
    two.config = transformers.LlamaConfig(num_hidden_layers=2)
    two.encoder = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
    two.decoder = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
    info = {"missing_keys": {"encoder.1.bias"}, "unexpected_keys": set(), "mismatched_keys": set()}
    with pytest.raises(ExtractError, match=r"lacks 1 weight \(encoder\.1\.bias\)"):
        check_weights(two, info, resolve_model("gpt2"), (0,))


def test_a_tokenizer_of_another_model(whole, tmp_path):
    folder = changed(
        whole("llama"), tmp_path / "m", lambda t: t | {"embed_tokens.weight": torch.ones(50, 32)}
    )
    config = Path(folder) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"vocab_size": 50}))
    source, prompts = resolve_model(folder), study_prompts(8)
    tokens = tokenize(prompts, load_tokenizer(source))
    largest = max(max(row) for row in tokens.ids)
    says = rf"gives token {largest}, .* 50 rows \(0 to 49\): they do not belong together"
    with pytest.raises(ExtractError, match=says):
        extract_states(
            lambda: load_model(source, CPU),
            tokens,
            align(prompts, tokens),
            folder=None,
            layers=(0, 1),
            sizes=[8],
            metadata={},
            pad_token_id=0,
        )
