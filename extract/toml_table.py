"""TOML files of a user's own: settings and tasks."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from extract.errors import UsageError
from gpu_smds._files import File, FilesError

_MOST_BYTES = 1 << 20


def read_toml(path: Path) -> dict[str, Any]:
    """Read a file.

    Raises
    ------
    UsageError
        No such file, no regular one, too large, or not TOML.
    """
    try:
        # Links on the way to it are the user's own.
        content = File.at(os.path.realpath(path)).read(_MOST_BYTES)
        return tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})") from error
    except FilesError as error:
        raise UsageError(str(error).partition(", and is not")[0]) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not TOML: {' '.join(str(error).split())}") from error
