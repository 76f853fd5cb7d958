"""Run folders as somebody may send them: a sound one that was changed, and what is to be said.

A later format of the folder joins with a row here.
"""

import json
import os
from pathlib import Path


def _manifest(change):
    """Change the manifest, given as JSON values."""

    def spoil(folder: Path, victim: Path) -> None:
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps(change(manifest) or manifest))

    return spoil


def _lists(key):
    return _manifest(lambda m: m["files"].update({key: {"sha256": "0" * 64}}))


def _link(name):
    """Put a link to a file of the victim's in the place of one of the run."""

    def spoil(folder: Path, victim: Path) -> None:
        path = folder / name
        path.unlink(missing_ok=True)
        path.symlink_to(victim / "mine.txt")

    return spoil


def _link_folder(name):
    def spoil(folder: Path, victim: Path) -> None:
        path = folder / name
        for file in path.rglob("*"):
            if file.is_file():
                file.unlink()
        for inner in sorted(path.rglob("*"), reverse=True):
            inner.rmdir()
        path.rmdir()
        path.symlink_to(victim)

    return spoil


def _hard_link(name):
    def spoil(folder: Path, victim: Path) -> None:
        path = folder / name
        path.unlink(missing_ok=True)
        os.link(victim / "mine.txt", path)

    return spoil


def _pipe(name):
    def spoil(folder: Path, victim: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return spoil


def _content(name, content):
    return lambda folder, victim: (folder / name).write_bytes(content)


def _index(change):
    def spoil(folder: Path, victim: Path) -> None:
        path = folder / "states" / "index.json"
        index = json.loads(path.read_text())
        path.write_text(json.dumps(change(index) or index))
        # Whoever forges one thing can forge the other.
        import hashlib

        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["states_index"] = hashlib.sha256(path.read_bytes()).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return spoil


def _rename_in_index(new):
    def change(index):
        files = index["files"]
        index["files"] = {(new if i == 0 else n): f for i, (n, f) in enumerate(files.items())}

    return change


def _layer(change):
    """Change the header of a layer's file, and what the index says of the file."""

    def spoil(folder: Path, victim: Path) -> None:
        import hashlib

        path = folder / "states" / "layer_01.safetensors"
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        text = change(header)
        text = text if isinstance(text, bytes) else json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
        facts = {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        _index(lambda index: index["files"][path.name].update(facts))(folder, victim)

    return spoil


def _shape(shape):
    def change(header):
        header["hidden_states"]["shape"] = shape

    return change


def _offsets(*offsets):
    def change(header):
        header["hidden_states"]["data_offsets"] = list(offsets)

    return change


_DEEP = b'{"a":' * 1_000_000

#: Name → what is done to a sound folder, and what the one line says.
REFUSED = {
    "a lock that leads elsewhere": (_link(".lock"), r"\.lock is a link"),
    "a lock that is another file too": (_hard_link(".lock"), r"hard link"),
    "a lock that is a pipe": (_pipe(".lock"), r"\.lock is a special file"),
    "a manifest's lock that leads elsewhere": (
        _link(".manifest.lock"),
        r"\.manifest\.lock is a link",
    ),
    "a manifest's lock that is a pipe": (_pipe(".manifest.lock"), "lock is a special file"),
    "an analysis' lock that leads elsewhere": (_link("results/.lock"), r"\.lock is a link"),
    "an analysis' lock that is another file too": (_hard_link("results/.lock"), "hard link"),
    "somebody else's lock of an analysis": (
        _content("results/.lock", b"precious\n"),
        "not a lock of gpu-smds",
    ),
    "settings that lead elsewhere": (_link("run.toml"), r"run\.toml is a link"),
    "somebody else's lock": (_content(".lock", b"precious\n"), "not a lock of gpu-smds"),
    "a manifest that leads elsewhere": (_link("manifest.json"), "manifest.json is a link"),
    "a manifest that is a pipe": (_pipe("manifest.json"), "manifest.json is a special file"),
    "a manifest of nothing": (_content("manifest.json", b""), "manifest.json is damaged"),
    "a manifest that is deep": (_content("manifest.json", _DEEP), "manifest.json is damaged"),
    "a manifest in UTF-16": (_content("manifest.json", "{}".encode("utf-16")), "damaged"),
    "a manifest that lists what no run writes": (_lists("mydata.csv"), "which no run writes"),
    "a manifest that lists a path above": (_lists("../victim/mine.txt"), "which no run writes"),
    "a manifest that lists an absolute path": (_lists("/etc/passwd"), "which no run writes"),
    "a manifest that lists a path inside": (_lists("results/../x.csv"), "which no run writes"),
    "a manifest that lists a line break": (_lists("prompts.csv\n"), "which no run writes"),
    "a manifest without words": (_manifest(lambda m: m["positions"].pop("words")), "damaged"),
    "a source beyond the words": (
        _manifest(lambda m: m["positions"]["landmarks"].update(source=10**6)),
        "landmarks are not among its words",
    ),
    "a special token beyond the words": (
        _manifest(lambda m: m["positions"]["named"].update({"<s>": 10**6})),
        "words are at positions that it lacks",
    ),
    "a chat template that is a number": (
        _manifest(lambda m: m.update(chat={"before": 5, "after": "", "template": "0" * 64})),
        "chat.before: Input should be",
    ),
    "a number for a word": (_manifest(lambda m: m["positions"]["words"].append(1)), "damaged"),
    "a name with line breaks": (
        _manifest(lambda m: m["identity"]["states"].update({"a\u2028b\x1dc\nd": [1]})),
        r"identity\.states\.a b c d",
    ),
    "a shape that is a number": (_manifest(lambda m: m.update(shape=5)), "shape: Input should be"),
    "a dtype that is none": (_manifest(lambda m: m.update(dtype="evil")), "dtype: Input should be"),
    "a commit that is a number": (
        _manifest(lambda m: m["model"].update(commit=5)),
        "model.commit: Input should be",
    ),
    "results that lead elsewhere": (_link_folder("results"), "results is a link"),
    "figures that lead elsewhere": (_link_folder("figures"), "figures is a link"),
    "states that lead elsewhere": (_link_folder("states"), "states is a link"),
    "a result that leads elsewhere": (_link("results/rigid.csv"), r"rigid\.csv is a link"),
    "a figure that leads elsewhere": (_link("figures/rigid.png"), r"rigid\.png is a link"),
    "a result that is a pipe": (_pipe("results/rigid.csv"), "is a special file"),
    "states of a layer elsewhere": (_link("states/layer_01.safetensors"), "is a link"),
    "an index elsewhere": (_link("states/index.json"), "is a link"),
    "an index of other states": (_content("states/index.json", b"{}"), "no index of states"),
    "an index that is deep": (_content("states/index.json", _DEEP), r"index.json cannot be read"),
    "an index with a path": (_index(_rename_in_index("../../victim/mine.txt")), "not the name"),
    "an index with an absolute path": (_index(_rename_in_index("/etc/passwd")), "not the name"),
    "an index of fewer layers": (
        _index(lambda index: index["files"].pop("layer_03.safetensors") and None),
        "is of other states",
    ),
    "an index without sizes": (
        _index(lambda index: index["files"]["layer_01.safetensors"].pop("bytes")),
        "no index of states",
    ),
    "a layer with another number": (
        _index(lambda index: index["files"]["layer_01.safetensors"].update(layer=7)),
        "is said to be layer 7",
    ),
    "a layer that was cut": (_content("states/layer_01.safetensors", b"x"), "cut short"),
    "a layer of another shape": (_layer(_shape([12, 33, 16])), "another size than its shape"),
    "a layer with its axes exchanged": (_layer(_shape([12, 32, 33])), "not of one extraction"),
    "a layer of a negative shape": (_layer(_shape([-12, -33, 32])), "not whole numbers"),
    "a layer of true samples": (_layer(_shape([True, 33, 384])), "not whole numbers"),
    "a layer of a huge shape": (_layer(_shape([2**62, 33, 32])), "another size than its shape"),
    "negative offsets": (_layer(_offsets(-8, 50680)), "not whole numbers"),
    "offsets beyond the file": (_layer(_offsets(50688, 101376)), "another size than its shape"),
    "a header that is deep": (_layer(lambda header: _DEEP), "is not a file of hidden states"),
    "a header that is a list": (_layer(lambda header: b"[]"), "is not a file of hidden states"),
    "metadata that are numbers": (
        _layer(lambda header: header["__metadata__"].update(layer=1)),
        "metadata are not text",
    ),
}

#: Files of a run that are noticed when they are edited, and when they are removed.
EDITED = (
    *("run.toml", "prompts.csv", "results/independent.csv", "results/independent.safetensors"),
    *("results/similarity.csv", "results/circle.safetensors", "results/summary.json"),
    *("results/significance.csv", "figures/rigid.png", "results/summary.txt"),
)
REMOVED = (
    *("run.toml", "prompts.csv", "results/independent.csv", "results/rigid.safetensors"),
    *("results/circle.safetensors", "results/significance.csv", "figures/circle.png"),
)
