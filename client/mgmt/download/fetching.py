"""Fetches an archive's missing ranges, several at a time, each until it is whole or nothing has moved for too long."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final

from mgmt.download.unfinished import Span, Unfinished
from mgmt.errors import INTERRUPTED, CancelledError, MgmtError, UnavailableError
from mgmt.events import Progress
from mgmt.session import Session
from mgmt.storage.receiving import GetOutcome, GetResult
from mgmt_contract.messages import SignedRequest
from mgmt_contract.values import Value

_log: Final = logging.getLogger(__name__)
RANGES_AT_A_TIME: Final = 4
"""Fill a line, and need little memory."""
REFUSED_TRIES_MAX: Final = 5
"""How many fresh URLs in a row may be refused."""
_LOOK_SECONDS: Final = 0.2
"""How soon a command that was stopped ends."""


class Source(Value):
    """An archive to fetch, and how it is shown."""

    operation_id: str
    target_path: str
    size: int


class _Url:
    """The presigned URL that all threads share, and how to get a fresh one."""

    def __init__(self, request: SignedRequest, sign_again: Callable[[], SignedRequest]) -> None:
        self.request = request
        self._sign_again = sign_again
        self._lock = threading.Lock()

    def renew(self, used: SignedRequest) -> None:
        """Get a fresh URL, unless another thread has one already."""
        with self._lock:
            if self.request is used:
                self.request = self._sign_again()


class Fetching:
    """Fetches what is missing of one archive.

    Args:
        session: The wired organs.
        source: What to fetch.
        unfinished: Where it is written.
        request: The URL to begin with.
        sign_again: Opens the download again and returns its fresh URL.
    """

    def __init__(
        self,
        session: Session,
        source: Source,
        unfinished: Unfinished,
        request: SignedRequest,
        sign_again: Callable[[], SignedRequest],
    ) -> None:
        self._session = session
        self._source = source
        self._unfinished = unfinished
        self._url = _Url(request, sign_again)
        self._spans: Iterator[Span] = unfinished.missing()
        self._lock = threading.Lock()
        self._carried_over_bytes = self._done_bytes = unfinished.done_bytes
        self._errors: list[MgmtError | OSError] = []

    @property
    def received_bytes(self) -> int:
        """Bytes that this run has fetched."""
        return self._done_bytes - self._carried_over_bytes

    def run(self, jobs: int) -> None:
        """Fetch everything, so many ranges at a time.

        Raises:
            MgmtError: The service's refusal, or no progress for too long, or the command was stopped.
            OSError: What the disk met with.
        """
        self._note_received(0)
        pool = ThreadPoolExecutor(jobs, thread_name_prefix="fetch")
        try:
            pending = {pool.submit(self._work) for _ in range(jobs)}
            while pending and not self._errors:
                ended, pending = wait(pending, timeout=_LOOK_SECONDS)
                for each in ended:
                    each.result()
                self._session.patience.check_stopped()
        except BaseException:
            self._errors.append(CancelledError(INTERRUPTED))
            raise
        finally:
            # A thread that waits for bytes is not waited for: it ends with the next ones, and writes nothing.
            pool.shutdown(wait=not self._errors, cancel_futures=True)
        if self._errors:
            raise self._errors[0]
        self._unfinished.sync()

    def _work(self) -> None:
        try:
            while not self._errors:
                with self._lock:
                    span = next(self._spans, None)
                if span is None:
                    return
                self._fetch(span)
                self._unfinished.note_whole(span.number)
        except (MgmtError, OSError) as error:  # raised by the thread that waits
            self._errors.append(error)

    def _fetch(self, span: Span) -> None:
        done_bytes = 0

        def write(data: bytes) -> None:
            nonlocal done_bytes
            if self._errors:
                raise CancelledError(INTERRUPTED)
            self._unfinished.write(span.offset + done_bytes, data)
            done_bytes += len(data)
            self._note_received(len(data))
            self._session.patience.note_progress()

        tries = _Tries(self._session, f"{self._source.target_path}: bytes from {span.offset} on")
        while done_bytes < span.length:
            before, request = done_bytes, self._url.request
            result = self._session.receiver.get(
                request, span.offset + done_bytes, span.length - done_bytes, self._source.size, write
            )
            if result.outcome is GetOutcome.RECEIVED:
                return
            if done_bytes > before:
                tries.begin_anew()
            tries.give_up_or_wait(result)
            if result.outcome is not GetOutcome.RETRY:  # over TLS an expired URL often shows as a broken connection
                self._url.renew(request)

    def _note_received(self, size_bytes: int) -> None:
        source = self._source
        with self._lock:
            self._done_bytes += size_bytes
            self._session.emit(  # before another thread's, or progress would seem to go back
                Progress(
                    source.operation_id,
                    source.target_path,
                    "fetching",
                    self._done_bytes,
                    source.size,
                    self._carried_over_bytes,
                )
            )


class _Tries:
    """The tries of one range: how many in a row came to nothing, and when to give up."""

    def __init__(self, session: Session, what: str) -> None:
        self._patience = session.patience
        self._what = what
        self.begin_anew()

    def begin_anew(self) -> None:
        """Note that bytes have come."""
        self._attempt = self._refused_in_a_row = 0
        self._moved_at = self._patience.now()

    def give_up_or_wait(self, result: GetResult) -> None:
        """Wait before the next try.

        Raises:
            UnavailableError: If fresh URLs are refused, or nothing has come for too long.
            CancelledError: If the command was stopped.
        """
        self._refused_in_a_row = self._refused_in_a_row + 1 if result.outcome is GetOutcome.REFUSED else 0
        if self._refused_in_a_row >= REFUSED_TRIES_MAX:
            raise UnavailableError(
                f"{self._what}: the storage refuses {REFUSED_TRIES_MAX} fresh URLs in a row ({result.reason}). "
                "Tell the admin; nothing is lost, and the same command goes on from here.",
                code="storage-refuses",
            )
        # The service's answers to asking for fresh URLs are no progress of this range.
        self._patience.check_silence(self._moved_at, result.reason)
        _log.info("%s: %s; trying again", self._what, result.reason)
        self._patience.wait(self._attempt, result.reason, retry_after_seconds=result.retry_after_seconds)
        self._attempt += 1
