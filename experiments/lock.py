"""One process at a time in a run's folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from extract import ExtractError, UsageError
from gpu_smds._files import FilesError, Folder

LOCK = ".lock"
#: What a holder writes; left there by one that was killed.
_HOLDER = re.compile(rb"(process \d+ on [^\n]{0,255}\n)?")


@contextmanager
def only_one(path: Path) -> Iterator[Folder]:
    """Hold a run's folder; the operating system lets go of it however the process ends.

    The file ``.lock`` names the process while it holds the folder, and is empty afterwards.

    Raises
    ------
    ExtractError
        Another process holds it, or the folder cannot be written.
    UsageError
        Its ``.lock`` is not one of ours.
    """
    try:
        folder = Folder.at(path, create=True)
        with contextlib.suppress(FileExistsError):
            folder.create(LOCK).close()
        file = folder.open(LOCK, write=True)
    except OSError as error:
        raise ExtractError(
            f"{path} cannot be written ({error.strerror}): choose another --out"
        ) from error
    except FilesError as error:
        raise UsageError(str(error)) from error
    with folder, file:
        _take(file, path)
        try:
            yield folder
        finally:
            # The folder may be shared with others, whom the name of this machine does not concern.
            with contextlib.suppress(OSError):
                file.truncate(0)


def _take(file: BinaryIO, path: Path) -> None:
    content = file.read(1 << 12)
    if not _HOLDER.fullmatch(content):
        raise UsageError(
            f"{path / LOCK} is not a lock of gpu-smds, and is not replaced: choose another --out"
        )
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = content.decode("utf-8", "replace").strip() or "another process"
        raise ExtractError(
            f"{path} is in use by {holder}: wait for it, or choose another --out"
        ) from error
    except OSError:
        pass  # a file system without locks
    file.seek(0)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
