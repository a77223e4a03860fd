"""A link to somewhere else, on loopback: so many bytes a second up, and so long a way.

    python -m bench.link BYTES_PER_SECOND ROUND_TRIP_SECONDS     (0: no limit, no way)

All connections of a link share its rate, whatever relay they come through. The way is half the round trip in
each direction; a new connection waits one round trip more, for the handshake that a real one would have. TCP's
slow start is not imitated.
"""

from __future__ import annotations

import contextlib
import queue
import re
import socket
import sys
import threading
import time
from typing import Final

from bench.acceptor import Acceptor
from bench.processes import answer_lines

LOOPBACK: Final = "127.0.0.1"
_BLOCK_BYTES: Final = 64 * 1024
_QUEUED_BLOCKS: Final = 512
"""What is on the way of one connection at most: 32 MiB."""
_RECEIVE_BUFFER_BYTES: Final = 128 * 1024
"""Small, so that a sender cannot believe bytes sent that still wait before the link."""
_HOST: Final = re.compile(rb"(\r\nHost: )[^\r\n]+", re.IGNORECASE)


class Bucket:
    """The link's rate: taking bytes returns when they have gone through."""

    def __init__(self, bytes_per_second: float) -> None:
        self._bytes_per_second = bytes_per_second
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, size_bytes: int) -> None:
        """Wait until so many bytes have gone through, behind all that were taken before."""
        if not self._bytes_per_second:
            return
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + size_bytes / self._bytes_per_second
            through_at = self._free_at
        time.sleep(max(0.0, through_at - time.monotonic()))


class Link:
    """A rate and a way that any number of relays share."""

    def __init__(self, bytes_per_second: float = 0, round_trip_seconds: float = 0) -> None:
        self.bucket = Bucket(bytes_per_second)
        self.round_trip_seconds = round_trip_seconds
        self._relays: list[_Relay] = []

    def relay(self, port: int, *, renames_host: bool = False) -> int:
        """Open a port of the link's near end that leads to `port` at the far one, and return it.

        Args:
            port: Where the server listens.
            renames_host: Whether requests are to name the server's own address, for one that insists.
        """
        relay = _Relay(self, port, renames_host=renames_host)
        self._relays.append(relay)
        return relay.port

    def close(self) -> None:
        """Take no more connections."""
        for relay in self._relays:
            relay.close()


class _Relay:
    """One port of a link."""

    def __init__(self, link: Link, far_port: int, *, renames_host: bool) -> None:
        self._link = link
        self._far_port = far_port
        self._host = b"%s:%d" % (LOOPBACK.encode(), far_port) if renames_host else None
        listener = socket.socket()
        # Before listening: connections inherit it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        listener.bind((LOOPBACK, 0))
        listener.listen(128)
        self._acceptor = Acceptor(listener, self._take)
        self.port = self._acceptor.port
        self.close = self._acceptor.close

    def _take(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection((LOOPBACK, self._far_port))
        except OSError:
            near.close()
            return
        _Connection(near, far, self._link, self._host)


class _Connection:
    """One connection through a link; both its ends are closed when both directions have ended."""

    def __init__(self, near: socket.socket, far: socket.socket, link: Link, host: bytes | None) -> None:
        self._ends = near, far
        for end in self._ends:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        way_seconds = link.round_trip_seconds / 2
        open_at = time.monotonic() + link.round_trip_seconds
        up = _Direction(near, far, way_seconds, bucket=link.bucket, open_at=open_at, host=host)
        down = _Direction(far, near, way_seconds, bucket=Bucket(0), open_at=open_at)
        threading.Thread(target=self._follow, args=(up, down), daemon=True).start()

    def _follow(self, *directions: _Direction) -> None:
        for direction in directions:
            direction.join()
        for end in self._ends:
            end.close()


class _Direction:
    """One direction of a connection: bytes arrive as long after they were sent as the way is."""

    def __init__(
        self,
        source: socket.socket,
        target: socket.socket,
        way_seconds: float,
        *,
        bucket: Bucket,
        open_at: float,
        host: bytes | None = None,
    ) -> None:
        self._source, self._target = source, target
        self._way_seconds = way_seconds
        self._bucket = bucket
        self._open_at = open_at
        self._host = host
        self._under_way: queue.Queue[tuple[float, bytes]] = queue.Queue(_QUEUED_BLOCKS)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._take, self._deliver)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for the end of what comes from the source."""
        for thread in self._threads:
            thread.join()

    def _take(self) -> None:
        data = b"begun"
        while data:
            try:
                data = self._source.recv(_BLOCK_BYTES)
            except OSError:
                data = b""
            if self._host is not None:
                data = _HOST.sub(rb"\g<1>" + self._host, data, count=1)
            self._bucket.take(len(data))
            arrives_at = max(time.monotonic(), self._open_at) + self._way_seconds
            self._under_way.put((arrives_at, data))

    def _deliver(self) -> None:
        data = b"begun"
        while data:
            arrives_at, data = self._under_way.get()
            time.sleep(max(0.0, arrives_at - time.monotonic()))
            try:
                if data:
                    self._target.sendall(data)
                else:
                    self._target.shutdown(socket.SHUT_WR)
            except OSError:
                # The receiver is gone: the sender notices at its next bytes.
                with contextlib.suppress(OSError):
                    self._source.shutdown(socket.SHUT_RD)


def main() -> None:
    """Serve until the input ends; a line names a port and is answered with the near end's."""
    link = Link(float(sys.argv[1]), float(sys.argv[2]))
    answer_lines(lambda line: {"port": link.relay(line["port"], renames_host=line["renames_host"])})


if __name__ == "__main__":
    main()
