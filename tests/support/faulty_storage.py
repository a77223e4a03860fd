"""A proxy before the storage engine that does to a PUT or GET what networks do: flips a bit, cuts, loses an answer."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

from support.loopback import LoopbackServer, QuietHandler

Fault = Literal["none", "flip", "cut", "lose-answer", "refuse", "stall", "swallow", "fail"]


@dataclass(frozen=True)
class Put:
    """One PUT of a client, as the proxy sees it."""

    path: str
    part_number: int | None
    attempt: int
    """How often this very object or part was sent before, from 0."""

    @property
    def is_index(self) -> bool:
        """Whether it is that of an archive's index."""
        return "/.mgmt/" in self.path


@dataclass(frozen=True)
class Get:
    """One GET of a client, as the proxy sees it."""

    first: int
    """The first byte that is asked for."""
    attempt: int
    """How often the proxy was asked from this byte on before, from 0."""
    path: str = ""


class FaultyStorage(LoopbackServer):
    """Forwards everything; `fault` and `get_fault` decide what happens to each PUT and GET of a client.

    Of the faults of a PUT, a GET knows `flip`, `cut` (after half of the bytes), `refuse` and `stall`.
    """

    def __init__(self, upstream_url: str) -> None:
        upstream = urlsplit(upstream_url)
        self.upstream = (upstream.hostname or "", upstream.port or 80)
        self.fault: Callable[[Put], Fault] = lambda _: "none"
        self.get_fault: Callable[[Get], Fault] = lambda _: "none"
        self.rotten_offset: int | None = None
        """Where one bit of every object is another than what was stored, for each GET of a client."""
        self.puts: list[Put] = []
        """Those of archives and parts."""
        self.index_puts: list[Put] = []
        self.gets: list[Get] = []
        self.stalled = threading.Event()
        """Set when a PUT was stalled: its answer never comes until the proxy is closed."""
        self._attempts: Counter[tuple[str, int | None]] = Counter()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        super().__init__(type("Handler", (_Handler,), {"proxy": self}))

    def reset(self) -> None:
        """Forget what was sent and do nothing to what comes."""
        self.fault = lambda _: "none"
        self.get_fault = lambda _: "none"
        self.rotten_offset = None
        self.puts.clear()
        self.index_puts.clear()
        self.gets.clear()
        self._attempts.clear()
        self.stalled.clear()

    def close(self) -> None:
        """Stop the proxy; answers that it holds back are never given."""
        self._closing.set()
        super().close()

    def note(self, path: str) -> Put:
        """Remember a PUT and count its attempts."""
        address = urlsplit(path)
        query = parse_qs(address.query)
        number = int(query["partNumber"][0]) if "partNumber" in query else None
        with self._lock:
            put = Put(path, number, self._attempts[address.path, number])
            self._attempts[address.path, number] += 1
            (self.index_puts if put.is_index else self.puts).append(put)
        return put

    def note_get(self, first: int, path: str) -> Get:
        """Remember a GET and count its attempts."""
        with self._lock:
            get = Get(first, sum(each.first == first for each in self.gets), path)
            self.gets.append(get)
        return get

    def wait_until_closed(self) -> None:
        """Hold an answer back."""
        self.stalled.set()
        self._closing.wait(60)


class _Handler(QuietHandler):
    proxy: ClassVar[FaultyStorage]

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        is_client_put = self.command == "PUT" and "X-Amz-Signature" in self.path
        fault = self.proxy.fault(self.proxy.note(self.path)) if is_client_put else self._fault_of_get()
        if fault in ("cut", "stall"):
            if fault == "stall":
                self.proxy.wait_until_closed()
            self.close_connection = True
        elif fault == "refuse":
            self._answer(403, [], self._refusal())
        elif fault == "fail":
            self._answer(500, [], b"<Error><Code>InternalError</Code><Message>Please try again.</Message></Error>")
        elif fault == "swallow":
            self._answer(200, [], b"")
        else:
            self._pass_on(_flip(body) if fault == "flip" else body, answers=fault != "lose-answer")

    def _refusal(self) -> bytes:
        """Refuse as S3 does: with the request's own address and signature."""
        signature = parse_qs(urlsplit(self.path).query).get("X-Amz-Signature", [""])[0]
        return (
            f"<Error><Code>AccessDenied</Code><Message>Request has expired: {escape(self.path)}</Message>"
            f"<SignatureProvided>{signature}</SignatureProvided><StringToSign>{escape(self.path)}</StringToSign></Error>"
        ).encode()

    def _fault_of_get(self) -> Fault:
        """Choose what happens to a GET of a client; what flips or cuts the answer is left for later."""
        self._answer_fault: Fault = "none"
        self._first: int | None = None
        if self.command != "GET" or "X-Amz-Signature" not in self.path:
            return "none"
        first = int(self.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self._first = first
        fault = self.proxy.get_fault(self.proxy.note_get(first, self.path))
        if fault in ("flip", "cut"):
            self._answer_fault = fault
            return "none"
        return fault

    def _pass_on(self, body: bytes, *, answers: bool) -> None:
        with closing(http.client.HTTPConnection(*self.proxy.upstream, timeout=60)) as connection:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body or None)
            # An answer that closes its connection has the socket to itself, and must be closed too if it ends early.
            with connection.getresponse() as response:
                content = self._rot(response.read())
        # HEAD tells the length of what GET would give; everything else the length of what follows.
        dropped = _HOP_HEADERS if self.command == "HEAD" else _HOP_HEADERS | {"content-length"}
        headers = [pair for pair in response.getheaders() if pair[0].lower() not in dropped]
        answer_fault = self._answer_fault if self.command == "GET" else "none"
        if answers and answer_fault == "flip":
            self._answer(response.status, headers, _flip(content))
        elif answers and answer_fault == "cut":
            self._answer(response.status, headers, content[: len(content) // 2], len(content))
            self.close_connection = True
        elif answers:
            self._answer(response.status, headers, content)
        else:
            self.close_connection = True

    def _rot(self, content: bytes) -> bytes:
        rotten = self.proxy.rotten_offset
        if rotten is None or self.command != "GET" or self._first is None:
            return content
        at = rotten - self._first
        return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] if 0 <= at < len(content) else content

    def _answer(
        self, status: int, headers: list[tuple[str, str]], content: bytes, said_bytes: int | None = None
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.command != "HEAD" and status != 204:
            self.send_header("content-length", str(len(content) if said_bytes is None else said_bytes))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _forward  # noqa: N815  the names http.server looks for


_HOP_HEADERS = frozenset({"connection", "transfer-encoding", "date", "server"})


def _flip(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


@contextmanager
def faulty_storage(upstream_url: str) -> Iterator[FaultyStorage]:
    """Run a proxy before a storage engine."""
    with closing(FaultyStorage(upstream_url)) as proxy:
        yield proxy
