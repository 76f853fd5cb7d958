"""A folder as people have them, full of files that are not ours, and commands to spare them."""

import os
import random
import stat
from pathlib import Path

PROMPTS = "text,label,Color\n" + "".join(
    f"I saw a {color} house on day {i}.,{i},{color}\n"
    for i, color in enumerate(["red", "blue"] * 6)
)
_PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256))

#: Foreign files: path → content. Many have the very names that a run writes.
FILES = {
    "notes.txt": b"mine",
    "comparison.png": _PICTURE,
    "data/prompts.csv": PROMPTS.encode(),
    "data/more.jsonl": b'{"text": "I like red", "label": 1}\n',
    "data/mydata.csv": b"a,b\n1,2\n",
    "data/results/independent.csv": b"layer,position\n1,2\n",
    "p/results/mydata.csv": b"a,b\n1,2\n",
    "p/results/independent.safetensors": b"mine",
    "p/figures/photo.png": _PICTURE,
    "p/figures/independent.png": _PICTURE,
    "p/states/layer_00.safetensors": b"mine",
    "p/states/old.partial": b"mine",
    "manifested/manifest.json": b'{"name": "a web application"}',
    "manifested/index.html": b"<html>",
    "locked/.lock": b"somebody else's lock\n",
    "hidden/.independent.csv.partial": b"mine",
    "hidden/.manifest.json.0123456789abcdef.partial": b"not ours",
    "photos/2026/photo.png": _PICTURE,
    "runs/keep.txt": b"mine",
    "a file": b"mine",
    "results/summary.json": b"{}",
}
#: Links: path → where they lead.
LINKS = {
    "to-data": "data",
    "to-file": "notes.txt",
    "dangling": "nowhere",
    "linked/results": "../photos",
    "linked/.lock": "../notes.txt",
    "lock-only/.lock": "../notes.txt",
}
#: Empty folders, which a run may take.
EMPTY = ("empty", "empty/inner", "only-lock")


def make_home(folder: Path) -> None:
    """Fill a folder with what is not ours."""
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name, target in LINKS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    for name in EMPTY:
        (folder / name).mkdir(exist_ok=True)
    (folder / "only-lock" / ".lock").touch()
    (folder / "data" / "private.csv").write_bytes(b"secret")
    (folder / "data" / "private.csv").chmod(0o600)
    os.mkfifo(folder / "p" / "pipe")


def snapshot(folder: Path) -> dict[str, tuple]:
    """Kind, mode and content of all that is there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        content = None
        if stat.S_ISLNK(kind):
            content = os.readlink(path)
        elif stat.S_ISREG(kind):
            content = path.read_bytes()
        found[str(path.relative_to(folder))] = (kind, stat.S_IMODE(status.st_mode), content)
    return found


def harm(before: dict[str, tuple], after: dict[str, tuple]) -> list[str]:
    """What a command did to files that were there, or left among them.

    New things may be in folders that were empty or are new, and in those that hold a manifest.
    """
    found = []
    for name, was in before.items():
        if name == "only-lock/.lock" and name in after:
            continue  # an empty lock is anybody's; a killed process leaves its number there
        if after.get(name) != was:
            found.append(f"{name} was {'changed' if name in after else 'removed'}")
    taken = {str(Path(name).parent) for name in before if name != "only-lock/.lock"}
    inside = {folder for folder in taken if folder not in EMPTY}
    for name in after.keys() - before.keys():
        parent = str(Path(name).parent)
        is_folder = stat.S_ISDIR(after[name][0])
        picture = Path(name).name.startswith("comparison") and name.endswith(".png")
        # A new run's folder beside what is there is what was asked for.
        if parent in inside and not is_folder and not picture:
            found.append(f"{name} was left in a folder of others")
    return found


_OUTS = (
    *(None, "", ".", "..", "data", "p", "p/results", "p/figures", "photos", "photos/2026"),
    *("manifested", "locked", "hidden", "runs", "a file", "notes.txt", "to-data", "to-file"),
    *("dangling", "linked", "lock-only", "empty", "empty/inner", "only-lock", "new", "new/deep/er"),
    *("data/new", "p/new", "new run", "results", "to-data/new", "data/../p", "./p/", "new"),
    *("-", "~", "a\nb", "p\x1b[31m"),
)
_COMMANDS = (
    *("all", "all", "extract", "independent", "similarity", "reuse", "rigid", "significance"),
    *("transfer", "discover", "figures"),
)
_FOLDERS = (".", ".", ".", "data", "p", "new", "empty", "photos", "runs")


def random_command(draw: random.Random, models: list[Path]) -> tuple[list[str], str]:
    """Arguments of a command that somebody may give by mistake, and the folder it is given in."""
    some = [draw.choice(models)] if draw.random() < 0.85 else list(models)
    arguments = [draw.choice(_COMMANDS)]
    for model in some:
        arguments += ["--model", str(model)]
    out = draw.choice(_OUTS)
    if out is not None:
        arguments += ["--out", out]
    if draw.random() < 0.4:
        arguments.append(draw.choice(["--force", "--force-states"]))
    if draw.random() < 0.2:
        # Also names that lead elsewhere.
        arguments += [
            "--as",
            draw.choice(["mine", "..", "../photos", "results", "a/b", "", "x" * 99]),
        ]
    if draw.random() < 0.25:
        # Also the sentences of a run, for that very run.
        prompts = (
            "data/prompts.csv",
            "prompts.csv",
            "data/mydata.csv",
            "new/prompts.csv",
            "p/pipe",
        )
        arguments += ["--prompts", draw.choice(prompts)]
    else:
        arguments += ["--samples", draw.choice(["12", "12", "12", "14"])]
    if draw.random() < 0.7:
        arguments += ["--permutations", "3"] if arguments[0] in ("all", "significance") else []
    if arguments[0] == "discover":
        arguments += ["--shuffles", "0", "--manifolds", "circular,euclidean"]
    for options, share in (
        (("--protocol", "clean"), 0.15),
        (("--no-save",), 0.1),
        (("--layers", "0,2"), 0.3),
        (("--positions", "raw"), 0.05),
        (("--dry-run",), 0.05),
        (("--batch-size", "1"), 0.1),
        (("--csv-as-is",), 0.1),
    ):
        if draw.random() < share:
            arguments += options
    return arguments, draw.choice(_FOLDERS)
