"""Fetches an archive's missing ranges, several at a time, each until it is whole or nothing has moved for too long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final

from mgmt.archive.blocks import Readable
from mgmt.download.arriving import Arriving, Bringing
from mgmt.download.unfinished import Span, Unfinished
from mgmt.download.wanted import Wanted
from mgmt.errors import INTERRUPTED, CancelledError, MgmtError
from mgmt.stored.ranges import Ranges
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.parts import MIB

_LOOK_SECONDS: Final = 0.2
"""How soon a command that was stopped ends."""


class Fetching:
    """Fetches what is missing of one archive.

    Args:
        wanted: What to fetch.
        operation_id: The download's.
        unfinished: Where it is written.
        request: The URL to begin with.
        sign_again: Opens the download again and returns its fresh URL.
    """

    def __init__(
        self,
        wanted: Wanted,
        operation_id: str,
        unfinished: Unfinished,
        request: SignedRequest,
        sign_again: Callable[[], SignedRequest],
    ) -> None:
        self._wanted = wanted
        self._operation_id = operation_id
        self._unfinished = unfinished
        self._ranges = Ranges(wanted.session, wanted.target_path, wanted.size, request, sign_again)
        self._spans: Iterator[Span] = unfinished.missing()
        self._lock = threading.Lock()
        self._carried_over_bytes = self._done_bytes = self._told_bytes = unfinished.done_bytes
        self._errors: list[MgmtError | OSError] = []
        self.is_over = False
        """Whether all is there, and only the check goes on."""

    @property
    def received_bytes(self) -> int:
        """Bytes that this run has fetched."""
        return self._done_bytes - self._carried_over_bytes

    def run(self, jobs: int, check: Callable[[Readable], object]) -> None:
        """Fetch everything, so many ranges at a time, and check it while it arrives.

        Args:
            jobs: How many ranges.
            check: Gets the archive, to read it from its beginning to its end in a thread of its own.

        Raises:
            MgmtError: The service's refusal, or no progress for too long, or the command was stopped; or what the check
                has found.
            OSError: What the disk met with.
        """
        arriving = Arriving(self._unfinished, jobs, self._note_received)
        with ThreadPoolExecutor(1, thread_name_prefix="check") as checker:
            checking = checker.submit(check, arriving)
            try:
                self._fetch_all(arriving, jobs, checking)
                # On Windows only a bounded wait ends with Ctrl-C.
                while not wait([checking], timeout=_LOOK_SECONDS).done:
                    self._wanted.session.patience.check_stopped()
                checking.result()
            except BaseException:
                arriving.close()  # so that the check ends
                self._unfinished.close()
                raise

    def _fetch_all(self, arriving: Arriving, jobs: int, checking: Future[object]) -> None:
        self._note_received(0)
        pool = ThreadPoolExecutor(jobs, thread_name_prefix="fetch")
        try:
            parts = [arriving.bring() for _ in range(jobs)]
            pending = {pool.submit(self._work, arriving, part) for part in parts}
            while pending and not self._errors:
                ended, pending = wait(pending, timeout=_LOOK_SECONDS)
                for each in ended:
                    each.result()
                if checking.done():  # before all was there: it has found something
                    checking.result()
                self._wanted.session.patience.check_stopped()
        except BaseException:
            self._errors.append(CancelledError(INTERRUPTED))
            raise
        finally:
            # A thread that waits for bytes is not waited for: it ends with the next ones, and writes nothing.
            pool.shutdown(wait=not self._errors, cancel_futures=True)
        if self._errors:
            raise self._errors[0]
        self.is_over = True
        self._unfinished.sync()

    def _work(self, arriving: Arriving, bringing: Bringing) -> None:
        try:
            while not self._errors:
                with self._lock:
                    span = next(self._spans, None)
                if span is None:
                    return
                self._ranges.fetch(span.offset, span.length, bringing.begin(span), self._check_wanted)
                arriving.note_whole(span)
        except (MgmtError, OSError) as error:  # raised by the thread that waits
            self._errors.append(error)

    def _check_wanted(self) -> None:
        if self._errors:
            raise CancelledError(INTERRUPTED)

    def _note_received(self, size_bytes: int) -> None:
        self._check_wanted()
        with self._lock:
            self._done_bytes += size_bytes
            if size_bytes and self._done_bytes - self._told_bytes < MIB and self._done_bytes < self._wanted.size:
                return
            self._told_bytes = self._done_bytes
            # Before another thread's, or progress would seem to go back.
            self._wanted.note(self._operation_id, "fetching", self._done_bytes, self._carried_over_bytes)
