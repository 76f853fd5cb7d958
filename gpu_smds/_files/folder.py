"""Open folders: their files are accessed by plain names, and no link is followed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import weakref
from pathlib import Path
from typing import BinaryIO, Self

#: Opening a FIFO must not block the program, and child processes must not inherit the file.
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
#: Errors of os.open for a link that must not be followed.
_LINK_ERRORS = (errno.ELOOP, errno.EMLINK, errno.ENOTDIR)
#: Largest file in bytes that is read whole, by default.
MOST = 1 << 28


class FilesError(ValueError):
    """A file or folder is not what it should be; the message says which, and what to do."""


class Folder:
    """An open folder.

    Its entries are accessed through the open folder and by plain names. A link inside it is
    therefore never followed, no matter who created it and when, and it can be detected that the
    folder was moved or deleted.

    Attributes
    ----------
    path
        Path of the folder when it was opened, for messages.
    token
        Part of the names of files that are being written; random if None. A caller that sets it can
        later recognise its own incomplete files.
    """

    def __init__(self, descriptor: int, path: Path, token: str | None = None) -> None:
        self._descriptor, self.path, self.token = descriptor, path, token
        self._closing = weakref.finalize(self, os.close, descriptor)

    @classmethod
    def at(cls, path: str | Path, create: bool = False, mode: int = 0o777) -> Self:
        """Open a folder at a path given by the user; links in the path are followed.

        ``create`` creates the folder, with a mode less the user's umask, and its missing parents.

        Raises
        ------
        FileNotFoundError, NotADirectoryError, OSError
            There is no such folder, or it cannot be created.
        """
        path = Path(path)
        if create:
            path.mkdir(mode, parents=True, exist_ok=True)
        return cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), path)

    def folder(self, name: str, create: bool = False) -> Folder:
        """Open a folder in this one.

        Raises
        ------
        FileNotFoundError
            There is none.
        FilesError
            A link or a file has this name.
        """
        plain(name)
        if create:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=self._descriptor)
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(name, flags, dir_fd=self._descriptor)
            return Folder(descriptor, self.path / name, self.token)
        except OSError as error:
            if error.errno in _LINK_ERRORS:
                raise self._not_a("folder", name) from error
            raise

    def names(self) -> list[str]:
        """Names of all entries of the folder, sorted."""
        return sorted(os.listdir(self._descriptor))

    def kind(self, name: str) -> str | None:
        """What has this name: "file", "folder", "link", "special file", or None if it is free."""
        try:
            found = os.stat(plain(name), dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
        return kinds.get(stat.S_IFMT(found.st_mode), "special file")

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return os.stat(plain(name), dir_fd=self._descriptor, follow_symlinks=False).st_size

    def free_bytes(self) -> int:
        """Free bytes, for a normal user, on the disk of the folder."""
        disk = os.fstatvfs(self._descriptor)
        return disk.f_bavail * disk.f_frsize

    def is_still_there(self) -> bool:
        """Whether the path still leads to this folder: it may have been moved or deleted."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._descriptor))
        except OSError:
            return False

    def open(self, name: str, write: bool = False) -> BinaryIO:
        """Open an existing regular file, for reading, or for reading and writing in place.

        Raises
        ------
        FileNotFoundError
            There is none.
        FilesError
            A link, a folder, a device or a pipe has this name; or a file to be written has another
            name as well (a hard link).
        """
        flags = (os.O_RDWR if write else os.O_RDONLY) | _FLAGS
        try:
            descriptor = os.open(plain(name), flags, dir_fd=self._descriptor)
        except OSError as error:
            if error.errno in (*_LINK_ERRORS, errno.EISDIR, errno.ENXIO):
                raise self._not_a("file", name) from error
            raise
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            raise self._not_a("file", name)
        if write and found.st_nlink > 1:
            os.close(descriptor)
            raise FilesError(
                f"{self.path / name} is the same file as another one (a hard link), which would be "
                "written to as well: remove it"
            )
        return os.fdopen(descriptor, "r+b" if write else "rb", buffering=0 if write else -1)

    def create(self, name: str, mode: int = 0o666) -> BinaryIO:
        """Create a file and open it, unbuffered.

        Raises
        ------
        FileExistsError
            A file, a folder or a link has this name already.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS
        descriptor = os.open(plain(name), flags, mode, dir_fd=self._descriptor)
        return os.fdopen(descriptor, "r+b", buffering=0)

    def read(self, name: str, most: int = MOST) -> bytes:
        """Read a regular file whole.

        Raises
        ------
        FileNotFoundError
            There is none.
        FilesError
            Not a regular file, or larger than ``most`` bytes.
        """
        with self.open(name) as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read() if size <= most else b""
        if max(size, len(content)) > most:
            raise FilesError(f"{self.path / name} is larger than it can be ({most:,} bytes)")
        return content

    def head(self, name: str, count: int) -> bytes:
        """First bytes of a regular file."""
        with self.open(name) as file:
            return file.read(count)

    def append(self, name: str, content: bytes) -> None:
        """Write at the end of an existing file."""
        with self.open(name, write=True) as file:
            file.seek(0, os.SEEK_END)
            write_all(file, content)

    def replace(self, name: str, content: bytes, mode: int = 0o666) -> None:
        """Write a temporary file and rename it, so that a reader never sees an incomplete file.

        The caller must have checked that an existing file of this name may be replaced.
        """
        # The name is cut, because a long file name would make the temporary name too long.
        partial = f".{plain(name)[:80]}.{self.token or secrets.token_hex(8)}.partial"
        if self.token is not None:
            self.remove(partial)  # left by a process that was killed
        created = False
        try:
            with self.create(partial, mode) as file:
                created = True
                write_all(file, content)
            self.rename(partial, name)
        except BaseException:
            if created:
                with contextlib.suppress(OSError):
                    self.remove(partial)
            raise

    def rename(self, old: str, new: str) -> None:
        """Rename a file within the folder; a file that has the new name is replaced."""
        held = self._descriptor
        os.rename(plain(old), plain(new), src_dir_fd=held, dst_dir_fd=held)

    def remove(self, name: str) -> None:
        """Delete a file, or a link itself; a missing one is no error."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(plain(name), dir_fd=self._descriptor)

    def remove_folder(self, name: str) -> None:
        """Delete a folder if it is empty."""
        with contextlib.suppress(OSError):
            os.rmdir(plain(name), dir_fd=self._descriptor)

    def set_aside(self, name: str) -> str:
        """Rename a file to ``NAME.changed``, or ``NAME.changed.2`` and so on; returns the name."""
        number, aside = 1, f"{name}.changed"
        while self.kind(aside) is not None:
            number += 1
            aside = f"{name}.changed.{number}"
        self.rename(name, aside)
        return aside

    def close(self) -> None:
        """Close the folder."""
        self._closing()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _not_a(self, wanted: str, name: str) -> FilesError:
        return FilesError(
            f"{self.path / name} is a {self.kind(name)} where a {wanted} is expected, and is "
            "not followed or changed: remove it"
        )


def plain(name: str) -> str:
    """Return the name, checked to be that of an entry directly in a folder.

    Raises
    ------
    FilesError
        The name has several parts, is empty, or stands for the folder itself or its parent.
    """
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise FilesError(f"{name!r} is not the name of a file in a folder")
    return name


def write_all(file: BinaryIO, content: bytes | memoryview) -> None:
    """Write all bytes to an unbuffered file, which may accept only a part of them at a time."""
    rest = memoryview(content).cast("B")
    while rest:
        rest = rest[file.write(rest) :]
