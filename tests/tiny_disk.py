"""Run a script on a disk of a few megabytes: a tmpfs of its own, which goes with the process."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_MOUNTED = 'mount -t tmpfs -o "size=$1" tmpfs disk && shift && exec "$@"'


def on_a_tiny_disk(folder: Path, size: str, code: str, *arguments: object) -> str:
    """What the script prints; the folder ``disk`` of its working directory is the disk."""
    (folder / "disk").mkdir(exist_ok=True)
    unshare = shutil.which("unshare")
    if unshare is None or _run(folder, unshare, "1m", "true").returncode:
        pytest.skip("this system does not let a test mount a tmpfs of its own")
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = _run(folder, unshare, size, *command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _run(folder: Path, unshare: str, size: str, *command: str) -> subprocess.CompletedProcess[str]:
    mounted = [unshare, "--user", "--map-root-user", "--mount", "sh", "-c", _MOUNTED, "sh", size]
    return subprocess.run(
        [*mounted, *command], cwd=folder, capture_output=True, text=True, check=False
    )
