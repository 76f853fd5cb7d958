import errno
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from tiny_disk import on_a_tiny_disk

from extract import ExtractError, HiddenStates
from extract.writer import PROGRESS, StatesWriter
from gpu_smds._files import Folder

LAYERS = (0, 2, 5)
SHAPE = (7, 4, 3)
# Rows come in any order.
PLAN = [np.array(rows) for rows in ([5, 0], [2, 6], [1, 4], [3])]
GENERATOR = torch.Generator().manual_seed(1)
WHOLE = [torch.randn(SHAPE, generator=GENERATOR) for _ in LAYERS]


def _writer(folder, layers=LAYERS, shape=SHAPE, dtype=torch.float32, model="tiny", **more):
    return StatesWriter(folder, layers, shape, dtype, {"model": model}, PLAN, **more)


def _write(folder, batches=4, **more):
    """Write batches that are not there yet; the caller finishes or closes."""
    found = _writer(folder, **more)
    for rows in PLAN[:batches]:
        if tuple(rows.tolist()) not in found.done:
            found.write(rows, [layer[rows] for layer in WHOLE])
    return found


def _finish(found):
    states, saved = found.finish()
    saved()
    return states


def _assert_whole(states):
    for i, layer in enumerate(WHOLE):
        assert torch.equal(states[:, i, :], layer)


def _content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("beside", [False, True])
def test_files_alone_and_kept_beside(tmp_path, beside):
    cpu = torch.device("cpu")
    _assert_whole(_finish(_write(tmp_path / "mapped")))
    kept = _finish(_write(tmp_path / "kept", keep=cpu, beside=beside))
    _assert_whole(kept)
    _assert_whole(_finish(_write(None)))
    assert _content(tmp_path / "mapped") == _content(tmp_path / "kept")
    _assert_whole(HiddenStates.open(tmp_path / "kept"))
    # What was kept is not what is in the files.
    kept.tensors[0][:] = 0
    _assert_whole(HiddenStates.open(tmp_path / "kept"))


@pytest.mark.parametrize("keep", [None, torch.device("cpu")])
@pytest.mark.parametrize("batches", [0, 1, 3, 4])
@pytest.mark.parametrize("beside", [False, True])
def test_an_interrupted_write_goes_on(tmp_path, batches, keep, beside):
    _write(tmp_path / "a", batches, beside=beside).close()
    assert not list((tmp_path / "a").glob("*.safetensors"))
    found = _writer(tmp_path / "a", keep=keep)
    assert found.done == {tuple(rows.tolist()) for rows in PLAN[:batches]}
    found.close()
    _assert_whole(_finish(_write(tmp_path / "a", keep=keep)))
    _finish(_write(tmp_path / "b"))
    assert _content(tmp_path / "a") == _content(tmp_path / "b")


def test_another_plan_starts_afresh(tmp_path):
    _write(tmp_path, 2).close()
    assert _writer(tmp_path).rows_done == 4
    assert _writer(tmp_path, model="other").rows_done == 0


def test_batches_of_another_plan_are_not_taken_up(tmp_path):
    _write(tmp_path, 2).close()
    plan = [np.array(rows) for rows in ([5, 0], [2], [6], [1, 4], [3])]
    found = StatesWriter(tmp_path, LAYERS, SHAPE, torch.float32, {"model": "tiny"}, plan)
    assert found.done == {(5, 0)}
    found.close()


def test_a_damaged_batch_is_read_again(tmp_path):
    _write(tmp_path, 3).close()
    partial = tmp_path / "layer_02.safetensors.partial"
    content = bytearray(partial.read_bytes())
    row = 4 * 3 * 4
    content[len(content) - row * (7 - 6) + 5] ^= 1  # a bit of row 6
    partial.write_bytes(content)
    found = _writer(tmp_path)
    assert found.damaged == 1
    assert found.done == {(5, 0), (1, 4)}
    found.close()
    _assert_whole(_finish(_write(tmp_path)))


@pytest.mark.parametrize("damage", ["torn", "flipped", "no numbers", "empty", "gone"])
def test_damaged_notes_cost_a_batch_and_no_more(tmp_path, damage):
    _write(tmp_path, 3).close()
    path = tmp_path / PROGRESS
    plan, first, second, third, end = path.read_text().split("\n")
    assert end == ""
    changed = {
        "torn": [plan, first, second, third[:20]],
        "flipped": [plan, first, second.replace("[2, 6]", "[2, 9]"), third, ""],
        "no numbers": [plan, first, second, '{"rows": "all"}', ""],
        "empty": [],
    }
    if damage == "gone":
        path.unlink()
    else:
        path.write_text("\n".join(changed[damage]))
    found = _writer(tmp_path)
    expected = {
        "torn": {(5, 0), (2, 6)},
        "flipped": {(5, 0), (1, 4)},
        "no numbers": {(5, 0), (2, 6)},
    }
    assert found.done == expected.get(damage, set())
    found.close()
    _assert_whole(_finish(_write(tmp_path)))


@pytest.mark.parametrize("damage", ["short", "header"])
def test_partial_files_of_another_kind_start_afresh(tmp_path, damage):
    _write(tmp_path, 3).close()
    partial = tmp_path / "layer_02.safetensors.partial"
    content = bytearray(partial.read_bytes())
    content[20] ^= 1
    partial.write_bytes(content if damage == "header" else content[:-1])
    _assert_whole(_finish(_write(tmp_path)))


def test_non_finite_states_are_counted(tmp_path):
    plan = [np.array([3, 1]), np.array([0, 2])]
    batch = torch.zeros(2, 2, 3, dtype=torch.float16)
    batch[1, 1] = torch.tensor([torch.inf, torch.nan, 1])
    arguments = (tmp_path, (0,), (4, 2, 3), torch.float16, {}, plan)
    first = StatesWriter(*arguments)
    first.write(plan[0], [batch])
    first.close()
    resumed = StatesWriter(*arguments)
    resumed.write(plan[1], [batch])
    _finish(resumed)
    np.testing.assert_array_equal(HiddenStates.open(tmp_path).nonfinite, [[0, 4]])


def test_a_batch_that_was_not_ended_is_forgotten(tmp_path):
    """Memory ran out in the middle of it, say."""
    found = _writer(tmp_path)
    found.begin(PLAN[0])
    found.take(0, torch.full((2, 4, 3), torch.nan))
    _finish_with(found)
    _assert_whole(HiddenStates.open(tmp_path))
    assert HiddenStates.open(tmp_path).nonfinite.sum() == 0


def _finish_with(found):
    for rows in PLAN:
        found.write(rows, [layer[rows] for layer in WHOLE])
    _finish(found)


def test_large_finite_states_are_finite(tmp_path):
    """Their sum is not."""
    found = _writer(tmp_path)
    for rows in PLAN:
        found.write(rows, [torch.full((len(rows), 4, 3), 3e38) for _ in LAYERS])
    assert _finish(found).nonfinite.sum() == 0


def test_layers_of_several_dtypes_are_as_wide_as_the_widest(tmp_path):
    found = _writer(tmp_path)
    for rows in PLAN:
        found.write(rows, [WHOLE[0][rows], WHOLE[1][rows].half(), WHOLE[2][rows]])
    assert _finish(found).dtype == torch.float32
    _assert_whole(_finish(_write(tmp_path)))


def test_full_disk_is_an_error_before_the_model_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(Folder, "free_bytes", lambda folder: 100)
    with pytest.raises(ExtractError, match=r"too full for .* --no-save"):
        _writer(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_keeps_the_states_that_would_be_replaced(tmp_path, monkeypatch):
    _finish(_write(tmp_path))
    before = _content(tmp_path)
    monkeypatch.setattr(Folder, "free_bytes", lambda folder: 100)
    with pytest.raises(ExtractError, match="too full"):
        _writer(tmp_path, shape=(70, 4, 3), model="other")
    assert _content(tmp_path) == before
    # What is replaced makes room for what replaces it.
    _writer(tmp_path, model="new!").close()


def test_a_file_that_may_not_grow(tmp_path):
    # A real limit: what posix_fallocate meets on a disk that fills up as it reserves.
    code = f"""
import resource, torch
from pathlib import Path
from extract import ExtractError
from extract.writer import StatesWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    StatesWriter(Path({str(tmp_path)!r}), (0, 1), (100, 100, 100), torch.float32, {{}}, [])
except ExtractError as error:
    print(error)
"""
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert "may not grow to 4,000,1" in printed
    assert "ulimit -f" in printed
    assert list(tmp_path.iterdir()) == []


_ON_A_TINY_DISK = """
import torch
import numpy as np
from pathlib import Path
from extract import ExtractError
from extract.writer import StatesWriter

plan = [np.arange(i, i + 10) for i in range(0, 2000, 10)]

def begin():
    folder = Path("disk/states")
    return StatesWriter(folder, (0, 1), (2000, 2, 64), torch.float32, {"model": "tiny"}, plan)

def write(found, batches):
    for rows in batches:
        if tuple(rows.tolist()) not in found.done:
            found.write(rows, [torch.full((10, 2, 64), float(rows[0]))] * 2)

try:
    found = begin()
    write(found, plan[:40])
    found.close()
    found = begin()
    print("taken up", found.rows_done)
    with Path("disk/other").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    try:
        write(found, plan)
        found.finish()
    finally:
        found.close()
except ExtractError as error:
    print(error)
    Path("disk/other").unlink(missing_ok=True)
    if Path("disk/states").is_dir() and list(Path("disk/states").iterdir()):
        found = begin()
        print("taken up", found.rows_done)
        write(found, plan)
        states, saved = found.finish()
        saved()
        expected = (torch.arange(2000) // 10 * 10).float()[:, None, None].expand(-1, 2, 64)
        print("whole", *(torch.equal(states[:, i, :], expected) for i in range(2)))
"""


def test_a_disk_that_is_too_small(tmp_path):
    printed = on_a_tiny_disk(tmp_path, "1m", _ON_A_TINY_DISK)
    assert "is too full for 0.00 GB of states" in printed
    assert "--no-save" in printed
    assert "taken up" not in printed


def test_a_disk_that_fills_up(tmp_path):
    printed = on_a_tiny_disk(tmp_path, "4m", _ON_A_TINY_DISK).splitlines()
    assert printed[0] == "taken up 400"
    assert "disk of disk/states is full: free some space and give the same command" in printed[1]
    after = int(printed[1].rsplit(" ", 1)[1])
    assert 400 <= after < 2000
    assert printed[2:] == [f"taken up {after}", "whole True True"]


def _full_disk(monkeypatch, method, name):
    """Make a way of writing fail for one file as on a full disk."""
    works = getattr(Folder, method)

    def refuse(folder, file, *content):
        if file == name:
            raise OSError(errno.ENOSPC, "No space left on device", file)
        return works(folder, file, *content)

    monkeypatch.setattr(Folder, method, refuse)


def test_disk_that_is_full_at_the_very_end(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        _full_disk(patch, "replace", "index.json")
        with pytest.raises(ExtractError, match=r"is full: free some space .* after sentence 7"):
            _finish(_write(tmp_path))
    found = _writer(tmp_path)
    assert found.rows_done == 7
    _assert_whole(_finish(found))
    _assert_whole(HiddenStates.open(tmp_path))


@pytest.mark.parametrize("beside", [False, True])
def test_disk_that_fills_up_while_the_model_runs(tmp_path, monkeypatch, beside):
    _write(tmp_path, 2).close()
    with monkeypatch.context() as patch:
        _full_disk(patch, "append", PROGRESS)
        with pytest.raises(ExtractError, match=r"is full: free some space .* after sentence 4"):
            _finish(_write(tmp_path, beside=beside))
    found = _writer(tmp_path)
    assert found.rows_done == 4
    found.close()
    _assert_whole(_finish(_write(tmp_path)))


def test_interrupted_while_files_get_their_names(tmp_path, monkeypatch):
    rename = Folder.rename

    def interrupt(folder, old, new):
        if old == "layer_02.safetensors.partial":
            raise KeyboardInterrupt
        return rename(folder, old, new)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "rename", interrupt)
        with pytest.raises(KeyboardInterrupt):
            _finish(_write(tmp_path))
    found = _writer(tmp_path)
    assert found.rows_done == 7
    _assert_whole(_finish(found))


def test_states_beyond_the_memory():
    with pytest.raises(ExtractError, match="do not fit the memory: leave out --no-save"):
        _writer(None, shape=(10**7, 10**5, 10**5))


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExtractError, match="cannot be written"):
        _writer(tmp_path / "file" / "states")


def test_notes_are_readable(tmp_path):
    _write(tmp_path, 1).close()
    plan, note = map(json.loads, (tmp_path / PROGRESS).read_text().splitlines())
    assert plan["shape"] == list(SHAPE)
    assert note["rows"] == [5, 0]
    assert set(note) == {"rows", "crc32", "nonfinite"}


@pytest.mark.cuda
def test_states_from_a_gpu(tmp_path):
    cuda = torch.device("cuda")
    found = _writer(tmp_path, keep=cuda, beside=True)
    for rows in PLAN:
        found.write(rows, [layer.to(cuda)[rows] for layer in WHOLE])
    states = _finish(found)
    assert states.tensors[0].device.type == "cuda"
    for kept in (states, HiddenStates.open(tmp_path)):
        for i, layer in enumerate(WHOLE):
            assert torch.equal(kept[:, i, :].cpu(), layer)


@pytest.mark.parametrize("name", ["index.json", "progress.jsonl", "layer_02.safetensors"])
def test_files_of_others_are_not_replaced(tmp_path, name):
    content = {
        "index.json": b'{"files": ["precious"], "nonfinite": 1}',
        "progress.jsonl": b'{"metadata": 1, "mine": true}\n',
        "layer_02.safetensors": b"precious",
    }[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ExtractError, match=r"is not of an extraction, and is not replaced"):
        _writer(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {name: content}
