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


INDICES = [
    *(0, -1, slice(5), slice(1, 4, 2), ..., [2, 0], (slice(None), 0), (0, 1), (0, 1, 1, 3)),
    *((..., 0), (slice(None), slice(1, 3)), (slice(None), slice(0, 0)), (slice(None), [2, 0])),
    *((slice(None), -1, slice(1, 2)), (0, ..., 1), ([0, 2], 1), (0, [1, 2]), (1, slice(None), 0)),
    *((slice(None), 0, [1, 0]), (slice(None), slice(None), 1, 0), (np.int64(1), np.int64(0))),
    *((slice(None), np.array([True, False, True])), (slice(None), slice(None, None, 2), 0)),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
@pytest.mark.parametrize("kept", [True, False])
def test_states_index_as_numpy_does(tmp_path, index, kept):
    states, arrays = _indexed(None if kept else tmp_path)
    assert states.shape == (4, 3, 2, 5)
    np.testing.assert_array_equal(states[index].numpy(), arrays[index])


@pytest.mark.parametrize(
    "index",
    [
        *((0, 0, 0, 0, 0), (..., ...), None, (0, None), ([0, 1], [0, 1])),
        *(4, (0, 3), (slice(None), [0], slice(None), 0), (0, slice(None), [1])),
    ],
    ids=str,
)
def test_what_is_no_index_is_one_line(index):
    with pytest.raises(IndexError) as error:
        _indexed(None)[0][index]
    assert len(str(error.value).splitlines()) == 1


def _indexed(folder):
    """States ``(4, 3, 2, 5)`` of numbers that are all different, and the same as an array."""
    arrays = np.arange(4 * 3 * 2 * 5, dtype=np.float32).reshape(4, 3, 2, 5)
    rows = np.arange(4)
    writer = StatesWriter(folder, (0, 1, 2), (4, 2, 5), torch.float32, {}, [rows])
    writer.write(rows, [torch.from_numpy(arrays[:, layer]) for layer in range(3)])
    states, saved = writer.finish()
    saved()
    return states, arrays
