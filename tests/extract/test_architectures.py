"""Every architecture with every kind of tokenizer: the right states of the right words."""

import numpy as np
import pytest
import tolerances
import torch
from tiny_models import ARCHITECTURES, TOKENIZERS, save_tiny

from extract import align, study_prompts, tokenize
from extract.batches import batch_sizes
from extract.capture import extract_states, known_token, padded, read_lengths
from extract.models import load_model, load_tokenizer
from extract.reader import StateReader
from extract.sources import resolve_model

PROMPTS = study_prompts(9, seed=4)

# The kind of tokenizer that each of them has, and whether it puts a token at the beginning.
CASES = [
    ("gpt2", "together", False),
    ("llama", "together", True),
    ("llama", "pieces", True),
    ("qwen2", "split", False),
    ("qwen3", "split", False),
    ("mistral", "pieces", True),
    ("gemma2", "pieces", True),
    ("gemma3_text", "pieces", True),
    ("phi3", "pieces", False),
    ("gpt_neox", "together", False),
    ("olmo2", "together", False),
    ("opt", "together", True),
    ("bloom", "together", False),
    ("falcon", "split", False),
    ("mixtral", "pieces", True),
    ("qwen3_moe", "split", False),
    ("mamba", "together", False),
]
assert {name for name, _, _ in CASES} == set(ARCHITECTURES)
assert {kind for _, kind, _ in CASES} == set(TOKENIZERS)


@pytest.fixture(scope="module", params=CASES, ids=lambda c: f"{c[0]}-{c[1]}")
def tiny(request, tmp_path_factory):
    name, digits, bos = request.param
    source = resolve_model(str(save_tiny(tmp_path_factory.mktemp(name), name, digits, bos)))
    tokenizer = load_tokenizer(source)
    return load_model(source, torch.device("cpu")), tokenizer, tokenize(PROMPTS, tokenizer)


def _states(tiny, layers=range(4), **arguments):
    model, tokenizer, tokens = tiny
    positions = align(PROMPTS, tokens)
    found = extract_states(
        lambda: model,
        tokens,
        positions,
        folder=None,
        layers=layers,
        sizes=batch_sizes(read_lengths(tokens, positions), 200),
        metadata={},
        pad_token_id=tokenizer.pad_token_id,
        **arguments,
    )
    assert found.hooked
    return found.states, positions


@torch.inference_mode()
def test_hooks_give_the_hidden_states_of_transformers(tiny):
    model, tokenizer, tokens = tiny
    positions = align(PROMPTS, tokens)
    ids, mask, columns = padded(
        tokens, positions, np.arange(9), known_token(model, tokenizer.pad_token_id)
    )
    theirs = model(
        input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False
    ).hidden_states
    with StateReader(model, range(4)) as reader:
        reader.check(ids[:1], mask[:1], columns[:1])
        assert reader.blocks is not None
        ours = reader.read(ids, mask, columns)
    assert len(theirs) == 4
    for found, expected in zip(ours, theirs, strict=True):
        assert torch.equal(found, expected[torch.arange(9)[:, None], columns])


@torch.inference_mode()
def test_padded_batches_are_as_one_sentence_at_a_time(tiny):
    model, _, tokens = tiny
    states, positions = _states(tiny)
    assert len({len(ids) for ids in tokens.ids}) > 1
    for i, ids in enumerate(tokens.ids):
        alone = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
        for layer in range(4):
            tolerances.assert_close(
                states[i, layer, :],
                alone[layer][0, positions.columns[i]],
                tolerances.STATES_FLOAT32,
            )


def test_columns_hold_the_right_word(tiny):
    """Decoded, the token of a column is the end of the sentence's word, and of no other."""
    _, tokenizer, tokens = tiny
    positions = align(PROMPTS, tokens)
    begins = positions.words[0] == "<|begin|>"
    assert begins == (tokenizer.convert_ids_to_tokens(tokens.ids[0][0]) == "<|begin|>")
    for column, name in enumerate(positions.words[begins:], start=begins):
        unit = PROMPTS.units.index(name)
        for i, ids in enumerate(tokens.ids):
            text = tokenizer.decode([ids[positions.columns[i, column]]]).strip()
            assert text
            values = PROMPTS.slots[name][i] if PROMPTS.is_slot[unit] else name
            assert text in values or values in text, (name, text, values)
            if PROMPTS.is_slot[unit] or name not in positions.words[column + 1 : column + 2]:
                # The last column of a word holds its end.
                assert values.endswith(text) or text.endswith(values)


@torch.inference_mode()
def test_the_last_state_before_the_final_norm(tiny):
    model = tiny[0]
    states, _ = _states(tiny, layers=[2, 3], final_norm="pre")
    after, _ = _states(tiny, layers=[2, 3])
    assert torch.equal(states[:, 0, :], after[:, 0, :])
    assert not torch.equal(states[:, 1, :], after[:, 1, :])
    # What the norm makes of it is the state after it.
    norms = [m for name, m in model.named_modules() if _is_final_norm(name)]
    assert len(norms) == 1
    tolerances.assert_close(norms[0](states[:, 1, :]), after[:, 1, :], tolerances.STATES_FLOAT32)


def _is_final_norm(name):
    *_, last = name.split(".")
    return last in ("norm", "ln_f", "final_layer_norm", "norm_f") and "layers." not in name


def test_layers_above_the_last_wanted_do_not_run(tiny):
    model, _, _ = tiny
    ran = []
    with StateReader(model, [1]) as reader:
        _, tokenizer, tokens = tiny
        batch = padded(
            tokens, align(PROMPTS, tokens), np.arange(2), known_token(model, tokenizer.pad_token_id)
        )
        expected = reader.check(*batch)
        handles = [
            block.register_forward_hook(lambda *a, i=i: ran.append(i))
            for i, block in enumerate(reader.blocks)
        ]
        found = reader.read(*batch)
        for handle in handles:
            handle.remove()
    assert torch.equal(found[0], expected[0])
    if model.config.model_type == "mamba":  # its layer 1 is the second block's output
        assert ran in ([0, 1], [0])
        return
    assert ran in ([0], [])  # the reader's hook, which ends the pass, may come first


def test_the_model_is_left_as_it_was(tiny):
    model, _, _ = tiny
    before = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    _states(tiny)
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()] == before
