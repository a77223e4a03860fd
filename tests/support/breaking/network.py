"""A proxy that breaks one request of a command, or all from one on, in every way a network or a server has."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal
from urllib.parse import urlsplit

from support.loopback import LoopbackServer, QuietHandler

Side = Literal["service", "storage"]
ALWAYS: Final = 1_000_000
"""As often as it is asked."""
_HOP_HEADERS: Final = frozenset({"connection", "transfer-encoding", "date", "server", "content-length"})
_ENDLESS_BLOCKS: Final = 4096
_PIECE_BYTES: Final = 262_144


@dataclass(frozen=True)
class Answer:
    """An answer of a server or a proxy on the way."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """One way to go wrong."""

    name: str
    how: Literal["reset", "lose", "cut", "instead", "endless", "flip", "stall", "slow"]
    reads: float = 1.0
    """How much of the request's body is read before."""
    answer: Answer = field(default_factory=lambda: Answer(500))
    sides: tuple[Side, ...] = ("service", "storage")
    passes: bool = False
    """Whether a client must get over it within the same run, where it happens once."""


def _of_s3(name: str, status: int, code: str, *, passes: bool = False, **headers: str) -> Fault:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>said by a test</Message></Error>".encode()
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = Answer(status, body, {"content-type": "application/xml", **said})
    return Fault(name, "instead", answer=answer, sides=("storage",), passes=passes)


def _of_gateway(status: int, *, passes: bool = False, **headers: str) -> Fault:
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = Answer(status, b'{"message":"said by a test"}', {"content-type": "application/json", **said})
    name = f"{status}{' with Retry-After' if headers else ''}"
    return Fault(name, "instead", answer=answer, sides=("service",), passes=passes)


FAULTS: Final = (
    Fault("reset before the body", "reset", reads=0.0, passes=True),
    Fault("reset in the middle of the body", "reset", reads=0.5, passes=True),
    Fault("reset after the body", "reset", passes=True),
    Fault("answer lost", "lose", passes=True),
    Fault("answer cut off", "cut", passes=True),
    Fault("stalled", "stall", passes=True),
    Fault("slow", "slow", passes=True),
    Fault("endless body", "endless"),
    Fault("HTML", "instead", answer=Answer(200, b"<html>Please sign in</html>", {"content-type": "text/html"})),
    Fault(
        "200 with an error body",
        "instead",
        answer=Answer(200, b"<Error><Code>InternalError</Code></Error>", {"content-type": "application/xml"}),
    ),
    Fault(
        "truncated JSON",
        "instead",
        answer=Answer(200, b'{"results":[{"operation_id":"01', {"content-type": "application/json"}),
        sides=("service",),
    ),
    Fault("a bit flipped", "flip", sides=("storage",)),
    _of_s3("400 RequestTimeout", 400, "RequestTimeout", passes=True),
    _of_s3("403 expired", 403, "AccessDenied", passes=True),
    _of_s3("403 skewed", 403, "RequestTimeTooSkewed"),
    _of_s3("404", 404, "NoSuchKey"),
    _of_s3("409", 409, "OperationAborted"),
    _of_s3("412", 412, "PreconditionFailed"),
    _of_s3("429", 429, "SlowDown", passes=True),
    _of_s3("429 with Retry-After", 429, "SlowDown", passes=True, retry_after="7"),
    _of_s3("503", 503, "SlowDown", passes=True),
    _of_s3("503 with Retry-After", 503, "SlowDown", passes=True, retry_after="7"),
    _of_s3("500", 500, "InternalError", passes=True),
    *(_of_gateway(status) for status in (400, 401, 403, 404, 409, 412)),
    *(_of_gateway(status, passes=True) for status in (429, 500, 502, 503, 504)),
    *(_of_gateway(status, passes=True, retry_after="7") for status in (429, 503)),
)


@dataclass
class Plan:
    """What goes wrong in one run: a fault, at the requests that fit, so many times."""

    fault: Fault
    fits: Callable[[str, str], bool]
    """Takes a request's method and path."""
    times: int
    hits: int = 0
    """How often it went wrong."""


class BreakingProxy(LoopbackServer):
    """Forwards everything to a server, but for what `plans` says of the requests whose path has that word."""

    def __init__(self, upstream_url: str, *, keeps_host: bool) -> None:
        upstream = urlsplit(upstream_url)
        self.upstream = (upstream.hostname or "", upstream.port or 80)
        self.keeps_host = keeps_host
        self.plans: dict[str, Plan] = {}
        self.own_faults = 0
        """How many answers of 500 and more the server itself gave."""
        self.put_bytes = 0
        """What was sent of objects and parts, again or not."""
        self.part_bytes: Counter[str] = Counter()
        """What came of the parts of each object, whole ones or not, by its path."""
        self._lock = threading.Lock()
        self._closing = threading.Event()
        super().__init__(type("Handler", (_Handler,), {"proxy": self}))

    def reset(self) -> None:
        """Break nothing from now on."""
        self.plans.clear()

    def close(self) -> None:
        """Stop the proxy."""
        self._closing.set()
        super().close()

    def choose(self, method: str, path: str) -> Fault | None:
        """Say what goes wrong with a request."""
        with self._lock:
            for word, plan in self.plans.items():
                if word in path and plan.hits < plan.times and plan.fits(method, path):
                    plan.hits += 1
                    return plan.fault
        return None

    def note(self, status: int, sent_bytes: int) -> None:
        """Count what the server answers, and what was sent to it."""
        with self._lock:
            self.own_faults += status >= 500
            self.put_bytes += sent_bytes

    def note_part(self, path: str, came_bytes: int) -> None:
        """Count what comes of a part."""
        with self._lock:
            self.part_bytes[path.partition("?")[0]] += came_bytes

    def hold_back(self, connection: socket.socket) -> None:
        """Keep an answer until the client hangs up, or the proxy is closed."""
        while not self._closing.is_set():
            connection.settimeout(0.2)
            try:
                if not connection.recv(1, socket.MSG_PEEK):
                    return
                self._closing.wait(0.05)
            except TimeoutError:
                continue
            except OSError:
                return


class _Handler(QuietHandler):
    proxy: ClassVar[BreakingProxy]

    def _forward(self) -> None:
        length = int(self.headers.get("content-length", 0))
        fault = self.proxy.choose(self.command, self.path)
        wanted_bytes = int(length * fault.reads) if fault is not None else length
        body = self._receive(wanted_bytes)
        if len(body) < wanted_bytes:  # the client has hung up
            self.close_connection = True
            return
        if fault is None:
            self._send(self._ask(body))
        else:
            self._break(fault, body)

    def _break(self, fault: Fault, body: bytes) -> None:
        self.close_connection = True
        match fault.how:
            case "reset":
                self._reset()
            case "instead":
                self._send(fault.answer)
            case "stall":
                self.proxy.hold_back(self.connection)
            case "endless":
                self._send_endlessly()
            case "lose":
                self._ask(body)
            case "flip":
                self._send(_flipped(self._ask(body)) if self.command == "GET" else self._ask(_flip(body)))
            case "cut":
                self._send_raw(self._ask(body), share=0.5)
            case "slow":
                self._send_raw(self._ask(body), pieces=20)

    def _receive(self, length: int) -> bytes:
        is_part = self.command == "PUT" and "partNumber=" in self.path
        body = bytearray()
        while len(body) < length and (piece := self.rfile.read1(min(length - len(body), _PIECE_BYTES))):
            body += piece
            if is_part:
                self.proxy.note_part(self.path, len(piece))
        return bytes(body)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _ask(self, body: bytes) -> Answer:
        with closing(http.client.HTTPConnection(*self.proxy.upstream, timeout=60)) as connection:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "host" or self.proxy.keeps_host:
                    connection.putheader(name, value)
            if not self.proxy.keeps_host:
                connection.putheader("host", "{}:{}".format(*self.proxy.upstream))
            connection.endheaders(body or None)
            with connection.getresponse() as response:  # it may have the socket to itself
                content = response.read()
        self.proxy.note(response.status, len(body) if self.command == "PUT" else 0)
        length = {"content-length": response.headers.get("content-length", "0")} if self.command == "HEAD" else {}
        kept = {name: value for name, value in response.getheaders() if name.lower() not in _HOP_HEADERS}
        return Answer(response.status, content, {**kept, **length})

    def _send(self, answer: Answer) -> None:
        self._send_raw(answer)

    def _send_raw(self, answer: Answer, *, share: float = 1.0, pieces: int = 1) -> None:
        lines = [f"HTTP/1.1 {answer.status} Said", *(f"{name}: {value}" for name, value in answer.headers.items())]
        if self.command != "HEAD" and answer.status != 204:
            lines.append(f"content-length: {len(answer.body)}")
        body = b"" if self.command == "HEAD" else answer.body
        whole = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
        whole = whole[: int(len(whole) * share)]
        for number in range(pieces):
            self.wfile.write(whole[number * len(whole) // pieces : (number + 1) * len(whole) // pieces])
            self.wfile.flush()

    def _send_endlessly(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
        for _ in range(_ENDLESS_BLOCKS):
            self.wfile.write(b" " * 65536)

    def handle(self) -> None:
        """Serve; a client may hang up at any moment."""
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def finish(self) -> None:
        """End; the connection may be gone."""
        try:
            super().finish()
        except (OSError, ValueError):
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _forward  # noqa: N815  the names http.server looks for


def _flip(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def _flipped(answer: Answer) -> Answer:
    return Answer(answer.status, _flip(answer.body), answer.headers)


@contextmanager
def breaking_proxy(upstream_url: str, *, keeps_host: bool) -> Iterator[BreakingProxy]:
    """Run a proxy before a server; `keeps_host` where the client's signature covers the address."""
    with closing(BreakingProxy(upstream_url, keeps_host=keeps_host)) as proxy:
        yield proxy
