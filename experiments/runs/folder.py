"""The folder of a run: looked at, held, and the only way to its files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from experiments.runs.analysis import Analysis, main_settings
from experiments.runs.files import RunFile, RunFiles
from experiments.runs.lock import held, only_one
from experiments.runs.shared_manifest import SharedManifest
from experiments.runs.upkeep import check_files, remove_stale
from extract import ExtractError, UsageError
from gpu_smds._files import Folder

#: What a run that goes on keeps of the manifest that was there.
_KEPT = (
    *("token", "files", "identity_of", "fingerprint", "significance"),
    *("main", "analyses", "clean", "states_before"),
)


_ELSEWHERE = ", or choose another --out"


class RunFolder:
    """A run's folder; it need not exist yet.

    Attributes
    ----------
    path
        Where it is.
    files
        Its files, as the manifest lists them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._manifest = SharedManifest(path)
        self.files = RunFiles(self._manifest)
        self._shared = False

    def __str__(self) -> str:
        return str(self.path)

    @property
    def manifest(self) -> dict[str, Any] | None:
        """As found, or as written since; None if there is none."""
        return self._manifest.facts

    def look(self) -> None:
        """Read the manifest; nothing is written.

        Raises
        ------
        UsageError
            The folder is not a run's and not empty either.
        ExtractError
            The manifest is damaged, or the folder cannot be read.
        """
        self._manifest.forget()
        if not os.path.lexists(self.path):
            return
        if not self.path.is_dir():
            raise UsageError(f"{self.path} is a file: choose another --out")
        try:
            with Folder.at(self.path) as folder:
                self._manifest.look(folder)
        except OSError as error:
            raise ExtractError(
                f"{self.path} cannot be read ({error.strerror}): choose another --out"
            ) from error

    @contextmanager
    def held(self, shared: bool = False, instead: str = _ELSEWHERE) -> Iterator[bool]:
        """Create the folder if need be, and keep other processes out of it.

        ``shared`` lets in others that use its states as well. The manifest is read again, since
        another process may have been at work until now; yields whether it has changed since the
        last look. ``instead`` is what the user may do where another process holds it.

        Raises
        ------
        UsageError, ExtractError
            As :meth:`look`; another process holds it, or it cannot be written.
        """
        before = self._manifest.seen
        self.look()
        with held(self.path, shared, instead) as folder, self._manifest.opened(folder):
            self._shared = shared
            try:
                yield self._manifest.seen != before
            finally:
                if self.files.unwritten:
                    with contextlib.suppress(OSError):
                        self._manifest.write()
                    self.files.unwritten = False

    @contextmanager
    def analysing(self, analysis: Analysis) -> Iterator[None]:
        """Keep other processes from the results of an analysis.

        Raises
        ------
        ExtractError
            Another process is at work on it.
        """
        where = self.files.inside(analysis.place.rstrip("/").split("/"))
        with where, only_one(where, where.path, ", or choose another --as"):
            if self._shared:  # who holds it alone has checked all
                for sentence in self.check([analysis.results, analysis.figures]):
                    self.files.say(sentence)
            yield

    def changing(self) -> contextlib.AbstractContextManager[None]:
        """Keep other processes from the manifest, which is read again first."""
        return self._manifest.changing()

    def begin(self, facts: Mapping[str, Any], fresh: bool) -> None:
        """Write the manifest of a run that begins, or goes on.

        ``fresh`` removes what the folder held of another run, once the new manifest is there: it
        lists those files until they are gone.
        """
        found = self.manifest or {}
        kept = {name: found[name] for name in _KEPT if name in found}
        # That of a folder of an earlier version, which did not note it.
        kept.setdefault("main", main_settings(found))
        self._manifest.begin(facts, fresh, kept)
        remove_stale(self.files)

    def note(self, **facts: Any) -> None:
        """Write further facts into the manifest."""
        self._manifest.note(**facts)

    def file(self, key: str) -> RunFile:
        """A file by its path below the folder, such as ``results/reuse.csv``."""
        return self.files.file(key)

    def states(self) -> Folder:
        """The folder of the states, which ``extract`` fills."""
        return self.files.inside(["states"])

    def check(self, beginnings: list[str] | None = None) -> list[str]:
        """Compare files with the list; see :func:`experiments.runs.upkeep.check_files`."""
        return check_files(self.files, beginnings)

    def still_there(self) -> None:
        """Raise ExtractError where the folder was moved or deleted in the meantime."""
        self._manifest.still_there()
