"""Files of this machine: how many may be open, private ones, and the only way to remove one.

A file is opened before it is removed, and checked to be the intended one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

if sys.platform != "win32":
    import fcntl
    import resource

T = TypeVar("T")

WANTED: Final = 4096
"""More than any command needs; some systems refuse to raise the limit much higher (macOS: 10,240)."""
_KEPT_FREE: Final = 40
"""For streams, journal, log, a folder and an archive under way, and connections to the service."""
_PER_WORKER: Final = 2
"""A connection to the storage, and the archive that goes over it."""


def raise_limit() -> None:
    """Raise the limit of open files as far as the system allows and mgmt needs."""
    if sys.platform != "win32":  # whose C library's limit does not count what the system itself opens
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def workers_max() -> int:
    """Say how many transfers can go on at a time with the files that may be open."""
    if sys.platform != "win32":
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY:
            return max(1, (soft - _KEPT_FREE) // _PER_WORKER)
    return WANTED


_FOREIGN_BITS: Final = 0o077
_TRIES: Final = 20 if os.name == "nt" else 1
_PAUSE_SECONDS: Final = 0.05
_NO_FULL_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY})
"""What disks say that do not know it, such as network disks."""


def sync(descriptor: int) -> None:
    """Make a file or folder durable, and all that was synced before it on the same disk.

    macOS' fsync leaves the bytes in the disk's own memory, from which a power cut takes them in any order.
    Source: fsync(2) and fcntl(2) in Apple's manual.

    Raises:
        OSError: What the disk met with.
    """
    if sys.platform == "darwin":
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError as error:
            if error.errno not in _NO_FULL_SYNC:
                raise
        else:
            return
    os.fsync(descriptor)


def insist(do: Callable[[], T]) -> T:
    """Rename or remove something; on Windows again and again for a second, where it is refused.

    Nobody can do that there while another program has it open, such as one that looks into each new file for viruses.

    Raises:
        OSError: What the disk met with.
    """
    for _ in range(_TRIES - 1):
        with contextlib.suppress(PermissionError):
            return do()
        time.sleep(_PAUSE_SECONDS)
    return do()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read: a crash leaves the old one or the new one, whole and on the disk.

    A linked file stays a link.

    Raises:
        OSError: If it cannot be written; the old one stays.
    """
    import tempfile  # a tenth of a short command's start, and those only read

    target = path.resolve()
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{path.name}-")  # 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            sync(file.fileno())
        insist(lambda: Path(temporary).replace(target))
        _sync_folder(target.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def make_private_folder(path: Path) -> None:
    """Make a folder that only its owner can enter; one that is open to others is closed to them.

    Raises:
        OSError: If it cannot be made.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    close_to_others(path)


def close_to_others(path: Path) -> bool:
    """Take all permissions of others away from a file or folder; tell whether they had any.

    Raises:
        OSError: If that is not allowed.
    """
    if os.name == "nt":  # a profile's folders are closed by their own lists
        return False
    mode = path.stat().st_mode
    if not mode & _FOREIGN_BITS:
        return False
    path.chmod(mode & 0o7777 & ~_FOREIGN_BITS)
    return True


def _sync_folder(folder: Path) -> None:
    """Make the new name durable: after a power cut the old file would come back, with tokens that are spent."""
    if os.name == "nt":  # where folders cannot be synced
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


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
            insist(Path(path).unlink)
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
        insist(Path(path).unlink)
    except FileNotFoundError:
        return True
    return True


def remove_empty_folder(path: Path) -> None:
    """Remove a folder if nothing is in it; where it cannot be, it stays."""
    with contextlib.suppress(OSError):
        path.rmdir()


def is_same_file(descriptor: int, path: str | os.PathLike[str]) -> bool:
    """Tell whether an open file is the regular file at a path, and the path is no link to it."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and os.path.samestat(os.fstat(descriptor), found)
