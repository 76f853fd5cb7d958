"""One process at a time in a run's folder."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from extract import ExtractError

NAME = ".lock"


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold a run's folder; the operating system lets go of it however the process ends.

    Raises
    ------
    ExtractError
        Another process holds it, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / NAME).open("a+", encoding="utf-8")
    except OSError as error:
        raise ExtractError(
            f"{folder} cannot be written ({error.strerror}): choose another --out"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise ExtractError(
                f"{folder} is in use by {file.read().strip() or 'another process'}: wait for it, "
                "or choose another --out"
            ) from error
        except OSError:
            pass  # a file system without locks
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        _remove_leftovers(folder)
        yield


def _remove_leftovers(folder: Path) -> None:
    """Delete what killed processes left half-written; nobody else writes here now."""
    for part in (folder, folder / "results", folder / "states"):
        for file in part.glob(".*.partial"):
            file.unlink(missing_ok=True)
