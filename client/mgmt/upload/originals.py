"""Moves originals to the folder of completed ones, after a proven upload, and ends the moves of crashed runs.

Only ever a rename. Copying to another disk would make a second original without proof, and remove the first.
Everything that can be known is checked before anything is packed. A move is promised in the journal before it is made.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from mgmt.archive import compute_content_digest, rename_without_replacing, sync_folder
from mgmt.errors import CancelledError, LocalStateError, MgmtError, RefusedError, SourceError, source_changed
from mgmt.events import Finished, Notice, Waiting
from mgmt.journal import Entry, Moved
from mgmt.service import error_of
from mgmt.session import Session
from mgmt.source import Source, place_of
from mgmt.text import shown, spell_path
from mgmt.upload.job import Job, UploadOptions
from mgmt.upload.ours import has_moved, placeholder_of
from mgmt.upload.results import AlreadyThere, Summary, note_clean_up
from mgmt_contract.messages.uploads import CleanUp, Existing
from mgmt_contract.records import UploadRecord
from mgmt_contract.values import Value
from mgmt_contract.wire import format_time

_ASKS_EFFECTIVE_IDS: Final = os.access in os.supports_effective_ids


def find_place(source: Source, folder: Path, left_over: Path | None = None) -> Path | None:
    """Say where a source goes after success; None for a symlink, which stays.

    Args:
        source: What is to be uploaded.
        folder: Absolute; made when the first original is moved.
        left_over: A place that is taken only until a real run clears it.

    Raises:
        SourceError: If this source cannot be moved there.
        LocalStateError: If the folder cannot be used by any.
    """
    if os.path.islink(source.path):  # noqa: PTH114  is_symlink raises where a disk fails
        return None
    _refuse_overlap(source, folder)
    _refuse_unusable(source, folder)
    place = folder / source.path.name
    if os.path.lexists(place) and place != left_over:
        raise _taken(place)
    return place


class Moves(Value):
    """What came of moving originals; those of all other jobs stay for good."""

    made: set[Job]
    waiting: set[Job]
    """The journal keeps the promise: the same command makes the move when what was in its way is gone."""


def move_originals(session: Session, proven: Mapping[Job, UploadRecord]) -> Moves:
    """Move the originals of uploads that have succeeded.

    One that cannot be moved stays, and that is said: its upload is good.

    Raises:
        CancelledError: If the command was stopped while an original was compared with what is stored.
    """
    for job in proven:
        if job.options.completed_dir is not None and job.completed_path is None:
            _say_stays(session, job, "it is a link, and links are not moved.")
    places = {job: job.completed_path for job in proven if job.completed_path is not None}
    if places:
        session.journal.put([job.entry(session.service_url, is_moving=True) for job in places])
    moves = Moves(set(), set())
    for job, place in places.items():
        try:
            if _is_as_stored(session, job, proven[job]):
                move_original(job.source, place, placeholder_of(job.operation_id))
                moves.made.add(job)
        except CancelledError:
            raise  # the journal has it: the same command makes the move
        except MgmtError as error:
            _say_stays(session, job, error.message)
            moves.waiting.add(job)
    return moves


def moved_by(entry: Entry, record: UploadRecord | None) -> Moved:
    """Make what the journal keeps of an upload whose original was moved."""
    stored = describe_object(record) if record is not None else None
    place = entry.completed_path or ""
    return Moved(entry.operation_id, entry.service, entry.source_path, entry.destination, place, stored)


def describe_object(record: UploadRecord) -> Existing:
    """Describe the object of a successful upload as the service describes one that is there."""
    return Existing(
        s3_object_key=record.s3_object_key,
        size=record.object_size or 0,
        etag=record.etag or "",
        operation_id=record.operation_id,
        actor=record.actor,
        finished_at=record.finished_at,
        content_digest=record.content_digest,
        crc64nvme=record.crc64nvme,
        version_id=record.version_id,
    )


class EarlierMoves:
    """Originals that earlier runs moved away: their uploads have succeeded, though the targets are gone.

    After a crash, the next run finds the source in its old place, and uploads it again to the same end; or it finds
    only the moved original, and reports that end.
    """

    def __init__(self, session: Session, summary: Summary) -> None:
        self._session = session
        self._summary = summary
        self._found: dict[str, Entry] = {}
        """Moves made and not written down any more, by the sources' old paths."""

    def settle(self, *, is_dry_run: bool = False) -> None:
        """Find the moves that earlier runs made and could not write down; cross out those that have no end any more."""
        journal = self._session.journal
        for entry in journal.moves(self._session.service_url):
            if is_dry_run and has_moved(entry):
                self._found[entry.source_path] = entry
            elif not is_dry_run:
                with contextlib.suppress(RefusedError), journal.hold(entry.archive_path, entry.source_path):
                    self._settle(entry)  # unless another process of this machine is at it

    def take(self, target: str, options: UploadOptions) -> Entry | Moved | None:
        """Return the upload whose original was moved away from a target's path, if there is one."""
        if not self._found and options.completed_dir is None:
            return None
        source_path = place_of(target)
        entry = self._found.pop(os.fspath(source_path), None)
        if entry is not None or options.completed_dir is None or os.path.lexists(source_path):
            return entry
        destination = f"{options.prefix}/{options.as_name or source_path.name}"
        made = self._session.journal.find_moved(self._session.service_url, os.fspath(source_path), destination)
        return made if made is not None and os.path.lexists(made.completed_path) else None

    def look_up(self, operation_id: str) -> UploadRecord | None:
        """Ask the service for an upload's record; None where the id is another operation's.

        Raises:
            MgmtError: If the service cannot be asked, or does not know it.
        """
        [result] = self._session.api.look_up([operation_id]).results
        if result.problem is not None:
            raise error_of(result.problem)
        return result.record if isinstance(result.record, UploadRecord) else None

    def end(self, target: str, options: UploadOptions) -> bool:
        """End a target that an earlier run has uploaded and moved; tell whether it is one.

        Raises:
            MgmtError: If the service has to be asked for the record, and cannot be.
        """
        upload = self.take(target, options)
        if isinstance(upload, Entry):
            record = self.look_up(upload.operation_id)
            clean_up = self._finish(upload, record)
            if record is not None:
                note_clean_up(record, clean_up)
            self._tell(Finished(record, moved_to=upload.completed_path) if record is not None else None)
        elif upload is not None:
            self._tell(Finished(self._describe(upload, target)))
        return upload is not None

    def finish_unnamed(self) -> None:
        """End and tell of those that this command has not named."""
        for entry in self._found.values():
            self._finish(entry)
            message = f"{entry.source_path} was uploaded by an earlier run, and moved to {entry.completed_path}."
            self._session.emit(Notice(message, "moved-before", entry.operation_id))

    def _tell(self, event: Finished | None) -> None:
        self._summary.count(event)
        if event is not None:
            self._session.emit(event)

    def _describe(self, moved: Moved, target: str) -> AlreadyThere:
        record = self.look_up(moved.operation_id) if moved.object is None else None
        stored = describe_object(record) if record is not None else moved.object
        key = stored.s3_object_key if stored is not None else moved.destination
        actor = stored.actor if stored is not None else None
        finished_at = format_time(stored.finished_at) if stored is not None and stored.finished_at else None
        return AlreadyThere(
            moved.operation_id, spell_path(target), key, actor, finished_at, spell_path(moved.completed_path)
        )

    def _settle(self, entry: Entry) -> None:
        source, place = Path(entry.source_path), Path(entry.completed_path or "")
        if os.path.lexists(source):
            return  # not moved yet: the command that names it again moves it
        is_there = os.path.lexists(place)
        if not is_there and not all(map(os.path.exists, (source.parent, place.parent))):
            return  # a disk that is not plugged in, or fails; time will tell
        if has_moved(entry):
            self._found[entry.source_path] = entry
        else:
            self._finish(entry, has_moved=False)  # taken away by hand: there is nothing left to wait for

    def _finish(self, entry: Entry, record: UploadRecord | None = None, *, has_moved: bool = True) -> CleanUp:
        """Cross a settled upload out, and have its end reported."""
        clean_up = CleanUp(
            entry.operation_id,
            "moved" if has_moved else "completed",
            "deleted" if entry.archive_size is None else "completed",
        )
        kept = [] if entry.archive_size is None else [replace(entry, ended_as="kept", completed_path=None)]
        moved = [moved_by(entry, record)] if has_moved else []
        self._session.journal.finish(entry.service, [clean_up], kept, moved)
        return clean_up


def move_original(source: Source, place: Path, mark: bytes) -> None:
    """Move a source to its place; nothing is ever replaced.

    Args:
        source: Compared with what is stored just now.
        place: Where `find_place` said.
        mark: Holds the place for a moment, on disks that know no other way.

    Raises:
        SourceError: If it stays, with the reason.
    """
    if os.path.islink(source.path):  # noqa: PTH114  is_symlink raises where a disk fails
        raise source_changed(os.fspath(source.path))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        rename_without_replacing(source.path, place, mark)
    except FileExistsError as error:
        raise _taken(place) from error
    except OSError as error:
        raise SourceError(
            f"'{shown(os.fspath(source.path))}' cannot be moved to '{shown(os.fspath(place))}': "
            f"{error.strerror or error}. Fix that and run the same command again, or move it by hand.",
            code="not-moved",
        ) from error
    with contextlib.suppress(OSError):  # it has moved: a power cut may at worst take that back
        sync_folder(place.parent)
        sync_folder(source.path.parent)


def _is_as_stored(session: Session, job: Job, record: UploadRecord) -> bool:
    """Tell whether an original is what is stored; size and times may be the same after an edit.

    What this run has packed, and nothing has written to since, need not be read again; anything else is compared
    by its digest. Of one that differs it is said that it stays.

    Raises:
        SourceError: If it cannot be read.
    """
    now = job.source.look_again()
    is_stored = now.fingerprint == job.source.fingerprint
    is_as_packed = now.seal and job.archive is not None and now.seal == job.archive.source_seal
    if is_stored and not is_as_packed:
        session.emit(Waiting(f"comparing {job.target_path} with what is stored"))
        stored = job.content.content_digest if job.content is not None else record.content_digest
        is_stored = compute_content_digest(now, stop=session.stop) == stored
        after = job.source.look_again() if is_stored else now
        is_stored = is_stored and (after.fingerprint, after.seal) == (now.fingerprint, now.seal)
    if not is_stored:
        why = (
            f"'{shown(os.fspath(job.source.path))}' was changed since and differs from what is stored. Upload it "
            "again with --replace, or under another name with --as NAME."
        )
        _say_stays(session, job, why)
    return is_stored


def _say_stays(session: Session, job: Job, why: str) -> None:
    message = f"{job.target_path} is uploaded, but the original was not moved: {why}"
    session.emit(Notice(message, "not-moved", job.operation_id))


def _refuse_overlap(source: Source, folder: Path) -> None:
    root, goal = Path(os.path.realpath(source.path)), Path(os.path.realpath(folder))
    if goal == root.parent:
        raise SourceError(
            f"'{shown(os.fspath(source.path))}' lies in the folder for completed originals already. Upload it "
            "without --move-completed, or name another folder with --completed-dir DIR.",
            code="completed-already",
        )
    if source.is_directory and goal.is_relative_to(root):
        raise SourceError(
            f"The folder for completed originals, '{shown(os.fspath(folder))}', lies in "
            f"'{shown(os.fspath(source.path))}', which was to be moved there. Name a folder outside with "
            "--completed-dir DIR.",
            code="completed-inside-source",
        )


def _refuse_unusable(source: Source, folder: Path) -> None:
    there = _nearest_existing(folder)
    is_folder = os.path.isdir(there)  # noqa: PTH112  False also where a link leads to what may not be looked at
    if not is_folder or not _is_writable(there):
        why = "may not be written to" if is_folder else "is no folder"
        raise LocalStateError(
            f"The folder for completed originals, '{shown(os.fspath(folder))}', cannot be used: "
            f"'{shown(os.fspath(there))}' {why}. Fix that, or name another one with --completed-dir DIR.",
            code="completed-unusable",
        )
    try:
        is_same_disk = there.stat().st_dev == source.path.stat().st_dev
    except OSError as error:
        raise source_changed(os.fspath(source.path)) from error
    if not is_same_disk:
        raise SourceError(
            f"'{shown(os.fspath(folder))}' lies on another disk than '{shown(os.fspath(source.path))}'. Originals "
            "are only renamed, never copied: name a folder on the same disk with --completed-dir DIR.",
            code="completed-elsewhere",
        )
    if not _is_writable(source.path.parent) or (source.is_directory and not _is_writable(source.path)):
        raise SourceError(
            f"'{shown(os.fspath(source.path))}' may not be moved: it or its folder is read-only for you. Fix "
            "that, or upload it without --move-completed.",
            code="source-unmovable",
        )


def _nearest_existing(path: Path) -> Path:
    while not os.path.lexists(path):
        path = path.parent
    return path


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=_ASKS_EFFECTIVE_IDS)


def _taken(place: Path) -> MgmtError:
    return SourceError(
        f"'{shown(os.fspath(place))}' exists already, and mgmt never overwrites a file. Rename one of them, or "
        "name another folder with --completed-dir DIR.",
        code="completed-exists",
    )
