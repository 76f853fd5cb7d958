"""One file, given by its open folder and its name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Self

from gpu_smds._files.folder import MOST, FilesError, Folder

#: Number of first bytes of a file that show whether this program wrote it.
_HEAD = 1 << 22


class File:
    """A file in an open folder; it need not exist yet.

    Attributes
    ----------
    folder, name
        The open folder, and the name of the file in it.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder, self.name = folder, name

    @classmethod
    def at(cls, path: str | Path, create_parents: bool = False) -> Self:
        """The file at a path given by the user.

        Raises
        ------
        FileNotFoundError, NotADirectoryError
            There is no such folder.
        FilesError
            The path does not name a file.
        """
        path = Path(path)
        if not path.name or path.name == "..":
            raise FilesError(f"{str(path)!r} is not the name of a file")
        return cls(Folder.at(path.parent, create_parents), path.name)

    @classmethod
    def of(cls, path: str | Path | File) -> File:
        """The output file that a caller gave; missing folders of its path are created."""
        return path if isinstance(path, File) else cls.at(path, create_parents=True)

    @property
    def folder(self) -> Folder:
        """The open folder that holds the file."""
        return self._folder

    @property
    def path(self) -> Path:
        """The path of the file, for messages."""
        return self.folder.path / self.name

    def __str__(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        """Whether a file, a folder or a link has this name."""
        return self.folder.kind(self.name) is not None

    def read(self, most: int = MOST) -> bytes:
        """Read the whole file; see :meth:`Folder.read`."""
        return self.folder.read(self.name, most)

    def check(self, ours: Callable[[bytes], bool]) -> None:
        """Make sure that the file may be written.

        Raises
        ------
        FilesError
            Something that this program did not write has this name.
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
        """Write a temporary file in the same folder and rename it.

        Parameters
        ----------
        content
            The whole content.
        ours
            Called with the first bytes of an existing file of this name; returns whether this
            program wrote it, so that it may be replaced.
        mode
            Permissions of a new file, less the user's umask.

        Raises
        ------
        FilesError
            As :meth:`check`.
        OSError
            The file cannot be written. An older file of this name is not changed.
        """
        self.check(ours)
        self.folder.replace(self.name, content, mode=mode)

    def remove_if(self, ours: Callable[[bytes], bool]) -> None:
        """Delete the file if its first bytes show that this program wrote it."""
        with contextlib.suppress(FileNotFoundError, FilesError):
            if ours(self.folder.head(self.name, _HEAD)):
                self.folder.remove(self.name)
