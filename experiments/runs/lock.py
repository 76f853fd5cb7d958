"""Who may write what in a run's folder at the same time.

Three kinds of locks, all files of which the operating system lets go however a process ends:

- ``.lock`` in the run's folder is shared by all that use its states, and held alone by who reads
  the model, replaces or removes;
- ``.lock`` in the folder of an analysis is held by who writes its results;
- ``.manifest.lock`` is held for the moment in which the manifest is read and written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import BinaryIO

from extract import ExtractError, UsageError
from gpu_smds._files import FilesError, Folder

LOCK, MANIFEST_LOCK = ".lock", ".manifest.lock"
#: Seconds after which a manifest that others hold is given up: writing one takes milliseconds.
_PATIENCE = 60.0
#: Seconds in which a process that takes a lock shares it.
_MOMENT = 0.5
#: What holders write, a line each; left there by one that was killed.
_HOLDERS = re.compile(rb"(process \d+ on [^\n]{0,255}\n)*")
_MOST = 1 << 14


@contextmanager
def held(path: Path, shared: bool, instead: str) -> Iterator[Folder]:
    """Hold a run's folder, alone or with others that only use its states.

    It is created if need be. Its file ``.lock`` names the processes that hold it, and is empty
    afterwards. ``instead`` is what the user may do where another one holds it.

    Raises
    ------
    ExtractError
        Another process holds it, or the folder cannot be written.
    UsageError
        Its ``.lock`` is not one of ours.
    """
    try:
        folder = Folder.at(path, create=True)
    except OSError as error:
        raise ExtractError(
            f"{path} cannot be written ({error.strerror}): choose another --out"
        ) from error
    except FilesError as error:
        raise UsageError(str(error)) from error
    with folder, only_one(folder, path, instead, shared):
        yield folder


@contextmanager
def only_one(folder: Folder, path: Path, instead: str, shared: bool = False) -> Iterator[None]:
    """Hold the ``.lock`` of a folder; ``instead`` is what the user may do where it is taken.

    Raises
    ------
    ExtractError
        Another process holds it; the message names the process. Or it cannot be written.
    UsageError
        It is not one of ours.
    """
    with _opened(folder, LOCK, path) as file:
        _take(file, path, instead, shared)
        _write_holders(file, folder, path, _own_line(), shared)
        try:
            yield
        finally:
            # The folder may be shared with others, whom the name of this machine does not concern.
            with contextlib.suppress(OSError, ExtractError):
                _write_holders(file, folder, path, b"", shared)


@contextmanager
def for_a_moment(folder: Folder, path: Path) -> Iterator[None]:
    """Hold the lock of the manifest, after others that hold it for a moment."""
    with _opened(folder, MANIFEST_LOCK, path) as file:
        deadline = monotonic() + _PATIENCE
        while not _locked(file, fcntl.LOCK_EX):
            if monotonic() > deadline:
                raise ExtractError(
                    f"{path / MANIFEST_LOCK} has been held by another process for "
                    f"{_PATIENCE:.0f} s: end it, and give the same command again"
                )
            sleep(0.005)
        yield


@contextmanager
def _opened(folder: Folder, name: str, path: Path) -> Iterator[BinaryIO]:
    try:
        with contextlib.suppress(FileExistsError):
            folder.create(name).close()
        file = folder.open(name, write=True)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ExtractError(
            f"{path} cannot be written ({error.strerror}): choose another --out"
        ) from error
    except FilesError as error:
        raise UsageError(str(error)) from error
    with file:
        yield file


def _take(file: BinaryIO, path: Path, instead: str, shared: bool) -> None:
    """Take the lock, and forget holders that were killed."""
    content, deadline = _content(file, path), monotonic() + _MOMENT
    while True:
        if _locked(file, fcntl.LOCK_EX):
            file.truncate(0)
            # In between, another process may take it.
            if not shared or _locked(file, fcntl.LOCK_SH):
                return
        elif shared and _locked(file, fcntl.LOCK_SH):
            return
        if not shared or monotonic() > deadline:
            raise ExtractError(f"{path} is in use by {_listed(content)}: wait for it{instead}")
        sleep(0.01)  # another process may be about to share it


def _locked(file: BinaryIO, kind: int) -> bool:
    """Whether a lock could be had at once; on a file system without locks it always is."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _own_line() -> bytes:
    return f"process {os.getpid()} on {socket.gethostname()}\n".encode()


def _write_holders(file: BinaryIO, folder: Folder, path: Path, own: bytes, shared: bool) -> None:
    """Write the line of this process, or none, beside those of others that share the lock."""
    with for_a_moment(folder, path) if shared else contextlib.nullcontext():
        file.seek(0)
        lines = file.read(_MOST).splitlines(keepends=True) if shared else []
        content = b"".join(line for line in lines if line != _own_line()) + own
        file.seek(0)
        file.truncate(0)
        file.write(content)


def _listed(content: bytes) -> str:
    lines = content.decode("utf-8", "replace").splitlines()
    return " and ".join(lines) or "another process"


def check_lock(folder: Folder, path: Path) -> None:
    """Raise UsageError where the ``.lock`` of a folder is not one of ours."""
    if folder.kind(LOCK) is not None:
        with _opened(folder, LOCK, path) as file:
            _content(file, path)


def _content(file: BinaryIO, path: Path) -> bytes:
    content = file.read(_MOST)
    if not is_lock(content):
        raise UsageError(
            f"{path / LOCK} is not a lock of gpu-smds, and is not replaced: choose another --out"
        )
    return content


def holder_of(path: Path) -> str | None:
    """Who holds the ``.lock`` of a folder, such as "process 7 on host"; None where nobody does."""
    try:
        with Folder.at(path) as folder, folder.open(LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with Folder.at(path) as folder:
            return _listed(folder.head(LOCK, _MOST))
    except (OSError, FilesError):
        return None
    return None


def is_lock(content: bytes) -> bool:
    """Whether a file's content is that of a lock of ours."""
    return _HOLDERS.fullmatch(content) is not None
