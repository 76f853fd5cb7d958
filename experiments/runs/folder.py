"""The folder of a run: the only way to its files.

The manifest lists every file of the run, before it is written, with the SHA-256 that it will have.
So a file that was edited, cut or removed is noticed; what the run did not write is never replaced
or removed; and a process that is killed at any moment leaves nothing that the next one cannot tell.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from experiments.runs.analysis import Analysis, main_settings
from experiments.runs.known_files import folders_of, is_known
from experiments.runs.lock import LOCK, MANIFEST_LOCK, for_a_moment, held, is_lock, only_one
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
from gpu_smds._files import File, Folder

#: A first manifest that was being written when the process was killed.
_UNFINISHED = re.compile(r"\.manifest\.json\.[0-9a-f]{16}\.partial")


class RunFolder:
    """A run's folder; it need not exist yet.

    Attributes
    ----------
    path
        Where it is.
    manifest
        As found, or as written since; None if there is no manifest. It lists the ``files``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest: dict[str, Any] | None = None
        self._open: Folder | None = None
        self._seen: str | None = None
        # What the file held when it was last read or written, and the manifest that it stood for.
        self._content: bytes | None = None
        self._base: dict[str, Any] = {}
        self._moment = 0
        self._shared = False
        self._unwritten = False
        self._said: list[str] = []

    def __str__(self) -> str:
        return str(self.path)

    def look(self) -> None:
        """Read the manifest; nothing is written.

        Raises
        ------
        UsageError
            The folder is not a run's and not empty either.
        ExtractError
            The manifest is damaged, or the folder cannot be read.
        """
        self.manifest, self._seen = None, None
        if not os.path.lexists(self.path):
            return
        if not self.path.is_dir():
            raise UsageError(f"{self.path} is a file: choose another --out")
        try:
            with Folder.at(self.path) as folder:
                self._read(folder)
        except OSError as error:
            raise ExtractError(
                f"{self.path} cannot be read ({error.strerror}): choose another --out"
            ) from error

    def _read(self, folder: Folder) -> None:
        found = read_manifest(folder)
        if found is None:
            ours = (LOCK, MANIFEST_LOCK)
            others = [n for n in folder.names() if n not in ours and not _UNFINISHED.fullmatch(n)]
            if others:
                raise UsageError(
                    f"{self.path} is not empty and holds no run of gpu-smds ({others[0]} is "
                    "there): choose another --out"
                )
        self._seen = json.dumps(found)
        self.manifest = None if found is None else adopted(found, folder)
        self._remember(folder)

    def _remember(self, folder: Folder) -> None:
        self._content = None if self.manifest is None else folder.read(NAME, MOST)
        self._base = copy.deepcopy(self.manifest or {})

    @contextmanager
    def held(self, shared: bool = False) -> Iterator[bool]:
        """Create the folder if need be, and keep other processes out of it.

        ``shared`` lets in others that use its states as well. The manifest is read again, since
        another process may have been at work until now; yields whether it has changed since the
        last look.

        Raises
        ------
        UsageError, ExtractError
            As :meth:`look`; another process holds it, or it cannot be written.
        """
        before = self._seen
        self.look()
        with held(self.path, shared) as folder:
            with for_a_moment(folder, self.path):
                self._read(folder)
            if self.manifest is not None:
                folder.token = self.manifest["token"]
            self._open, self._shared = folder, shared
            try:
                yield self._seen != (before or "null")
            finally:
                if self._unwritten:
                    with contextlib.suppress(OSError):
                        self.write_manifest()
                self._open = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from the manifest, which is read again first.

        What this process has changed in it and not yet written is kept.
        """
        if self._moment:
            yield
            return
        with self._explained(), for_a_moment(self._folder, self.path):
            self._catch_up()
            self._moment += 1
            try:
                yield
            finally:
                self._moment -= 1

    def _catch_up(self) -> None:
        """Take over what other processes have written since."""
        folder = self._folder
        content = folder.read(NAME, MOST) if folder.kind(NAME) is not None else None
        if content == self._content or content is None:
            return
        theirs = read_manifest(folder)
        if theirs is not None:
            mine, theirs = self.manifest or {}, adopted(theirs, folder)
            self.manifest = merged(self._base, mine, theirs)
            self._content, self._base = content, copy.deepcopy(theirs)
            folder.token = self.manifest["token"]

    @contextmanager
    def analysing(self, analysis: Analysis) -> Iterator[None]:
        """Keep other processes from the results of an analysis.

        Raises
        ------
        ExtractError
            Another process is at work on it.
        """
        where = self._inside(analysis.place.rstrip("/").split("/"))
        with where, only_one(where, where.path, "choose another --as"):
            if self._shared:
                for sentence in self.check([analysis.results, analysis.figures]):
                    self._said.append(sentence)
            yield

    def begin(self, facts: Mapping[str, Any], fresh: bool) -> None:
        """Write the manifest of a run that begins, or goes on.

        ``fresh`` removes what the folder held of another run, once the new manifest is there: it
        lists those files until they are gone.
        """
        folder = self._folder
        if fresh or self.manifest is None:
            self.manifest = new_manifest(facts, self.manifest)
        else:
            kept = (
                *("token", "files", "identity_of", "fingerprint", "significance"),
                *("main", "analyses"),
            )
            before = {name: self.manifest[name] for name in kept if name in self.manifest}
            # That of a folder of an earlier version, which did not note it.
            before.setdefault("main", main_settings(self.manifest))
            self.manifest = new_manifest(facts, None) | before
        folder.token = self.manifest["token"]
        self.write_manifest()
        self._remove_stale()

    def note(self, **facts: Any) -> None:
        """Write further facts into the manifest."""
        assert self.manifest is not None
        self.manifest |= facts
        self.write_manifest()

    def write_manifest(self) -> None:
        """Write the manifest as it is now."""
        assert self.manifest is not None
        with self.alone():
            write_manifest(self._folder, self.manifest)
            self._remember(self._folder)
        self._unwritten = False

    def file(self, key: str) -> RunFile:
        """A file by its path below the folder, such as ``results/reuse.csv``."""
        return RunFile(self, key)

    def states(self) -> Folder:
        """The folder of the states, which ``extract`` fills."""
        return self._inside(["states"])

    def list_files(self, keys: list[str]) -> None:
        """List files whose content is checked elsewhere, before somebody else writes them.

        Raises
        ------
        ExtractError
            One of them is there and is not of this run.
        """
        assert self.manifest is not None
        for key in keys:
            if key not in self.manifest["files"]:
                self._refuse_foreign(key)
                self.manifest["files"][key] = {}
        self.write_manifest()

    def listed(self, beginning: str, end: str) -> list[str]:
        """Files of the run that begin and end like this."""
        files = self.manifest["files"] if self.manifest else {}
        return [key for key in files if key.startswith(beginning) and key.endswith(end)]

    def remove(self, key: str) -> None:
        """Remove a file of the run, and take it off the list."""
        assert self.manifest is not None
        if self.manifest["files"].pop(key, None) is not None:
            *parts, name = key.split("/")
            self._inside(parts).remove(name)
            self._unwritten = True

    def refuse_foreign(self, beginnings: list[str]) -> None:
        """Make sure that the names of a run's files in some folders are free, or are of the run.

        Raises
        ------
        ExtractError
            One of them is there and is not of this run.
        """
        assert self.manifest is not None
        for beginning in beginnings:
            where = self._where(f"{beginning}x")
            for name in where[0].names() if where else ():
                key = f"{beginning}{name}"
                if is_known(key) and key not in self.manifest["files"]:
                    self._refuse_foreign(key)

    def remove_analysis(self, name: str) -> None:
        """Remove the files of an analysis, and its folders where nothing else is in them."""
        assert self.manifest is not None
        for key in self.listed(f"analyses/{name}/", ""):
            self.remove(key)
        self.manifest["analyses"].pop(name, None)
        self.write_manifest()
        where = self._where(f"analyses/{name}/x")
        if where is not None:
            if where[0].kind(LOCK) == "file" and is_lock(where[0].head(LOCK, 1 << 12)):
                where[0].remove(LOCK)
            where[0].remove_folder("results")
            where[0].remove_folder("figures")
            self._inside(["analyses"]).remove_folder(name)
            self._folder.remove_folder("analyses")

    def check(self, beginnings: list[str] | None = None) -> list[str]:
        """Compare files with the list, and clean up after processes that were killed.

        Parameters
        ----------
        beginnings
            Folders whose files are compared, such as ``results/``; "" is the run's own. None is all
            of them, for who holds the folder alone.

        Returns
        -------
        sentences : list of str
            What was changed or is missing. A changed file is kept as ``NAME.changed``, and a
            missing one is off the list, so that both are made again where they are needed.

        Raises
        ------
        ExtractError
            A link or a folder has the name of a file, or of a subfolder; something that is not of
            the run has the name of one of its files.
        """
        if self.manifest is None:
            return []
        every = ["", *(f"{part}/" for part in self._folders)]
        of = every if beginnings is None else beginnings
        with self.alone():
            self._remove_unfinished(of)
        found, files = [], self.manifest["files"]
        for key, entry in list(files.items()):
            if beginnings is not None and key[: key.rfind("/") + 1] not in of:
                continue
            sentence = self._compare(key, entry)
            if sentence is not None:
                del files[key]
                found.append(sentence)
        if beginnings is None and any(entry.get("stale") for entry in files.values()):
            self._remove_stale()
        # Known before hours of work end at it.
        self.refuse_foreign(of)
        return [sentence for sentence in found if sentence]

    def said(self) -> list[str]:
        """What happened to files of the run in the meantime, which the user should know; once."""
        found, self._said = self._said, []
        return found

    def note_states(self, digests: Mapping[str, str]) -> None:
        """Note the SHA-256 of the files of the states, which who reads them compares."""
        assert self.manifest is not None
        for name, digest in digests.items():
            self.manifest["files"][f"states/{name}"] = {"sha256": digest}

    def still_there(self) -> None:
        """Make sure that the results are where they are said to be.

        Raises
        ------
        ExtractError
            The folder was moved or deleted in the meantime.
        """
        if not self._folder.is_still_there():
            raise ExtractError(
                f"{self.path} was moved or deleted while it was in use, and its files with it: "
                "give the same command again"
            )

    @property
    def _folders(self) -> list[str]:
        """Subfolders of the run."""
        return folders_of((self.manifest or {}).get("analyses", {}))

    @property
    def _folder(self) -> Folder:
        assert self._open is not None, "the folder is not held"
        return self._open

    def _inside(self, parts: list[str]) -> Folder:
        inside = self._folder
        for part in parts:
            inside = inside.folder(part, create=True)
        return inside

    def _where(self, key: str) -> tuple[Folder, str] | None:
        """Folder and name of a file; None where there is no such folder."""
        *parts, name = key.split("/")
        inside = self._folder
        try:
            for part in parts:
                inside = inside.folder(part)
        except FileNotFoundError:
            return None
        return inside, name

    def _refuse_foreign(self, key: str) -> None:
        where = self._where(key)
        if where is not None and where[0].kind(where[1]) is not None:
            raise ExtractError(
                f"{self.path / key} is not a file of this run, and is not replaced: move it away, "
                "or choose another --out"
            )

    def _compare(self, key: str, entry: dict[str, Any]) -> str | None:
        """None where a file is as listed; else what to say of it, or "" where that is nothing."""
        where = self._where(key)
        kind = None if where is None else where[0].kind(where[1])
        if where is None or kind is None:
            # Killed before it was there, or checked by those who read it.
            quiet = _is_checked_elsewhere(key) or "was" in entry or entry.get("stale")
            return "" if quiet else f"{self.path / key} is missing: it is made again when needed"
        folder, name = where
        if kind != "file":
            raise ExtractError(
                f"{self.path / key} is a {kind} where the run has a file: remove it, or choose "
                "another --out"
            )
        if _is_checked_elsewhere(key):
            return None
        digest = _sha256(folder, name)
        if "sha256" not in entry and self.manifest and self.manifest.get("identity_of") == "0.1.0":
            entry["sha256"] = digest  # that version did not note it
        if digest == entry.get("sha256"):
            entry.pop("was", None)
            return None
        if digest == entry.get("was"):  # killed before the new one got its name
            entry["sha256"] = entry.pop("was")
            return None
        return _kept_as(self.path / key, folder.set_aside(name))

    def _write(self, key: str, content: bytes, mode: int) -> None:
        """Write a file of the run: listed first, then beside its place, then renamed."""
        assert self.manifest is not None
        *parts, name = key.split("/")
        with self._explained():
            folder = self._inside(parts)
            before = self.manifest["files"].get(key)
            if before is None:
                self._refuse_foreign(key)
            elif self._was_changed(folder, name, before):
                self._said.append(_kept_as(self.path / key, folder.set_aside(name)))
            if not _is_checked_elsewhere(key):
                digest = hashlib.sha256(content).hexdigest()
                entry = {"sha256": digest, "was": (before or {}).get("sha256")}
                self.manifest["files"][key] = entry
                self.write_manifest()
            elif before is None:
                self.manifest["files"][key] = {}
                self.write_manifest()
            folder.replace(name, content, mode=mode)
        if self.manifest["files"][key].pop("was", None) is not None or before is None:
            self._unwritten = True

    @staticmethod
    def _was_changed(folder: Folder, name: str, entry: dict[str, Any]) -> bool:
        """Whether somebody wrote to a file after it was compared with the list."""
        if "sha256" not in entry or folder.kind(name) is None:
            return False
        return _sha256(folder, name) not in (entry["sha256"], entry.get("was"))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say that the folder is gone, where that is why a file is not found."""
        try:
            yield
        except FileNotFoundError:
            self.still_there()
            raise

    def _remove_stale(self) -> None:
        """Remove files of the run that was here before, as far as they are as it wrote them."""
        assert self.manifest is not None
        files = self.manifest["files"]
        stale = [key for key, entry in files.items() if entry.get("stale")]
        for key in stale:
            where = self._where(key)
            if where is not None and where[0].kind(where[1]) == "file":
                digest = files[key].get("sha256")
                if digest is None or digest == _sha256(*where):
                    where[0].remove(where[1])
                else:
                    self._said.append(_kept_as(self.path / key, where[0].set_aside(where[1])))
            del files[key]
        if stale:
            self.write_manifest()

    def _remove_unfinished(self, beginnings: list[str]) -> None:
        """Remove what killed processes left half-written; nobody else writes there now."""
        assert self.manifest is not None
        end = f".{self.manifest['token']}.partial"
        for beginning in beginnings:
            where = self._where(f"{beginning}x")
            if where is not None:
                folder, _ = where
                for name in folder.names():
                    ours = name.startswith(".") and name.endswith(end)
                    if ours and folder.kind(name) == "file":
                        folder.remove(name)
        folder = self._folder
        for name in folder.names() if "" in beginnings else ():
            first = _UNFINISHED.fullmatch(name) and folder.kind(name) == "file"
            if first and _begins_like_ours(folder.head(name, 100)):
                folder.remove(name)


class RunFile(File):
    """A file of a run, whose manifest lists it.

    Attributes
    ----------
    run, key
        The run's folder, and the path below it.
    """

    def __init__(self, run: RunFolder, key: str) -> None:
        self.run, self.key, self.name = run, key, key.rpartition("/")[2]

    @property
    def folder(self) -> Folder:
        """The folder that holds it, which is created if need be."""
        return self.run._inside(self.key.split("/")[:-1])

    @property
    def path(self) -> Path:
        """Where it is, for messages."""
        return self.run.path / self.key

    def exists(self) -> bool:
        """Whether anything has the name: a file, a folder, a link."""
        where = self.run._where(self.key)
        return where is not None and where[0].kind(where[1]) is not None

    def check(self, ours: Callable[[bytes], bool]) -> None:
        """Make sure that the file may be written: it is of the run, or the name is free."""
        assert self.run.manifest is not None
        if self.key not in self.run.manifest["files"]:
            self.run._refuse_foreign(self.key)

    def is_listed(self) -> bool:
        """Whether the file is there and of this run."""
        manifest = self.run.manifest
        return manifest is not None and self.key in manifest["files"] and self.exists()

    def write(
        self, content: bytes, ours: Callable[[bytes], bool] = lambda head: False, mode: int = 0o666
    ) -> None:
        """Write it; see :meth:`gpu_smds._files.File.write`."""
        self.run._write(self.key, content, mode)

    def remove_if(self, ours: Callable[[bytes], bool]) -> None:
        """Delete it, if it is of the run."""
        self.run.remove(self.key)


def _kept_as(path: Path, aside: str) -> str:
    return f"{path} was changed since it was written: kept as {aside}, and made again when needed"


def _is_checked_elsewhere(key: str) -> bool:
    """Whether who reads a file tells damage from its content: states, and what is half done."""
    return key.startswith("states/") or key.endswith(".partial")


def _sha256(folder: Folder, name: str) -> str:
    with folder.open(name) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _begins_like_ours(head: bytes) -> bool:
    # Killed before the first byte, or after all of them.
    return not head or head.startswith(b'{\n "program": "' + PROGRAM.encode())
