"""Whole files are hashed, once, and the cache of their hashes cannot mislead or fail."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tolerances
import torch
from tiny_models import save_tiny

from extract import ExtractError, UsageError, hashes, sources
from extract.hashes import hash_files
from extract.models import load_config, load_model, pinned
from extract.sources import ModelSource, resolve_model

MB = 1 << 20


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gpu_smds" / "hashes.json"


@pytest.fixture
def digests(monkeypatch):
    """Names of the files that are read, in the order in which they are."""
    read = []

    def digest(stream):
        read.append(Path(stream.name).name)
        return hashlib.file_digest(stream, "sha256").hexdigest()

    monkeypatch.setattr(hashes, "digest", digest)
    return read


@pytest.fixture
def settled(monkeypatch):
    """Files that were just written count as old."""
    monkeypatch.setattr(hashes, "_SETTLED_NS", -(10**18))


def _folder(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(os.urandom(6 * MB))
    return folder


def _sha256(folder):
    return resolve_model(str(folder)).fingerprint()["sha256"]


def test_the_middle_of_a_large_file_counts(tmp_path):
    folder = _folder(tmp_path)
    weights = folder / "model.safetensors"
    before, sampled = _sha256(folder), resolve_model(str(folder)).sampled_fingerprint()
    with weights.open("r+b") as stream:
        stream.seek(2 * MB)
        stream.write(bytes(2 * MB))
    assert _sha256(folder) != before
    assert resolve_model(str(folder)).sampled_fingerprint() == sampled


def test_the_sampled_fingerprint_is_that_of_version_0_1_0(tmp_path):
    folder = _folder(tmp_path)
    (folder / "own.py").write_text("pass")
    weights = (folder / "model.safetensors").read_bytes()
    digest = hashlib.sha256(b"config.json 2 {}" + f"model.safetensors {6 * MB} ".encode())
    digest.update(weights[:MB] + weights[-MB:])
    found = resolve_model(str(folder)).sampled_fingerprint()
    assert found == {"kind": "folder", "model": "m", "sha256": digest.hexdigest()}
    hub = ModelSource("o--n", "hub", "o/n", None, "v1", commit="0" * 40)
    assert hub.sampled_fingerprint() == {"kind": "hub", "model": "o/n", "revision": "v1"}


COUNTS = ("tokenizer.model", "merges.txt", "chat_template.jinja", "own.py", "parts/own.py", "w.pt")
DOES_NOT = ("README.md", "LICENSE.txt", ".hidden.json", ".git/x.py", "a.png", "__pycache__/x.py")


@pytest.mark.parametrize("name", COUNTS + DOES_NOT)
def test_files_that_count(name, tmp_path):
    folder = _folder(tmp_path)
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    before = _sha256(folder)
    file.write_text("one")
    first = _sha256(folder)
    file.write_text("two")
    second = _sha256(folder)
    assert len({before, first, second}) == (3 if name in COUNTS else 1)


def test_what_is_no_regular_file_is_left_alone(tmp_path):
    folder = _folder(tmp_path)
    before = _sha256(folder)
    os.mkfifo(folder / "a.json")
    (folder / "b.json").symlink_to("nowhere")
    (folder / "c.json").symlink_to("/dev/zero")
    (folder / "d.json").mkdir()
    (folder / "loop").symlink_to(folder)
    assert _sha256(folder) == before


def test_a_link_is_the_file_it_leads_to(tmp_path):
    """As in the folders of the hub's cache."""
    folder = _folder(tmp_path)
    before = _sha256(folder)
    (folder / "model.safetensors").rename(tmp_path / "blob")
    (folder / "model.safetensors").symlink_to(tmp_path / "blob")
    assert _sha256(folder) == before
    (tmp_path / "blob").write_bytes(b"other")
    assert _sha256(folder) != before


def test_a_gguf_file_has_its_own_sha256(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    (tmp_path / "b.json").write_bytes(b"{}")
    source = resolve_model(str(tmp_path / "a.gguf"))
    sha256 = hashlib.sha256(b"GGUF").hexdigest()
    assert source.fingerprint() == {"kind": "gguf", "model": "a.gguf", "sha256": sha256}


def test_a_file_that_is_gone(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    source = resolve_model(str(tmp_path / "a.gguf"))
    (tmp_path / "a.gguf").unlink()
    with pytest.raises(ExtractError, match=r"^a cannot be read: "):
        source.fingerprint()


def test_hashes_are_remembered(tmp_path, digests, settled, cache):
    folder = _folder(tmp_path)
    first = _sha256(folder)
    assert sorted(digests) == ["config.json", "model.safetensors"]
    assert _sha256(folder) == first
    assert len(digests) == 2
    assert cache.stat().st_mode & 0o777 == 0o600
    assert cache.parent.stat().st_mode & 0o777 == 0o700
    # By where the file is, whatever path leads there.
    hash_files([Path(os.path.relpath(folder / "config.json"))])
    assert len(digests) == 2


def test_an_edit_that_keeps_size_and_time_is_noticed(tmp_path, digests, settled):
    folder = _folder(tmp_path)
    file = folder / "config.json"
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    before = _sha256(folder)
    file.write_text("[]")
    os.utime(file, ns=times)
    assert file.stat().st_mtime_ns == times[1]
    assert _sha256(folder) != before
    assert digests[2:] == ["config.json"]


def test_a_young_file_is_not_remembered(tmp_path, digests, monkeypatch, cache):
    folder = _folder(tmp_path)
    os.utime(folder / "config.json", (0, 0))  # only its ctime is young
    _sha256(folder)
    _sha256(folder)
    assert len(digests) == 4
    assert not cache.exists()
    late = time.time_ns() + 3 * 10**9
    monkeypatch.setattr(hashes.time, "time_ns", lambda: late)
    _sha256(folder)
    _sha256(folder)
    assert len(digests) == 6
    assert cache.exists()


def test_entries_that_do_not_match_are_dropped_and_few_are_kept(
    tmp_path, settled, cache, monkeypatch
):
    monkeypatch.setattr(hashes, "_MOST", 3)
    files = [tmp_path / f"{i}.bin" for i in range(5)]
    for i, file in enumerate(files):
        file.write_bytes(bytes([i]))
        if i == 2:
            files[1].unlink()
        hash_files([file])
        entries = json.loads(cache.read_text())["files"]
        if i == 2:
            assert list(entries) == [str(files[0]), str(files[2])]
    assert list(entries) == [str(file) for file in files[2:]]


DEEP = b"[" * 10**6
ENTRIES = (
    "null",
    "[]",
    '{"a": 1}',
    '{"FILE": [1, 2, 3, 4, 5, 6]}',
    '{"FILE": [1, 2, 3, 4, 5, "no sha"]}',
    '{"FILE": [true, 2, 3, 4, 1e999, "%s"]}' % ("0" * 64),
    '{"FILE": {"a": %s}}' % ("1" * 5000),
)


def _fifo(path):
    os.mkfifo(path)


def _link(path):
    (path.parent / "elsewhere").write_text("kept")
    path.symlink_to("elsewhere")


HOSTILE = {
    "garbage": lambda path: path.write_bytes(os.urandom(999)),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(hashes._HEAD),
    "no files": lambda path: path.write_bytes(hashes._HEAD + b'"a": 1}'),
    "nested": lambda path: path.write_bytes(DEEP),
    "nested inside": lambda path: path.write_bytes(hashes._HEAD + b'"files": ' + DEEP),
    "huge": lambda path: path.write_bytes(hashes._HEAD + bytes(5 * MB)),
    "fifo": _fifo,
    "link": _link,
    "folder": lambda path: path.mkdir(),
} | {
    entries[:50]: lambda path, entries=entries: path.write_bytes(
        hashes._HEAD + b'"files": ' + entries.encode() + b"}"
    )
    for entries in ENTRIES
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_cache_of_any_content_does_no_harm(what, tmp_path, cache, settled):
    folder = _folder(tmp_path)
    before = resolve_model(str(folder)).fingerprint()
    cache.unlink()
    HOSTILE[what](cache)
    kind = cache.lstat().st_mode
    for _ in range(2):
        assert resolve_model(str(folder)).fingerprint() == before
    if what in ("garbage", "fifo", "link", "folder"):  # not this program's, and not replaced
        assert cache.lstat().st_mode == kind
    if what == "link":
        assert (cache.parent / "elsewhere").read_text() == "kept"


def test_a_planted_hash_is_not_believed(tmp_path, cache, settled, digests):
    """Of a file or folder that others may write to."""
    folder = _folder(tmp_path)
    right = _sha256(folder)
    content = cache.read_text()
    file = str(folder / "config.json")
    planted = content.replace(hashlib.sha256(b"{}").hexdigest(), "0" * 64)
    assert planted != content
    assert file in planted
    for path, mode in ((cache, 0o666), (cache.parent, 0o777)):
        cache.write_text(planted)
        before = path.stat().st_mode
        path.chmod(mode)
        assert _sha256(folder) == right
        path.chmod(before)


@pytest.mark.parametrize("what", ["a file", "nothing at all", "relative"])
def test_nowhere_to_remember(what, tmp_path, monkeypatch, digests, settled):
    folder = _folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    if what == "a file":
        (tmp_path / "cache").write_text("x")
    elif what == "relative":
        monkeypatch.setenv("XDG_CACHE_HOME", "here")
        monkeypatch.setenv("HOME", str(tmp_path / "m" / "config.json"))
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nothing")
    assert _sha256(folder) == _sha256(folder)
    assert len(digests) == 4
    assert not (tmp_path / "here").exists()


def test_without_a_home(monkeypatch, tmp_path):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    folder = _folder(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(hashes.Path, "home", homeless)
    assert _sha256(folder) == _sha256(folder)


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch, settled, cache, digests):
    def full(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hashes.File, "write", full)
    folder = _folder(tmp_path)
    assert _sha256(folder) == _sha256(folder)
    assert len(digests) == 4
    assert not cache.exists()


@pytest.mark.smollm2
def test_the_embedded_smollm2_is_hashed_once(digests, settled):
    first, second = resolve_model("smollm2"), resolve_model("smollm2")
    assert first.fingerprint()["sha256"] == second.fingerprint()["sha256"] == sources.SMOLLM2_SHA256
    assert digests == [sources.SMOLLM2_FILE]


def _edit(folder):
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")


CHANGES = {
    "edited": _edit,
    "added": lambda folder: (folder / "more.json").write_text("{}"),
    "code": lambda folder: (folder / "own.py").write_text("pass"),
    "removed": lambda folder: (folder / "tokenizer_config.json").unlink(),
    "replaced": lambda folder: os.replace(_copy(folder), folder / "model.safetensors"),
}


def _copy(folder):
    (folder / "copy").write_bytes((folder / "model.safetensors").read_bytes())
    return folder / "copy"


@pytest.mark.parametrize("change", CHANGES)
def test_files_that_change_while_a_model_is_read(change, tmp_path):
    import torch

    folder = save_tiny(tmp_path / "m")
    source = resolve_model(str(folder))
    load_model(source, torch.device("cpu"))  # not asked for a fingerprint yet
    source.fingerprint()
    load_model(source, torch.device("cpu"))
    (folder / "README.md").write_text("does not count")
    load_model(source, torch.device("cpu"))
    CHANGES[change](folder)
    with pytest.raises(
        ExtractError, match=r"^the files of m changed while it was being read: give the command a"
    ):
        load_model(source, torch.device("cpu"))
    load_model(resolve_model(str(folder)), torch.device("cpu"))


FIRST, SECOND = "1" * 40, "2" * 40


def _on_the_hub(tmp_path, links):
    """A hand-made cache of the hub: two commits of one model, of which main is the first."""
    hub = tmp_path / "hub"
    repo = hub / "models--owner--name"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(FIRST)
    (repo / "refs" / "v2").write_text(SECOND)
    for commit, architecture in ((FIRST, "gpt2"), (SECOND, "llama")):
        made = save_tiny(tmp_path / architecture, architecture)
        snapshot = repo / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for file in made.iterdir():
            if links:
                blob = repo / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
                blob.parent.mkdir(exist_ok=True)
                blob.write_bytes(file.read_bytes())
                (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
            else:
                (snapshot / file.name).write_bytes(file.read_bytes())
    return hub


def _offline(code, hub):
    """What code prints where the hub cannot be reached."""
    home = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(hub.parent), "HF_HUB_CACHE": str(hub)}
    lines = (
        "import sys; sys.path.insert(0, '.')\n"
        "from extract.sources import resolve_model\n"
        "from extract.models import load_config, load_model, load_tokenizer, pinned\n"
        "from extract import ExtractError\n"
        "import torch, pathlib\n" + code
    )
    found = subprocess.run(
        [sys.executable, "-c", lines],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | home,
        cwd=Path(__file__).parents[2],
    )
    return found.stdout.splitlines()


@pytest.mark.parametrize("links", [True, False])
def test_a_model_of_the_hub_is_read_at_one_commit(links, tmp_path):
    hub = _on_the_hub(tmp_path, links)
    code = f"""
main = pathlib.Path({str(hub)!r}) / "models--owner--name/refs/main"
source = pinned(resolve_model("owner/name"))
print(source.fingerprint())
main.write_text("{SECOND}")  # the branch moves on in between
print(load_config(source).model_type)
print(type(load_model(source, torch.device("cpu"))).__name__, len(load_tokenizer(source)) > 0)
print(pinned(source) is source)
print(pinned(resolve_model("owner/name")).fingerprint())
print(pinned(resolve_model("owner/name", "v2")).fingerprint())
print(pinned(resolve_model("owner/name", "{FIRST}")).fingerprint()["commit"])
"""
    hub_id = {"kind": "hub", "model": "owner/name"}
    assert _offline(code, hub) == [
        str(hub_id | {"revision": None, "commit": FIRST}),
        "gpt2",
        "GPT2Model True",
        "True",
        str(hub_id | {"revision": None, "commit": SECOND}),
        str(hub_id | {"revision": "v2", "commit": SECOND}),
        FIRST,
    ]


def test_a_model_that_is_neither_in_the_cache_nor_to_be_reached(tmp_path):
    hub = _on_the_hub(tmp_path, False)
    code = f"""
import os
os.chdir({str(tmp_path)!r})
pathlib.Path("gpt2").mkdir(exist_ok=True)
for name, revision in (("owner/other", None), ("owner/name", "v3"), ("gpt2", None)):
    try:
        pinned(resolve_model(name, revision))
    except ExtractError as error:
        print(error)
"""
    other, revision, folder = _offline(code, hub)
    assert other.startswith("owner/other is not in the local cache and the model hub cannot be")
    assert revision.startswith("owner/name is not in the local cache and the model hub cannot be")
    assert folder.startswith("the folder gpt2 here has the name of a model of the hub: give it as ")


def test_local_sources_are_not_pinned(tmp_path):
    source = resolve_model(str(_folder(tmp_path)))
    assert pinned(source) is source


@pytest.mark.parametrize("name", ["sub/w.safetensors", ".hidden.safetensors"])
def test_weights_that_only_an_index_names_count(tmp_path, name):
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / name).write_bytes(b"one")
    index = {"weight_map": {"a": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    before = ModelSource("m", "folder", str(folder)).fingerprint()
    (folder / name).write_bytes(b"two")
    assert ModelSource("m", "folder", str(folder)).fingerprint() != before


@pytest.mark.parametrize("name", ["../w.safetensors", "/etc/passwd", "sub/../../w.safetensors"])
def test_weights_outside_of_the_folder_are_refused(tmp_path, name):
    folder = tmp_path / "model"
    folder.mkdir()
    index = {"weight_map": {"a": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ExtractError, match=r"names weights outside of the model's folder"):
        ModelSource("m", "folder", str(folder)).fingerprint()


def test_code_of_another_repository_is_refused(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    config = {"auto_map": {"AutoModel": "owner/other--modeling.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="takes code from another repository"):
        load_config(ModelSource("m", "folder", str(folder)), trust=True)


@pytest.mark.parametrize("damage", ["edited", "cut"])
def test_a_loaded_model_does_not_depend_on_its_files(tmp_path, damage):
    folder = save_tiny(tmp_path / "model", "llama")
    source = resolve_model(str(folder))
    model = load_model(source, torch.device("cpu"))
    before = [p.clone() for p in model.parameters()]
    path = folder / "model.safetensors"
    with path.open("r+b") as file:
        if damage == "cut":
            file.truncate(100)
        else:
            file.seek(5000)
            file.write(bytes(20000))
    for a, b in zip(model.parameters(), before, strict=True):
        tolerances.assert_close(a, b, 0)
