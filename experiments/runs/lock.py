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
#: What a holder writes; left there by one that was killed.
_HOLDER = re.compile(rb"(process \d+ on [^\n]{0,255}\n)?")


@contextmanager
def held(path: Path, shared: bool) -> Iterator[Folder]:
    """Hold a run's folder, alone or with others that only use its states; it is created if need be.

    The file ``.lock`` names a process while it holds the folder, and is empty afterwards.

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
    with folder, only_one(folder, path, "choose another --out", shared):
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
        try:
            yield
        finally:
            # The folder may be shared with others, whom the name of this machine does not concern.
            with contextlib.suppress(OSError):
                file.truncate(0)


@contextmanager
def for_a_moment(folder: Folder, path: Path) -> Iterator[None]:
    """Hold the lock of the manifest, after others that hold it for a moment."""
    with _opened(folder, MANIFEST_LOCK, path) as file:
        deadline = monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if monotonic() > deadline:
                    raise ExtractError(
                        f"{path / MANIFEST_LOCK} has been held by another process for "
                        f"{_PATIENCE:.0f} s: end it, and give the same command again"
                    ) from error
                sleep(0.005)
                continue
            except OSError:
                pass  # a file system without locks
            break
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
    content = _content(file, path)
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = content.decode("utf-8", "replace").strip() or "another process"
        raise ExtractError(f"{path} is in use by {holder}: wait for it, or {instead}") from error
    except OSError:
        pass  # a file system without locks
    file.seek(0)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    file.flush()


def check_lock(folder: Folder, path: Path) -> None:
    """Raise UsageError where the ``.lock`` of a folder is not one of ours."""
    if folder.kind(LOCK) is not None:
        with _opened(folder, LOCK, path) as file:
            _content(file, path)


def _content(file: BinaryIO, path: Path) -> bytes:
    content = file.read(1 << 12)
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
            content = folder.head(LOCK, 1 << 12)
        held_by = content.decode("utf-8", "replace").strip()
        return held_by if is_lock(content) and held_by else "another process"
    except (OSError, FilesError):
        return None
    return None


def is_lock(content: bytes) -> bool:
    """Whether a file's content is that of a lock of ours."""
    return _HOLDER.fullmatch(content) is not None
