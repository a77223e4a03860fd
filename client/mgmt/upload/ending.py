"""How an upload ends: done with proof, already there, failed, or left for a later run; and what becomes of its archive.

An archive is deleted only after proof, or where no byte of it was sent: then it is cheap to make again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from mgmt.errors import IntegrityError, MgmtError, NewerServiceError
from mgmt.events import Finished, Notice
from mgmt.journal import EndedAs
from mgmt.machine.files import remove_file
from mgmt.session import Session
from mgmt.text import spell_path
from mgmt.upload.job import Job
from mgmt.upload.orders import Orders
from mgmt.upload.originals import Moves, move_originals, moved_by
from mgmt.upload.ours import remove_interrupted
from mgmt.upload.results import AlreadyThere, Summary, note_clean_up
from mgmt_contract.messages.uploads import CleanUp, Existing, FailItem, FailRequest
from mgmt_contract.records import FileRecord, UploadRecord
from mgmt_contract.texts import fit_text
from mgmt_contract.wire import format_time


class Ending:
    """Ends the jobs of one command, each once; for any thread."""

    def __init__(self, session: Session, summary: Summary, orders: Orders | None = None) -> None:
        self.summary = summary
        self.orders = orders or Orders(session)
        self._session = session
        self._journal = session.journal
        self._hand_over = threading.RLock()
        """Serialises ending and releasing: a job ends completely before it is released, or never."""
        self._left_archives: list[Path] = []

    @contextmanager
    def holding(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """Yield those of the jobs that are not released, and release none meanwhile.

        A run that was stopped waits only a moment for the threads that carry its jobs. Such a thread may come back
        when another run uses those archives and entries, and must not touch them.
        """
        with self._hand_over:
            yield [job for job in jobs if job.phase != "released"]

    def end_done(self, ended: Sequence[tuple[Job, UploadRecord]]) -> None:
        """Delete the archives of proven objects, move originals, and write down how the local files ended."""
        records: dict[Job, UploadRecord] = {}
        for job, record in ended:
            try:
                check_proof(job, record)
                records[job] = record
            except IntegrityError as error:
                self.end_failed(job, error)
        with self.holding(list(records)) as jobs:
            proven = {job: records[job] for job in jobs}
            # The originals last: until they move the same command finds them.
            deleted = {job for job in jobs if _kept_or_left(job) == "left" and self._clear_place(job)}
            moves = move_originals(self._session, proven)
            clean_ups = {job: _clean_up_of(job, has_moved=job in moves.made, is_deleted=job in deleted) for job in jobs}
            self._write_down(proven, clean_ups, deleted, moves)
            for job, record in proven.items():
                job.enter("ended")
                self._say_not_made(job)
                self._say_kept(job)
                note_clean_up(record, clean_ups[job])
                moved_to = os.fspath(job.completed_path or "") if job in moves.made else None
                self._tell(Finished(record, moved_to=moved_to))

    def _write_down(
        self, proven: Mapping[Job, UploadRecord], clean_ups: Mapping[Job, CleanUp], deleted: set[Job], moves: Moves
    ) -> None:
        """Cross the jobs out of the journal, but for archives that stay and originals that are still to be moved."""
        url = self._session.service_url
        kept = {job for job in proven if job not in deleted and _lies_there(job)}
        entries = [
            job.entry(url, ended_as=_kept_or_left(job) if job in kept else None, is_moving=job in moves.waiting)
            for job in proven
            if job in kept | moves.waiting
        ]
        remembered = [moved_by(job.entry(url, is_moving=True), proven[job]) for job in moves.made]
        self._journal.finish(url, clean_ups.values(), entries, remembered)

    def end_already_there(self, job: Job, existing: Existing) -> None:
        """End a job whose content is stored under its name already."""
        finished_at = format_time(existing.finished_at) if existing.finished_at else None
        key, actor = existing.s3_object_key, existing.actor
        event = Finished(AlreadyThere(job.operation_id, job.target_path, key, actor, finished_at))
        self.orders.end_job(job)
        self._end(job, partial(self._discard, job, _kept_or_left(job)), event)
        self._say_kept(job)

    def end_failed(self, job: Job, error: MgmtError) -> None:
        """End a job that failed: tell the service; keep the archive only if bytes of it were sent.

        Where only a newer mgmt can know what came of it, the service is told nothing, and nothing is given up.
        """
        error.operation_id = job.operation_id
        if isinstance(error, NewerServiceError):
            record = replace(failed_record(job.target_path, error, job), status="pending", phase="carrying")
            event = Finished(replace(record, finished_at=None), error)
            self._end(job, partial(self._leave_open, job), event)
            return
        record = self._report_failure(job, error) or failed_record(job.target_path, error, job)
        if record.status == "success" and not isinstance(error, IntegrityError):
            self.end_done([(job, record)])  # it had come through before the failure was known
        else:
            self._end(job, partial(self._leave_failed, job, error), Finished(record, error))

    def end_unprepared(self, target: str, error: MgmtError) -> None:
        """End a target that could not even become a job."""
        self._tell(Finished(failed_record(spell_path(target), error), error))

    def let_go(self, job: Job) -> None:
        """Release a job, also of a run that was stopped before the job's end.

        Interrupted, it may be called again: until then others are kept away.
        """
        with self._hand_over:
            if not job.has_ended:
                self._leave_open(job)
            job.enter("released")
        job.held.close()

    def say_left(self) -> None:
        """Name what lies on the disk for the next run, after one that was stopped."""
        if self._left_archives:
            first, count = self._left_archives[0], len(self._left_archives)
            what = f"Partial upload kept at {first}" if count == 1 else f"{count} partial uploads kept, such as {first}"
            self._session.emit(Notice(f"{what}. Run the same command to resume.", "archive-kept"))

    def _say_not_made(self, job: Job) -> None:
        """Say of an upload that had succeeded before that its archive was not made, where one was to be kept."""
        if job.options.keep_archive and job.archive is None:
            message = (
                f"{job.target_path} was uploaded before, so there is no archive to keep. Run `tar czf` if you need one."
            )
            self._say(job, "archive-not-made", message)

    def _say_kept(self, job: Job) -> None:
        """Say where an archive is kept that nobody would look for."""
        if job.why_cached is not None and job.options.keep_archive and _lies_there(job):
            message = (
                f"The archive of {job.target_path} is kept in the cache folder, which systems and people clear: "
                f"{job.archive_path}. Move it to where you want it."
            )
            self._say(job, "archive-kept", message)

    def _leave_failed(self, job: Job, error: MgmtError) -> None:
        is_worth_keeping = job.has_sent_bytes or isinstance(error, IntegrityError)
        if not is_worth_keeping or job.adoption.was_kept or not _lies_there(job):
            self.orders.end_job(job, error)
            self._discard(job, "kept" if job.adoption.was_kept else "left")
            return
        self._journal.put([job.entry(self._session.service_url, ended_as="failed")])
        if os.fspath(job.archive_path) not in error.message:
            message = f"Partial upload of {job.target_path} kept at {job.archive_path}. Run the same command to resume."
            self._say(job, "archive-kept", message)

    def _leave_open(self, job: Job) -> None:
        """Leave journal and archive to go on with where bytes were sent, the journal where the service was asked."""
        if job.archive is None:
            remove_interrupted(job.archive_path, job.operation_id, self._journal)
        if job.has_sent_bytes:
            self._left_archives += [job.archive_path] if _lies_there(job) else []
        elif job.phase != "asked" or job.adoption.was_kept:
            self._discard(job, "kept" if job.adoption.was_kept else "left")
        elif self._clear_place(job):
            self._journal.put([job.entry(self._session.service_url)])

    def _discard(self, job: Job, ended_as: EndedAs) -> None:
        """Remove an archive that was made for nothing, unless it is one to be kept; cross out what is not needed."""
        if ended_as != "kept":
            self._clear_place(job)
        if _lies_there(job):
            self._journal.put([job.entry(self._session.service_url, ended_as=ended_as)])
        # Where something is left of the packing the entry must stay: by it the next run removes that.
        elif job.archive is not None or remove_interrupted(job.archive_path, job.operation_id, self._journal):
            self._journal.forget([job.operation_id])

    def _clear_place(self, job: Job) -> bool:
        """Delete the archive if it is the one that was packed; tell whether nothing lies at its place any more."""
        if job.archive is None or not job.archive.may_be_there():
            return not os.path.lexists(job.archive_path)
        try:
            return remove_file(job.archive_path, job.archive.is_open_as)
        except OSError as error:
            message = (
                f"{job.archive_path} is no longer needed but could not be deleted ({error}). Fix that and run "
                "`mgmt resume`, or delete it by hand."
            )
            self._say(job, "archive-not-deleted", message)
            return False

    def _report_failure(self, job: Job, error: MgmtError) -> UploadRecord | None:
        if job.lease is None:
            return None
        item = FailItem(job.operation_id, job.lease.epoch, error.code, fit_text(error.message))
        try:  # without holding the job: a Ctrl-C meanwhile releases it
            [result] = self._session.api.fail(FailRequest(self._journal.machine_id, [item])).results
        except MgmtError as second:
            with self.holding([job]) as held:
                if held:
                    message = f"The failure of {job.target_path} could not be recorded: {second.message}"
                    self._say(job, "failure-not-recorded", message)
            return None
        return result.record if isinstance(result.record, UploadRecord) else None

    def _end(self, job: Job, leave: Callable[[], None], event: Finished) -> None:
        """End a job unless it is released: deal with its files, then tell."""
        with self.holding([job]) as held:
            if held:
                leave()
                job.enter("ended")
                self._tell(event)

    def _tell(self, event: Finished) -> None:
        self.summary.count(event)
        self._session.emit(event)

    def _say(self, job: Job, code: str, message: str) -> None:
        self._session.emit(Notice(message, code, job.operation_id))


def check_proof(job: Job, record: UploadRecord) -> None:
    """Compare what S3 states of the object, as the service has recorded it, with what was computed here.

    Raises:
        IntegrityError: If they disagree or the record does not say; the archive stays.
    """
    content = job.content
    if content is None:  # the operation had succeeded before: there is no archive of this run to delete
        return
    stated = (record.object_size, record.crc64nvme)
    if record.status != "success" or stated != (content.size, content.crc64nvme):
        raise IntegrityError(
            f"{job.target_path}: the service states {stated[0]} bytes with checksum {stated[1]}, expected "
            f"{content.size} bytes with {content.crc64nvme}. The archive is kept at {job.archive_path}.",
            code="proof-missing",
            operation_id=job.operation_id,
        )


def _clean_up_of(job: Job, *, has_moved: bool, is_deleted: bool) -> CleanUp:
    return CleanUp(job.operation_id, "moved" if has_moved else "completed", "deleted" if is_deleted else "completed")


def _kept_or_left(job: Job) -> EndedAs:
    return "kept" if job.options.keep_archive or job.adoption.was_kept else "left"


def _lies_there(job: Job) -> bool:
    return job.archive is not None and job.archive.may_be_there()


def failed_record(target: str, error: MgmtError, job: Job | None = None) -> UploadRecord:
    """Make the record of a target that failed before the service had one.

    Args:
        target: Its path, as `spell_path` writes it.
        error: Why it failed.
        job: Its job, if it came to have one.
    """
    now = datetime.now(UTC)
    source = FileRecord(target, target, "local", 0, is_directory=False, status="failed")
    return UploadRecord(
        operation_id=job.operation_id if job else error.operation_id or "",
        operation_type="upload",
        target_path=target,
        started_at=now,
        status="failed",
        result_path=None,
        error_message=error.message,
        compression_type="gzip",
        compressed_file_path=job.shown_archive_path if job else "",
        s3_bucket="",
        s3_object_key="",
        source_file_record=replace(job.source.file_record, status="failed") if job else source,
        compressed_file_record=None,
        s3_file_record=None,
        phase="failed",
        finished_at=now,
        error_code=error.code,
    )
