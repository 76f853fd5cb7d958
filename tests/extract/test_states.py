import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from extract import ExtractError, HiddenStates, states
from extract.states import StatesWriter

LAYERS = (0, 2, 5)
SHAPE = (7, 4, 3)


def _batches(dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    whole = [torch.randn(SHAPE, generator=generator).to(dtype) for _ in LAYERS]
    return whole, [(i, [layer[i : i + 2] for layer in whole]) for i in range(0, 7, 2)]


def _write(folder, dtype=torch.float32, only=None):
    whole, batches = _batches(dtype)
    writer = StatesWriter(folder, LAYERS, SHAPE, dtype, {"model": "tiny"})
    for start, batch in batches[:only]:
        if start >= writer.rows_done:
            writer.write(start, batch)
    return writer, whole


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_written_and_read(tmp_path, dtype):
    writer, whole = _write(tmp_path, dtype)
    for found in (writer.finish(), HiddenStates.open(tmp_path)):
        assert found.shape == (7, 3, 4, 3)
        assert found.dtype == dtype
        assert found.layers == LAYERS
        for i in range(3):
            assert torch.equal(found[:, i, 1:3], whole[i][:, 1:3])
            assert torch.equal(found[:, i, 2], whole[i][:, 2])
    with safe_open(tmp_path / "layer_05.safetensors", framework="pt") as file:
        assert torch.equal(file.get_tensor("hidden_states"), whole[2])
        assert file.metadata() == {"model": "tiny", "layer": "5"}
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["index.json", *(f"layer_{n:02d}.safetensors" for n in LAYERS)]


def test_in_memory_is_the_same(tmp_path):
    on_disk = _write(tmp_path)[0].finish()
    in_memory = _write(None)[0].finish()
    assert all(torch.equal(on_disk[:, i], in_memory[:, i]) for i in range(3))


def test_an_interrupted_write_goes_on(tmp_path):
    _write(tmp_path / "a", only=2)
    assert not list((tmp_path / "a").glob("*.safetensors"))
    writer, _ = _write(tmp_path / "a")
    writer.finish()
    _write(tmp_path / "b")[0].finish()
    for name in ("layer_00.safetensors", "layer_05.safetensors", "index.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_another_plan_starts_afresh(tmp_path):
    _write(tmp_path, only=2)
    assert StatesWriter(tmp_path, LAYERS, SHAPE, torch.float32, {"model": "tiny"}).rows_done == 4
    assert StatesWriter(tmp_path, LAYERS, SHAPE, torch.float32, {"model": "other"}).rows_done == 0


def test_non_finite_states_are_counted(tmp_path):
    writer = StatesWriter(tmp_path, (0,), (4, 2, 3), torch.float16, {})
    batch = torch.zeros(2, 2, 3, dtype=torch.float16)
    batch[1, 1] = torch.tensor([torch.inf, torch.nan, 1])
    writer.write(0, [batch])
    resumed = StatesWriter(tmp_path, (0,), (4, 2, 3), torch.float16, {})
    resumed.write(2, [batch])
    resumed.finish()
    np.testing.assert_array_equal(HiddenStates.open(tmp_path).nonfinite, [[0, 4]])


@pytest.mark.parametrize("damage", ["short", "flipped", "missing", "index", "header"])
def test_damaged_files_are_named(tmp_path, damage):
    _write(tmp_path)[0].finish()
    path = tmp_path / "layer_02.safetensors"
    content = bytearray(path.read_bytes())
    named = path.name
    if damage == "short":
        path.write_bytes(content[:-5])
    elif damage == "flipped":
        content[-9] ^= 1
        path.write_bytes(content)
    elif damage == "header":
        content[3] ^= 255
        path.write_bytes(content)
    elif damage == "missing":
        path.unlink()
    else:
        named = "index.json"
        (tmp_path / named).write_text("{")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(ExtractError, match="--force") as error:
        HiddenStates.open(tmp_path)
    assert named in str(error.value)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_full_disk_is_an_error_before_the_model_runs(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(ExtractError, match=r"too full for .* --no-save"):
        _write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_keeps_the_states_that_would_be_replaced(tmp_path, monkeypatch):
    _write(tmp_path)[0].finish()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(ExtractError, match="too full"):
        StatesWriter(tmp_path, LAYERS, (70, 4, 3), torch.float32, {"model": "other"})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    # What is replaced makes room for what replaces it.
    StatesWriter(tmp_path, LAYERS, SHAPE, torch.float32, {"model": "new!"})


def test_a_file_that_may_not_grow(tmp_path):
    # A real limit: what posix_fallocate meets on a disk that fills up as it reserves.
    code = f"""
import resource, torch
from pathlib import Path
from extract import ExtractError
from extract.states import StatesWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    StatesWriter(Path({str(tmp_path)!r}), (0, 1), (100, 100, 100), torch.float32, {{}})
except ExtractError as error:
    print(error)
"""
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert "too full for 0.01 GB" in printed
    assert list(tmp_path.iterdir()) == []


def _full_disk(monkeypatch, name):
    """Make writing the JSON file of this name fail as on a full disk."""
    write_json = states.write_json

    def refuse(path, facts):
        if path.name == name:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write_json(path, facts)

    monkeypatch.setattr(states, "write_json", refuse)


def test_disk_that_fills_up_while_the_model_runs(tmp_path, monkeypatch):
    _write(tmp_path / "a", only=2)
    with monkeypatch.context() as patch:
        _full_disk(patch, "progress.json")
        with pytest.raises(ExtractError, match=r"is full: free some space .* after sentence 4"):
            _write(tmp_path / "a")
    writer = _write(tmp_path / "a", only=0)[0]
    assert writer.rows_done == 4
    _write(tmp_path / "a")[0].finish()
    _write(tmp_path / "b")[0].finish()
    for path in (tmp_path / "b").iterdir():
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes()


def test_disk_that_is_full_at_the_very_end(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        _full_disk(patch, "index.json")
        with pytest.raises(ExtractError, match=r"is full: free some space .* after sentence 7"):
            _write(tmp_path)[0].finish()
    writer, whole = _write(tmp_path, only=0)
    assert writer.rows_done == 7
    writer.finish()
    assert torch.equal(HiddenStates.open(tmp_path)[:, 1], whole[1])


def test_interrupted_while_files_get_their_names(tmp_path, monkeypatch):
    replace = Path.replace

    def interrupt(path, target):
        if path.name == "layer_02.safetensors.partial":
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            _write(tmp_path)[0].finish()
    writer, whole = _write(tmp_path, only=0)
    assert writer.rows_done == 7
    writer.finish()
    assert torch.equal(HiddenStates.open(tmp_path)[:, 0], whole[0])


def test_states_beyond_the_memory():
    with pytest.raises(ExtractError, match="do not fit the memory: leave out --no-save"):
        StatesWriter(None, LAYERS, (10**7, 10**5, 10**5), torch.float32, {})


@pytest.mark.parametrize("content", ["[]", "{}", '{"files": []}', '{"files": {}}'])
def test_index_that_is_not_ours(tmp_path, content):
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(ExtractError, match=r"index\.json cannot be read .* --force"):
        HiddenStates.open(tmp_path)


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExtractError, match="cannot be written"):
        _write(tmp_path / "file" / "states")


def test_progress_is_readable(tmp_path):
    _write(tmp_path, only=1)
    assert json.loads((tmp_path / "progress.json").read_text())["rows_done"] == 2


def test_layers_are_read_one_at_a_time():
    with pytest.raises(IndexError, match="one layer at a time"):
        _write(None)[0].finish()[:, 0:2]
