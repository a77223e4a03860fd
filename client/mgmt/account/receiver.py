"""The loopback address to which the browser returns with its answer (RFC 8252, section 7.3).

Only 127.0.0.1 listens, on one of the few ports that are registered with the issuer, at a path that is this issuer's
alone, and only while a sign-in waits. Anything that is not the answer, such as another page's request or what another
issuer sends, is refused and does not end the wait.
"""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any, Final
from urllib.parse import urlsplit

from mgmt.account import page
from mgmt.account.authorization import UnrelatedAnswerError
from mgmt.errors import INTERRUPTED, CancelledError, LoginRequiredError, MgmtError
from mgmt_contract.sign_in import CALLBACK_HOST, callback_path, redirect_uri

WAIT_SECONDS: Final = 600.0
"""For a person to find a phone with a second factor; issuers' own pages live as long."""
_CONNECTION_SECONDS: Final = 10.0
"""For one request: browsers open connections that they may never use."""
_OUTCOME_SECONDS: Final = 90.0
"""For the exchange of the code, while the browser waits for its page."""
_FAREWELL_SECONDS: Final = 5.0
"""For the browser to take its page."""
_STEP_SECONDS: Final = 1.0
"""Windows lets Ctrl-C through only between two waits."""

ReadCode = Callable[[str], str]
"""Takes the query of an answer and returns its code; UnrelatedAnswerError where it is none of this sign-in."""


class Receiver:
    """One sign-in's listener: gives out the code that the browser brings, then shows what became of it."""

    def __init__(self, server: _Server) -> None:
        self._server = server

    @property
    def redirect_uri(self) -> str:
        """The address to register and to send the browser to."""
        return redirect_uri(self._server.server_address[1], self._server.issuer)

    def expect(self, read: ReadCode) -> None:
        """Take answers from now on."""
        self._server.read = read

    def wait(self, stop: threading.Event, monotonic: Callable[[], float] = time.monotonic) -> str:
        """Wait for the browser and return the code that it brings.

        Raises:
            LoginRequiredError: If the issuer says no, or nothing comes for ten minutes.
            CancelledError: If the command is stopped meanwhile.
        """
        ends_at = monotonic() + WAIT_SECONDS
        while not self._server.arrived.wait(min(_STEP_SECONDS, max(0.0, ends_at - monotonic()))):
            if stop.is_set():
                raise CancelledError(INTERRUPTED)
            if monotonic() >= ends_at:
                raise LoginRequiredError(
                    f"The browser did not come back within {WAIT_SECONDS / 60:.0f} minutes: nobody is signed in. "
                    "Run `mgmt login` again; where this machine has no browser: `mgmt login --no-browser`.",
                    code="sign-in-timeout",
                )
        if self._server.refusal is not None:
            raise self._server.refusal
        return self._server.code

    def show(self, shown: page.Page) -> None:
        """Answer the browser that waits, and see that it gets its page."""
        if not self._server.arrived.is_set():
            return
        self._server.tell(shown)
        self._server.was_told.wait(_FAREWELL_SECONDS)


@contextmanager
def open_receiver(ports: Sequence[int], issuer: str) -> Iterator[Receiver]:
    """Listen for what one issuer sends, on the first of these ports that is free, for as long as the context lasts.

    Raises:
        LoginRequiredError: If none is free.
    """
    server = _listen(ports, issuer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="sign-in", daemon=True)
    thread.start()
    receiver = Receiver(server)
    try:
        yield receiver
    except MgmtError as error:
        receiver.show(page.failed(error.message))
        raise
    finally:
        receiver.show(page.failed("The sign-in was interrupted."))  # where nothing was shown yet
        server.shutdown()
        server.server_close()


def _listen(ports: Sequence[int], issuer: str) -> _Server:
    for port in ports:
        with contextlib.suppress(OSError):
            return _Server(port, issuer)
    named = ", ".join(map(str, ports))
    are = f"Ports {named} of this machine are all" if len(ports) > 1 else f"Port {named} of this machine is"
    raise LoginRequiredError(
        f"{are} in use, and the browser has to come back there. Close the program that uses it, name another "
        "registered port with --port, or use `mgmt login --no-browser`.",
        code="ports-taken",
    )


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = os.name != "nt"
    """On Windows it would share the port with a stranger; elsewhere it only forgets connections that have ended."""

    def __init__(self, port: int, issuer: str) -> None:
        self.issuer = issuer
        self.read: ReadCode = _expect_nothing
        self.code = ""
        self.refusal: MgmtError | None = None
        self.arrived = threading.Event()
        self.was_told = threading.Event()
        self._outcome: page.Page | None = None
        self._has_outcome = threading.Event()
        self._lock = threading.Lock()
        super().__init__((CALLBACK_HOST, port), _Handler)

    def server_bind(self) -> None:
        if sys.platform == "win32":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        super().server_bind()

    def handle_error(self, *_: object) -> None:
        """Say nothing of a browser that went away."""

    def tell(self, shown: page.Page) -> None:
        with self._lock:
            if self._outcome is None:
                self._outcome = shown
        self._has_outcome.set()

    def answer(self, hosts: Sequence[str], target: str) -> tuple[page.Page, bool]:
        """Return the page for a request, and whether it is the sign-in's last."""
        port = self.server_address[1]
        if list(hosts) != [f"{CALLBACK_HOST}:{port}"]:
            return page.not_ours("The request was made for another host."), False
        parts = urlsplit(target)
        if parts.path != callback_path(self.issuer) or parts.netloc:
            return page.not_ours("There is no such page here."), False
        try:
            self._take(parts.query)
        except UnrelatedAnswerError as error:
            return page.not_ours(str(error)), False
        self._has_outcome.wait(_OUTCOME_SECONDS)
        return self._outcome or page.failed("It took too long."), True

    def _take(self, query: str) -> None:
        """Take the first answer; a page that is loaded again shows the same outcome."""
        with self._lock:
            if self.arrived.is_set():
                with contextlib.suppress(MgmtError):
                    self.read(query)
                return
            try:
                self.code = self.read(query)
            except MgmtError as error:
                self.refusal = error
            self.arrived.set()


def _expect_nothing(_: str) -> str:
    raise UnrelatedAnswerError("No sign-in waits for it.")


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _CONNECTION_SECONDS

    def do_GET(self) -> None:
        try:
            shown, is_last = self.server.answer(self.headers.get_all("host", []), self.path)
        except ValueError:
            shown, is_last = page.not_ours("The request is none."), False
        self._send(shown)
        if is_last:
            self.server.was_told.set()

    def send_error(self, *_: Any) -> None:
        """Refuse every other method, and what is no request, in the same way."""
        self._send(page.not_ours("Only a browser's answer is taken here."))

    def version_string(self) -> str:
        return "mgmt"

    def log_message(self, *_: object) -> None:
        """Write no address into the terminal: it has the code in it."""

    def _send(self, shown: page.Page) -> None:
        body = shown.to_bytes()
        self.close_connection = True
        self.send_response(shown.status)
        for name, value in {**page.HEADERS, "Content-Length": str(len(body)), "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
