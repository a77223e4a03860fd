"""The archive that one upload has stored, open for reading: any range of it, or all of it in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Final, Protocol

from mgmt.archive.blocks import Readable
from mgmt.errors import INTERRUPTED, CancelledError, MgmtError
from mgmt.journal import new_operation_id
from mgmt.machine.memory import make_blocks
from mgmt.session import Session
from mgmt.storage.receiving import Memory, Noted, Sink
from mgmt.stored.opening import ask_to_open, is_over, report_end, take_request
from mgmt.stored.ranges import RANGES_AT_A_TIME, Ranges
from mgmt.stored.recorded import size_of
from mgmt_contract.messages.downloads import DownloadResult
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.parts import MIB
from mgmt_contract.records import DownloadRecord, UploadRecord

RANGE_SIZE_BYTES: Final = 4 * MIB
"""Of one range that is fetched: four at a time fill 1 Gbit/s at 100 ms, and what waits for its turn fits into memory
(an extraction takes 58 MiB, measured 2026-11)."""
_LOOK_SECONDS: Final = 0.2
"""How soon a command that was stopped ends."""


def ignore(_: int) -> None:
    """Do nothing with a number of bytes."""


@contextmanager
def open_archive(
    session: Session,
    upload: UploadRecord,
    target_path: str,
    *,
    operation_id: str | None = None,
    on_bytes: Callable[[int], object] = ignore,
) -> Iterator[StoredArchive]:
    """Open an upload's archive; the team's history has a download from the first byte on.

    On leaving, the download has succeeded, or failed where an error came that concerns it alone. After any other
    error it stays pending, and the same `operation_id` goes on with it.

    Args:
        session: The wired organs.
        upload: A successful one.
        target_path: What the history says of where the bytes go.
        operation_id: That of an earlier run's download; a new one by default, and where that one has ended.
        on_bytes: Gets the number of bytes of each piece that comes, from any thread.

    Raises:
        MgmtError: What opening, fetching or the body met with.
    """
    archive = StoredArchive(session, upload, target_path, operation_id or new_operation_id(), on_bytes)
    try:
        yield archive
    except MgmtError as error:
        if not error.stops_everything:
            archive.end(error)
        raise
    archive.end(None)


class StoredArchive:
    """One upload's archive; made by `open_archive`."""

    def __init__(
        self,
        session: Session,
        upload: UploadRecord,
        target_path: str,
        operation_id: str,
        on_bytes: Callable[[int], object],
    ) -> None:
        self.upload = upload
        self.size = size_of(upload)
        self.operation_id = operation_id
        self.record: DownloadRecord | None = None
        """None until something was fetched."""
        self.received_bytes = 0
        self._session = session
        self._target_path = target_path
        self._on_bytes = on_bytes
        self._ranges: Ranges | None = None
        self._promise: Callable[[str], object] = lambda _: None
        self._lock = threading.Lock()
        self._counting = threading.Lock()

    def begin(self, promise: Callable[[str], object]) -> None:
        """Open the download now, before a byte is asked for: from then on `operation_id` is the history's.

        Args:
            promise: Gets each id before the service is asked to open it. Kept on the disk, it has a run that comes
                after a crash go on with the same download.

        Raises:
            MgmtError: The service's refusal.
        """
        self._promise = promise
        self._open()

    def fetch(
        self,
        offset: int,
        length: int,
        sink: Sink,
        check_wanted: Callable[[], object] = lambda: None,
    ) -> None:
        """Fetch a range, as `Ranges.fetch` does. From any thread.

        Raises:
            MgmtError: The service's refusal, or no progress for too long, or the command was stopped.
        """

        def count(size_bytes: int) -> None:
            with self._counting:
                self.received_bytes += size_bytes
            self._on_bytes(size_bytes)

        self._open().fetch(offset, length, Noted(sink, count), check_wanted)

    def read(self, offset: int, length: int) -> bytes:
        """Return a range that fits into the memory. From any thread.

        Raises:
            MgmtError: As `fetch`.
        """
        data = bytearray(length)
        self.fetch(offset, length, Memory(memoryview(data)))
        return bytes(data)

    @contextmanager
    def stream(self, start: int = 0, stop: int | None = None, *, jobs: int = RANGES_AT_A_TIME) -> Iterator[Readable]:
        """Read from one place to another, in order, with so many ranges fetched ahead at a time.

        Raises:
            MgmtError: As `fetch`, from reading.
        """
        places = range(start, self.size if stop is None else stop)
        spans = (places[at : at + RANGE_SIZE_BYTES] for at in range(0, len(places), RANGE_SIZE_BYTES))
        with self.stream_spans(spans, jobs=jobs) as stream:
            yield stream

    @contextmanager
    def stream_spans(self, spans: Iterator[range], *, jobs: int = RANGES_AT_A_TIME) -> Iterator[Readable]:
        """Read these ranges of the archive one after the other, with so many fetched ahead at a time.

        Args:
            spans: Each of `RANGE_SIZE_BYTES` at most; asked for by this thread, as they are begun.
            jobs: How many at a time.

        Raises:
            MgmtError: As `fetch`, from reading.
        """
        with read_ahead(self.fetch, spans, jobs, self._session.patience.check_stopped) as ahead:
            yield ahead

    def end(self, error: MgmtError | None) -> None:
        """Report the end of a download that was begun."""
        if self.record is not None:
            self.record = report_end(self._session, self.record, self.received_bytes, error)

    def _open(self) -> Ranges:
        with self._lock:
            if self._ranges is None:
                self._promise(self.operation_id)
                result = self._ask()
                if is_over(result):
                    self.operation_id = new_operation_id()
                    self._promise(self.operation_id)
                    result = self._ask()
                request = self._take(result)
                self._ranges = Ranges(self._session, self.upload.s3_object_key, self.size, request, self._sign_again)
            return self._ranges

    def _sign_again(self) -> SignedRequest:
        return self._take(self._ask())

    def _ask(self) -> DownloadResult:
        return ask_to_open(self._session, self.operation_id, self.upload, self._target_path)

    def _take(self, result: DownloadResult) -> SignedRequest:
        request = take_request(self.upload, result)
        self.record = result.record or self.record
        return request


class Fetch(Protocol):
    """Fetches one range, as `Ranges.fetch` and `StoredArchive.fetch` do. From any thread."""

    def __call__(
        self,
        offset: int,
        length: int,
        sink: Sink,
        check_wanted: Callable[[], object],
        /,
    ) -> None:
        """See `Ranges.fetch`."""


@contextmanager
def read_ahead(
    fetch: Fetch, spans: Iterator[range], jobs: int, check_stopped: Callable[[], object]
) -> Iterator[Readable]:
    """Read ranges one after the other, with so many fetched ahead at a time.

    Args:
        fetch: Fetches one of them.
        spans: Each of `RANGE_SIZE_BYTES` at most; asked for by this thread, as they are begun.
        jobs: How many at a time.
        check_stopped: Raises once the command was stopped.

    Raises:
        MgmtError: As `fetch`, from reading.
    """
    ahead = _Ahead(fetch, spans, jobs, check_stopped)
    try:
        yield ahead
    finally:
        ahead.close()


class _Ahead:
    """Bytes in order, of which the next ranges are fetched while the ones before them are read."""

    def __init__(self, fetch: Fetch, spans: Iterator[range], jobs: int, check_stopped: Callable[[], object]) -> None:
        self._fetch_range = fetch
        self._check_stopped = check_stopped
        self._spans = spans
        self._is_closed = False
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="fetch")
        self._coming: deque[tuple[memoryview, int, Future[None]]] = deque()
        # The same memory over and over: a heap from which several threads take such blocks grows to twice their size.
        self._free = make_blocks(jobs + 1, RANGE_SIZE_BYTES)
        self._reading: memoryview | None = None
        self._view = memoryview(b"")
        for _ in range(jobs):
            self._begin_next()

    def read(self, most_bytes: int, /) -> memoryview:
        """Return the next bytes, none at the end, as a view that is good until the next call."""
        if not self._view and self._coming:
            self._view = self._take_next()
        data, self._view = self._view[:most_bytes], self._view[most_bytes:]
        return data

    def close(self) -> None:
        """End what is under way: a thread that waits for bytes is not waited for, and nothing counts what it gets."""
        self._is_closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _begin_next(self) -> None:
        span = next(self._spans, None)
        if span is not None:
            block = self._free.pop()
            sink = Noted(Memory(block), lambda _: self._check_open())
            fetching = self._pool.submit(self._fetch_range, span.start, len(span), sink, self._check_open)
            self._coming.append((block, len(span), fetching))

    def _take_next(self) -> memoryview:
        block, size_bytes, coming = self._coming.popleft()
        while not wait([coming], timeout=_LOOK_SECONDS).done:
            self._check_stopped()
        coming.result()
        if self._reading is not None:
            self._free.append(self._reading)
        self._reading = block
        self._begin_next()
        return block[:size_bytes]

    def _check_open(self) -> None:
        if self._is_closed:
            raise CancelledError(INTERRUPTED)
