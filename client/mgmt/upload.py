"""The upload use case: look, pack, promise, ask, carry, confirm, clean.

Small sources go in batches: packed, started with one call, sent in parallel, confirmed with one call that
also reports the clean-up of the batch before. A large source is sent while it is still being packed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from mgmt.api import error_of
from mgmt.archive import read_archive
from mgmt.ending import Ending, Summary
from mgmt.errors import IntegrityError, MgmtError, UnavailableError
from mgmt.events import Progress, Trace
from mgmt.jobs import Job, UploadOptions
from mgmt.packing import pack_and_send, pack_job
from mgmt.preparation import Preparation
from mgmt.sending import WHOLE_ARCHIVES_AT_A_TIME, Meter, PartFeed, PartsSender, send_whole, sending_pool
from mgmt.session import Session
from mgmt_contract import messages
from mgmt_contract.parts import ITEMS_MAX, SINGLE_PUT_MAX_BYTES

SEND_ROUNDS_MAX: Final = 5
"""How often parts are sent again that the storage had acknowledged and does not have."""
BATCH_SIZE_MAX_BYTES: Final = 256 * 1024 * 1024
"""Archives of one batch that may lie on the disk at a time."""
_RENEWABLE_CODES: Final = frozenset({"operation-differs", "operation-failed", "not-allowed"})
_OTHER_BYTES_CODES: Final = frozenset({"part-differs", "operation-differs", "content-differs"})
COMPLETING_MAX_SECONDS: Final = 3600.0
"""How long S3 may take to join parts; minutes are usual for the largest objects."""

_Started = tuple[Job, messages.StartResult]


def upload(
    targets: Iterable[str], options: UploadOptions, session: Session, shown_base: Path, summary: Summary
) -> None:
    """Upload every target; a failure that concerns one target alone does not stop the others.

    Args:
        targets: Paths as the user named them.
        options: How to upload them.
        session: The wired organs.
        shown_base: Folder that paths in the team's records are relative to.
        summary: Filled in as uploads end, so that it also tells of a run that was stopped.

    Raises:
        MgmtError: For causes that stop everything: no sign-in, service or storage out of reach, disk full,
            not configured, interrupted. What was begun stays resumable.
    """
    uploader = _Uploader(options, session, shown_base, Ending(session, summary))
    uploader.ending.moves.settle()
    try:
        for batch in uploader.batches(targets):
            try:
                uploader.upload_batch(batch)
            finally:
                for job in batch:
                    uploader.ending.let_go(job)
    finally:
        _note_speed(session)
    uploader.ending.moves.finish_unnamed()
    uploader.ending.report_clean_ups()


def _note_speed(session: Session) -> None:
    """Remember how fast it went; where that cannot be, nothing is lost by it."""
    speed = session.carrier.measured_speed()
    if speed is None:
        return
    try:
        session.journal.note_speed(session.service_url, speed)
    except MgmtError as error:
        session.emit(Trace(f"The speed is not remembered: {error.message}"))


def _is_large(job: Job) -> bool:
    return job.source.upper_bound_bytes > SINGLE_PUT_MAX_BYTES


def _is_renewable(job: Job, result: messages.StartResult) -> bool:
    return result.problem is not None and result.problem.code in _RENEWABLE_CODES and not job.is_renewed


class _Uploader:
    """One command's uploads."""

    def __init__(self, options: UploadOptions, session: Session, shown_base: Path, ending: Ending) -> None:
        self._options = options
        self._session = session
        self._machine_id = session.journal.machine_id
        self._preparation = Preparation(options, session, shown_base)
        self._renewing: list[Job] = []
        self.ending = ending

    def batches(self, targets: Iterable[str]) -> Iterator[list[Job]]:
        """Look at the targets and group them: a large one alone, small ones by the hundred."""
        batch: list[Job] = []
        batch_bytes = 0
        for target in targets:
            job = self._prepare(target)
            if job is None:
                continue
            if _is_large(job):
                yield [job]
                continue
            batch_bytes += job.source.upper_bound_bytes
            if len(batch) == ITEMS_MAX or (batch and batch_bytes > BATCH_SIZE_MAX_BYTES):
                yield batch
                batch, batch_bytes = [], job.source.upper_bound_bytes
            batch.append(job)
        if batch:
            yield batch

    def upload_batch(self, batch: list[Job]) -> None:
        """Take jobs through every stage; one that fails drops out, the others go on."""
        self._promise(batch)  # before packing: whoever is killed meanwhile knows his left-overs again
        jobs = [job for job in batch if _is_large(job) or self._comes_through(job, self._pack)]
        self._promise(jobs)
        for _ in range(SEND_ROUNDS_MAX):
            sent, stopping_error = self._send_all(self._start(jobs))
            jobs = self._confirm(sent)
            if stopping_error is not None:
                raise stopping_error
            renewing, self._renewing = self._renewing, []
            jobs += self._begin_anew(renewing)
            if not jobs:
                return
        for job in jobs:
            message = f"{job.target_path}: the storage loses bytes that it has acknowledged. Tell the admin."
            self.ending.end_failed(job, IntegrityError(message, code="parts-lost"))

    def _prepare(self, target: str) -> Job | None:
        try:
            return None if self._was_moved(target) else self._preparation.prepare(target)
        except MgmtError as error:
            if error.stops_everything:
                raise
            self.ending.end_unprepared(target, error)
            return None

    def _was_moved(self, target: str) -> bool:
        """Tell whether an earlier run has uploaded a target and moved it away; that is its end."""
        entry = self.ending.moves.take_settled(target)
        if entry is not None:
            self.ending.end_moved(entry)
        return entry is not None

    def _comes_through(self, job: Job, step: Callable[[Job], object]) -> bool:
        """Do one step for a job; end the job, or begin it anew, if it fails for a reason of its own."""
        try:
            step(job)
        except MgmtError as error:
            if error.stops_everything:
                raise
            self._fail_or_renew(job, error)
            return False
        return True

    def _fail_or_renew(self, job: Job, error: MgmtError) -> None:
        """Begin an upload anew, once, whose archive had to be packed again and came out with other bytes.

        Such as after `touch` of a folder: the content is the same, the parts that were sent are not.
        """
        if job.has_to_repeat_parts and not job.is_renewed and error.code in _OTHER_BYTES_CODES:
            self._renewing.append(job)
        else:
            self.ending.end_failed(job, error)

    def _begin_anew(self, jobs: list[Job]) -> list[Job]:
        self._session.journal.forget([job.renew() for job in jobs])
        self._promise(jobs)
        return jobs

    def _pack(self, job: Job) -> None:
        if job.archive is None:
            job.archive = pack_job(self._session, job)

    def _promise(self, jobs: Sequence[Job]) -> None:
        self._session.journal.put([job.entry(self._session.service_url) for job in jobs])

    def _start(self, jobs: list[Job]) -> list[_Started]:
        """Ask for all; end those that need nothing more, return those that have bytes to send."""
        if not jobs:
            return []
        request = messages.StartRequest(
            self._machine_id,
            [job.start_item() for job in jobs],
            expected_bucket=self._session.settings.bucket,
            clean_ups=self.ending.unreported(),
        )
        results = self._session.api.start(request).results
        self.ending.note_reported(request.clean_ups)
        pairs = list(zip(jobs, results, strict=True))
        renewable = [job for job, result in pairs if _is_renewable(job, result)]
        taken = [job for job, result in pairs if result.outcome == "name_taken"]
        to_send = [pair for pair in pairs if pair[0] not in renewable and self._has_to_send(*pair)]
        return to_send + self._start_packed(taken) + self._start_renewed(renewable)

    def _has_to_send(self, job: Job, result: messages.StartResult) -> bool:
        job.lease = result.lease
        if result.problem is not None:
            self.ending.end_failed(job, error_of(result.problem))
        elif result.outcome == "already_there" and result.existing is not None:
            self.ending.end_already_there(job, result.existing)
        elif result.outcome == "done" and result.record is not None:
            self.ending.end_done([(job, result.record)])
        return result.outcome in ("put", "multipart")

    def _start_packed(self, jobs: list[Job]) -> list[_Started]:
        """Something is stored under these names: pack to the end, so that contents can be compared, ask again."""
        packed = [job for job in jobs if self._comes_through(job, self._pack)]
        self._promise(packed)
        return self._start(packed)

    def _start_renewed(self, jobs: list[Job]) -> list[_Started]:
        """Begin anew where the service will not go on with what was begun: it ended, or other options were given."""
        return self._start(self._begin_anew(jobs))

    def _send_all(self, started: Sequence[_Started]) -> tuple[list[Job], MgmtError | None]:
        """Carry every job's bytes; return the jobs whose bytes are all sent, and what stops the run after that."""
        if len(started) == 1:
            [(job, result)] = started
            return ([job] if self._comes_through(job, partial(self._send, result)) else []), None
        sent: list[Job] = []
        stopping_error: MgmtError | None = None
        with sending_pool(self._options.jobs or WHOLE_ARCHIVES_AT_A_TIME) as pool:
            futures = [(job, pool.submit(self._send, result, job)) for job, result in started]
            for job, future in futures:
                try:
                    if self._comes_through(job, lambda _, f=future: f.result()):  # type: ignore[misc]
                        sent.append(job)
                except MgmtError as error:
                    self._session.patience.check_stopped()
                    stopping_error = stopping_error or error
        return sent, stopping_error

    def _send(self, result: messages.StartResult, job: Job) -> None:
        if result.multipart is None and result.request is not None and job.archive is not None:
            send_whole(self._session, job, result.request, Meter(self._session, job))
        elif result.multipart is not None and job.archive is not None:
            self._send_packed_parts(job, result.multipart)
        elif result.multipart is not None:
            pack_and_send(self._session, job, result.multipart)

    def _send_packed_parts(self, job: Job, multipart: messages.Multipart) -> None:
        parts = read_archive(job.archive_path, multipart.part_size).parts
        meter = Meter(self._session, job)
        sender = PartsSender(self._session, job, multipart.part_size, lambda: job.archive_path, meter)
        sender.send(PartFeed(multipart.part_size, parts, content=job.content), multipart.received_parts)

    def _confirm(self, jobs: list[Job]) -> list[Job]:
        """Have the service compare what the storage holds; return the jobs of which bytes are missing."""
        incomplete: list[Job] = []
        attempt = 0
        deadline = self._session.patience.now() + COMPLETING_MAX_SECONDS
        while jobs:
            pairs = list(zip(jobs, self._complete(jobs), strict=True))
            self.ending.end_done([(job, r.record) for job, r in pairs if r.outcome == "done" and r.record is not None])
            for job, result in pairs:
                if result.problem is not None:
                    self._fail_or_renew(job, error_of(result.problem))
            incomplete += [job for job, result in pairs if result.outcome == "incomplete"]
            jobs = [job for job, result in pairs if result.outcome == "completing"]
            if jobs:
                pause_seconds = max(result.retry_after_seconds or 1 for _, result in pairs)
                if self._session.patience.now() > deadline:
                    raise UnavailableError("The storage does not come to an end with joining parts. Run again later.")
                self._session.patience.wait(attempt, "the storage is joining parts", retry_after_seconds=pause_seconds)
                attempt += 1
        return incomplete

    def _complete(self, jobs: Sequence[Job]) -> list[messages.CompleteResult]:
        items = []
        for job in jobs:
            assert job.lease is not None  # noqa: S101  all its bytes were sent under a lease
            assert job.content is not None  # noqa: S101  and out of a whole archive
            self._session.emit(Progress(job.operation_id, job.target_path, "confirming", 0, job.content.size))
            items.append(messages.CompleteItem(job.operation_id, job.lease.epoch, job.content))
        request = messages.CompleteRequest(self._machine_id, items, clean_ups=self.ending.unreported())
        results = self._session.api.complete(request).results
        self.ending.note_reported(request.clean_ups)
        return results
