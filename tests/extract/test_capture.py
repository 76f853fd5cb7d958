import pytest
import tolerances
import torch
from tiny_models import save_tiny

from extract import ExtractError, HiddenStates, UsageError, align, study_prompts, tokenize
from extract.batches import batch_sizes
from extract.capture import extract_states, parse_layers, read_lengths
from extract.models import load_model, load_tokenizer
from extract.reader import hidden_size, n_states
from extract.sources import resolve_model

PROMPTS = study_prompts(11, seed=4)


class Counting(torch.nn.Module):
    """A model that counts its calls and may refuse large batches."""

    def __init__(self, model, limit=10**9, error=torch.OutOfMemoryError):
        super().__init__()
        self.model, self.config, self.device = model, model.config, model.device
        self.limit, self.error, self.sizes = limit, error, []

    def get_input_embeddings(self):
        return self.model.get_input_embeddings()

    def forward(self, input_ids, **arguments):
        if len(input_ids) > self.limit:
            raise self.error("can't allocate memory")
        self.sizes.append(len(input_ids))
        return self.model(input_ids=input_ids, **arguments)


@pytest.fixture(scope="module", params=["gpt2", "llama", "qwen2"])
def tiny(request, tmp_path_factory):
    digits = "together" if request.param == "llama" else "split"
    folder = save_tiny(
        tmp_path_factory.mktemp(request.param), request.param, digits, request.param == "llama"
    )
    source = resolve_model(str(folder))
    tokenizer = load_tokenizer(source)
    tokens = tokenize(PROMPTS, tokenizer)
    return load_model(source, torch.device("cpu")), tokens, tokenizer.pad_token_id


def _extraction(tiny, mode="word", model=None, folder=None, batch_size=4, **arguments):
    loaded, tokens, pad = tiny
    positions = align(PROMPTS, tokens, mode)
    arguments = {
        "layers": range(4),
        "sizes": batch_sizes(read_lengths(tokens, positions), 10**6, batch_size),
        "metadata": {},
    } | arguments
    return extract_states(
        lambda: model or loaded, tokens, positions, folder=folder, pad_token_id=pad, **arguments
    )


def _extract(tiny, *arguments, **named):
    found = _extraction(tiny, *arguments, **named)
    found.saved()
    return found.states


@torch.inference_mode()
def test_equals_one_sentence_at_a_time(tiny, tmp_path):
    model, tokens, _ = tiny
    columns = align(PROMPTS, tokens).columns
    states = _extract(tiny, folder=tmp_path)
    assert states.shape == (11, 4, columns.shape[1], 32)
    for i, ids in enumerate(tokens.ids):
        alone = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
        for layer in range(4):
            tolerances.assert_close(
                states[i, layer, :], alone[layer][0, columns[i]], tolerances.STATES_FLOAT32
            )


def test_raw_positions_include_the_padding(tiny):
    model, tokens, _ = tiny
    width = max(len(ids) for ids in tokens.ids)
    states = _extract(tiny, "raw")
    assert states.shape[2] == width
    short = min(range(11), key=lambda i: len(tokens.ids[i]))
    alone = model(input_ids=torch.tensor([tokens.ids[short]]), output_hidden_states=True)
    tolerances.assert_close(
        states[short, 3, : len(tokens.ids[short])],
        alone.hidden_states[3][0],
        tolerances.STATES_FLOAT32,
    )


def test_some_layers(tiny):
    every, some = _extract(tiny), _extract(tiny, layers=[0, 3])
    assert some.layers == (0, 3)
    assert torch.equal(some[:, 1, :], every[:, 3, :])


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_batches_halve_when_memory_runs_out(tiny, error):
    model = Counting(tiny[0], limit=3, error=error)
    states = _extract(tiny, model=model, batch_size=8)
    assert max(model.sizes) <= 3
    assert sum(model.sizes) == 1 + 11  # one sentence to see what the model computes in
    whole = _extract(tiny)
    for layer in range(4):
        tolerances.assert_close(states[:, layer, :], whole[:, layer, :], tolerances.STATES_FLOAT32)


def test_cublas_without_memory_halves_too(tiny):
    def cublas(_text):
        return RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`")

    model = Counting(tiny[0], limit=3, error=cublas)
    states, whole = _extract(tiny, model=model, batch_size=8), _extract(tiny)
    assert max(model.sizes) <= 3
    for layer in range(4):
        tolerances.assert_close(states[:, layer, :], whole[:, layer, :], tolerances.STATES_FLOAT32)


def test_one_sentence_that_does_not_fit(tiny):
    with pytest.raises(ExtractError, match="one sentence alone does not fit"):
        _extract(tiny, model=Counting(tiny[0], limit=0))


def test_other_errors_are_not_taken_for_lack_of_memory(tiny):
    class Broken(Counting):
        def forward(self, input_ids, **arguments):
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        _extract(tiny, model=Broken(tiny[0]))


def test_an_interrupted_extraction_goes_on(tiny, tmp_path):
    def stop(done, total):
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _extract(tiny, folder=tmp_path / "a", progress=stop)
    assert not list((tmp_path / "a").glob("*.safetensors"))
    model = Counting(tiny[0])
    _extract(tiny, model=model, folder=tmp_path / "a")
    assert model.sizes == [1, 3]  # a look at the model, and the last batch only
    _extract(tiny, folder=tmp_path / "b")
    for path in (tmp_path / "b").iterdir():
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes()


def test_states_are_as_wide_as_computed(tiny, tmp_path):
    model, _, _ = tiny
    copy = type(model)(model.config).to(torch.bfloat16).eval()
    states = _extract(tiny, model=copy, folder=tmp_path)
    assert states.dtype == torch.bfloat16
    assert HiddenStates.open(tmp_path).dtype == torch.bfloat16


def test_overflow_is_counted_not_hidden(tiny):
    model, _, _ = tiny
    copy = type(model)(model.config).eval()
    copy.get_input_embeddings().weight.data[:, 5] = torch.inf
    states = _extract(tiny, model=copy)
    assert (states.nonfinite[0] == 11).all()


def test_sentences_beyond_the_model(tiny):
    model = Counting(tiny[0])
    model.config = type("Config", (), {"max_position_embeddings": 8, "hidden_size": 32})()
    with pytest.raises(ExtractError, match=r"^sentence \d+ has \d+ tokens, the model takes 8"):
        _extract(tiny, model=model)


def test_the_sentence_beyond_the_model_is_named(tiny):
    loaded, tokens, _ = tiny
    longest = max(range(11), key=lambda i: len(tokens.ids[i]))
    limit = max(len(ids) for ids in tokens.ids) - 1
    model = Counting(loaded)
    model.config = type("Config", (), {"max_position_embeddings": limit})()
    with pytest.raises(ExtractError, match=f"^sentence {longest + 1} has {limit + 1} tokens"):
        _extract(tiny, model=model)


def test_sizes_of_a_model(tiny):
    assert (n_states(tiny[0].config), hidden_size(tiny[0].config)) == (4, 32)


def test_parse_layers():
    assert parse_layers(None, 4) == (0, 1, 2, 3)
    assert parse_layers("0,2-3, 2", 4) == (0, 2, 3)
    for text in ("x", "4", "3-2", "1-", ""):
        with pytest.raises(UsageError, match="--layers"):
            parse_layers(text, 4)
