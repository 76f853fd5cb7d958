"""The manifest of a folder that several processes may use at the same time."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from experiments.runs.lock import LOCK, MANIFEST_LOCK, for_a_moment
from experiments.runs.manifest import (
    MOST,
    NAME,
    PROGRAM,
    adopted,
    merged,
    new_manifest,
    read_manifest,
    write_manifest,
)
from extract import ExtractError, UsageError
from gpu_smds._files import Folder

#: A first manifest that was being written when the process was killed.
_UNFINISHED = re.compile(r"\.manifest\.json\.[0-9a-f]{16}\.partial")


class SharedManifest:
    """A manifest as this process knows it: as it was read, with the changes made since.

    It is written while other processes are kept from it, and what they have changed since is kept.

    Attributes
    ----------
    path
        The run's folder.
    facts
        The manifest; None if there is none. It lists the ``files``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.facts: dict[str, Any] | None = None
        self._open: Folder | None = None
        # What the file held when it was last read or written, and the manifest that it stood for.
        self._content: bytes | None = None
        self._base: dict[str, Any] = {}
        self._is_changing = False

    @property
    def folder(self) -> Folder:
        """The run's folder, which is held."""
        assert self._open is not None, "the folder is not held"
        return self._open

    def look(self, folder: Folder) -> None:
        """Read the manifest of a folder, which need not be held.

        Raises
        ------
        UsageError
            The folder is not a run's and not empty either.
        ExtractError
            The manifest is damaged.
        """
        found = read_manifest(folder)
        if found is None:
            ours = (LOCK, MANIFEST_LOCK)
            others = [n for n in folder.names() if n not in ours and not _UNFINISHED.fullmatch(n)]
            if others:
                raise UsageError(
                    f"{self.path} is not empty and holds no run of gpu-smds ({others[0]} is "
                    "there): choose another --out"
                )
        self.facts = None if found is None else adopted(found, folder)
        self._remember(folder)

    def forget(self) -> None:
        """Know nothing of the folder."""
        self.facts, self._content, self._base = None, None, {}

    @property
    def seen(self) -> bytes | None:
        """The content of the file when it was last read or written."""
        return self._content

    @contextmanager
    def opened(self, folder: Folder) -> Iterator[None]:
        """Read the manifest of a folder that is held, and may be written now."""
        with for_a_moment(folder, self.path):
            self.look(folder)
        self._hold(folder)
        try:
            yield
        finally:
            self._open = None

    def _hold(self, folder: Folder) -> None:
        if self.facts is not None:
            folder.token = self.facts["token"]
        self._open = folder

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keep other processes from the manifest and the files of all, after it is read again."""
        if self._is_changing:
            yield
            return
        with self.explained(), for_a_moment(self.folder, self.path):
            self._catch_up()
            self._is_changing = True
            try:
                yield
            finally:
                self._is_changing = False

    def begin(self, facts: Mapping[str, Any], fresh: bool, kept: Mapping[str, Any]) -> None:
        """Write the manifest of a run that begins, or goes on with what is ``kept`` of it.

        A ``fresh`` one lists the files of the run before as stale, until they are gone.
        """
        if fresh or self.facts is None:
            self.facts = new_manifest(facts, self.facts)
        else:
            self.facts = {**new_manifest(facts, None), **kept}
        self.folder.token = self.facts["token"]
        self.write()

    def note(self, **facts: Any) -> None:
        """Write further facts into the manifest."""
        assert self.facts is not None
        self.facts |= facts
        self.write()

    def write(self) -> None:
        """Write the manifest as it is now."""
        assert self.facts is not None
        with self.changing():
            write_manifest(self.folder, self.facts)
            self._remember(self.folder)

    def remove_unfinished(self) -> None:
        """Remove first manifests that killed processes left half-written."""
        folder = self.folder
        for name in folder.names():
            first = _UNFINISHED.fullmatch(name) and folder.kind(name) == "file"
            if first and _begins_like_ours(folder.head(name, 100)):
                folder.remove(name)

    def still_there(self) -> None:
        """Make sure that the results are where they are said to be.

        Raises
        ------
        ExtractError
            The folder was moved or deleted in the meantime.
        """
        if not self.folder.is_still_there():
            raise ExtractError(
                f"{self.path} was moved or deleted while it was in use, and its files with it: "
                "give the same command again"
            )

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Say that the folder is gone, where that is why a file is not found."""
        try:
            yield
        except FileNotFoundError:
            self.still_there()
            raise

    def _catch_up(self) -> None:
        """Take over what other processes have written since."""
        folder = self.folder
        if folder.kind(NAME) is None or (content := folder.read(NAME, MOST)) == self._content:
            return
        found = read_manifest(folder)
        if found is not None:
            theirs = adopted(found, folder)
            self.facts = merged(self._base, self.facts or {}, theirs)
            self._content, self._base = content, copy.deepcopy(theirs)
            folder.token = self.facts["token"]

    def _remember(self, folder: Folder) -> None:
        self._content = None if self.facts is None else folder.read(NAME, MOST)
        self._base = copy.deepcopy(self.facts or {})


def _begins_like_ours(head: bytes) -> bool:
    # Killed before the first byte, or after all of them.
    return not head or head.startswith(b'{\n "program": ' + json.dumps(PROGRAM).encode())
