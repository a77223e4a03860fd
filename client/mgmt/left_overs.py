"""What killed runs leave where archives are made: told from anybody else's files, and removed."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from mgmt.archive import is_ours
from mgmt.errors import LocalStateError, RefusedError
from mgmt.journal import Entry, Journal
from mgmt.layout import temporary_name


def unfinished_path(archive_path: Path, operation_id: str) -> Path:
    """Say where an operation's archive lies while it is being packed: found again after a crash."""
    return archive_path.with_name(temporary_name(archive_path.name, unfinished_token(operation_id)))


def unfinished_token(operation_id: str) -> str:
    """Take the random end of an operation's id to tell its unfinished archive from others."""
    return operation_id[-8:]


def is_promised(path: Path, journal: Journal) -> bool:
    """Tell whether a killed run left this file, or one that is alive has just given it its name.

    A run promises its archive, and writes down that it is whole when it has its name; on disks without hard links
    an empty file may hold that name for a moment. What somebody put there since bears another time.
    """
    promised = {entry.archive_mtime_ns for entry in journal.begun_at(path) if entry.archive_size is None}
    try:
        status = path.lstat()
    except OSError:
        return False  # there is nothing
    if not promised or not stat.S_ISREG(status.st_mode):
        return False
    return status.st_mtime_ns in promised and (status.st_size == 0 or is_ours(path))


def remove(path: Path) -> None:
    """Remove what an earlier run has left.

    Raises:
        LocalStateError: If that cannot be.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise LocalStateError(
            f"What an earlier run left at {path} cannot be removed: {error.strerror or error}. "
            "Make the folder writable, or use --archive-dir DIR.",
            code="left-over",
        ) from error


def remove_elsewhere(entry: Entry, shown: str, journal: Journal) -> None:
    """Remove what an upload has left in a folder where it does not get its archive any more.

    Where another process is at that place, all stays: it may be packing, or have packed and not written that down yet.

    Args:
        entry: The upload as it was written down.
        shown: Its source's name.
        journal: Knows who is at that place.

    Raises:
        LocalStateError: If it cannot be removed.
    """
    path = Path(entry.archive_path)
    with suppress(RefusedError), journal.hold(os.fspath(path), shown):
        remove(unfinished_path(path, entry.operation_id))
        if journal.find_archive(path) == entry or is_promised(path, journal):
            remove(path)


def remove_interrupted(archive_path: Path, operation_id: str, journal: Journal) -> None:
    """Remove what packing has left that Ctrl-C met between two steps: a file, and nobody who knows of it.

    Only for who still holds that place. What cannot be removed stays; it is no reason to keep others from ending.
    """
    with suppress(OSError):
        unfinished_path(archive_path, operation_id).unlink(missing_ok=True)
        if is_promised(archive_path, journal):
            archive_path.unlink()
