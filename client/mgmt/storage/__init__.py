"""Sends slices of an archive to presigned URLs, returns the outcome of each, and measures the speed."""

from __future__ import annotations

import enum
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast
from urllib.parse import urlsplit

import urllib3

from mgmt.errors import INTERRUPTED, CancelledError, archive_unreadable
from mgmt.network import BLOCK_SIZE_BYTES, READ_TIMEOUT_SECONDS, Answer, Bounds, Connections, make_timeout
from mgmt.network.retry import raise_if_permanent, read_retry_after
from mgmt.text import MEASURED_MIN_BYTES
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.values import Value


class SpeedGauge:
    """Counts the bytes that were stored and the time in which any were on their way; from any thread.

    Pauses in which nothing is sent, such as packing or waiting for the service, do not count.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._under_way = 0
        self._since = 0.0
        self._busy_seconds = 0.0
        self._stored_bytes = 0

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Count the time until the context is left, once for all that is sent at the same time."""
        with self._lock:
            if self._under_way == 0:
                self._since = self._monotonic()
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1
                if self._under_way == 0:
                    self._busy_seconds += self._monotonic() - self._since

    def add(self, stored_bytes: int) -> None:
        """Count bytes that the storage has taken."""
        with self._lock:
            self._stored_bytes += stored_bytes

    def bytes_per_second(self) -> float | None:
        """Say how fast it went; None where too little was sent to tell."""
        with self._lock:
            if self._stored_bytes < MEASURED_MIN_BYTES or self._busy_seconds <= 0:
                return None
            return self._stored_bytes / self._busy_seconds


_log: Final = logging.getLogger(__name__)


class PutOutcome(enum.Enum):
    """The outcome of a PUT, which decides the next step."""

    STORED = "stored"
    CORRUPTED = "the storage received other bytes than were sent"
    REFUSED = "the storage does not accept the URL (any more)"
    EXISTS = "an object is stored under this name already"
    GONE = "the storage does not know the upload any more"
    RETRY = "the storage asks to try again"
    BROKEN = "the connection broke"


class PutResult(Value):
    """A PUT's outcome with the reason in words (never with a URL in it)."""

    outcome: PutOutcome
    reason: str
    retry_after_seconds: float | None = None


ANSWER_MAX_SECONDS: Final = 4 * READ_TIMEOUT_SECONDS
"""Longest wait for an answer."""
_ANSWER_BOUNDS: Final = Bounds(ANSWER_MAX_SECONDS + READ_TIMEOUT_SECONDS, 64 * 1024)
"""Bounds of the storage's answer after the last byte: a status, and for an error some lines of XML."""

_CONTENT_TYPE_MAX_CHARACTERS: Final = 100
_BLOCKS_PER_SECOND: Final = 16
"""Under a limit: shared by 64 workers, each is silent for four seconds."""

_CORRUPTION_CODES: Final = frozenset(
    {
        "BadDigest",
        "InvalidDigest",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
        "IncompleteBody",
    }
)
_GONE_CODES: Final = frozenset({"NoSuchUpload", "NoSuchKey"})
_RETRY_CODES: Final = frozenset(
    {"RequestTimeout", "SlowDown", "InternalError", "OperationAborted", "TemporaryRedirect"}
)
"""The last while the name of a new bucket's host is still made known; the URL is good for no other host. Source: "Error
responses", Amazon S3 API Reference, read 2026-11. An `ExpiredToken`, which ends a URL early with the session of the
role that signed it, is a refusal like others: there a fresh URL helps."""
_OUTCOME_OF_STATUS: Final = {
    409: PutOutcome.RETRY,
    412: PutOutcome.EXISTS,
}


class RateLimit:
    """Bytes per second that all workers together may send."""

    def __init__(self, bytes_per_second: int | None, stop: threading.Event) -> None:
        self._bytes_per_second = bytes_per_second
        self._stop = stop
        self._lock = threading.Lock()
        self._free_at = 0.0

    @property
    def is_set(self) -> bool:
        """Tell whether there is a limit at all."""
        return self._bytes_per_second is not None

    def most_bytes(self, size_bytes: int) -> int:
        """Say how many of so many bytes to take at once: under a low limit few, so that each worker's turn comes soon.

        A storage closes connections that are silent for some twenty seconds.
        """
        if self._bytes_per_second is None:
            return size_bytes
        return min(size_bytes, max(1, self._bytes_per_second // _BLOCKS_PER_SECOND))

    def take(self, size_bytes: int) -> None:
        """Wait until `size_bytes` more may be sent."""
        if self._bytes_per_second is None:
            return
        with self._lock:
            begin = max(self._free_at, time.monotonic())
            self._free_at = begin + size_bytes / self._bytes_per_second
        self._stop.wait(max(0.0, begin - time.monotonic()))


class Carrier:
    """Sends slices of archives; one for a whole run, used from several threads."""

    def __init__(self, connections: Connections, stop: threading.Event, rate_limit: RateLimit) -> None:
        self._connections = connections
        self._stop = stop
        self._rate_limit = rate_limit
        self._gauge = SpeedGauge()
        self._answer_seconds = READ_TIMEOUT_SECONDS
        """How long to wait for an answer. A slow line may take longer than that for the megabytes that the system has
        taken over already, so after each timeout the wait doubles."""

    def measured_speed(self) -> float | None:
        """Say how many bytes per second went to the storage; None where too few did, or they were held back."""
        return None if self._rate_limit.is_set else self._gauge.bytes_per_second()

    def put(
        self, signed: SignedRequest, path: Path, offset: int, length: int, on_bytes: Callable[[int], None]
    ) -> PutResult:
        """Send `length` bytes of the file at `path` from `offset` on.

        `on_bytes` gets the number of bytes as they are sent, and the same number negative where the try
        failed.

        Raises:
            CancelledError: If the command was stopped.
            UnavailableError: If the storage's certificate is not trusted, or the proxy refuses.
            LocalStateError: If the file ends too early or cannot be read to its end.
            OSError: If the file cannot be opened, such as FileNotFoundError.
        """
        with path.open("rb") as file:
            file.seek(offset)
            return self.put_from(signed, file, path.name, length, on_bytes)

    def put_from(
        self, signed: SignedRequest, file: BinaryIO, name: str, length: int, on_bytes: Callable[[int], None]
    ) -> PutResult:
        """Send the next `length` bytes of an open file, which the run's log calls `name`.

        Raises:
            CancelledError: If the command was stopped.
            UnavailableError: If the storage's certificate is not trusted, or the proxy refuses.
            LocalStateError: If the file ends too early or cannot be read to its end.
        """
        body = _Body(file, length, self._stop, self._rate_limit, on_bytes)
        offset, began = file.tell(), time.monotonic()
        with self._gauge.sending():
            result = self._send(signed, body)
        said = result.reason or "stored"
        seconds = time.monotonic() - began
        _log.info("PUT %d bytes of %s from %d on: %s in %.3f s", length, name, offset, said, seconds)
        if result.outcome is PutOutcome.STORED:
            self._gauge.add(length)
        elif body.sent_bytes:
            on_bytes(-body.sent_bytes)
        return result

    def _send(self, signed: SignedRequest, body: _Body) -> PutResult:
        headers = {**signed.headers, "content-length": str(body.length)}
        answer_seconds = self._answer_seconds
        try:
            answer = self._connections.ask(
                "PUT",
                signed.url,
                cast("BinaryIO", body) if body.length else b"",  # all that is asked of a body is read()
                headers,
                make_timeout(None, answer_seconds),
                _ANSWER_BOUNDS,
            )
        except urllib3.exceptions.HTTPError as error:
            if isinstance(error, urllib3.exceptions.ReadTimeoutError):
                self._answer_seconds = min(2 * answer_seconds, ANSWER_MAX_SECONDS)
            raise_if_permanent(error, signed.url)
            host = urlsplit(signed.url).hostname
            return PutResult(PutOutcome.BROKEN, f"the connection to {host} broke ({type(error).__name__})")
        return _read_answer(answer)


class _Body:
    """A bounded view of a file that urllib3 reads as a body."""

    def __init__(
        self,
        file: BinaryIO,
        length: int,
        stop: threading.Event,
        rate_limit: RateLimit,
        on_bytes: Callable[[int], None],
    ) -> None:
        self._file = file
        self.length = length
        self.sent_bytes = 0
        self._stop = stop
        self._rate_limit = rate_limit
        self._on_bytes = on_bytes

    def read(self, size: int = -1) -> bytes:
        if self._stop.is_set():
            raise CancelledError(INTERRUPTED)
        left = self.length - self.sent_bytes
        data = self._read_file(self._rate_limit.most_bytes(min(left, BLOCK_SIZE_BYTES if size < 0 else size)))
        if left and not data:
            # Without this the storage would wait for bytes that never come.
            raise archive_unreadable(str(self._file.name), f"it ends {left} bytes too early")
        self._rate_limit.take(len(data))
        self.sent_bytes += len(data)
        self._on_bytes(len(data))
        return data

    def _read_file(self, size_bytes: int) -> bytes:
        try:
            return self._file.read(size_bytes)
        except OSError as error:  # otherwise urllib3 would take it for a fault of the connection
            raise archive_unreadable(str(self._file.name), error.strerror or str(error)) from error


def _read_answer(answer: Answer) -> PutResult:
    """Tell what an answer means: S3 takes bytes with 200 and nothing more; a page or an error in it is no such answer.

    Source: "PutObject" and "UploadPart", Amazon S3 API Reference, read 2026-11.
    """
    if answer.status == 200 and answer.is_whole and not answer.body.strip():
        return PutResult(PutOutcome.STORED, "")
    found = re.search(rb"<Code>([A-Za-z0-9]{1,64})</Code>", answer.body)
    code = found[1].decode() if found else ""
    reason = f"the storage answers {answer.status} {code}".rstrip()
    if answer.status == 200 and not code:
        kind = answer.headers.get("content-type", "")[:_CONTENT_TYPE_MAX_CHARACTERS]
        return PutResult(PutOutcome.RETRY, f"{reason} with {kind or 'a body'}, expected nothing: is it the storage?")
    return PutResult(_outcome_of(answer.status, code), reason, read_retry_after(answer.headers))


def _outcome_of(status: int, code: str) -> PutOutcome:
    if code in _CORRUPTION_CODES:
        return PutOutcome.CORRUPTED
    if code in _GONE_CODES:
        return PutOutcome.GONE
    if code in _RETRY_CODES or status >= 500 or status == 429:
        return PutOutcome.RETRY
    return _OUTCOME_OF_STATUS.get(status, PutOutcome.REFUSED)
