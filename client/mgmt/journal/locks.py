"""Locks between the processes of one machine: any number, each a byte of one open file.

A file for each, which is what filelock locks, would take a descriptor for each, and systems give a process few: 256 on
macOS. The system releases a process's locks when it ends, also after a crash.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from pathlib import Path
from typing import Final

if sys.platform == "win32":
    import msvcrt

    _OFFSET_BITS: Final = 31
    """Windows' C library locks within the first 2 GiB: two of a thousand things share a byte once in 4,000 runs."""

    def _take(descriptor: int, offset: int) -> None:
        os.lseek(descriptor, offset, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _give_back(descriptor: int, offset: int) -> None:
        os.lseek(descriptor, offset, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    _OFFSET_BITS: Final = 62

    def _take(descriptor: int, offset: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)

    def _give_back(descriptor: int, offset: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, offset)


class _File:
    """The file, as this process has it open: once, because closing it anywhere gives all of its locks back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        self.taken: set[int] = set()
        """Offsets: to the system all of a process's threads are one, so it keeps none away from another."""
        self.users = 0


_open_files: Final[dict[tuple[int, int], _File]] = {}
_guard: Final = threading.Lock()


class Locks:
    """The locks that one journal of this process holds; for any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: _File | None = None
        self._held: set[str] = set()

    @property
    def held(self) -> frozenset[str]:
        """The names that are held now."""
        return frozenset(self._held)

    def take(self, what: str) -> bool:
        """Take the lock of a thing; False where it is taken already, by this process or another.

        Raises:
            OSError: If the file cannot be opened, or its disk knows no locks.
        """
        offset = _offset_of(what)
        with _guard:
            file = self._open()
            if offset in file.taken:
                return False
            try:
                _take(file.descriptor, offset)
            except (BlockingIOError, PermissionError):  # EAGAIN or EACCES (POSIX, fcntl)
                return False
            file.taken.add(offset)
            self._held.add(what)
            return True

    def give_back(self, what: str) -> None:
        """Give a lock back; nothing happens where that was done, or everything was closed.

        Raises:
            OSError: If the system refuses.
        """
        with _guard:
            self._give_back(what)

    def close(self) -> None:
        """Give everything back."""
        with _guard:
            for what in list(self._held):
                self._give_back(what)
            file, self._file = self._file, None
            if file is None:
                return
            file.users -= 1
            if not file.users:
                _open_files.pop(_identity(os.fstat(file.descriptor)))
                os.close(file.descriptor)

    def _give_back(self, what: str) -> None:
        if what in self._held and self._file is not None:
            self._held.discard(what)
            self._file.taken.discard(_offset_of(what))
            _give_back(self._file.descriptor, _offset_of(what))

    def _open(self) -> _File:
        if self._file is None:
            self._file = _find_open(self._path)
            self._file.users += 1
        return self._file


def _find_open(path: Path) -> _File:
    """Return the file as this process has it open; looked at first, as a second descriptor must not be closed."""
    try:
        known = _open_files.get(_identity(path.stat()))
    except FileNotFoundError:
        known = None
    if known is None:
        known = _File(path)
        _open_files[_identity(os.fstat(known.descriptor))] = known
    return known


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _offset_of(what: str) -> int:
    digest = hashlib.sha256(os.fsencode(what)).digest()
    return int.from_bytes(digest[:8]) >> (64 - _OFFSET_BITS)
