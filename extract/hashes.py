"""SHA-256 of large files, remembered in the user's cache for as long as the files stay the same."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Self

from gpu_smds._files import File, Folder

#: First bytes of the cache, which tell it from any other file.
_HEAD = b'{"kind": "gpu_smds.hashes", '
#: Files that are remembered: those that were hashed last.
_MOST = 512
_MOST_BYTES = 1 << 22
#: A file that changed less than this before it was hashed may change again at the same time, as
#: some disks count it.
_SETTLED_NS = 2_000_000_000
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileState:
    """What changes where a file's content changes.

    Attributes
    ----------
    device, inode, size, mtime_ns, ctime_ns
        As the system gives them. Programs cannot set the time of the last change (ctime).
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, file: Path | int) -> Self:
        """State of a path or of an open file."""
        found = os.stat(file)
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(frozen=True)
class Hashed:
    """A file as it was when it was hashed.

    Attributes
    ----------
    state
        Of the file before its first byte was read.
    sha256
        Of its content, in hexadecimal digits.
    """

    state: FileState
    sha256: str


def hash_files(files: Iterable[Path]) -> dict[Path, Hashed]:
    """SHA-256 of whole files, several at a time; those that have not changed are remembered.

    Raises
    ------
    OSError
        A file cannot be read.
    """
    paths = list(files)
    known = _remembered()
    found: dict[Path, Hashed] = {}
    for path in paths:
        hashed = known.get(os.path.abspath(path))
        if hashed is not None and hashed.state == FileState.of(path):
            found[path] = hashed
    # The largest first, so that no thread is left alone with it at the end.
    rest = sorted(
        (path for path in paths if path not in found), key=lambda path: -path.stat().st_size
    )
    if not rest:
        return found
    began = time.time_ns()
    threads = min(len(rest), len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(threads) as pool:
        new = dict(zip(rest, pool.map(_hashed, rest), strict=True))
    settled = {
        os.path.abspath(path): hashed
        for path, hashed in new.items()
        if began - max(hashed.state.mtime_ns, hashed.state.ctime_ns) > _SETTLED_NS
    }
    if settled:
        _remember(known, settled)
    return found | new


def digest(stream: BufferedReader | RawIOBase) -> str:
    """SHA-256 of what is left to read in an open file."""
    return hashlib.file_digest(stream, "sha256").hexdigest()


def _hashed(path: Path) -> Hashed:
    with path.open("rb") as stream:
        state = FileState.of(stream.fileno())
        return Hashed(state, digest(stream))


def _cache_path() -> Path | None:
    """Where the hashes are remembered; None where the user has no home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # The specification of that variable ignores relative paths.
        cache = Path(given) if os.path.isabs(given) else Path.home() / ".cache"
    except RuntimeError:
        return None
    return cache / "gpu_smds" / "hashes.json"


def _remembered() -> dict[str, Hashed]:
    """The hashes in the cache, by absolute path; nothing of one that cannot be relied upon."""
    path = _cache_path()
    # FilesError is a ValueError, as is the error of what is not JSON; nesting exhausts the stack.
    with contextlib.suppress(OSError, ValueError, RecursionError):
        if path is not None and _only_mine(path.parent) and _only_mine(path):
            content = File.at(path).read(_MOST_BYTES)
            entries = json.loads(content).get("files") if _ours(content) else None
            if isinstance(entries, dict):
                read = ((name, _read_entry(entry)) for name, entry in entries.items())
                return {name: hashed for name, hashed in read if hashed is not None}
    return {}


def _remember(known: dict[str, Hashed], new: dict[str, Hashed]) -> None:
    """Write the cache with new hashes and without those of files that are not the same now."""
    path = _cache_path()
    if path is None:
        return
    kept = {name: hashed for name, hashed in known.items() if _unchanged(name, hashed)}
    for name in new:
        kept.pop(name, None)
    last = list((kept | new).items())[-_MOST:]
    entries = {name: [*astuple(hashed.state), hashed.sha256] for name, hashed in last}
    content = _HEAD + b'"files": ' + json.dumps(entries).encode() + b"}\n"
    # The cache only saves time, so what forbids it (a full disk, another's file) is no error.
    with contextlib.suppress(OSError, ValueError):
        folder = Folder.at(path.parent, create=True, mode=0o700)
        if _only_mine(path.parent):
            File(folder, path.name).write(content, ours=_ours, mode=0o600)


def _unchanged(name: str, hashed: Hashed) -> bool:
    try:
        return FileState.of(Path(name)) == hashed.state
    except (OSError, ValueError):
        return False


def _ours(content: bytes) -> bool:
    return content == b"" or content.startswith(_HEAD)


def _only_mine(path: Path) -> bool:
    """Whether nobody else can have written there."""
    found = path.stat(follow_symlinks=False)
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _read_entry(entry: object) -> Hashed | None:
    """An entry of the cache; None where it has another form."""
    if not isinstance(entry, list) or len(entry) != 6:
        return None
    *numbers, sha256 = entry
    if not all(type(number) is int for number in numbers):
        return None
    if not isinstance(sha256, str) or _SHA256.fullmatch(sha256) is None:
        return None
    return Hashed(FileState(*numbers), sha256)


def combined(hashes: Sequence[tuple[str, str]]) -> str:
    """One SHA-256 of files by their names and their own SHA-256."""
    lines = [f"{sha256} {name!r}\n" for name, sha256 in sorted(hashes)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
