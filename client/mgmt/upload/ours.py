"""Finds and deletes archives left by a crashed run; never touches other files."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from mgmt.archive import begins_as_ours
from mgmt.errors import LocalStateError, RefusedError
from mgmt.journal import Entry, Journal
from mgmt.layout import placeholder, temporary_name
from mgmt.machine.removal import open_regular, remove_file


def unfinished_path(archive_path: Path, operation_id: str) -> Path:
    """Say where an operation's archive lies while it is being packed: found again after a crash."""
    return archive_path.with_name(temporary_name(archive_path.name, unfinished_token(operation_id)))


def unfinished_token(operation_id: str) -> str:
    """Take the random end of an operation's id to tell its unfinished archive from others."""
    return operation_id[-8:]


def placeholder_of(operation_id: str) -> bytes:
    """Make what a file of an operation holds that only takes a name, where the disk knows no other way."""
    return placeholder(unfinished_token(operation_id))


def is_promised(path: Path, journal: Journal) -> bool:
    """Tell whether a killed run left this file, or one that is alive has just given it its name.

    A run promises its archive, and writes down that it is whole when it has its name; on disks without hard links
    a placeholder may hold that name for a moment. What somebody put there since bears another time.
    """
    return any(_is_its_archive(entry) for entry in journal.begun_at(path) if entry.archive_size is None)


def archives_in(folder: Path, journal: Journal) -> set[str]:
    """Return the paths of all archives of unfinished uploads in a folder, but of none that is another file now."""
    return {entry.archive_path for entry in journal.entries_in(folder) if _is_its_archive(entry)}


def is_known_archive(path: str, journal: Journal) -> bool:
    """Tell whether a file is an archive that the journal knows, be it whole or only promised by now."""
    return any(map(_is_its_archive, journal.entries_at(path)))


def _is_its_archive(entry: Entry) -> bool:
    """Tell whether what lies at an upload's place is its archive."""
    if entry.archive_size is not None:  # known by size and time, also where it may not be read
        return _is_regular_file(entry.archive_path, entry.archive_size, entry.archive_mtime_ns)
    try:
        with open_regular(entry.archive_path) as descriptor:
            return descriptor is not None and _is_archive_of(entry, descriptor)
    except OSError:
        return False


def _is_regular_file(path: str, size_bytes: int, mtime_ns: int | None) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False  # there is nothing
    return stat.S_ISREG(found.st_mode) and (found.st_size, found.st_mtime_ns) == (size_bytes, mtime_ns)


def _is_archive_of(entry: Entry, descriptor: int) -> bool:
    """Tell whether an open file is what the journal says of an upload's archive: as much as it knew beforehand.

    Of a whole one size and time; of one that was only promised the time that it was to bear; and both begin as ours do.
    """
    status = os.fstat(descriptor)
    if entry.archive_size is None and status.st_size == len(placeholder_of(entry.operation_id)):
        os.lseek(descriptor, 0, os.SEEK_SET)
        return os.read(descriptor, status.st_size) == placeholder_of(entry.operation_id)
    is_size_known = entry.archive_size in (None, status.st_size)
    return is_size_known and status.st_mtime_ns == entry.archive_mtime_ns and begins_as_ours(descriptor)


def remove_unfinished(archive_path: Path, operation_id: str) -> None:
    """Remove what lies at the name that only an operation's unfinished archive ever bears.

    The operation's id, and so its archive's name, was in the journal before there was such a file.

    Raises:
        LocalStateError: If it cannot be removed.
    """
    _remove(unfinished_path(archive_path, operation_id), lambda _: True)


def remove_archive(entry: Entry) -> bool:
    """Remove an upload's archive; tell whether nothing lies in its place any more.

    Raises:
        LocalStateError: If it cannot be removed.
    """
    return _remove(entry.archive_path, partial(_is_archive_of, entry))


def remove_promised(path: Path, journal: Journal) -> bool:
    """Remove what a killed run has left in an archive's place; tell whether it was that, and has gone.

    Raises:
        LocalStateError: If it cannot be removed.
    """
    return is_promised(path, journal) and _remove(path, _is_promised_to(journal, path))


def _is_promised_to(journal: Journal, path: Path) -> Callable[[int], bool]:
    begun = [entry for entry in journal.begun_at(path) if entry.archive_size is None]
    return lambda descriptor: any(_is_archive_of(entry, descriptor) for entry in begun)


def _remove(path: str | Path, is_ours: Callable[[int], bool]) -> bool:
    try:
        return remove_file(path, is_ours)
    except OSError as error:
        raise LocalStateError(
            f"{path}, left by an earlier run, cannot be deleted: {error.strerror or error}. Make the folder "
            "writable, or use --archive-dir DIR.",
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
        is_whole = journal.find_archive(path) == entry
        is_ours = partial(_is_archive_of, entry) if is_whole else _is_promised_to(journal, path)
        for each, is_left in ((unfinished_path(path, entry.operation_id), lambda _: True), (path, is_ours)):
            try:
                remove_file(each, is_left)
            except OSError as error:
                told.append(
                    f"{each}, left by an earlier run, is no longer needed but could not be deleted "
                    f"({error.strerror or error}). Delete it by hand."
                )
    return told


def remove_interrupted(archive_path: Path, operation_id: str, journal: Journal) -> bool:
    """Remove what packing has left that was stopped between two steps, or met a closed folder; tell if nothing is left.

    Only for who still holds that place. What cannot be removed stays; it is no reason to keep others from ending.
    """
    try:
        remove_file(unfinished_path(archive_path, operation_id), lambda _: True)
        if is_promised(archive_path, journal):
            remove_file(archive_path, _is_promised_to(journal, archive_path))
    except OSError:
        return False
    return True
