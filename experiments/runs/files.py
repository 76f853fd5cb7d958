"""The files of a run: none is written, replaced or removed that the manifest does not list.

The manifest lists a file before it is written, with the SHA-256 that it will have. So a file that
was edited, cut or removed is noticed, what the run did not write is never replaced or removed, and
a process that is killed at any moment leaves nothing that the next one cannot tell.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.runs.known_files import is_known
from experiments.runs.shared_manifest import SharedManifest
from extract import ExtractError
from gpu_smds._files import File, Folder


class RunFiles:
    """The files of a run whose folder is held.

    Attributes
    ----------
    manifest
        The list of them.
    unwritten
        Whether the list has changes that are not written yet, and need not be at once.
    """

    def __init__(self, manifest: SharedManifest) -> None:
        self.manifest = manifest
        self.unwritten = False
        self._said: list[str] = []

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.manifest.path

    @property
    def entries(self) -> dict[str, dict[str, Any]]:
        """The list: path below the folder → what is known of the file."""
        assert self.manifest.facts is not None
        entries: dict[str, dict[str, Any]] = self.manifest.facts["files"]
        return entries

    def file(self, key: str) -> RunFile:
        """A file by its path below the folder, such as ``results/reuse.csv``."""
        return RunFile(self, key)

    def listed(self, beginning: str, end: str = "") -> list[str]:
        """Files of the run that begin and end like this."""
        entries = self.entries if self.manifest.facts else {}
        return [key for key in entries if key.startswith(beginning) and key.endswith(end)]

    def list_files(self, keys: Sequence[str]) -> None:
        """List files whose content is checked elsewhere, before somebody else writes them.

        Raises
        ------
        ExtractError
            One of them is there and is not of this run.
        """
        for key in keys:
            if key not in self.entries:
                self.refuse(key)
                self.entries[key] = {}
        self.manifest.write()

    def note_states(self, digests: Mapping[str, str]) -> None:
        """Note the SHA-256 of the files of the states, which who reads them compares."""
        for name, digest in digests.items():
            self.entries[f"states/{name}"] = {"sha256": digest}

    def write(self, key: str, content: bytes, mode: int) -> None:
        """Write a file of the run: listed first, then beside its place, then renamed."""
        *parts, name = key.split("/")
        with self.manifest.explained(), self.manifest.changing():
            folder, before = self.inside(parts), self.entries.get(key)
            if before is None:
                self.refuse(key)
            elif _was_changed(folder, name, before):
                self.say(kept_as(self.path / key, folder.set_aside(name)))
            if not is_checked_elsewhere(key):
                digest = hashlib.sha256(content).hexdigest()
                self.entries[key] = {"sha256": digest, "was": (before or {}).get("sha256")}
                self.manifest.write()
            elif before is None:
                self.entries[key] = {}
                self.manifest.write()
            folder.replace(name, content, mode=mode)
            if self.entries[key].pop("was", None) is not None or before is None:
                self.unwritten = True

    def remove(self, key: str) -> None:
        """Remove a file of the run, and take it off the list."""
        if self.entries.pop(key, None) is not None:
            *parts, name = key.split("/")
            self.inside(parts).remove(name)
            self.unwritten = True

    def refuse(self, key: str) -> None:
        """Make sure that a name is free.

        Raises
        ------
        ExtractError
            Something has it that is not of this run.
        """
        where = self.where(key)
        if where is not None and where[0].kind(where[1]) is not None:
            raise ExtractError(
                f"{self.path / key} is not a file of this run, and is not replaced: move it away, "
                "or choose another --out"
            )

    def refuse_foreign(self, beginnings: Sequence[str]) -> None:
        """Make sure that the names of a run's files in some folders are free, or are of the run.

        Raises
        ------
        ExtractError
            One of them is there and is not of this run.
        """
        for beginning in beginnings:
            where = self.where(f"{beginning}x")
            for name in where[0].names() if where else ():
                key = f"{beginning}{name}"
                if is_known(key) and key not in self.entries:
                    self.refuse(key)

    def inside(self, parts: Sequence[str]) -> Folder:
        """A folder below the run's, which is created if need be."""
        inside = self.manifest.folder
        for part in parts:
            inside = inside.folder(part, create=True)
        return inside

    def where(self, key: str) -> tuple[Folder, str] | None:
        """Folder and name of a file; None where there is no such folder."""
        *parts, name = key.split("/")
        inside = self.manifest.folder
        try:
            for part in parts:
                inside = inside.folder(part)
        except FileNotFoundError:
            return None
        return inside, name

    def say(self, sentence: str) -> None:
        """Keep what happened to a file, for the user."""
        self._said.append(sentence)

    def said(self) -> list[str]:
        """What happened to files in the meantime, which the user should know; once."""
        found, self._said = self._said, []
        return found


class RunFile(File):
    """A file of a run, whose manifest lists it.

    Attributes
    ----------
    files, key
        The files of the run, and the path of this one below its folder.
    """

    def __init__(self, files: RunFiles, key: str) -> None:
        self.files, self.key, self.name = files, key, key.rpartition("/")[2]

    @property
    def folder(self) -> Folder:
        """The folder that holds it, which is created if need be."""
        return self.files.inside(self.key.split("/")[:-1])

    @property
    def path(self) -> Path:
        """Where it is, for messages."""
        return self.files.path / self.key

    def exists(self) -> bool:
        """Whether anything has the name: a file, a folder, a link."""
        where = self.files.where(self.key)
        return where is not None and where[0].kind(where[1]) is not None

    def check(self, ours: Callable[[bytes], bool]) -> None:
        """Make sure that the file may be written: it is of the run, or the name is free."""
        if self.key not in self.files.entries:
            self.files.refuse(self.key)

    def is_listed(self) -> bool:
        """Whether the file is there and of this run."""
        known = self.files.manifest.facts is not None
        return known and self.key in self.files.entries and self.exists()

    def write(
        self, content: bytes, ours: Callable[[bytes], bool] = lambda head: False, mode: int = 0o666
    ) -> None:
        """Write it; see :meth:`gpu_smds._files.File.write`."""
        self.files.write(self.key, content, mode)

    def remove_if(self, ours: Callable[[bytes], bool]) -> None:
        """Delete it, if it is of the run."""
        self.files.remove(self.key)


def kept_as(path: Path, aside: str) -> str:
    """What is said of a file that somebody edited."""
    return f"{path} was changed since it was written: kept as {aside}, and made again when needed"


def is_checked_elsewhere(key: str) -> bool:
    """Whether who reads a file tells damage from its content: states, and what is half done."""
    return key.startswith("states/") or key.endswith(".partial")


def sha256_of(folder: Folder, name: str) -> str:
    """SHA-256 of a file."""
    with folder.open(name) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _was_changed(folder: Folder, name: str, entry: Mapping[str, Any]) -> bool:
    """Whether somebody wrote to a file after it was compared with the list."""
    if "sha256" not in entry or folder.kind(name) is None:
        return False
    return sha256_of(folder, name) not in (entry["sha256"], entry.get("was"))
