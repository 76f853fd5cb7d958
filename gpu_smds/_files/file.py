"""One file, by the folder that holds it and its name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Self

from gpu_smds._files.folder import MOST, FilesError, Folder

#: First bytes of a file, by which it is told whether this program wrote it.
_HEAD = 1 << 22


class File:
    """A file in a folder that is held open; it need not exist yet.

    Attributes
    ----------
    folder, name
        Where it is.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder, self.name = folder, name

    @classmethod
    def at(cls, path: str | Path, create_parents: bool = False) -> Self:
        """File that the user named.

        Raises
        ------
        FileNotFoundError, NotADirectoryError
            There is no such folder.
        FilesError
            The path names no file.
        """
        path = Path(path)
        if not path.name or path.name == "..":
            raise FilesError(f"{str(path)!r} is not the name of a file")
        return cls(Folder.at(path.parent, create_parents), path.name)

    @classmethod
    def of(cls, path: str | Path | File) -> File:
        """What a caller gave to write to, as a file; folders on the way to it are created."""
        return path if isinstance(path, File) else cls.at(path, create_parents=True)

    @property
    def folder(self) -> Folder:
        """The folder that holds it."""
        return self._folder

    @property
    def path(self) -> Path:
        """Where it is, for messages."""
        return self.folder.path / self.name

    def __str__(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        """Whether anything has the name: a file, a folder, a link."""
        return self.folder.kind(self.name) is not None

    def read(self, most: int = MOST) -> bytes:
        """Read it whole; see :meth:`Folder.read`."""
        return self.folder.read(self.name, most)

    def check(self, ours: Callable[[bytes], bool]) -> None:
        """Make sure that the file may be written.

        Raises
        ------
        FilesError
            The name is taken by something that this program did not write.
        """
        kind = self.folder.kind(self.name)
        if kind is None:
            return
        if kind != "file":
            raise FilesError(f"{self.path} is a {kind}, and is not replaced: choose another name")
        if not ours(self.folder.head(self.name, _HEAD)):
            raise FilesError(
                f"{self.path} exists and is not a file of this kind that gpu_smds wrote, so it is "
                "not replaced: choose another name"
            )

    def write(
        self, content: bytes, ours: Callable[[bytes], bool] = lambda head: False, mode: int = 0o666
    ) -> None:
        """Write it beside its place and rename it.

        Parameters
        ----------
        content
            All of it.
        ours
            Called with the first bytes of a file that has the name already: whether this program
            wrote it, so that it may be replaced.
        mode
            Of a new file, less the user's mask.

        Raises
        ------
        FilesError
            As :meth:`check`.
        OSError
            It cannot be written; an older one is untouched.
        """
        self.check(ours)
        self.folder.replace(self.name, content, mode=mode)

    def remove_if(self, ours: Callable[[bytes], bool]) -> None:
        """Delete it if its first bytes say that this program wrote it."""
        with contextlib.suppress(FileNotFoundError, FilesError):
            if ours(self.folder.head(self.name, _HEAD)):
                self.folder.remove(self.name)
