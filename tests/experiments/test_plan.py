"""What is said and refused before a model is loaded."""

import shutil

import pytest
import torch
from tiny_models import save_tiny
from transformers import LlamaConfig
from typer.testing import CliRunner

from experiments.cli import app
from experiments.designs.timing import duration
from experiments.runs import extraction as running
from experiments.runs import room
from extract.footprint import batch_bytes, weight_bytes
from gpu_smds import _memory


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model"), "llama")


@pytest.fixture
def nothing_loads(monkeypatch):
    def refuse(*arguments, **more):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(running, "load_model", refuse)


def _run(*arguments, expect):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == expect, result.output
    return " ".join(result.output.split())


def _free(monkeypatch, size):
    monkeypatch.setattr(room, "free_memory", lambda device: size)


# Llama-3.1-8B without its head.
LLAMA = LlamaConfig(
    vocab_size=128256,
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
)


def test_sizes_of_a_large_model():
    embeddings, blocks = 128256 * 4096, 32 * (2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    norms = 65 * 4096
    assert weight_bytes(LLAMA, torch.bfloat16) == 2 * (embeddings + blocks + norms)
    assert weight_bytes(LLAMA, torch.float32) == 4 * (embeddings + blocks + norms)
    eight = weight_bytes(LLAMA, torch.bfloat16, "8bit")
    assert eight == 2 * (embeddings + norms) + blocks
    four = weight_bytes(LLAMA, torch.bfloat16, "4bit")
    assert 4.5e9 < four < 4.8e9
    assert 1e9 < batch_bytes(LLAMA, 8192, torch.bfloat16) < 3e9


def test_too_little_memory_names_what_would_fit(model, nothing_loads, monkeypatch, tmp_path):
    base = ("extract", "--model", model, "--samples", 12, "--out", tmp_path / "run")
    weights = weight_bytes(LlamaConfig.from_pretrained(model), torch.float32)
    _free(monkeypatch, 3 * weights)
    output = _run(*base, expect=1)
    assert "of memory" in output
    assert "smaller --batch-tokens" in output
    _free(monkeypatch, 100_000)
    output = _run(*base, expect=1)
    assert "choose a smaller model, or another --device" in output
    small = ("--batch-tokens", 1)
    _free(monkeypatch, int(0.9 * weights + 35 * (3 * 48 + 8 * 32) * 4))
    assert "--quantize 8bit needs" in _run(*base, *small, expect=1)
    assert not (tmp_path / "run").exists()


def test_states_that_fit_neither_memory_nor_disk(model, nothing_loads, monkeypatch, tmp_path):
    base = ("extract", "--model", model, "--samples", 2000, "--out", tmp_path / "run")
    _free(monkeypatch, 25_000_000)
    output = _run(*base, "--no-save", expect=1)
    assert "of states do not fit the memory beside the model" in output
    assert "leave out --no-save, or at most 2 --layers, such as --layers 0,3" in output
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10_000_000))
    output = _run(*base, expect=1)
    assert "is too full" in output
    assert "or choose --out on another disk, or at most 1 --layers" in output
    assert "--no-save" not in output
    _free(monkeypatch, 10**9)
    assert "or --no-save, since they fit the memory" in _run(*base, expect=1)
    assert not (tmp_path / "run").exists()


def test_states_that_are_replaced_make_room(model, monkeypatch, tmp_path):
    base = ("extract", "--model", model, "--samples", 12, "--out", tmp_path / "run")
    _run(*base, expect=0)
    usage, states = shutil.disk_usage(tmp_path), tmp_path / "run" / "states"

    def held():
        return sum(path.stat().st_size for path in states.glob("layer*"))

    free = held() + 500  # headers may grow by a few digits
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free - held()))
    _run(*base, "--force-states", "--seed", "3", expect=0)


def test_a_dry_run_says_what_it_takes(model, tmp_path):
    base = ("all", "--model", model, "--samples", 30, "--out", tmp_path / "run", "--dry-run")
    output = _run(*base, "--batch-size", 7, expect=0)
    assert not (tmp_path / "run").exists()
    for said in (
        *(
            "sentences 30, ",
            " tokens, ",
            "batches 5, of up to 7 sentences",
            "positions ",
            "layers 4",
        ),
        *("states 0.00 GB (float32)", "memory 0.00 GB of weights", "free on the host", "free at"),
        *("time about 1 s for the sentences, ", " for the experiments and "),
        " for the permutation test, as a short trial suggests",
    ):
        assert said in output
    _run(*base[:-1], expect=0)
    assert "would be used again" in _run(*base, expect=0)


def test_a_dry_run_that_would_be_refused_says_so_at_the_end(
    model, nothing_loads, monkeypatch, tmp_path
):
    _free(monkeypatch, 100_000)
    output = _run("all", "--model", model, "--out", tmp_path / "run", "--dry-run", expect=1)
    assert "sentences 1000" in output
    assert "choose a smaller model" in output


def test_durations():
    assert [duration(s) for s in (0.2, 50, 200, 9000)] == ["1 s", "50 s", "3 min", "2.5 h"]


def test_free_memory_is_at_most_what_the_group_may_use(tmp_path, monkeypatch):
    free = _memory.free_memory(torch.device("cpu"))
    assert free > 0
    monkeypatch.setattr(_memory, "_GROUP", tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 400\nfile 300\nshmem 100\n")
    assert _memory.free_memory(torch.device("cpu")) > 1000
    (tmp_path / "memory.max").write_text("1000\n")
    # Cached files can go, memory that is shared under a name cannot.
    assert _memory.free_memory(torch.device("cpu")) == 1000 - 700 + 300 - 100
