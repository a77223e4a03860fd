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
    return any(_is_its_archive(entry) for entry in journal.begun_at(path) if entry.archive_size is None)


def archives_in(folder: Path, journal: Journal) -> set[str]:
    """Return the paths of all archives of unfinished uploads in a folder, but of none that is another file now."""
    return {entry.archive_path for entry in journal.entries_in(folder) if _is_its_archive(entry)}


def _is_its_archive(entry: Entry) -> bool:
    """Tell whether what lies at an upload's place is its archive: by time and size, or by time and how it begins."""
    try:
        status = os.lstat(entry.archive_path)
    except OSError:
        return False  # there is nothing
    if not stat.S_ISREG(status.st_mode) or status.st_mtime_ns != entry.archive_mtime_ns:
        return False
    if entry.archive_size is not None:
        return status.st_size == entry.archive_size
    return status.st_size == 0 or is_ours(entry.archive_path)


def remove(path: Path) -> None:
    """Remove what an earlier run has left.

    Raises:
        LocalStateError: If that cannot be.
    """
    try:
        _unlink(path)
    except OSError as error:
        raise LocalStateError(
            f"What an earlier run left at {path} cannot be removed: {error.strerror or error}. "
            "Make the folder writable, or use --archive-dir DIR.",
            code="left-over",
        ) from error


def remove_elsewhere(entry: Entry, shown: str, journal: Journal) -> list[str]:
    """Remove what an upload has left in a folder where it does not get its archive any more; say what stays there.

    Where another process is at that place, all stays: it may be packing, or have packed and not written that down yet.
    What cannot be removed keeps nobody from going on: its place is not needed.

    Args:
        entry: The upload as it was written down.
        shown: Its source's name.
        journal: Knows who is at that place.

    Returns:
        What cannot be removed, each in a sentence for the person.
    """
    path, told = Path(entry.archive_path), []
    with suppress(RefusedError), journal.hold(os.fspath(path), shown):
        left = [unfinished_path(path, entry.operation_id)]
        if journal.find_archive(path) == entry or is_promised(path, journal):
            left.append(path)
        for each in left:
            try:
                _unlink(each)
            except OSError as error:
                told.append(
                    f"What an earlier run left at {each} is not needed any more and could not be deleted "
                    f"({error.strerror or error}). Delete it by hand."
                )
    return told


def remove_interrupted(archive_path: Path, operation_id: str, journal: Journal) -> bool:
    """Remove what packing has left that was stopped between two steps, or met a closed folder; tell if nothing is left.

    Only for who still holds that place. What cannot be removed stays; it is no reason to keep others from ending.
    """
    try:
        _unlink(unfinished_path(archive_path, operation_id))
        if is_promised(archive_path, journal):
            _unlink(archive_path)
    except OSError:
        return False
    return True


def _unlink(path: Path) -> None:
    """Remove a file, if it is there."""
    with suppress(FileNotFoundError):
        path.lstat()  # a disk that may only be read refuses to remove even what is not there
        path.unlink()
