"""What the reader does with models that are not laid out as most are."""

import numpy as np
import pytest
import tolerances
import torch
from tiny_models import config, save_tiny
from torch import nn
from transformers import AutoModel

from extract import ExtractError, align, study_prompts, tokenize
from extract.capture import extract_states, known_token, padded
from extract.models import load_model, load_tokenizer
from extract.reader import StateReader, block_lists
from extract.sources import resolve_model

PROMPTS = study_prompts(6, seed=4)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return resolve_model(str(save_tiny(tmp_path_factory.mktemp("llama"), "llama")))


@pytest.fixture
def model(source):
    return load_model(source, torch.device("cpu"))


@pytest.fixture(scope="module")
def batch(source):
    tokens = tokenize(PROMPTS, load_tokenizer(source))
    return padded(tokens, align(PROMPTS, tokens), np.arange(6), 0)


def _hidden_states(model, batch):
    ids, mask, columns = batch
    with torch.inference_mode():
        states = model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    return [layer[torch.arange(6)[:, None], columns] for layer in states]


def test_the_first_list_of_the_right_length_need_not_be_the_blocks(model, batch):
    expected = _hidden_states(model, batch)
    model.decoys = nn.ModuleList(nn.Identity() for _ in range(3))
    model._modules = {"decoys": model.decoys} | model._modules
    assert len(block_lists(model)) == 2
    with StateReader(model, range(4)) as reader:
        reader.check(*batch)
        assert reader.blocks is model.layers
        found = reader.read(*batch)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


class Unusual(nn.Module):
    """A model whose blocks stand in no list."""

    def __init__(self, model):
        super().__init__()
        self.config, self.device, self.inner = model.config, model.device, [model]

    def get_input_embeddings(self):
        return self.inner[0].get_input_embeddings()

    def forward(self, **arguments):
        return self.inner[0](**arguments)


def test_without_blocks_states_are_those_of_transformers(model, batch):
    unusual = Unusual(model)
    with StateReader(unusual, [0, 2, 3]) as reader:
        checked = reader.check(*batch)
        assert reader.blocks is None
        found = reader.read(*batch)
    expected = [_hidden_states(model, batch)[layer] for layer in (0, 2, 3)]
    for a, b, c in zip(checked, found, expected, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, c)
    with (
        StateReader(unusual, [3], "pre") as reader,
        pytest.raises(ExtractError, match="leave out --final-norm pre"),
    ):
        reader.check(*batch)


def test_states_that_are_not_finite_are_no_reason_against_hooks(model, batch):
    model.get_input_embeddings().weight.data[:, 5] = torch.nan
    with StateReader(model, range(4)) as reader:
        reader.check(*batch)
        assert reader.blocks is model.layers


def test_blocks_on_several_devices(source, model, batch, tmp_path):
    """As accelerate places a model that the GPU does not hold: here on CPU and disk."""
    expected = _hidden_states(model, batch)
    places = {"embed_tokens": "cpu", "layers.0": "cpu", "layers.1": "disk", "layers.2": "disk"}
    placed = AutoModel.from_pretrained(
        source.location,
        device_map={**places, "norm": "cpu", "rotary_emb": "cpu"},
        offload_folder=tmp_path / "offload",
    )
    assert placed.layers[1].mlp.up_proj.weight.device.type == "meta"
    for layers in ([0, 1, 2, 3], [1, 2]):
        with StateReader(placed, layers) as reader:
            reader.check(*batch)
            assert reader.blocks is placed.layers
            found = reader.read(*batch)
            again = reader.read(*batch)  # after a pass that ended early
        for layer, a, b in zip(layers, found, again, strict=True):
            tolerances.assert_close(a, expected[layer], tolerances.PLACED_FLOAT32)
            assert torch.equal(a, b)


def test_a_last_state_of_another_width(tmp_path):
    """OPT-350m projects its last state to the width of its embeddings."""
    torch.manual_seed(0)
    wide = config("opt", 420)
    wide.word_embed_proj_dim = 16
    model = AutoModel.from_config(wide).eval()
    tokens = tokenize(PROMPTS, load_tokenizer(resolve_model(str(save_tiny(tmp_path / "m")))))
    positions = align(PROMPTS, tokens)
    arguments = {"folder": None, "sizes": [6], "metadata": {}, "pad_token_id": 0}
    with pytest.raises(ExtractError, match="16 features wide, the others 32: use --final-norm pre"):
        extract_states(lambda: model, tokens, positions, layers=range(4), **arguments)
    found = extract_states(
        lambda: model, tokens, positions, layers=range(4), final_norm="pre", **arguments
    )
    assert found.states.shape[3] == 32


def test_padding_that_the_model_does_not_know(model):
    assert known_token(model, 419) == 419
    assert known_token(model, 50256) == 0
