import numpy as np
import pytest
import torch
from safetensors import safe_open

from extract import ExtractError, HiddenStates
from extract.writer import StatesWriter

LAYERS = (0, 2, 5)
SHAPE = (7, 4, 3)


def _write(folder, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    whole = [torch.randn(SHAPE, generator=generator).to(dtype) for _ in LAYERS]
    plan = [np.array([4, 0, 1]), np.array([6, 5, 2, 3])]
    writer = StatesWriter(folder, LAYERS, SHAPE, dtype, {"model": "tiny"}, plan)
    for rows in plan:
        writer.write(rows, [layer[rows] for layer in whole])
    states, saved = writer.finish()
    saved()
    return states, whole


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_written_and_read(tmp_path, dtype):
    states, whole = _write(tmp_path, dtype)
    for found in (states, HiddenStates.open(tmp_path)):
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


@pytest.mark.parametrize("damage", ["short", "flipped", "missing", "index", "header"])
def test_damaged_files_are_named(tmp_path, damage):
    _write(tmp_path)
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
    with pytest.raises(ExtractError, match="remove the states") as error:
        HiddenStates.open(tmp_path)
    assert named in str(error.value)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("content", ["[]", "{}", '{"files": []}', '{"files": {}}'])
def test_index_that_is_not_ours(tmp_path, content):
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(ExtractError, match=r"index\.json cannot be read .* remove the states"):
        HiddenStates.open(tmp_path)


def test_layers_are_read_one_at_a_time():
    with pytest.raises(IndexError, match="one layer at a time"):
        _write(None)[0][:, 0:2]
