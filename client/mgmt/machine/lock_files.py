"""Locks that the processes of all users, and of all machines that share a folder, respect: a small file in that folder.

The system gives a lock back when its process ends, also after a crash; the file that is then left locks nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mgmt.machine.files import is_same_file, remove_same

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_FLAGS: Final = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_MODE: Final = 0o666
"""Less what the user's umask takes away: others must be able to open it."""
_TRIES: Final = 10
"""Each is lost only to a process that has ended, and removed the file, in the moment between opening and locking."""


@contextmanager
def hold_file(path: Path) -> Iterator[None]:
    """Hold a lock file, and remove it in the end.

    Where its folder takes no file, or the disk knows no locks, nothing is held.

    Raises:
        BlockingIOError: If another process holds it.
    """
    descriptor = _take(path)
    try:
        yield
    finally:
        if descriptor is not None:
            _let_go(path, descriptor)


def _take(path: Path) -> int | None:
    for _ in range(_TRIES):
        try:
            descriptor = _open(path)
        except OSError:
            return None
        try:
            _lock(descriptor)
        except (BlockingIOError, PermissionError) as error:  # EAGAIN (POSIX, flock), EACCES (Windows)
            os.close(descriptor)
            raise BlockingIOError from error
        except OSError:
            _let_go(path, descriptor)
            return None
        if is_same_file(descriptor, path):
            return descriptor
        os.close(descriptor)
    raise BlockingIOError


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, _MODE)
    except PermissionError:  # another user's
        return os.open(path, os.O_RDONLY | _FLAGS)


def _let_go(path: Path, descriptor: int) -> None:
    known = None
    with contextlib.suppress(OSError):  # a disk that fails: what it leaves of the file locks nothing
        known = os.fstat(descriptor)
    # Removed first: who opens it from then on opens another one. Windows removes no file that is open.
    if os.name == "nt":
        os.close(descriptor)
    if known is not None:
        with contextlib.suppress(OSError):
            remove_same(path, known)
    if os.name != "nt":
        os.close(descriptor)
