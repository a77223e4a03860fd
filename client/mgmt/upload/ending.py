"""How an upload ends: done with proof, already there, or failed; and what becomes of the local files then."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mgmt.errors import CancelledError, IntegrityError, MgmtError
from mgmt.events import Finished, Notice
from mgmt.journal import Entry, Moved
from mgmt.machine.removal import remove_file
from mgmt.service.api import error_of
from mgmt.session import Session
from mgmt.upload.earlier_moves import Moves, describe_object
from mgmt.upload.job import Job
from mgmt.upload.ours import remove_interrupted
from mgmt.upload.results import AlreadyThere
from mgmt_contract import messages
from mgmt_contract.records import FileRecord, UploadRecord
from mgmt_contract.texts import fit_text
from mgmt_contract.wire import format_time

_log: Final = logging.getLogger(__name__)
CLEAN_UPS_MAX_SECONDS: Final = 5.0
"""How long a command whose uploads have ended stays only to report what became of the local files."""


@dataclass
class Summary:
    """What a command's uploads came to."""

    succeeded: int = 0
    skipped: int = 0
    """Already there."""
    errors: list[MgmtError] = field(default_factory=list)


class Ending:
    """Ends the jobs of one command, and keeps count; for any thread."""

    def __init__(self, session: Session, summary: Summary) -> None:
        self._session = session
        self.summary = summary
        self.moves = Moves(session)
        self._lock = threading.Lock()
        self._hand_over = threading.RLock()
        """Held while jobs are ended, and while one is let go of: its ending comes wholly before that, or not at all."""
        self._being_reported: set[str] = set()
        self._left_archives: list[Path] = []

    @contextmanager
    def holding(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """Yield those of the jobs that nobody has let go of, and let go of none meanwhile.

        A run that was stopped waits only a moment for the threads that carry its jobs. Such a thread may come back
        later, when others are at those archives and entries: then they are none of its business any more.
        """
        with self._hand_over:
            yield [job for job in jobs if job.phase != "released"]

    def end_done(self, ended: Sequence[tuple[Job, UploadRecord]]) -> None:
        """Delete the archives of proven objects, move originals, and write down how the local files ended."""
        proven = {job: record for job, record in ended if self._is_proven(job, record)}
        with self.holding(list(proven)) as held:
            clean_ups = self._clean({job: proven[job] for job in held})
            stay = [job for job in held if job.archive is not None and job.archive.is_untouched()]
            entries = [self._entry_of_archive(job, is_kept=self._is_kept(job)) for job in stay]
            moved = [self.moves.remember(job, proven[job]) for job in held if clean_ups[job].source_status == "moved"]
            self._session.journal.finish(self._session.service_url, clean_ups.values(), entries, moved)
            for job in held:
                job.enter("ended")
                self._count(succeeded=1)
                self._say_not_kept(job)
                self._emit_done(proven[job], clean_ups[job], job.completed_path)

    def end_moved(self, entry: Entry) -> None:
        """End a target that an earlier run has uploaded and moved, and was killed before it could say so.

        Raises:
            MgmtError: If the service cannot be asked for the record.
        """
        record = self._look_up(entry.operation_id)
        clean_up = self.moves.finish(entry, record)
        self._count(succeeded=1)
        if record is not None:
            self._emit_done(record, clean_up, Path(entry.completed_path or ""))

    def end_made(self, target: str, made: Moved) -> None:
        """End a target that an earlier run of the same command has uploaded and moved, as it has said.

        Raises:
            MgmtError: If the service has to be asked for the record, and cannot be.
        """
        record = self._look_up(made.operation_id) if made.object is None else None
        stored = describe_object(record) if record is not None else made.object
        key = stored.s3_object_key if stored is not None else made.destination
        actor = stored.actor if stored is not None else None
        finished_at = format_time(stored.finished_at) if stored is not None and stored.finished_at else None
        self._count(skipped=1)
        there = AlreadyThere(made.operation_id, target, key, actor, finished_at, made.completed_path)
        self._session.emit(Finished(there))

    def _look_up(self, operation_id: str) -> UploadRecord | None:
        [result] = self._session.api.look_up([operation_id]).results
        if result.problem is not None:
            raise error_of(result.problem)
        return result.record if isinstance(result.record, UploadRecord) else None

    def _emit_done(self, record: UploadRecord, clean_up: messages.CleanUp, place: Path | None) -> None:
        _apply(clean_up, record)
        moved_to = os.fspath(place) if place is not None and clean_up.source_status == "moved" else None
        self._session.emit(Finished(record, moved_to=moved_to))

    def _say_not_kept(self, job: Job) -> None:
        if job.options.keep_archive and job.archive is None:
            message = (
                f"{job.target_path} was uploaded before, so there is no archive to keep. Run `tar czf` if you need one."
            )
            self._session.emit(Notice(message, "archive-not-made", job.operation_id))

    def _is_proven(self, job: Job, record: UploadRecord) -> bool:
        try:
            check_proof(job, record)
        except IntegrityError as error:
            self.end_failed(job, error)
            return False
        return True

    def end_already_there(self, job: Job, existing: messages.Existing) -> None:
        """End a job whose content is stored under its name already."""
        finished_at = format_time(existing.finished_at) if existing.finished_at else None
        key, actor = existing.s3_object_key, existing.actor
        with self.holding([job]) as held:
            for each in held:
                self._discard(each, is_kept=self._is_kept(each))
                each.enter("ended")
                self._count(skipped=1)
                there = AlreadyThere(each.operation_id, each.target_path, key, actor, finished_at)
                self._session.emit(Finished(there))

    def end_failed(self, job: Job, error: MgmtError) -> None:
        """End a job that failed: tell the service; keep the archive only if bytes of it were sent."""
        error.operation_id = job.operation_id
        # Nobody is held up by this call: who presses Ctrl-C lets go of the job meanwhile.
        record = self._report_failure(job, error) or _failed_record(job, error)
        if record.status == "success" and not isinstance(error, IntegrityError):
            self.end_done([(job, record)])  # it had come through before the failure was known
            return
        with self.holding([job]) as held:
            for each in held:
                self._leave_failed(each, error)
                each.enter("ended")
                self._count_failure(record, error)

    def end_open(self, job: Job, error: MgmtError) -> None:
        """End a job for this run only: journal and archive are left to go on with, and the service is told nothing."""
        error.operation_id = job.operation_id
        record = replace(_failed_record(job, error), status="pending", phase="carrying", finished_at=None)
        with self.holding([job]) as held:
            for each in held:
                self._leave_unended(each)
                each.enter("ended")
                self._count_failure(record, error)

    def _leave_failed(self, job: Job, error: MgmtError) -> None:
        is_worth_keeping = job.has_sent_bytes or isinstance(error, IntegrityError)
        if is_worth_keeping and not job.adoption.was_kept and job.archive is not None and job.archive.is_untouched():
            self._session.journal.put([job.entry(self._session.service_url, ended_as="failed")])
            self._say_kept(job, error)
        else:
            self._discard(job, is_kept=job.adoption.was_kept)

    def _say_kept(self, job: Job, error: MgmtError) -> None:
        if os.fspath(job.archive_path) not in error.message:
            message = f"Partial upload of {job.target_path} kept at {job.archive_path}. Run the same command to resume."
            self._session.emit(Notice(message, "archive-kept", job.operation_id))

    def end_unprepared(self, target: str, error: MgmtError) -> None:
        """End a target that could not even become a job."""
        self._count_failure(_unprepared_record(target, error), error)

    def let_go(self, job: Job) -> None:
        """Let go of a job, also of one whose run was stopped before its end.

        Where bytes were sent, journal and archive are left to go on with; where the service may only have recorded
        the operation, the journal is; otherwise nothing is. Interrupted, it may be called again: until then others
        are kept away.
        """
        with self._hand_over:
            if not job.has_ended:
                self._leave_unended(job)
            job.enter("released")
        job.held.close()

    def _leave_unended(self, job: Job) -> None:
        if job.archive is None:
            self._remove_interrupted(job)
        if job.has_sent_bytes:
            if job.archive is not None and job.archive.is_untouched():
                self._left_archives.append(job.archive_path)
            return
        if job.phase != "asked" or job.adoption.was_kept:
            self._discard(job, is_kept=job.adoption.was_kept)
        elif self._clear_place(job):
            self._session.journal.put([job.entry(self._session.service_url)])

    def say_left(self) -> None:
        """Name what lies on the disk for the next run, after one that was stopped."""
        if not self._left_archives:
            return
        first, count = self._left_archives[0], len(self._left_archives)
        message = f"Partial upload kept at {first}. Run the same command to resume."
        if count > 1:
            message = f"{count} partial uploads kept, such as {first}. Run the same command to resume."
        self._session.emit(Notice(message, "archive-kept"))

    @contextmanager
    def reporting(self) -> Iterator[list[messages.CleanUp]]:
        """Hand out clean-ups to send along with a call; when it has come back they count as reported."""
        with self._lock:
            most = self._session.api.limits.items_max
            waiting = self._session.journal.unreported(self._session.service_url, most + len(self._being_reported))
            clean_ups = [each for each in waiting if each.operation_id not in self._being_reported][:most]
            taken = {each.operation_id for each in clean_ups}
            self._being_reported |= taken
        try:
            yield clean_ups
            self._session.journal.note_reported(clean_ups)
        finally:
            with self._lock:
                self._being_reported -= taken

    def report_clean_ups(self) -> None:
        """Tell the service how local files ended, as far as no later call has carried it along.

        The last that a command asks for. Where the service does not answer within a few seconds, the next one tells it.
        """
        self._session.patience.hurry(CLEAN_UPS_MAX_SECONDS)
        try:
            while self._report_some():
                pass
        except CancelledError:
            raise
        except MgmtError as error:
            # The uploads are safe; the journal keeps what is left to report for the next command.
            _log.info("The clean-up is not reported yet: %s", error.message)

    def _report_some(self) -> bool:
        with self.reporting() as clean_ups:
            if clean_ups:
                self._session.api.clean_up(messages.CleanUpRequest(clean_ups))
            return bool(clean_ups)

    def _count(self, *, succeeded: int = 0, skipped: int = 0) -> None:
        with self._lock:
            self.summary.succeeded += succeeded
            self.summary.skipped += skipped

    def _clean(self, jobs: Mapping[Job, UploadRecord]) -> dict[Job, messages.CleanUp]:
        """Deal with the archives first and move the originals last: until then the same command finds them."""
        deleted = {job for job in jobs if not self._is_kept(job) and self._clear_place(job)}
        moved = self.moves.make(jobs)
        return {
            job: messages.CleanUp(
                job.operation_id,
                "moved" if job in moved else "completed",
                "deleted" if job in deleted else "completed",
            )
            for job in jobs
        }

    def _is_kept(self, job: Job) -> bool:
        return job.options.keep_archive or job.adoption.was_kept

    def _clear_place(self, job: Job) -> bool:
        """Delete the archive if it is the one that was packed; tell whether nothing lies at its place any more.

        Somebody may have put another file there since.
        """
        if job.archive is None or not job.archive.is_untouched():
            return not os.path.lexists(job.archive_path)
        try:
            return remove_file(job.archive_path, job.archive.is_open_as)
        except OSError as error:
            message = f"{job.archive_path} is no longer needed but could not be deleted ({error}). Delete it by hand."
            self._session.emit(Notice(message, "archive-not-deleted", job.operation_id))
            return False

    def _discard(self, job: Job, *, is_kept: bool) -> None:
        """Remove an archive that was made for nothing, unless it is one to be kept: making it again is cheap."""
        if not is_kept:
            self._clear_place(job)
        if job.archive is not None and job.archive.is_untouched():
            self._session.journal.put([self._entry_of_archive(job, is_kept=is_kept)])
        elif job.archive is not None or self._remove_interrupted(job):
            self._session.journal.forget([job.operation_id])

    def _remove_interrupted(self, job: Job) -> bool:
        """Remove what packing has left; tell if it is gone: else the entry must stay, by which the next run does so."""
        return remove_interrupted(job.archive_path, job.operation_id, self._session.journal)

    def _entry_of_archive(self, job: Job, *, is_kept: bool) -> Entry:
        return job.entry(self._session.service_url, ended_as="kept" if is_kept else "left")

    def _report_failure(self, job: Job, error: MgmtError) -> UploadRecord | None:
        if job.lease is None:
            return None
        item = messages.FailItem(job.operation_id, job.lease.epoch, error.code, fit_text(error.message))
        request = messages.FailRequest(self._session.journal.machine_id, [item])
        try:
            [result] = self._session.api.fail(request).results
        except MgmtError as second:
            message = f"The failure of {job.target_path} could not be recorded: {second.message}"
            with self.holding([job]) as held:
                for each in held:
                    self._session.emit(Notice(message, "failure-not-recorded", each.operation_id))
            return None
        return result.record if isinstance(result.record, UploadRecord) else None

    def _count_failure(self, record: UploadRecord, error: MgmtError) -> None:
        self.summary.errors.append(error)
        self._session.emit(Finished(record, error))


def check_proof(job: Job, record: UploadRecord) -> None:
    """Compare what S3 states of the object, as the service has recorded it, with what was computed here.

    Raises:
        IntegrityError: If they disagree or the record does not say; the archive stays.
    """
    content = job.content
    if content is None:  # the operation had succeeded before: there is no archive of this run to delete
        return
    stated = (record.s3_file_record.size if record.s3_file_record else None, record.crc64nvme)
    if record.status != "success" or stated != (content.size, content.crc64nvme):
        raise IntegrityError(
            f"{job.target_path}: the service states {stated[0]} bytes with checksum {stated[1]}, expected "
            f"{content.size} bytes with {content.crc64nvme}. The archive is kept at {job.archive_path}.",
            code="proof-missing",
            operation_id=job.operation_id,
        )


def _apply(clean_up: messages.CleanUp, record: UploadRecord) -> None:
    if record.source_file_record is not None:
        record.source_file_record = replace(record.source_file_record, status=clean_up.source_status)
    if record.compressed_file_record is not None:
        record.compressed_file_record = replace(record.compressed_file_record, status=clean_up.archive_status)


def _failed_record(job: Job, error: MgmtError) -> UploadRecord:
    """Make the record of a job that ended before the service had one."""
    record = _unprepared_record(job.target_path, error)
    source = replace(job.source.file_record, status="failed")
    return replace(
        record,
        operation_id=job.operation_id,
        compressed_file_path=job.shown_archive_path,
        source_file_record=source,
    )


def _unprepared_record(target: str, error: MgmtError) -> UploadRecord:
    now = datetime.now(UTC)
    target = os.fsencode(target).decode("utf-8", "backslashreplace")
    return UploadRecord(
        operation_id=error.operation_id or "",
        operation_type="upload",
        target_path=target,
        started_at=now,
        status="failed",
        result_path=None,
        error_message=error.message,
        compression_type="gzip",
        compressed_file_path="",
        s3_bucket="",
        s3_object_key="",
        source_file_record=FileRecord(target, target, "local", 0, is_directory=False, status="failed"),
        compressed_file_record=None,
        s3_file_record=None,
        phase="failed",
        finished_at=now,
        error_code=error.code,
    )
