"""Bounds of one answer of any server: seconds until its last byte, and bytes.

A timeout of a socket bounds a silence only: a byte every two seconds, in the status line, the headers or the body,
holds a connection for ever. So the socket's reader knows when the whole answer has to be there.
"""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

_HEADERS_MAX_BYTES: Final = 1024 * 1024
"""Bytes allowed beside the body; as many headers as http.client takes are more than any server sends."""


class Bounds(NamedTuple):
    """The most that one answer may take."""

    seconds: float
    """Seconds from the request's last byte to the answer's."""
    size_bytes: int
    """Bytes of the body."""


_USUAL_BOUNDS: Final = Bounds(300.0, 8_000_000)
_ASKED: Final = threading.local()
"""With `bounds`, while a thread asks."""


@contextmanager
def bounded(bounds: Bounds) -> Iterator[None]:
    """Hold the answers that this thread reads meanwhile to their bounds."""
    _ASKED.bounds = bounds
    try:
        yield
    finally:
        del _ASKED.bounds


class BoundedResponse(http.client.HTTPResponse):
    """An answer that is read up to its bounds: a timeout comes at its deadline, an OSError at its size."""

    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        reader: Any = self.fp
        self.fp = io.BufferedReader(_BoundedReader(sock, reader.detach(), getattr(_ASKED, "bounds", _USUAL_BOUNDS)))


class _BoundedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, raw: io.RawIOBase, bounds: Bounds) -> None:
        self._sock = sock
        self._raw = raw
        self._deadline = time.monotonic() + bounds.seconds
        self._left_bytes = bounds.size_bytes + _HEADERS_MAX_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_seconds = self._deadline - time.monotonic()
        if left_seconds <= 0:
            raise TimeoutError("the answer is not whole in time")
        silence_seconds = self._sock.gettimeout()
        self._sock.settimeout(left_seconds if silence_seconds is None else min(left_seconds, silence_seconds))
        count: int | None = self._raw.readinto(buffer)
        self._sock.settimeout(silence_seconds)  # a tunnel's answer: the following bytes have their own time
        self._left_bytes -= count or 0
        if self._left_bytes < 0:
            raise OSError("the answer is too large")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
