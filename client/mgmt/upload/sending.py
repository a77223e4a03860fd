"""Sends an archive to the storage: whole, or in parts while they are read or still being packed.

Every PUT is tried again until the storage has the bytes or no progress was made for too long. A URL that
is refused, or a connection that breaks, gets a fresh URL: over TLS an expired one often shows only as a
broken connection.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from mgmt.archive import read_archive
from mgmt.errors import CancelledError, IntegrityError, UnavailableError, archive_unreadable
from mgmt.events import Notice, Progress
from mgmt.service import error_in, error_of
from mgmt.session import Session
from mgmt.storage import PutOutcome, PutResult
from mgmt.upload.job import Job
from mgmt_contract import messages
from mgmt_contract.parts import PartSpan

_log: Final = logging.getLogger(__name__)
PARTS_AT_A_TIME: Final = 4
"""Fill an uplink, and are few enough to be quick one by one."""
WHOLE_ARCHIVES_AT_A_TIME: Final = 16
"""Small archives wait for answers most of the time: the farther the storage, the more so."""
CORRUPTED_TRIES_MAX: Final = 5
"""How often the same bytes may arrive corrupted before the upload fails: machine or network must be looked at."""
STUBBORN_TRIES: Final = 4
"""After so many failures of one kind in a row a person is told."""
FAST_WINDOW_SECONDS: Final = 30.0
"""Parts signed together that went out within this time were not too many."""
REFUSED_TRIES_MAX: Final = 5
"""How many fresh URLs in a row may be refused."""
GATHERING_SECONDS: Final = 0.05
"""While others are on their way, a part waits so long at most for more to be signed together with."""


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
            job, total_bytes = self._job, self._total_bytes()
            self._session.emit(  # before another thread's, or progress would seem to go back
                Progress(job.operation_id, job.target_path, "uploading", done_bytes, total_bytes, carried_over_bytes)
            )

    def _total_bytes(self) -> int:
        """Bytes to send; a guess as long as the archive is not whole."""
        if self._job.archive is not None:
            return self._job.archive.size
        return self._job.expected_archive_bytes or self._job.source.uncompressed_size


class _Slice:
    """One slice's way to the storage: the tries, what they came to, and when to give up."""

    def __init__(self, session: Session, job: Job, span: PartSpan, path: Callable[[], Path], meter: Meter) -> None:
        self._session = session
        self._job = job
        self._span = span
        self._path = path
        self._meter = meter
        self._sent_bytes = 0
        self._most_sent_bytes = 0
        self._last_outcome = PutOutcome.STORED
        self._times_in_a_row = 0
        self._moved_at = session.patience.now()

    def send(self, signed: messages.SignedRequest, sign_again: Callable[[], messages.SignedRequest | None]) -> None:
        """Send until stored, or until only the service can tell (`sign_again` may answer None: nothing to send).

        Raises:
            IntegrityError: If the bytes arrived corrupted too often.
            RefusedError: If the service says no.
            UnavailableError: If nothing moved for too long, or fresh URLs are refused.
            CancelledError: If the command was stopped.
        """
        attempt = 0
        while True:
            self._sent_bytes = 0
            result = self._put(signed)
            if result.outcome in (PutOutcome.STORED, PutOutcome.EXISTS, PutOutcome.GONE):
                self._session.patience.note_progress()
                return
            self._give_up_or_wait(result, attempt)
            attempt += 1
            fresh = sign_again()
            if fresh is None:
                return
            signed = fresh

    def _put(self, signed: messages.SignedRequest) -> PutResult:
        self._job.enter("sending")
        put, offset, length = self._session.carrier.put, self._span.offset, self._span.length
        try:
            with suppress(FileNotFoundError):  # it got its final name between asking for the path and opening it
                return put(signed, self._path(), offset, length, self._note_bytes)
            return put(signed, self._path(), offset, length, self._note_bytes)
        except OSError as error:
            path = error.filename or self._job.archive_path
            raise archive_unreadable(os.fspath(path), error.strerror or str(error)) from error

    def _note_bytes(self, size_bytes: int) -> None:
        self._meter.add(size_bytes)
        if size_bytes > 0:
            self._sent_bytes += size_bytes
            if self._sent_bytes > self._most_sent_bytes:  # further than any try before: that is progress
                self._most_sent_bytes = self._sent_bytes
                self._moved_at = self._session.patience.now()
                self._session.patience.note_progress()

    def _give_up_or_wait(self, result: PutResult, attempt: int) -> None:
        self._times_in_a_row = self._times_in_a_row + 1 if result.outcome is self._last_outcome else 1
        self._last_outcome = result.outcome
        what = f"{self._job.target_path}: part {self._span.number}"
        if result.outcome is PutOutcome.CORRUPTED and self._times_in_a_row >= CORRUPTED_TRIES_MAX:
            raise IntegrityError(
                f"{what} was sent {CORRUPTED_TRIES_MAX} times and arrived corrupted each time ({result.reason}). "
                "Something between here and the storage changes bytes: try another network or machine. "
                f"The archive is kept at {self._job.archive_path}.",
                code="corrupted",
                operation_id=self._job.operation_id,
            )
        if result.outcome is PutOutcome.REFUSED and self._times_in_a_row >= REFUSED_TRIES_MAX:
            raise UnavailableError(
                f"{what}: the storage refuses {REFUSED_TRIES_MAX} fresh URLs in a row ({result.reason}). "
                "Tell the admin; nothing is lost, and the same command goes on from here.",
                code="storage-refuses",
                operation_id=self._job.operation_id,
            )
        # The service's answers to asking for fresh URLs are no progress of this slice.
        self._session.patience.check_silence(self._moved_at, result.reason)
        said = f"{what}: {result.reason}; trying again"
        is_stubborn = self._times_in_a_row == STUBBORN_TRIES
        if is_stubborn:
            self._session.emit(Notice(said, "trying-again", self._job.operation_id))
        else:
            _log.info("%s", said)
        self._session.patience.wait(attempt, result.reason, retry_after_seconds=result.retry_after_seconds)


def send_packed(session: Session, job: Job, result: messages.StartResult) -> None:
    """Send an archive that lies packed on the disk, whole or in parts as the service has granted."""
    session.patience.check_stopped()
    multipart = result.multipart
    if job.archive is None:
        return
    if multipart is None and result.request is not None:
        send_whole(session, job, result.request, Meter(session, job))
    elif multipart is not None:
        feed = PartFeed(multipart.part_size)

        def read_parts(stop: threading.Event) -> messages.Content | None:
            read_archive(job.archive_path, multipart.part_size, on_part=feed.put, stop=stop)
            return job.content

        sender = PartsSender(session, job, multipart.part_size, lambda: job.archive_path, Meter(session, job))
        with feed.filled_by(read_parts):
            sender.send(feed, multipart.received_parts)


def send_whole(session: Session, job: Job, signed: messages.SignedRequest, meter: Meter) -> None:
    """Send a whole archive with one PUT."""
    archive = job.archive
    assert archive is not None  # noqa: S101  a whole archive is what this function sends

    def sign_again() -> messages.SignedRequest | None:
        request = messages.StartRequest(session.journal.machine_id, [job.start_item()])
        [result] = session.api.start(request).results
        if result.problem is not None:
            raise error_of(result.problem)
        job.lease = result.lease or job.lease
        return result.request if result.outcome == "put" else None

    span = PartSpan(1, 0, archive.size)
    _Slice(session, job, span, lambda: archive.path, meter).send(signed, sign_again)


class PartFeed:
    """Hands parts from the packing or reading thread to the sending ones, as they reach the disk or come from it.

    A part shorter than the others is the last one, and waits for the content that must go along with it.
    """

    def __init__(self, part_size_bytes: int) -> None:
        self._part_size_bytes = part_size_bytes
        self._parts: list[messages.Part] = []
        self._content: messages.Content | None = None
        self._is_closed = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    @contextmanager
    def filled_by(
        self,
        produce: Callable[[threading.Event], messages.Content | None],
        *,
        goes_on_after: tuple[type[BaseException], ...] = (),
    ) -> Iterator[None]:
        """Have a thread of its own put parts in, until it has all, or the body fails; but see `goes_on_after`.

        `produce` puts parts in and returns the content of the whole; it ends soon after the given event was set.
        """
        stop = threading.Event()
        thread = threading.Thread(target=self._fill, args=[produce, stop], name="parts")
        thread.start()
        try:
            yield
        except BaseException as error:
            if not isinstance(error, goes_on_after):
                stop.set()
            raise
        finally:
            try:
                while thread.is_alive():
                    thread.join(1.0)  # a bounded wait lets Ctrl-C through on every system
            except BaseException:
                stop.set()
                thread.join()
                raise

    def _fill(self, produce: Callable[[threading.Event], messages.Content | None], stop: threading.Event) -> None:
        try:
            content = produce(stop)
        except BaseException as error:  # noqa: BLE001  handed to the sending thread, which raises it
            self.close(None, error)
        else:
            self.close(content)

    def put(self, part: messages.Part) -> None:
        """Offer one more part."""
        with self._changed:
            self._parts.append(part)
            self._changed.notify_all()

    def close(self, content: messages.Content | None, error: BaseException | None = None) -> None:
        """Say that no more parts come, and what the whole is or why there is none."""
        with self._changed:
            self._content, self._error, self._is_closed = content, error, True
            self._changed.notify_all()

    def raise_failure(self) -> None:
        """Raise what ended the packing, if it failed for a reason of its own and was not stopped."""
        with self._changed:
            if self._error is not None and not isinstance(self._error, CancelledError):
                raise self._error

    def take(
        self, most: int, *, enough: int = 1, gathering_seconds: float = 0.0
    ) -> tuple[list[messages.Part], messages.Content | None]:
        """Wait for parts and take what there is, up to `most`; fewer than `enough` only after `gathering_seconds`.

        With the last parts comes the content; no parts and a content mean that everything was taken. Neither the one
        nor the other means that nothing came for a second: a lease must be renewed in time.

        Raises:
            BaseException: What ended the packing, where it failed.
        """
        gather_until = time.monotonic() + gathering_seconds
        with self._changed:
            while not self._is_closed and (count := len(self._ready())) < enough:
                left_seconds = gather_until - time.monotonic()
                if count and left_seconds <= 0:
                    break
                self._changed.wait(min(1.0, left_seconds) if count else 1.0)
                if not self._ready():
                    break
            if self._error is not None:
                raise self._error
            taken = self._ready()[:most]
            del self._parts[: len(taken)]
            is_last = self._is_closed and not self._parts
            return taken, self._content if is_last else None

    def _ready(self) -> list[messages.Part]:
        if self._is_closed or not self._parts or self._parts[-1].length == self._part_size_bytes:
            return self._parts
        return self._parts[:-1]


class PartsSender:
    """Signs and sends the parts of one archive with a bounded number of workers."""

    def __init__(
        self, session: Session, job: Job, part_size_bytes: int, path: Callable[[], Path], meter: Meter
    ) -> None:
        self._session = session
        self._job = job
        self._part_size_bytes = part_size_bytes
        self._path = path
        self._meter = meter
        self._workers = job.options.jobs or PARTS_AT_A_TIME
        self._signed_at = session.patience.now()

    def send(self, feed: PartFeed, received: Sequence[int] = ()) -> None:
        """Send every part the feed gives, except those that the storage holds already."""
        there = frozenset(received)
        workers = self._workers
        with sending_pool(workers) as pool:
            under_way: set[Future[None]] = set()
            content = None
            parts: list[messages.Part] = []
            most = self._session.api.limits.sign_parts_max
            window = min(most, 4 * workers)
            while content is None:
                under_way = self._await_room(under_way, workers)
                self._keep_lease()
                window = min(most, self._next_window(window)) if parts else window
                gathering_seconds = GATHERING_SECONDS if under_way else 0.0
                parts, content = feed.take(window, enough=workers, gathering_seconds=gathering_seconds)
                self._meter.add(sum(part.length for part in parts if part.number in there), is_carried_over=True)
                # An archive that was packed anew may have other bytes: asked for with all its parts, the service
                # says so at the first of them. Else it would only when all the others had been sent in vain.
                must_repeat = self._job.adoption.must_repeat_parts
                asked = [part for part in parts if must_repeat or part.number not in there]
                if asked or content is not None:  # the content is told also where no part is left to sign
                    signed = self._sign(asked, content)
                    under_way |= {pool.submit(self._send_part, *pair) for pair in signed if pair[0].number not in there}
            self._await_room(under_way, 0)

    def _next_window(self, window: int) -> int:
        """Choose how many parts to sign ahead: more while they go out fast, fewer when URLs and lease grow old."""
        is_fast = self._session.patience.now() - self._signed_at < FAST_WINDOW_SECONDS
        return 2 * window if is_fast else max(self._workers, window // 2)

    def _await_room(self, under_way: set[Future[None]], room: int) -> set[Future[None]]:
        """Wait until at most `room` parts are under way; raise what went wrong with any. Keeps the lease alive."""
        while True:
            done = {future for future in under_way if future.done()}
            for future in done:
                future.result()
            under_way = under_way - done
            if len(under_way) <= room:
                return under_way
            self._keep_lease()
            wait(under_way, timeout=1.0, return_when=FIRST_COMPLETED)

    def _keep_lease(self) -> None:
        lease = self._job.lease
        if lease and self._session.patience.now() - self._signed_at > lease.expires_in_seconds / 3:
            self._sign([], None)

    def _sign(
        self, parts: list[messages.Part], content: messages.Content | None
    ) -> list[tuple[messages.Part, messages.SignedRequest]]:
        assert self._job.lease is not None  # noqa: S101  parts are only sent under a lease
        self._signed_at = self._session.patience.now()
        item = messages.SignItem(self._job.operation_id, self._job.lease.epoch, parts, content)
        [result] = self._session.api.sign(messages.SignRequest(self._session.journal.machine_id, [item])).results
        error = error_in(result)
        if error is not None:
            raise error
        urls = {signed.number: signed.request for signed in result.parts}
        return [(part, urls[part.number]) for part in parts]

    def _send_part(self, part: messages.Part, signed: messages.SignedRequest) -> None:
        self._session.patience.check_stopped()
        span = PartSpan(part.number, (part.number - 1) * self._part_size_bytes, part.length)
        one_slice = _Slice(self._session, self._job, span, self._path, self._meter)
        one_slice.send(signed, lambda: self._sign([part], None)[0][1])
