"""What cannot fit is refused in one line and at once, however large the number is."""

import json
import shutil
import time

import pytest
import torch
from tiny_models import ARCHITECTURES, config, save_tiny
from typer.testing import CliRunner

from experiments.cli import app
from experiments.console import Screen
from experiments.designs.timing import seconds_for
from experiments.options import Options
from experiments.runs import room
from experiments.runs.room import check_samples
from extract import ExtractError, UsageError, footprint
from extract.capture import parse_layers
from extract.footprint import weight_bytes
from extract.sources import resolve_model

SECONDS = 20


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model"), "llama")


@pytest.fixture(scope="module")
def read(model, tmp_path_factory):
    """A folder with finished states."""
    folder = tmp_path_factory.mktemp("run") / "run"
    _run("extract", "--model", model, "--samples", 30, "--out", folder, expect=0)
    return folder


def _run(*arguments, expect):
    started = time.perf_counter()
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == expect, result.output
    assert time.perf_counter() - started < SECONDS
    return result.output


def _error(output):
    lines = output.splitlines()
    assert [line.startswith("error: ") for line in lines] == [False] * (len(lines) - 1) + [True]
    assert max(map(len, lines)) < 500
    return lines[-1]


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("extract", "--samples", 10**12), "sentences take"),
        (("all", "--samples", 10**12), "sentences take"),
        (("all", "--samples", 10**30), "sentences take"),
        (("discover", "--shuffles", 99_999_999), "99,999,999 shuffles take"),
        (("discover", "--shuffles", 10**15, "--manifolds", "circular"), "shuffles take"),
        (("significance", "--permutations", 10**9), "1,000,000,000 permutations take"),
        (("all", "--permutations", 10**9), "1,000,000,000 permutations take"),
        (("significance", "--permutations", 10**15, "--protocol", "clean"), "permutations take"),
    ],
)
def test_absurd_counts(model, tmp_path, arguments, says, dry):
    out = tmp_path / "run"
    output = _run(*arguments, "--model", model, "--out", out, *dry, expect=1)
    lines = output.splitlines()
    assert says in lines[-1]
    assert "of memory" in lines[-1]
    assert "give at most" in lines[-1]
    if not dry:
        _error(output)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("discover", "--shuffles", 99_999_999), "shuffles take"),
        (("significance", "--permutations", 10**9), "permutations take"),
    ],
)
def test_absurd_counts_on_states_that_are_there(model, read, arguments, says):
    before = {path: path.read_bytes() for path in read.rglob("*") if path.is_file()}
    base = ("--model", model, "--samples", 30, "--out", read)
    for dry in ((), ("--dry-run",)):
        assert says in _error(_run(*arguments, *base, *dry, expect=1))
    assert {path: path.read_bytes() for path in read.rglob("*") if path.is_file()} == before


def test_what_is_said_to_fit_is_not_refused(model, tmp_path):
    base = ("significance", "--model", model, "--out", tmp_path / "run")
    error = _error(_run(*base, "--permutations", 10**9, expect=1))
    most = int(error.partition("at most ")[2].split()[0].replace(",", ""))
    assert most > 1000
    options = Options(permutations=most * 9 // 10)
    shape = (1000, 4, 35, 32)
    room.check_counts("significance", options, shape, None, torch.device("cpu"))


def test_a_batch_of_any_size_is_at_most_what_there_is(model, tmp_path):
    sizes = ("--batch-size", 10**12, "--batch-tokens", 10**12)
    base = ("extract", "--model", model, "--samples", 30, "--out", tmp_path / "run", "--dry-run")
    assert "batches    1, of up to 30 sentences" in _run(*base, *sizes, expect=0)


def _with_layers(model, folder, layers):
    shutil.copytree(model, folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": layers}))
    return folder


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_million_layers(model, tmp_path, monkeypatch, dry):
    deep = _with_layers(model, tmp_path / "deep", 10**6)
    monkeypatch.setattr(room, "free_memory", lambda device: 10**10)
    base = ("--samples", 12, "--out", tmp_path / "run")
    output = _run("extract", "--model", deep, *base, *dry, expect=1)
    assert "of memory, 10 GB are free" in output.splitlines()[-1]
    assert len(output) < 3000
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(room, "free_memory", lambda device: 10**14)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**10))
    output = _run("extract", "--model", deep, *base, *dry, expect=1)
    assert "or at most" in output.splitlines()[-1]
    assert len(output) < 3000
    assert not (tmp_path / "run").exists()


def test_more_layers_than_any_model_has(model, tmp_path):
    deep = _with_layers(model, tmp_path / "deep", 10**12)
    output = _run("all", "--model", deep, "--out", tmp_path / "run", expect=1)
    assert "it has 1,000,000,000,000 layers, which cannot be" in _error(output)


def test_layers_are_numbers_of_a_sane_length():
    assert parse_layers("0,2-3", 5) == (0, 2, 3)
    for text in ("9" * 5000, "0-" + "9" * 5000):
        with pytest.raises(UsageError, match="--layers"):
            parse_layers(text, 5)
    started = time.perf_counter()
    assert len(parse_layers(None, 10**6 + 1)) == 10**6 + 1
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("quantize", ["none", "8bit", "4bit"])
def test_weights_of_many_layers_from_those_of_two(monkeypatch, architecture, quantize):
    facts = config(architecture, 420)
    exact = weight_bytes(facts, torch.float32, quantize)
    before = facts.to_dict()
    monkeypatch.setattr(footprint, "_MOST_BUILT", 2)
    monkeypatch.setattr(footprint, "_FEW", (1, 2))
    assert weight_bytes(facts, torch.float32, quantize) == exact
    assert facts.to_dict() == before


def test_layers_that_differ_are_not_told_from_two(monkeypatch):
    facts = config("qwen3_moe", 420)
    facts.num_hidden_layers, facts.mlp_only_layers = 9, [3]
    assert weight_bytes(facts, torch.float32) > 0
    monkeypatch.setattr(footprint, "_MOST_BUILT", 8)
    assert weight_bytes(facts, torch.float32) is None


def test_a_million_layers_are_counted_at_once():
    facts = config("llama", 420)
    three = weight_bytes(facts, torch.float32)
    facts.num_hidden_layers = 4
    step = weight_bytes(facts, torch.float32) - three
    facts.num_hidden_layers = 10**6
    started = time.perf_counter()
    assert weight_bytes(facts, torch.float32) == three + (10**6 - 3) * step
    assert time.perf_counter() - started < 2


class _Notes(Screen):
    def __init__(self):
        super().__init__(quiet=True)
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def _check(model, folder, reads=True, **options):
    screen = _Notes()
    source = resolve_model(str(model))
    check_samples(
        source, Options(**options), "none", torch.device("cpu"), folder, screen, reads=reads
    )
    return screen.notes


def test_many_sentences_that_take_long_are_told(model, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "free_memory", lambda device: 10**14)
    (note,) = _check(model, tmp_path, samples=10**6)
    assert "drawing 1,000,000 sentences and cutting them into tokens takes about" in note
    (note,) = _check(model, tmp_path, samples=10**7, reads=False)
    assert "drawing 10,000,000 sentences takes about" in note
    assert _check(model, tmp_path, samples=1000) == []


def test_states_of_many_sentences_do_not_fit_the_disk(model, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "free_memory", lambda device: 10**14)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**9))
    with pytest.raises(ExtractError, match=r"is too full: .* of states, 1\.00 GB are free"):
        _check(model, tmp_path, samples=10**6)
    _check(model, tmp_path, samples=10**6, reads=False)


def test_what_sentences_take_is_measured_well(model):
    """As many sentences as are said to fit take about the memory that is free."""
    import tracemalloc

    from extract import align, study_prompts, tokenize
    from extract.models import load_tokenizer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "free_memory", lambda device: 10**7)
        with pytest.raises(ExtractError) as error:
            _check(model, None, samples=10**6)
    most = int(str(error.value).partition("at most ")[2].split()[0].replace(",", ""))
    tokenizer = load_tokenizer(resolve_model(str(model)))
    tracemalloc.start()
    prompts = study_prompts(most)
    prompts.hash  # noqa: B018
    tokens = tokenize(prompts, tokenizer)
    align(prompts, tokens)
    peak = tracemalloc.get_traced_memory()[1] + 128 * sum(map(len, tokens.ids))
    tracemalloc.stop()
    assert 0.8e7 < peak < 1.0e7


def test_the_time_of_a_count_goes_on_from_two_small_ones():
    asked = []

    def seconds(count):
        asked.append(count)
        return 3.0 + 0.5 * count

    assert seconds_for(seconds, 40, 10, 50) == 23.0
    assert asked == [40]
    assert seconds_for(seconds, 10**9, 10, 50) == 3.0 + 0.5e9
    assert asked == [40, 10, 50]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("extract", "for the sentences, as a short trial"),
        ("independent", " s for the experiment, as"),
        ("similarity", "for the experiment, as"),
        ("significance", "for the permutation test, as"),
        ("transfer", "for all pairs, as"),
        ("discover", "for the manifolds with 9 shuffles, as"),
    ],
)
def test_a_dry_run_tells_the_time_of_its_command(model, tmp_path, command, says):
    base = (command, "--model", model, "--samples", 30, "--out", tmp_path / "run", "--dry-run")
    output = _run(*base, expect=0)
    assert says in output.splitlines()[-1]
    assert "for the experiments" not in output
    assert not (tmp_path / "run").exists()


def test_a_dry_run_on_states_that_are_there(model, read):
    base = ("--model", model, "--samples", 30, "--out", read, "--dry-run")
    output = _run("discover", *base, "--shuffles", 5000, expect=0)
    assert "would be used again" in output
    assert "for the manifolds with 5,000 shuffles" in output
    assert "for the sentences" not in output
