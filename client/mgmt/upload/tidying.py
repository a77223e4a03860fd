"""Tidying: what is left here of an upload that has ended without a run of this machine, given up or recorded as done.

Its archive may be the last that is left of its source. So it goes only where the source is there as it was, or after
proof; else it stays, is named, and is known from then on as one to be kept.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from mgmt.archive import is_ours, read_archive
from mgmt.errors import LocalStateError, SourceError, UsageError
from mgmt.events import Notice
from mgmt.journal import Entry, Journal
from mgmt.machine.files import remove_empty_folder
from mgmt.source import look
from mgmt.text import shown
from mgmt.upload.ours import cache_folder_name, has_its_archive, is_known_archive, remove_all
from mgmt.upload.results import note_clean_up
from mgmt_contract.messages.uploads import CleanUp
from mgmt_contract.records import UploadRecord


def has_its_source(entry: Entry, journal: Journal) -> bool:
    """Tell whether an upload's source is there as it was when the upload began."""
    return _look_at_source(entry, journal) == "same"


def _look_at_source(entry: Entry, journal: Journal) -> Literal["same", "other", "unreadable"]:
    """Say what has become of an upload's source: `other` where it is gone or has changed."""
    name = entry.destination.rpartition("/")[2]
    is_own_archive = partial(is_known_archive, journal=journal)
    try:
        source = look(entry.source_path, name=name, excludes=entry.excludes, is_own_archive=is_own_archive)
    except SourceError as error:
        is_unreadable = error.code == "source-unreadable" or _is_away(entry)  # a disk that fails takes both along
        return "unreadable" if is_unreadable else "other"
    except UsageError:
        return "other"
    return "same" if source.fingerprint == entry.fingerprint else "other"


def tidy_given_up(entry: Entry, journal: Journal) -> list[Notice]:
    """Remove what an upload that was given up has left, and cross it out; say what stays.

    Its place must be held. An archive that another upload needs, or that was kept on request, stays.
    """
    if _is_away(entry):
        journal.put([replace(entry, ended_as="left")])
        return [_tell_away(entry)]
    is_there = _is_there(entry, journal)
    found = _look_at_source(entry, journal) if is_there and _is_whole(entry) else "same"
    if found == "unreadable":
        journal.put([replace(entry, ended_as="left")])
        return [_tell_unreadable(entry)]
    if found == "other":
        journal.put([_as_kept(entry)])
        message = (
            f"The archive stays, as '{shown(entry.source_path)}' is gone or has changed since: "
            f"{shown(entry.archive_path)}. Delete it by hand if nobody needs it."
        )
        return [*_remove(entry, is_archive_too=False), _notice(entry, "archive-kept", message)]
    told = _remove(entry, is_archive_too=is_there)
    if told:  # by its entry the next run knows that it is ours
        journal.put([replace(entry, ended_as="left")])
    else:
        journal.forget([entry.operation_id])
    return told


def tidy_stored(
    entry: Entry, record: UploadRecord, journal: Journal, stop: threading.Event, *, keeps_archive: bool
) -> list[Notice]:
    """Remove the archive of an upload that is recorded as done, after proof, and cross it out; say what stays.

    Its place must be held. The record gets what became of the local files.

    Raises:
        CancelledError: If `stop` was set; all is as it was.
    """
    kept: list[Entry] = []
    is_there = _is_there(entry, journal)
    found = _compare(entry, record, stop) if is_there and not keeps_archive else "other"
    if found == "same":
        told = _remove(entry, is_archive_too=True)
        kept = [_as_left(_as_kept(entry))] if told else []
    elif found == "unreadable":
        told, kept = [_tell_uncompared(entry)], [_as_left(entry)]
    elif is_there:
        told, kept = _remove(entry, is_archive_too=False), [_as_kept(entry)]
        message = f"The archive of '{shown(entry.source_path)}' is kept: {shown(entry.archive_path)}."
        told.append(_notice(entry, "archive-kept", message))
    elif _is_away(entry):
        told, kept = [_tell_away(entry)], [_as_left(entry)]
    else:
        told = _remove(entry, is_archive_too=False)
        kept = [_as_left(entry)] if told else []
    clean_up = CleanUp(entry.operation_id, "completed", "completed" if kept else "deleted")
    journal.finish(entry.service, [clean_up], kept)
    note_clean_up(record, clean_up)
    return told


def tidy_remains(entry: Entry, record: UploadRecord | None, journal: Journal, stop: threading.Event) -> list[Notice]:
    """Remove the archive of an upload that is over, which could not be removed then; say what became of it.

    Its place must be held. `record` is None where the service knows nothing of the upload.

    Raises:
        CancelledError: If `stop` was set; all is as it was.
    """
    if not _is_there(entry, journal):
        return []
    if record is not None and record.status == "success":
        told = tidy_stored(entry, record, journal, stop, keeps_archive=False)
    else:
        told = tidy_given_up(entry, journal)
    if told:
        return told
    message = f"{shown(entry.archive_path)}, which an earlier run could not delete, is deleted."
    return [_notice(entry, "archive-deleted", message)]


def _is_there(entry: Entry, journal: Journal) -> bool:
    """Tell whether an upload's archive is there, and no other upload's: two of the same source may share one."""
    others = [each for each in journal.entries_at(entry.archive_path) if each.operation_id != entry.operation_id]
    is_wanted = any(each.ended_as != "left" and has_its_archive(each) for each in others)
    return not is_wanted and has_its_archive(entry)


def _compare(entry: Entry, record: UploadRecord, stop: threading.Event) -> Literal["same", "other", "unreadable"]:
    """Compare the archive, as it lies there, with what S3 has stated of the object.

    Raises:
        CancelledError: If `stop` was set.
    """
    try:
        sums = read_archive(entry.archive_path, stop=stop)
    except LocalStateError:
        return "unreadable"
    is_same = record.status == "success" and (record.object_size, record.crc64nvme) == (sums.size, sums.crc64nvme)
    return "same" if is_same else "other"


def _is_whole(entry: Entry) -> bool:
    """Tell an archive from what only takes its name; one that was written down as whole may be unreadable."""
    return entry.archive_size is not None or is_ours(entry.archive_path)


def _as_kept(entry: Entry) -> Entry:
    kept = replace(entry, ended_as="kept", completed_path=None)
    with suppress(OSError):  # it vanishes just now
        found = os.lstat(entry.archive_path)
        return replace(kept, archive_size=found.st_size, archive_mtime_ns=found.st_mtime_ns)
    return kept


def _as_left(entry: Entry) -> Entry:
    return replace(entry, ended_as="left", completed_path=None)


def _is_away(entry: Entry) -> bool:
    """Tell whether the folder of an upload's archive is not there, as of a disk that is not plugged in."""
    is_there = os.path.isdir(Path(entry.archive_path).parent)  # noqa: PTH112  is_dir raises where a disk fails
    return not (_is_cached(entry) or is_there)


def _tell_away(entry: Entry) -> Notice:
    message = (
        f"The archive of '{shown(entry.source_path)}' was made in a folder that is not there now. If it is there when "
        f"the folder is back, `mgmt resume` deletes it: {shown(entry.archive_path)}."
    )
    return _notice(entry, "archive-not-deleted", message)


def _tell_unreadable(entry: Entry) -> Notice:
    message = (
        f"'{shown(entry.source_path)}' cannot be read now, so its archive stays: {shown(entry.archive_path)}. "
        "`mgmt resume` deletes it when the source can be read and is as it was."
    )
    return _notice(entry, "archive-not-deleted", message)


def _tell_uncompared(entry: Entry) -> Notice:
    message = (
        f"The archive of '{shown(entry.source_path)}' cannot be read now, so it stays: {shown(entry.archive_path)}. "
        "`mgmt resume` deletes it when it can be read and is what is stored."
    )
    return _notice(entry, "archive-not-deleted", message)


def _is_cached(entry: Entry) -> bool:
    path = Path(entry.archive_path)
    return path.parent.name == cache_folder_name(entry.source_path, entry.fingerprint, entry.plan, path.name)


def _remove(entry: Entry, *, is_archive_too: bool) -> list[Notice]:
    told = remove_all(Path(entry.archive_path), entry.operation_id, [entry] if is_archive_too else [])
    if _is_cached(entry):
        remove_empty_folder(Path(entry.archive_path).parent)
    return [_notice(entry, "archive-not-deleted", message) for message in told]


def _notice(entry: Entry, code: str, message: str) -> Notice:
    return Notice(message, code, entry.operation_id)
