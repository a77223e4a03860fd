"""Moves of originals: promised in the journal, made, and brought to their end where a run was killed in between."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mgmt.archive import compute_content_digest
from mgmt.errors import CancelledError, MgmtError, RefusedError, SourceError
from mgmt.events import Notice, Waiting
from mgmt.journal import Entry, Moved
from mgmt.session import Session
from mgmt.source import Source, look, place_of
from mgmt.text import shown
from mgmt.upload.job import Job, UploadOptions
from mgmt.upload.originals import move_original
from mgmt.upload.ours import placeholder_of
from mgmt_contract.messages import CleanUp, Existing
from mgmt_contract.records import UploadRecord


class Moves:
    """The moves of one command.

    A move is written down before it is made. Whoever is killed after that finds, next time, either the source
    in its old place, and the upload goes its way again to the same end; or the source gone and its new place
    taken, and only the report is still to be made.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._settled: dict[str, Entry] = {}

    def make(self, proven: Mapping[Job, UploadRecord]) -> set[Job]:
        """Move the originals of uploads that have succeeded; return the jobs of those that were moved.

        One that cannot be moved stays, and that is said: the upload is good all the same.

        Args:
            proven: The jobs, each with its record.

        Raises:
            CancelledError: If the command was stopped while an original was compared with what is stored.
        """
        jobs = list(proven)
        for job in jobs:
            if job.options.completed_dir is not None and job.completed_path is None:
                self._say_stays(job, "it is a link, and links are not moved.")
        movable = [job for job in jobs if job.completed_path is not None]
        if movable:
            url = self._session.service_url
            self._session.journal.put([job.entry(url, is_moving=True) for job in movable])
        return {job for job in movable if self._move(job, proven[job])}

    def settle(self) -> None:
        """Find the moves that earlier runs had made, and could not write down any more."""
        for entry in self._session.journal.moves(self._session.service_url):
            try:
                with self._session.journal.hold(entry.archive_path, Path(entry.source_path).name):
                    self._settle(entry)
            except RefusedError:
                continue  # another process of this machine is at it

    def take_settled(self, target: str) -> Entry | None:
        """Return the upload whose original was settled to be moved away from a target's path."""
        return self._settled.pop(os.fspath(place_of(target)), None) if self._settled else None

    def find_made(self, target: str, options: UploadOptions) -> Moved | None:
        """Return the move that an earlier run has made of a target that the same command names again."""
        if options.completed_dir is None:
            return None
        source_path = place_of(target)
        if os.path.lexists(source_path):
            return None
        destination = f"{options.prefix}/{options.as_name or source_path.name}"
        made = self._session.journal.find_moved(self._session.service_url, os.fspath(source_path), destination)
        return made if made is not None and os.path.lexists(made.completed_path) else None

    def remember(self, job: Job, record: UploadRecord) -> Moved:
        """Make what is to be known of a job whose original was moved."""
        return Moved(
            job.operation_id,
            self._session.service_url,
            os.fspath(job.source.path),
            job.destination,
            os.fspath(job.completed_path or ""),
            describe_object(record),
        )

    def finish(self, entry: Entry, record: UploadRecord | None = None, *, has_moved: bool = True) -> CleanUp:
        """Cross a settled upload out, and have its end reported."""
        clean_up = CleanUp(
            entry.operation_id,
            "moved" if has_moved else "completed",
            "deleted" if entry.archive_size is None else "completed",
        )
        kept = [] if entry.archive_size is None else [replace(entry, ended_as="kept", completed_path=None)]
        stored = describe_object(record) if record is not None else None
        path = entry.completed_path or ""
        moved = Moved(entry.operation_id, entry.service, entry.source_path, entry.destination, path, stored)
        self._session.journal.finish(entry.service, [clean_up], kept, [moved] if has_moved else [])
        return clean_up

    def finish_unnamed(self) -> None:
        """Finish and tell of those that this command has not named."""
        for entry in self._settled.values():
            self.finish(entry)
            message = f"{entry.source_path} was uploaded by an earlier run, and moved to {entry.completed_path}."
            self._session.emit(Notice(message, "moved-before", entry.operation_id))

    def _settle(self, entry: Entry) -> None:
        source, place = Path(entry.source_path), Path(entry.completed_path or "")
        if os.path.lexists(source):
            return  # not moved yet: who names it again moves it
        is_taken = os.path.lexists(place)
        if not is_taken and not (source.parent.exists() and place.parent.exists()):
            return  # a disk that is not plugged in; time will tell
        if has_moved(entry):
            self._settled[entry.source_path] = entry
        else:
            self.finish(entry, has_moved=False)  # somebody took it away: there is nothing left to wait for

    def _move(self, job: Job, record: UploadRecord) -> bool:
        assert job.completed_path is not None  # noqa: S101  only such jobs are moved
        try:
            self._refuse_unproven(job, record)
            move_original(job.source, job.completed_path, placeholder_of(job.operation_id))
        except CancelledError:
            raise  # the journal has it: the same command makes the move
        except MgmtError as error:
            self._say_stays(job, error.message)
            return False
        return True

    def _refuse_unproven(self, job: Job, record: UploadRecord) -> None:
        """Refuse an original that is not what is stored: size and times may be the same after an edit.

        What this run has packed, and nothing has written to since, need not be read again; anything else is compared
        by its digest.

        Raises:
            SourceError: If it differs, or cannot be read.
        """
        now = _look_unchanged(job)
        if now.seal and job.archive is not None and now.seal == job.archive.source_seal:
            return
        self._session.emit(Waiting(f"comparing {job.target_path} with what is stored"))
        stored = job.content.content_digest if job.content is not None else record.content_digest
        is_stored = compute_content_digest(now, stop=self._session.stop) == stored
        if not is_stored or _look_unchanged(job).seal != now.seal:
            raise _changed_since(job)

    def _say_stays(self, job: Job, why: str) -> None:
        message = f"{job.target_path} is uploaded, but the original was not moved: {why}"
        self._session.emit(Notice(message, "not-moved", job.operation_id))


def _look_unchanged(job: Job) -> Source:
    """Look at a job's source again.

    Raises:
        SourceError: If it is not what was looked at first, or cannot be read.
    """
    now = job.source.look_again()
    if now.fingerprint != job.source.fingerprint:
        raise _changed_since(job)
    return now


def _changed_since(job: Job) -> SourceError:
    return SourceError(
        f"'{shown(os.fspath(job.source.path))}' was changed since and differs from what is stored. Upload it again "
        "with --replace, or under another name with --as NAME.",
        code="source-changed",
    )


def has_moved(entry: Entry) -> bool:
    """Tell whether an upload's original, which was about to be moved, lies in its new place and not in its old one.

    What lies there otherwise, such as a file that somebody has put there since, is not what was uploaded.
    """
    place = Path(entry.completed_path or "")
    if os.path.lexists(entry.source_path) or place.is_symlink() or not place.exists():
        return False
    name = entry.destination.rpartition("/")[2]
    try:
        return look(place, name=name, excludes=entry.excludes).fingerprint == entry.fingerprint
    except MgmtError:
        return False


def describe_object(record: UploadRecord) -> Existing:
    """Describe the object of a successful upload as the service describes one that is there."""
    return Existing(
        s3_object_key=record.s3_object_key,
        size=record.s3_file_record.size if record.s3_file_record else 0,
        etag=record.etag or "",
        operation_id=record.operation_id,
        actor=record.actor,
        finished_at=record.finished_at,
        content_digest=record.content_digest,
        crc64nvme=record.crc64nvme,
        version_id=record.version_id,
    )
