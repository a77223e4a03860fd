"""One folder at a time, entered and left like rooms: how a walk sees the disk.

Where the system can open names relative to an open folder, paths may be longer than the system's limit for
one, and swapping a folder for a link cannot mislead the walk. Elsewhere plain paths are used.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Final, Protocol

OPEN_FILE_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # opening a pipe that was put there meanwhile must not block
)
NO_FOLLOW: Final[int] = getattr(os, "O_NOFOLLOW", 0)
OPEN_FOLDER_FLAGS: Final[int] = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)

HAS_DESCRIPTORS: Final = {os.open, os.stat, os.readlink, os.access} <= os.supports_dir_fd and (
    os.scandir in os.supports_fd
)

_NAMES_PER_RUN: Final = 32_768

ASKS_EFFECTIVE_IDS: Final = os.access in os.supports_effective_ids
"""Opening uses the effective user's rights, so the check does too."""


class MovedError(OSError):
    """The folder that the walk stands in is no longer where it was entered."""


class Folder(Protocol):
    """The folder a walk stands in; every name is one of its entries."""

    def names(self) -> Iterator[bytes]:
        """List the entries as they are now, in the order of their bytes."""

    def status(self, name: bytes) -> os.stat_result:
        """Look at an entry, not through it."""

    def link_target(self, name: bytes) -> bytes:
        """Read a symlink."""

    def is_readable(self, name: bytes) -> bool:
        """Ask the system whether a file may be read, without opening it."""

    def opener(self, name: bytes) -> Callable[[], int]:
        """Return a function that opens a file as long as the walk is in this folder."""

    def enter(self, name: bytes, status: os.stat_result) -> None:
        """Go into the entry that was looked at as `status`."""

    def leave(self) -> None:
        """Go back to the folder that this one was entered from."""

    def close(self) -> None:
        """Close everything that is open."""


def open_folder(path: str) -> Folder:
    """Stand in the folder at `path`; a symlink there is followed."""
    return DescriptorFolder(path) if HAS_DESCRIPTORS else PathFolder(path)


class DescriptorFolder:
    """Holds one descriptor, however deep: up again leads "..", checked against where we came from."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, OPEN_FOLDER_FLAGS)
        self._came_from: list[tuple[int, int, int]] = []

    def names(self) -> Iterator[bytes]:
        with os.scandir(self._descriptor) as entries:
            return sort_names(os.fsencode(entry.name) for entry in entries)

    def status(self, name: bytes) -> os.stat_result:
        return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)

    def link_target(self, name: bytes) -> bytes:
        return os.readlink(name, dir_fd=self._descriptor)

    def is_readable(self, name: bytes) -> bool:
        return os.access(name, os.R_OK, dir_fd=self._descriptor, effective_ids=ASKS_EFFECTIVE_IDS)

    def opener(self, name: bytes) -> Callable[[], int]:
        return partial(os.open, name, OPEN_FILE_FLAGS | NO_FOLLOW, dir_fd=self._descriptor)

    def enter(self, name: bytes, status: os.stat_result) -> None:
        here = identity(os.fstat(self._descriptor))
        self._step(name, identity(status), asks_way_back=True)
        self._came_from.append(here)

    def leave(self) -> None:
        self._step(b"..", self._came_from.pop())

    def close(self) -> None:
        os.close(self._descriptor)

    def _step(self, name: bytes, expected: tuple[int, int, int], *, asks_way_back: bool = False) -> None:
        following = os.open(name, OPEN_FOLDER_FLAGS | NO_FOLLOW, dir_fd=self._descriptor)
        left = following
        try:
            if identity(os.fstat(following)) != expected:
                raise MovedError  # and the walk still stands where it stood
            if asks_way_back and not os.access(b".", os.X_OK, dir_fd=following, effective_ids=ASKS_EFFECTIVE_IDS):
                # Its names could be listed, but nothing of it be opened, nor "..", and the walk would end here.
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            left, self._descriptor = self._descriptor, following
        finally:
            os.close(left)


class PathFolder:
    """Joins names to paths: for systems that cannot open relative to a folder."""

    def __init__(self, path: str) -> None:
        self._path = os.fsencode(without_limit(path) if os.name == "nt" else path)

    def names(self) -> Iterator[bytes]:
        with os.scandir(self._path) as entries:
            return sort_names(entry.name for entry in entries)

    def status(self, name: bytes) -> os.stat_result:
        return os.lstat(self._at(name))

    def link_target(self, name: bytes) -> bytes:
        return os.readlink(self._at(name))  # noqa: PTH115  pathlib knows no bytes

    def is_readable(self, name: bytes) -> bool:
        return os.access(self._at(name), os.R_OK, effective_ids=ASKS_EFFECTIVE_IDS)

    def opener(self, name: bytes) -> Callable[[], int]:
        return partial(os.open, self._at(name), OPEN_FILE_FLAGS | NO_FOLLOW)

    def enter(self, name: bytes, status: os.stat_result) -> None:
        path = self._at(name)
        if identity(os.lstat(path)) != identity(status):
            raise MovedError
        self._path = path

    def leave(self) -> None:
        self._path = os.path.dirname(self._path)  # noqa: PTH120  pathlib knows no bytes

    def close(self) -> None:
        pass  # nothing is held

    def _at(self, name: bytes) -> bytes:
        return os.path.join(self._path, name)  # noqa: PTH118  pathlib knows no bytes


def without_limit(path: str) -> str:
    r"""Write a path so that Windows takes it at any length: as people write them it takes 260 characters.

    Source: Microsoft, "Maximum Path Length Limitation".

    >>> print(without_limit("C:\\Footage/day 1"), without_limit("\\\\nas\\footage"))
    \\?\C:\Footage\day 1 \\?\UNC\nas\footage
    """
    import ntpath

    whole = ntpath.abspath(path)
    if whole.startswith(("\\\\?\\", "\\\\.\\")):
        return whole
    return f"\\\\?\\UNC{whole[1:]}" if whole.startswith("\\\\") else f"\\\\?\\{whole}"


def files_below(path: str | os.PathLike[str]) -> Iterator[tuple[bytes, os.stat_result]]:
    """Find what is no folder in a folder and those below it, however deep; what cannot be looked at is left out."""
    with contextlib.ExitStack() as opened:
        try:
            folder = open_folder(os.fspath(path))
        except OSError:
            return
        opened.callback(folder.close)
        waiting = [_names_or_none(folder)]
        while waiting:
            name = next(waiting[-1], None)
            if name is None:
                waiting.pop()
                try:
                    if waiting:
                        folder.leave()
                except OSError:  # nobody knows where this is
                    return
                continue
            try:
                status = folder.status(name)
                if stat.S_ISDIR(status.st_mode):
                    folder.enter(name, status)
                    waiting.append(_names_or_none(folder))
                    continue
            except OSError:
                continue
            yield name, status


def _names_or_none(folder: Folder) -> Iterator[bytes]:
    try:
        return folder.names()
    except OSError:
        return iter(())


def sort_names(names: Iterable[bytes]) -> Iterator[bytes]:
    """Sort file names by their bytes; all are read before this returns.

    A folder may hold a million of them. As objects they would take more memory than everything else together, so they
    are kept in sorted runs of one text each, and merged while they are asked for.
    """
    waiting = iter(names)
    runs = []
    while run := sorted(islice(waiting, _NAMES_PER_RUN)):
        runs.append(b"\0".join(run))
    if len(runs) <= 1:  # one of them alone takes a tenth of the memory: a deep tree has one for each folder
        return _split_run(runs[0]) if runs else iter(())
    return heapq.merge(*map(_split_run, runs))


def _split_run(run: bytes) -> Iterator[bytes]:
    return (found[0] for found in re.finditer(rb"[^\0]+", run))


def identity(status: os.stat_result) -> tuple[int, int, int]:
    """Tell what a folder is, wherever it lies."""
    # With its kind: the number of a folder just removed is given to the next thing made, such as a link.
    return status.st_dev, status.st_ino, stat.S_IFMT(status.st_mode)
