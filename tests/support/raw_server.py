"""A loopback server that answers every request with bytes of a test's choosing, HTTP or not, as slowly as it likes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

Feed = Callable[[], Iterable[bytes]]
"""Makes the pieces of one answer."""


class RawServer:
    """Answers each request with a feed's pieces; the connection ends with them."""

    def __init__(self, feed: Feed, pause_seconds: float = 0.0) -> None:
        self._feed = feed
        self._pause_seconds = pause_seconds
        self._is_closed = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self.requests = 0
        self._accept = threading.Thread(target=self._serve)
        self._accept.start()

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def close(self) -> None:
        """Stop, also in the middle of an answer."""
        self._is_closed.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._accept.join()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while not self._is_closed.is_set():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._answer, args=[connection])
            self._threads.append(thread)
            thread.start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            self._take_request(connection)
            self.requests += 1
            for piece in self._feed():
                if self._is_closed.wait(self._pause_seconds):
                    return
                connection.sendall(piece)

    def _take_request(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as request:
            length = 0
            while line := request.readline().strip().lower():
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            request.read(length)


@contextmanager
def raw_server(feed: Feed, pause_seconds: float = 0.0) -> Iterator[RawServer]:
    """Run a server for as long as the context lasts."""
    server = RawServer(feed, pause_seconds)
    try:
        yield server
    finally:
        server.close()
