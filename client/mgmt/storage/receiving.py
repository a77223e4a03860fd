"""Fetches ranges of an object by presigned URLs, and returns the outcome of each try."""

from __future__ import annotations

import enum
import http.client
import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import urllib3

from mgmt.errors import INTERRUPTED, CancelledError
from mgmt.network import BLOCK_SIZE_BYTES, READ_TIMEOUT_SECONDS, Bounds, Connections, bounded, make_timeout
from mgmt.network.retry import raise_if_permanent, read_retry_after
from mgmt.storage import RateLimit
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.values import Value

_log: Final = logging.getLogger(__name__)
ANSWER_MAX_SECONDS: Final = 600.0
"""For one answer with all its bytes: a slower line goes on where this try has ended."""
_QUICK_SECONDS: Final = 0.05
"""A line that brings a piece sooner gets four times as much room for the next one: each piece costs changes of threads.
On a slow line pieces stay small, as nothing is shown, and no stop is seen, before one is whole."""
_ERROR_MAX_BYTES: Final = 64 * 1024
_RETRY_CODES: Final = frozenset(
    {"RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable", "TemporaryRedirect"}
)


class GetOutcome(enum.Enum):
    """The outcome of a GET, which decides the next step."""

    RECEIVED = "every byte has come"
    REFUSED = "the storage does not give these bytes for this URL (any more)"
    RETRY = "the storage asks to try again"
    BROKEN = "the connection broke"


class GetResult(Value):
    """A GET's outcome with the reason in words (never with a URL in it)."""

    outcome: GetOutcome
    reason: str
    retry_after_seconds: float | None = None


class Sink(Protocol):
    """Takes the bytes of a range, in order."""

    def room(self) -> memoryview:
        """Return memory for the next bytes, at least for one."""

    def note(self, size_bytes: int) -> None:
        """Take note that so many bytes have come."""


class Memory:
    """A sink that fills memory of the range's length, from its beginning on."""

    def __init__(self, memory: memoryview) -> None:
        self._left = memory

    def room(self) -> memoryview:
        """Return what is not filled yet."""
        return self._left

    def note(self, size_bytes: int) -> None:
        """Take note of what has come."""
        self._left = self._left[size_bytes:]


class Noted:
    """A sink that also reports how many bytes each piece has, such as for a progress bar.

    Args:
        sink: Takes the bytes.
        on_bytes: Gets the number of bytes of each piece, once they are taken.
    """

    def __init__(self, sink: Sink, on_bytes: Callable[[int], object]) -> None:
        self.room = sink.room
        self._note = sink.note
        self._on_bytes = on_bytes

    def note(self, size_bytes: int) -> None:
        """Take note of what has come."""
        self._note(size_bytes)
        self._on_bytes(size_bytes)


class HandedOn:
    """A sink whose bytes are handed on as they come.

    Args:
        take: Gets each piece, as a view that is good until it returns.
    """

    def __init__(self, take: Callable[[memoryview], object]) -> None:
        self._memory = memoryview(bytearray(BLOCK_SIZE_BYTES))
        self._take = take

    def room(self) -> memoryview:
        """Return the same memory over and over."""
        return self._memory

    def note(self, size_bytes: int) -> None:
        """Hand on what has come."""
        self._take(self._memory[:size_bytes])


class Receiver:
    """Fetches ranges; one for a whole run, used from several threads.

    Bytes come from the system straight to where they are wanted: a copy of them would cost as much as all else that a
    download does.
    """

    def __init__(self, connections: Connections, stop: threading.Event, rate_limit: RateLimit) -> None:
        self._connections = connections
        self._stop = stop
        self._rate_limit = rate_limit

    def get(self, signed: SignedRequest, offset: int, length: int, size: int, sink: Sink) -> GetResult:
        """Fetch `length` bytes of an object of `size` bytes, from `offset` on.

        Bytes that the sink took are good whatever the outcome.

        Raises:
            CancelledError: If the command was stopped.
            UnavailableError: If the storage's certificate is not trusted, or the proxy refuses.
        """
        began = time.monotonic()
        headers = {**signed.headers, "range": f"bytes={offset}-{offset + length - 1}", "accept-encoding": "identity"}
        bounds = Bounds(ANSWER_MAX_SECONDS, max(length, _ERROR_MAX_BYTES))
        try:
            with bounded(bounds):
                response = self._connections.pool_for(signed.url).request(
                    "GET",
                    signed.url,
                    headers=headers,
                    redirect=False,
                    timeout=make_timeout(None, READ_TIMEOUT_SECONDS),
                    preload_content=False,
                )
            result = self._read(response, offset, length, size, sink)
        except urllib3.exceptions.HTTPError as error:
            raise_if_permanent(error, signed.url)
            result = _broken(signed.url, type(error).__name__)
        except _BodyError as error:
            result = _broken(signed.url, str(error))
        seconds = time.monotonic() - began
        _log.info("GET %d bytes from %d on: %s in %.3f s", length, offset, result.reason or "received", seconds)
        return result

    def _read(self, response: urllib3.BaseHTTPResponse, offset: int, length: int, size: int, sink: Sink) -> GetResult:
        is_whole = False
        try:
            if not _has_range(response, offset, length, size):
                return _refusal_of(response)
            left_bytes, piece_bytes = length, BLOCK_SIZE_BYTES
            while left_bytes:
                if self._stop.is_set():
                    raise CancelledError(INTERRUPTED)
                most_bytes = self._rate_limit.most_bytes(min(left_bytes, piece_bytes))
                began = time.monotonic()
                count = _read_into(response, sink.room()[:most_bytes])
                if not count:
                    return _broken(response.url or "", f"it ended {left_bytes} bytes too early")
                is_quick = time.monotonic() - began < _QUICK_SECONDS
                piece_bytes = 4 * piece_bytes if is_quick else BLOCK_SIZE_BYTES
                self._rate_limit.take(count)
                left_bytes -= count
                sink.note(count)
            is_whole = True
            return GetResult(GetOutcome.RECEIVED, "")
        finally:
            if is_whole:
                response.release_conn()
            else:
                response.close()  # the remaining bytes would be read as the next answer


class _BodyError(Exception):
    """An answer's body could not be read."""


def _has_range(response: urllib3.BaseHTTPResponse, offset: int, length: int, size: int) -> bool:
    """Tell whether an answer has just the bytes that were asked for."""
    if response.headers.get("content-encoding", "identity") != "identity":
        return False
    if response.status == 200:  # servers without ranges answer the whole
        return offset == 0 and length == size and response.headers.get("content-length") == str(size)
    said = response.headers.get("content-range", "").lower()
    return response.status == 206 and said == f"bytes {offset}-{offset + length - 1}/{size}"


def _read_into(response: urllib3.BaseHTTPResponse, view: memoryview) -> int:
    """Fill a view, past urllib3, whose own way copies every byte twice; less only at the body's end."""
    body: Any = vars(response)["_fp"]
    try:
        count: int = body.readinto(view)
    except (OSError, http.client.HTTPException, ValueError) as error:  # a ValueError: a chunk of negative length
        raise _BodyError(type(error).__name__) from error
    return count


def _read_some(response: urllib3.BaseHTTPResponse) -> bytes:
    try:
        return response.read(_ERROR_MAX_BYTES, decode_content=False)
    except ValueError as error:  # such as a chunk of negative length, which http.client accepts
        raise urllib3.exceptions.ProtocolError(f"no answer of HTTP ({error})") from error


def _refusal_of(response: urllib3.BaseHTTPResponse) -> GetResult:
    if response.status in (200, 206):
        return GetResult(GetOutcome.REFUSED, "the storage answers other bytes than were asked for")
    found = re.search(rb"<Code>([A-Za-z0-9]{1,64})</Code>", _read_some(response))
    code = found[1].decode() if found else ""
    is_passing = code in _RETRY_CODES or response.status >= 500 or response.status == 429
    return GetResult(
        GetOutcome.RETRY if is_passing else GetOutcome.REFUSED,
        f"the storage answers {response.status} {code}".rstrip(),
        read_retry_after(response.headers),
    )


def _broken(url: str, why: str) -> GetResult:
    return GetResult(GetOutcome.BROKEN, f"the connection to {urlsplit(url).hostname or 'the storage'} broke ({why})")
