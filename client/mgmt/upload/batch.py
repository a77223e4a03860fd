"""One batch's way through the stages: pack, promise, ask, carry, confirm, clean.

Small sources go in batches: packed, started with one call, sent in parallel, confirmed with one call that
also reports the clean-up of batches before. A large source is a batch of its own, and is sent while it is still
being packed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from mgmt.errors import (
    IntegrityError,
    LocalStateError,
    LoginRequiredError,
    MgmtError,
    NewerServiceError,
    NotConfiguredError,
    UnavailableError,
)
from mgmt.events import Progress, Renewed
from mgmt.service.api import error_of, error_of_outcome
from mgmt.service.replies import is_known
from mgmt.session import Session
from mgmt.upload.ending import Ending
from mgmt.upload.job import Job
from mgmt.upload.packing import pack_and_send, pack_job, send_packed
from mgmt.upload.sending import Meter, send_whole
from mgmt_contract import messages

SEND_ROUNDS_MAX: Final = 5
"""How often parts are sent again that the storage had acknowledged and does not have."""
COMPLETING_MAX_SECONDS: Final = 3600.0
"""How long S3 may take to join parts; minutes are usual for the largest objects."""
_RENEWABLE_CODES: Final = frozenset({"operation-differs", "operation-failed", "not-allowed"})
_OTHER_BYTES_CODES: Final = frozenset({"part-differs", "operation-differs", "content-differs"})

_Started = tuple[Job, messages.StartResult]


def is_large(job: Job) -> bool:
    """Tell whether a job may need parts, and so a batch of its own."""
    return job.source.upper_bound_bytes > job.whole_max_bytes


def _is_renewable(job: Job, result: messages.StartResult) -> bool:
    return result.problem is not None and result.problem.code in _RENEWABLE_CODES and job.renewed_from is None


class Batch:
    """Some jobs that go together; one that fails drops out, the others go on."""

    def __init__(self, jobs: Sequence[Job], session: Session, ending: Ending, pool: ThreadPoolExecutor) -> None:
        self.jobs = jobs
        self._session = session
        self._machine_id = session.journal.machine_id
        self._ending = ending
        self._pool = pool
        self._packed: list[Job] = []
        self._renewing: list[Job] = []

    @property
    def is_begun(self) -> bool:
        """Whether there is something to carry."""
        return bool(self._packed)

    def pack(self) -> None:
        """Pack what is small; a large source is packed when it is carried.

        What is packed can be carried also where this raises; called again, it goes on with the others.

        Raises:
            MgmtError: For causes that stop everything.
        """
        # Those first that lie packed on the disk since an earlier run: when they have gone, there is room for others.
        waiting = sorted((job for job in self.jobs if not job.has_ended), key=lambda job: job.archive is None)
        self._promise(waiting)  # before packing: whoever is killed meanwhile knows his left-overs again
        self._packed = []
        try:
            for job in waiting:
                with self._surviving(job):
                    if not is_large(job):
                        self._pack(job)
                    self._packed.append(job)
        except LocalStateError:  # such as a full disk: what is packed may still go
            self._promise(self._packed)
            raise
        self._promise(self._packed)

    def carry(self) -> None:
        """Take the packed jobs through every other stage to their ends.

        Raises:
            MgmtError: For causes that stop everything. What was begun stays resumable.
        """
        jobs = self._packed
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
            self._ending.end_failed(job, IntegrityError(message, code="parts-lost"))

    @contextmanager
    def _surviving(self, job: Job) -> Iterator[None]:
        """End the job, or begin it anew, if it fails for a reason of its own; go on behind it with the others."""
        try:
            yield
        except MgmtError as error:
            if error.stops_everything:
                raise
            self._fail_or_renew(job, error)

    def _fail_or_renew(self, job: Job, error: MgmtError) -> None:
        """Begin an upload anew, once, whose archive had to be packed again and came out with other bytes.

        Such as after `touch` of a folder: the content is the same, the parts that were sent are not.
        """
        if job.adoption.must_repeat_parts and job.renewed_from is None and error.code in _OTHER_BYTES_CODES:
            self._renewing.append(job)
        else:
            self._fail(job, error)

    def _fail(self, job: Job, error: MgmtError) -> None:
        """End a failed job; where only a newer mgmt can know what came of it, nothing of it is given up."""
        if isinstance(error, NewerServiceError):
            self._ending.end_open(job, error)
        else:
            self._ending.end_failed(job, error)

    def _begin_anew(self, jobs: list[Job]) -> list[Job]:
        with self._ending.holding(jobs) as held:
            given_up = {job.renew(): job for job in held}
            self._promise(held, instead_of=given_up)  # at once: by the old entry a packed archive is known to be ours
            for former_id, job in given_up.items():
                self._session.emit(Renewed(former_id, job.operation_id))
            return held

    def _pack(self, job: Job) -> None:
        if job.archive is None:
            job.archive = pack_job(self._session, job)

    def _promise(self, jobs: Sequence[Job], *, instead_of: Iterable[str] = ()) -> None:
        with self._ending.holding(jobs) as held:
            entries = [job.entry(self._session.service_url) for job in held]
            self._session.journal.put(entries, instead_of=instead_of)

    def _start(self, jobs: list[Job]) -> list[_Started]:
        """Ask for all; end those that need nothing more, return those that have bytes to send."""
        if not jobs:
            return []
        pairs = list(zip(jobs, self._ask_to_start(jobs), strict=True))
        renewable = [job for job, result in pairs if _is_renewable(job, result)]
        taken = [job for job, result in pairs if result.outcome == "name_taken"]
        to_send = [pair for pair in pairs if pair[0] not in renewable and self._has_to_send(*pair)]
        return to_send + self._start_packed(taken) + self._start_renewed(renewable)

    def _ask_to_start(self, jobs: list[Job]) -> list[messages.StartResult]:
        items = [job.start_item() for job in jobs]
        bucket = self._session.settings.bucket
        with self._ending.reporting() as clean_ups:
            request = messages.StartRequest(self._machine_id, items, expected_bucket=bucket, clean_ups=clean_ups)
            for job in jobs:
                job.enter("asked")
            try:
                return self._session.api.start(request).results
            except (LoginRequiredError, NotConfiguredError):  # turned away at the door; of others nobody knows
                for job in jobs:
                    if job.lease is None:
                        job.enter("prepared")
                raise

    def _has_to_send(self, job: Job, result: messages.StartResult) -> bool:
        if not is_known(result):
            self._fail(job, error_of_outcome(result.outcome, job.operation_id))
            return False
        job.lease = result.lease
        if result.lease is None:
            job.enter("prepared")
        if result.problem is not None:
            self._fail(job, error_of(result.problem))
        elif result.outcome == "already_there" and result.existing is not None:
            self._ending.end_already_there(job, result.existing)
        elif result.outcome == "done" and result.record is not None:
            self._ending.end_done([(job, result.record)])
        return result.outcome in ("put", "multipart")

    def _start_packed(self, jobs: list[Job]) -> list[_Started]:
        """Something is stored under these names: pack to the end, so that contents can be compared, ask again."""
        packed: list[Job] = []
        for job in jobs:
            with self._surviving(job):
                self._pack(job)
                packed.append(job)
        self._promise(packed)
        return self._start(packed)

    def _start_renewed(self, jobs: list[Job]) -> list[_Started]:
        """Begin anew where the service will not go on with what was begun: it ended, or other options were given."""
        return self._start(self._begin_anew(jobs))

    def _send_all(self, started: Sequence[_Started]) -> tuple[list[Job], MgmtError | None]:
        """Carry every job's bytes; return the jobs whose bytes are all sent, and what stops the run after that."""
        sent: list[Job] = []
        if len(started) == 1 and is_large(started[0][0]):
            [(job, result)] = started
            with self._surviving(job):
                self._send(result, job)
                sent.append(job)
            return sent, None
        stopping_error: MgmtError | None = None
        futures = [(job, self._pool.submit(self._send, result, job)) for job, result in started]
        for job, future in futures:
            try:
                with self._surviving(job):
                    future.result()
                    sent.append(job)
            except MgmtError as error:
                self._session.patience.check_stopped()
                stopping_error = stopping_error or error
        return sent, stopping_error

    def _send(self, result: messages.StartResult, job: Job) -> None:
        self._session.patience.check_stopped()
        if result.multipart is None and result.request is not None and job.archive is not None:
            send_whole(self._session, job, result.request, Meter(self._session, job))
        elif result.multipart is not None and job.archive is not None:
            send_packed(self._session, job, result.multipart)
        elif result.multipart is not None:
            pack_and_send(self._session, job, result.multipart)

    def _confirm(self, jobs: list[Job]) -> list[Job]:
        """Have the service compare what the storage holds; return the jobs of which bytes are missing."""
        incomplete: list[Job] = []
        attempt = 0
        deadline = self._session.patience.now() + COMPLETING_MAX_SECONDS
        while jobs:
            pairs = list(zip(jobs, self._complete(jobs), strict=True))
            self._ending.end_done([(job, r.record) for job, r in pairs if r.outcome == "done" and r.record is not None])
            for job, result in pairs:
                if not is_known(result):
                    self._fail(job, error_of_outcome(result.outcome, job.operation_id))
                elif result.problem is not None:
                    self._fail_or_renew(job, error_of(result.problem))
            incomplete += [job for job, result in pairs if result.outcome == "incomplete"]
            jobs = [job for job, result in pairs if result.outcome == "completing"]
            if jobs:
                pause_seconds = max(result.retry_after_seconds or 1 for _, result in pairs)
                if self._session.patience.now() > deadline:
                    raise UnavailableError("The storage is still joining the parts. Run the same command again later.")
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
        with self._ending.reporting() as clean_ups:
            request = messages.CompleteRequest(self._machine_id, items, clean_ups=clean_ups)
            return self._session.api.complete(request).results
