"""The client's only way to remove a file: it is opened first and checked to be the intended one."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # opening a pipe that was put there meanwhile must not block
)


@contextmanager
def open_regular(path: str | os.PathLike[str]) -> Iterator[int | None]:
    """Open the file at a path for reading; None where it is not a regular file, such as a link to one.

    Raises:
        OSError: If there is nothing, or it cannot be opened.
    """
    found = os.lstat(path)
    descriptor = os.open(path, _FLAGS) if stat.S_ISREG(found.st_mode) else None
    try:
        is_same = descriptor is not None and os.path.samestat(os.fstat(descriptor), found)
        yield descriptor if is_same else None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def remove_file(path: str | os.PathLike[str], is_ours: Callable[[int], bool]) -> bool:
    """Remove a regular file if `is_ours` accepts its descriptor; tell whether the path is free now.

    A path may lead to another file by now: a link to an original, or a file that has taken the name since. So the file
    is opened and checked, and must still have the name when that is removed.

    Args:
        path: The file's.
        is_ours: Gets a descriptor that stands at the file's beginning.

    Returns:
        False where something else lies there, which stays.

    Raises:
        OSError: If it cannot be looked at or removed.
    """
    try:
        with open_regular(path) as descriptor:
            if descriptor is None or not is_ours(descriptor):
                return False
            if not os.path.samestat(os.lstat(path), os.fstat(descriptor)):
                return False
            if os.name != "nt":  # where no file that is open can be removed
                Path(path).unlink()
        if os.name == "nt":
            Path(path).unlink()
    except FileNotFoundError:
        return True
    return True


def remove_same(path: str | os.PathLike[str], known: os.stat_result) -> bool:
    """Remove a name of a regular file that this run has had open; tell whether the path is free now.

    Args:
        path: Where that file may still be.
        known: Its status, taken at any time.

    Returns:
        False where something else lies there, which stays.

    Raises:
        OSError: If it cannot be looked at or removed.
    """
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or not os.path.samestat(found, known):
            return False
        Path(path).unlink()
    except FileNotFoundError:
        return True
    return True


def is_same_file(descriptor: int, path: str | os.PathLike[str]) -> bool:
    """Tell whether an open file is the regular file at a path, and the path is no link to it."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and os.path.samestat(os.fstat(descriptor), found)
