"""A company's network on loopback: a proxy that wants a password, and a service behind TLS with its own authority.

Hosts have made-up names that no resolver knows: only the proxy can lead to them, as in a network without a
way out.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import select
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlsplit

from mgmt_contract.messages.objects import SignedRequest
from support.certificates import Certificate

if TYPE_CHECKING:
    import pytest

    from support.team import Team

_RELAY_BYTES = 65_536


class CompanyProxy:
    """A proxy that speaks CONNECT only, knows where made-up hosts are, and counts what passes."""

    def __init__(self, hosts: dict[str, int], login: tuple[str, str] | None = None) -> None:
        self.hosts = hosts
        """Port on loopback of each made-up host; 0 for one that is forbidden."""
        self.expected = "Basic " + base64.b64encode(":".join(login).encode()).decode() if login else None
        self.asked: list[str] = []
        """What was asked for, in order, whether let through or not."""
        self.unreachable_times = 0
        """How often more no host can be reached."""
        self.relayed_bytes = 0
        self.lock = threading.Lock()
        handler = type("Handler", (_ProxyHandler,), {"proxy": self})
        self._server = _QuietServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def url(self, user: str = "", password: str = "") -> str:
        """Write its address as HTTPS_PROXY holds it."""
        login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
        return f"http://{login}127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stop the proxy."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _QuietServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients that hang up are what the tests are about."""


class _ProxyHandler(BaseHTTPRequestHandler):
    proxy: ClassVar[CompanyProxy]

    def do_CONNECT(self) -> None:
        host, _, _ = self.path.partition(":")
        with self.proxy.lock:
            self.proxy.asked.append(self.path)
            self.proxy.unreachable_times -= 1
            is_reachable = self.proxy.unreachable_times < 0
        port = self.proxy.hosts.get(host) if is_reachable else None
        if self.proxy.expected is not None and self.headers.get("proxy-authorization") != self.proxy.expected:
            self._answer(407, ("proxy-authenticate", 'Basic realm="company"'))
        elif port is None:
            self._answer(502)
        elif port == 0:
            self._answer(403)
        else:
            with socket.create_connection(("127.0.0.1", port)) as upstream:
                self._answer(200)
                self._relay(self.connection, upstream)

    def _answer(self, status: int, *headers: tuple[str, str]) -> None:
        self.close_connection = True
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()

    def _relay(self, one: socket.socket, other: socket.socket) -> None:
        towards = {one: other, other: one}
        while True:
            for ready in select.select([one, other], [], [])[0]:
                data = ready.recv(_RELAY_BYTES)
                if not data:
                    return
                towards[ready].sendall(data)
                with self.proxy.lock:
                    self.proxy.relayed_bytes += len(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class TlsFront:
    """Answers under a name with TLS, and asks a plain server on loopback."""

    def __init__(self, upstream_url: str, certificate: Certificate, breaks_after_bytes: int | None = None) -> None:
        upstream = urlsplit(upstream_url)
        how = {"upstream": (upstream.hostname, upstream.port), "breaks_after_bytes": breaks_after_bytes}
        handler = type("Handler", (_FrontHandler,), how)
        self._server = _FrontServer(("127.0.0.1", 0), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate_path, certificate.key_path)
        # Shaken hands with in the thread of each connection, not in the one that accepts.
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
        )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _FrontServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients that do not trust us are what the tests are about."""


class _FrontHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a body waits for its head to be acknowledged
    upstream: ClassVar[tuple[str, int]]
    breaks_after_bytes: ClassVar[int | None]

    def _forward(self) -> None:
        if self.breaks_after_bytes is not None:
            self.rfile.read(self.breaks_after_bytes)
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        with closing(http.client.HTTPConnection(*self.upstream, timeout=60)) as connection:
            connection.request(self.command, self.path, body or None, headers)
            with connection.getresponse() as response:  # it may have the socket to itself
                content = response.read()
        self.send_response_only(response.status)
        self.send_header("content-type", response.getheader("content-type", ""))
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = _forward  # noqa: N815  the names http.server looks for

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass
class CompanyNetwork:
    """Proxies and services of one test; all of them stop with it."""

    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def serve(self, upstream_url: str, certificate: Certificate, *, breaks_after_bytes: int | None = None) -> int:
        """Put TLS before a plain server; return the port."""
        front = TlsFront(upstream_url, certificate, breaks_after_bytes)
        self.stack.callback(front.close)
        return front.port

    def proxy(self, hosts: dict[str, int], login: tuple[str, str] | None = None) -> CompanyProxy:
        """Run a proxy."""
        proxy = CompanyProxy(hosts, login)
        self.stack.callback(proxy.close)
        return proxy


@contextmanager
def company_network() -> Iterator[CompanyNetwork]:
    """Offer a network of a company."""
    network = CompanyNetwork()
    with network.stack:
        yield network


def hand_out_under(host: str, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the team's service hand out addresses of its storage under a name with TLS."""
    sign = team.store.presign_put

    def sign_under_the_name(*what: Any, **how: Any) -> SignedRequest:
        signed = sign(*what, **how)
        return replace(signed, url=signed.url.replace(team.storage.url, f"https://{host}"))

    monkeypatch.setattr(team.store, "presign_put", sign_under_the_name)
