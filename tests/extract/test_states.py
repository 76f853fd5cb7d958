import json
import shutil

import numpy as np
import pytest
import torch
from safetensors import safe_open

from extract import ExtractError, HiddenStates
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
    for states in (writer.finish(), HiddenStates.open(tmp_path)):
        assert states.shape == (7, 3, 4, 3)
        assert states.dtype == dtype
        assert states.layers == LAYERS
        for i in range(3):
            assert torch.equal(states[:, i, 1:3], whole[i][:, 1:3])
            assert torch.equal(states[:, i, 2], whole[i][:, 2])
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
