"""Sends bytes to the storage: a whole archive, or one slice of it.

Every PUT is tried again until the storage has the bytes or no progress was made for too long. A URL that
is refused, or a connection that breaks, gets a fresh URL: over TLS an expired one often shows only as a
broken connection. One that has nearly ended while it waited for its turn is replaced before it is used.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final

from mgmt.errors import IntegrityError, UnavailableError, archive_unreadable
from mgmt.events import Notice, Progress
from mgmt.service import error_of
from mgmt.session import Session
from mgmt.storage import PutOutcome, PutResult
from mgmt.upload.job import Job
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.uploads import StartRequest
from mgmt_contract.parts import PartSpan

_log: Final = logging.getLogger(__name__)
WHOLE_ARCHIVES_AT_A_TIME: Final = 16
"""Small archives wait for answers most of the time: the farther the storage, the more so."""
CORRUPTED_TRIES_MAX: Final = 5
"""How often the same bytes may arrive corrupted before the upload fails: machine or network must be looked at."""
STUBBORN_TRIES: Final = 4
"""After so many failures of one kind in a row a person is told."""
REFUSED_TRIES_MAX: Final = 5
"""How many fresh URLs in a row may be refused."""
PutOnce = Callable[[SignedRequest, Callable[[int], None]], PutResult]
"""Makes one try; tells the function how many bytes went out, or a negative number of those that went in vain."""


@contextmanager
def sending_pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Run a pool of sending threads; where something goes wrong, what has not begun is dropped at once."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="send")
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


class Meter:
    """Counts the bytes of one upload that are on their way or there, over all its threads."""

    def __init__(self, session: Session, job: Job) -> None:
        self._session = session
        self._job = job
        self._lock = threading.Lock()
        self._done_bytes = 0
        self._carried_over_bytes = 0

    def add(self, size_bytes: int, *, is_carried_over: bool = False) -> None:
        """Note bytes sent, by this run or an earlier one, or a negative number of bytes that were sent in vain."""
        with self._lock:
            self._done_bytes += size_bytes
            self._carried_over_bytes += size_bytes if is_carried_over else 0
            done_bytes, carried_over_bytes = self._done_bytes, self._carried_over_bytes
            job, total_bytes = self._job, self.total_bytes
            self._session.emit(  # before another thread's, or progress would seem to go back
                Progress(job.operation_id, job.target_path, "uploading", done_bytes, total_bytes, carried_over_bytes)
            )

    @property
    def left_bytes(self) -> int:
        """Bytes that are neither there nor on their way; a guess as long as the archive is not whole."""
        with self._lock:
            return max(0, self.total_bytes - self._done_bytes)

    @property
    def total_bytes(self) -> int:
        """Bytes to send; a guess as long as the archive is not whole."""
        if self._job.archive is not None:
            return self._job.archive.size
        return self._job.expected_archive_bytes or self._job.source.uncompressed_size


class Delivery:
    """The way of some bytes to the storage: the tries, what they came to, and when to give up.

    Args:
        session: The wired organs.
        job: The upload they belong to.
        what: What they are, in a word or two.
        put: Makes one try.
        on_bytes: Gets the bytes that went out, and a negative number of those that went in vain.
        turn: Waits for the turn of a try, and keeps it meanwhile.
    """

    def __init__(
        self,
        session: Session,
        job: Job,
        what: str,
        put: PutOnce,
        on_bytes: Callable[[int], None],
        turn: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._session = session
        self._job = job
        self._what = f"{job.target_path}: {what}"
        self._put = put
        self._on_bytes = on_bytes
        self._turn = turn
        self._sent_bytes = 0
        self._most_sent_bytes = 0
        self._last_outcome = PutOutcome.STORED
        self._times_in_a_row = 0
        self._moved_at = session.patience.now()
        self._signed: SignedRequest | None = None
        self._signed_at = 0.0
        self._sign_again: Callable[[], SignedRequest | None] = lambda: None

    def send(
        self,
        signed: SignedRequest,
        signed_at: float,
        sign_again: Callable[[], SignedRequest | None],
    ) -> str | None:
        """Send until stored, or until only the service can tell.

        Args:
            signed: The URL to begin with.
            signed_at: When it was asked for, by `Patience.passed`.
            sign_again: Gets a fresh one; None where there is nothing to send.

        Returns:
            Why the storage did not take the bytes, where only the service can tell whether it has them.

        Raises:
            IntegrityError: If the bytes arrived corrupted too often.
            RefusedError: If the service says no.
            UnavailableError: If nothing moved for too long, or fresh URLs are refused.
            CancelledError: If the command was stopped.
        """
        self._signed, self._signed_at, self._sign_again = signed, signed_at, sign_again
        attempt = 0
        while (result := self._try()) is not None:
            if result.outcome in (PutOutcome.STORED, PutOutcome.EXISTS, PutOutcome.GONE):
                self._session.patience.note_progress()
                return result.reason or None
            self._give_up_or_wait(result, attempt)
            attempt += 1
            self._renew()
        return None

    def _try(self) -> PutResult | None:
        """Make one try; None where there is nothing to send any more."""
        waiting_since = self._session.patience.now()
        with self._turn():
            self._moved_at += self._session.patience.now() - waiting_since  # to wait for one's turn is no silence
            if self._signed is not None and self._is_old(self._signed):
                self._renew()
            if self._signed is None:
                return None
            self._sent_bytes = 0
            self._job.enter("sending")
            return self._put(self._signed, self._note_bytes)

    def _is_old(self, signed: SignedRequest) -> bool:
        """Tell whether a URL has nearly ended, or the lease under which it was given."""
        lives = [signed.expires_in_seconds, *([self._job.lease.expires_in_seconds] if self._job.lease else [])]
        return self._session.patience.is_over(self._signed_at, min(lives))

    def _renew(self) -> None:
        self._signed_at = self._session.patience.passed()
        self._signed = self._sign_again()

    def _note_bytes(self, size_bytes: int) -> None:
        self._on_bytes(size_bytes)
        if size_bytes > 0:
            self._sent_bytes += size_bytes
            if self._sent_bytes > self._most_sent_bytes:  # further than any try before: that is progress
                self._most_sent_bytes = self._sent_bytes
                self._moved_at = self._session.patience.now()
                self._session.patience.note_progress()

    def _give_up_or_wait(self, result: PutResult, attempt: int) -> None:
        self._times_in_a_row = self._times_in_a_row + 1 if result.outcome is self._last_outcome else 1
        self._last_outcome = result.outcome
        if result.outcome is PutOutcome.CORRUPTED and self._times_in_a_row >= CORRUPTED_TRIES_MAX:
            raise IntegrityError(
                f"{self._what} was sent {CORRUPTED_TRIES_MAX} times and arrived corrupted each time ({result.reason}). "
                "Something between here and the storage changes bytes: try another network or machine. "
                f"The archive is kept at {self._job.archive_path}.",
                code="corrupted",
                operation_id=self._job.operation_id,
            )
        if result.outcome is PutOutcome.REFUSED and self._times_in_a_row >= REFUSED_TRIES_MAX:
            raise UnavailableError(
                f"{self._what}: the storage refuses {REFUSED_TRIES_MAX} fresh URLs in a row ({result.reason}). "
                "Tell the admin; nothing is lost, and the same command goes on from here.",
                code="storage-refuses",
                operation_id=self._job.operation_id,
            )
        # The service's answers to asking for fresh URLs are no progress of this one.
        self._session.patience.check_silence(self._moved_at, result.reason)
        said = f"{self._what}: {result.reason}; trying again"
        is_stubborn = self._times_in_a_row == STUBBORN_TRIES
        if is_stubborn:
            self._session.emit(Notice(said, "trying-again", self._job.operation_id))
        else:
            _log.info("%s", said)
        self._session.patience.wait(attempt, result.reason, retry_after_seconds=result.retry_after_seconds)


def deliver_slice(
    session: Session,
    job: Job,
    span: PartSpan,
    path: Callable[[], Path],
    on_bytes: Callable[[int], None],
    turn: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Delivery:
    """Prepare to send one slice of an archive.

    Args:
        session: The wired organs.
        job: The upload.
        span: Where in the archive the slice lies.
        path: Says where the archive lies at the moment.
        on_bytes: Gets the bytes that went out, and a negative number of those that went in vain.
        turn: Waits for the turn of a try, and keeps it meanwhile.
    """

    def put(signed: SignedRequest, on_bytes: Callable[[int], None]) -> PutResult:
        try:
            with suppress(FileNotFoundError):  # it got its final name between asking for the path and opening it
                return session.carrier.put(signed, path(), span.offset, span.length, on_bytes)
            return session.carrier.put(signed, path(), span.offset, span.length, on_bytes)
        except OSError as error:
            unreadable = error.filename or job.archive_path
            raise archive_unreadable(os.fspath(unreadable), error.strerror or str(error)) from error

    return Delivery(session, job, f"part {span.number}", put, on_bytes, turn)


def send_whole(session: Session, job: Job, signed: SignedRequest, meter: Meter) -> None:
    """Send a whole archive with one PUT: with the URL that came with the job's start, or a fresh one."""
    archive = job.archive
    assert archive is not None  # noqa: S101  a whole archive is what this function sends

    def sign_again() -> SignedRequest | None:
        request = StartRequest(session.journal.machine_id, [job.start_item()])
        [result] = session.api.start(request).results
        if result.problem is not None:
            raise error_of(result.problem)
        job.lease = result.lease or job.lease
        return result.request if result.outcome == "put" else None

    span = PartSpan(1, 0, archive.size)
    delivery = deliver_slice(session, job, span, lambda: archive.path, meter.add)
    job.turned_away = delivery.send(signed, job.granted_at, sign_again)
