"""A small API Gateway on loopback: HTTP in, payload-2.0 events to the handler, its answers out.

It stands in for the HTTP API and its JWT authorizer, and gives the answers that these would give
themselves. Only requests that name this very address are served, and none that a browser makes for another
site's page.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import secrets
import selectors
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Final, NamedTuple, cast

from mgmt_contract.routes import DESCRIBE
from mgmt_local.errors import LocalBackendError
from mgmt_local.gateway.authorizer import Authorizer, Granted, RefusedError
from mgmt_local.gateway.event import Request, build_event
from mgmt_local.issuer import ISSUER_PATH
from mgmt_local.issuer.endpoints import Issuer
from mgmt_local.process.activity import Activity
from mgmt_local.process.alive import (
    ALIVE_PATH,
    CHALLENGE_HEADER,
    HOLD_PATH,
    HOLDER_HEADER,
    HOLDERS_PATH,
    PROOF_HEADER,
    prove,
    read_holder,
)
from mgmt_local.process.ports import LOOPBACK

App = Callable[[dict[str, Any], object], Mapping[str, Any]]
"""The Lambda's handler: an event and a context in, an answer out."""

BODY_SIZE_MAX_BYTES: Final = 6 * 1024 * 1024
"""Largest request and answer of a Lambda, in bytes."""
_DISCARD_SIZE_MAX_BYTES: Final = 16 * BODY_SIZE_MAX_BYTES
_DISCARD_BLOCK_BYTES: Final = 64 * 1024
_WRITE_BUFFER_BYTES: Final = 64 * 1024
"""Head and body of most answers go out together."""
_IDLE_CONNECTION_SECONDS: Final = 75
_ARRIVAL_MAX_SECONDS: Final = 150
"""From one answer until the next request is there, head and body: who sends a byte a minute is not waited for."""
_CONNECTIONS_MAX: Final = 200
"""At once; each has a thread and a descriptor, of which a process on macOS has 256."""
_BACKLOG: Final = 128
_DRAIN_SECONDS: Final = 10

_logger = logging.getLogger(__name__)


class Answer(NamedTuple):
    """An answer as it goes over the wire."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class LambdaContext:
    """The context that Lambda gives its handler beside the event."""

    function_name = "mgmt-local"
    function_version = "$LATEST"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:mgmt-local"

    def __init__(self) -> None:
        self.aws_request_id = str(uuid.uuid4())
        self._deadline = time.monotonic() + 29

    def get_remaining_time_in_millis(self) -> int:
        """Return how long API Gateway would go on waiting."""
        return max(0, int((self._deadline - time.monotonic()) * 1000))


class Gateway:
    """The gateway, answering from its creation until it is closed.

    Args:
        app: The Lambda's handler.
        authorizer: Who decides about tokens.
        activity: What every request counts as.
        listener: Where it listens, if its address had to be known before; else at a free port.
        issuer: An issuer that answers at the same address.
    """

    def __init__(
        self,
        app: App,
        authorizer: Authorizer,
        activity: Activity,
        *,
        listener: socket.socket | None = None,
        issuer: Issuer | None = None,
    ) -> None:
        self.secret = secrets.token_urlsafe(32)
        """With it the gateway proves to a client that it is the one the client looks for."""
        self._activity = activity
        self._server = _Server(app, authorizer, activity, self.secret, listener or listen(), issuer)
        self._thread = threading.Thread(target=self._server.serve_until_stopped, name="gateway", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The gateway's address."""
        return url_of(self._server.socket)

    def close(self) -> None:
        """Finish the requests that are running and take no more."""
        self._activity.close(_DRAIN_SECONDS)
        self._server.stop()
        self._thread.join()
        self._server.server_close()


def listen() -> socket.socket:
    """Listen at a free port of loopback; requests wait there until a gateway answers."""
    return socket.create_server((LOOPBACK, 0), backlog=_BACKLOG)


def url_of(listener: socket.socket) -> str:
    """Return the address at which a socket listens."""
    return f"http://{LOOPBACK}:{listener.getsockname()[1]}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    timeout = 0  # a connection is there whenever one is taken

    def __init__(
        self,
        app: App,
        authorizer: Authorizer,
        activity: Activity,
        secret: str,
        listener: socket.socket,
        issuer: Issuer | None,
    ) -> None:
        self.app = app
        self.app_lock = threading.Lock()
        """The resolver behind the handler keeps its event in a class attribute: one request at a time."""
        self.authorizer = authorizer
        self.issuer = issuer
        self.activity = activity
        self.secret = secret
        self._free_connections = threading.BoundedSemaphore(_CONNECTIONS_MAX)
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = LOOPBACK, self.port
        self._stopping, self._stopped = socket.socketpair()
        """The second can be read once the first is closed."""

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def serve_until_stopped(self) -> None:
        """Take connections until it is told to stop; nothing is polled for, so that an idle backend sleeps."""
        with selectors.DefaultSelector() as selector:
            for each in (self.socket, self._stopped):
                selector.register(each, selectors.EVENT_READ)
            while self._stopped not in [key.fileobj for key, _ in selector.select()]:
                self.handle_request()

    def stop(self) -> None:
        """Take no more connections."""
        self._stopping.close()

    def server_close(self) -> None:
        """Close what it listens on."""
        super().server_close()
        self._stopped.close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own; one too many is closed at once, and its client tries again."""
        if self._free_connections.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free_connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's
        """Note that a client closed its connection, as it may."""
        _logger.debug("the connection of %s ended early", client_address)


class _Arrival(io.RawIOBase):
    """Reads what a client sends, up to a moment until which all of a request has to be there."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.until: float | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some bytes.

        Raises:
            TimeoutError: If the moment has come, or nothing comes.
        """
        if self.until is not None:
            left = self.until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._connection.settimeout(min(left, _IDLE_CONNECTION_SECONDS))
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = _WRITE_BUFFER_BYTES
    timeout = _IDLE_CONNECTION_SECONDS
    _open_paths: ClassVar = {(DESCRIBE.method, DESCRIBE.path)}

    @property
    def _gateway(self) -> _Server:
        return cast("_Server", self.server)

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._arrival = _Arrival(self.connection)
        self.rfile = io.BufferedReader(self._arrival)

    def handle_one_request(self) -> None:
        self._arrival.until = time.monotonic() + _ARRIVAL_MAX_SECONDS
        super().handle_one_request()

    def do_GET(self) -> None:
        with self._gateway.activity.admit() as admitted:
            started = time.perf_counter()
            answer = self._answer() if admitted else self._close_with(HTTPStatus.SERVICE_UNAVAILABLE)
            self._send(answer)
            path = self.path.partition("?")[0]
            taken_ms = (time.perf_counter() - started) * 1000
            _logger.info("%s %r %d %.1f ms", self.command, path, answer.status, taken_ms)
        if path == HOLD_PATH and answer.status == HTTPStatus.NO_CONTENT:
            self._hold()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815 - likewise

    def version_string(self) -> str:
        """Name the server without its version."""
        return "mgmt-local"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's parameter
        """Log nothing by itself: its lines hold whole URLs."""

    def _answer(self) -> Answer:
        refusal = self._refuse_sender() or self._refuse_body()
        if refusal:
            return refusal
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        challenge = self.headers.get(CHALLENGE_HEADER)
        if self.path == ALIVE_PATH and challenge:
            return Answer(HTTPStatus.NO_CONTENT, ((PROOF_HEADER, prove(self._gateway.secret, challenge)),))
        issuer = self._gateway.issuer
        if issuer is not None and self.path.startswith(f"{ISSUER_PATH}/"):
            return self._ask_issuer(issuer, body)
        if (self.command, self.path.partition("?")[0]) in self._open_paths:
            return self._invoke(body, None)
        try:
            return self._answer_caller(body, self._authorize())
        except RefusedError as error:
            return self._refuse_token(error)

    def _answer_caller(self, body: bytes, granted: Granted) -> Answer:
        if self.path == HOLD_PATH:
            return Answer(HTTPStatus.NO_CONTENT)
        if self.path == HOLDERS_PATH:
            return self._list_holders(granted)
        return self._invoke(body, granted)

    def _refuse_sender(self) -> Answer | None:
        """Refuse requests for another host, and those that a browser sends for another site.

        Behind a line that is no header, others may stand that were not read.
        """
        if self.headers.defects:
            return self._close_with(HTTPStatus.BAD_REQUEST)
        port = self._gateway.port
        hosts = [host.lower() for host in self.headers.get_all("host", [])]
        if hosts not in ([f"{LOOPBACK}:{port}"], [f"localhost:{port}"]):
            return self._close_with(HTTPStatus.MISDIRECTED_REQUEST)
        if "origin" in self.headers or self.headers.get("sec-fetch-site", "none").lower() != "none":
            return self._close_with(HTTPStatus.FORBIDDEN)
        return None if self.path.startswith("/") else self._close_with(HTTPStatus.BAD_REQUEST)

    def _refuse_body(self) -> Answer | None:
        if "transfer-encoding" in self.headers:
            return self._close_with(HTTPStatus.LENGTH_REQUIRED)
        lengths = self.headers.get_all("content-length", ["0"])
        if len(lengths) != 1 or not (lengths[0].isascii() and lengths[0].isdecimal()):
            return self._close_with(HTTPStatus.BAD_REQUEST)
        if int(lengths[0]) > BODY_SIZE_MAX_BYTES:
            self._discard(int(lengths[0]))
            return self._close_with(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return None

    def _discard(self, length_bytes: int) -> None:
        """Read some of a body that is too large, so that its sender gets to read the answer."""
        left = min(length_bytes, _DISCARD_SIZE_MAX_BYTES)
        while left > 0:
            block = self.rfile.read(min(left, _DISCARD_BLOCK_BYTES))
            left = left - len(block) if block else 0

    def _hold(self) -> None:
        """Count as used until the other side is gone."""
        self.close_connection = True
        self._arrival.until = None
        self.connection.settimeout(None)
        with self._gateway.activity.hold(read_holder(self.headers.get(HOLDER_HEADER, ""))):
            self.rfile.read(1)

    def _ask_issuer(self, issuer: Issuer, body: bytes) -> Answer:
        try:
            return Answer(*issuer.answer(self.command, self.path.removeprefix(ISSUER_PATH), body))
        except LocalBackendError as error:  # a disk that is full
            _logger.error("%s", error)  # noqa: TRY400 - a sentence for a user; there is no bug to trace
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _list_holders(self, granted: Granted) -> Answer:
        """Tell this machine's user which commands run; tokens of other people are refused."""
        if not granted.is_owner:
            return _plain(HTTPStatus.FORBIDDEN)
        listed = [{"command": each.command, "pid": each.pid} for each in self._gateway.activity.holders()]
        return Answer(HTTPStatus.OK, (("content-type", "application/json"),), json.dumps(listed).encode())

    def _authorize(self) -> Granted:
        """Check the bearer's token; of two headers neither counts.

        Raises:
            RefusedError: If there is none, or the authorizer refuses it.
        """
        sent = self.headers.get_all("authorization", [])
        scheme, _, token = sent[0].partition(" ") if len(sent) == 1 else ("", "", "")
        if scheme.lower() != "bearer":
            raise RefusedError(HTTPStatus.UNAUTHORIZED, "", "there is no token")
        return self._gateway.authorizer.authorize(token.strip())

    def _refuse_token(self, error: RefusedError) -> Answer:
        scopes = " ".join(self._gateway.authorizer.scopes)
        said = f'Bearer scope="{scopes}" error="{error.code}" error_description="{error}"' if error.code else "Bearer"
        return _plain(error.status, ("www-authenticate", said))

    def _invoke(self, body: bytes, granted: Granted | None) -> Answer:
        request = Request(
            method=self.command,
            target=self.path,
            headers=tuple(self.headers.items()),
            body=body,
            protocol=self.request_version,
            source_ip=str(self.client_address[0]),
            server_port=self._gateway.port,
        )
        event = build_event(request, granted, now=datetime.now(UTC))
        try:
            with self._gateway.app_lock:
                answer = _read_answer(self._gateway.app(event, LambdaContext()))
        except Exception:  # the edge: API Gateway answers 500 to any error of a handler
            _logger.exception("the handler failed")
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR)
        request_id = ("apigw-requestid", event["requestContext"]["requestId"])
        return answer._replace(headers=(*answer.headers, request_id))

    def _close_with(self, status: HTTPStatus) -> Answer:
        self.close_connection = True
        return _plain(status, ("connection", "close"))

    def _send(self, answer: Answer) -> None:
        self.connection.settimeout(_IDLE_CONNECTION_SECONDS)
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        has_body = answer.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
        if has_body:
            self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        if has_body and self.command != "HEAD":
            self.wfile.write(answer.body)
        self.wfile.flush()


def _plain(status: HTTPStatus, *headers: tuple[str, str]) -> Answer:
    """Answer as API Gateway itself does."""
    body = json.dumps({"message": _MESSAGES.get(status, status.phrase)}).encode()
    return Answer(status, (("content-type", "application/json"), *headers), body)


_MESSAGES: Final = {HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Request Entity Too Large"}
"""Statuses whose wording differs between versions of Python's standard library."""


def _read_answer(result: Mapping[str, Any]) -> Answer:
    """Read a handler's return value.

    Raises:
        ValueError: If it is no answer, or larger than a Lambda's can be.
    """
    body = str(result.get("body") or "").encode()
    if result.get("isBase64Encoded"):
        body = base64.b64decode(body, validate=True)
    if len(body) > BODY_SIZE_MAX_BYTES:
        raise ValueError(f"an answer of {len(body)} bytes")
    headers = [(str(name).lower(), str(value)) for name, value in (result.get("headers") or {}).items()]
    headers += [("set-cookie", str(cookie)) for cookie in result.get("cookies") or ()]
    kept = tuple((name, value) for name, value in headers if name not in ("content-length", "connection"))
    return Answer(int(result["statusCode"]), kept, body)
