"""What to do where the disk does not take the states."""

from __future__ import annotations

import errno
from pathlib import Path

from extract.errors import ExtractError
from extract.states_plan import StatesPlan

_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_lack_of_space(error: OSError) -> bool:
    """Whether the disk or a quota is full, or a file may not grow any more."""
    return error.errno in (*_FULL, errno.EFBIG)


def disk_error(error: OSError, folder: Path, plan: StatesPlan, rows_done: int) -> ExtractError:
    """What to do about an error while states were written, after so many samples."""
    if error.errno == errno.EFBIG:
        return ExtractError(
            f"a file of {folder} may not grow to {plan.file_bytes(plan.layers[0]):,} "
            "bytes: raise the limit (ulimit -f), choose another --out, or --no-save"
        )
    if error.errno not in _FULL:
        return not_writable(error, folder)
    if rows_done:
        return ExtractError(
            f"the disk of {folder} is full: free some space and give the same "
            f"command again, it goes on after sentence {rows_done}"
        )
    return too_full(folder, plan)


def too_full(folder: Path, plan: StatesPlan) -> ExtractError:
    """The disk has no room for the states of all samples."""
    return ExtractError(
        f"the disk of {folder} is too full for {plan.all_file_bytes / 1e9:.2f} GB of "
        "states: free some space, choose --out on another disk, fewer --layers or "
        "--no-save"
    )


def not_writable(error: OSError, folder: Path) -> ExtractError:
    """The folder cannot be made, or nothing can be written into it."""
    return ExtractError(
        f"{folder} cannot be written ({error.strerror}): choose another --out, or --no-save"
    )
