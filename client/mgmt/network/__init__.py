"""HTTP connections: one pool per run and route (direct or proxy), with this machine's proxy and certificates.

Each answer is bounded, in seconds until its last byte and in bytes. A timeout of a socket bounds a silence only: a
byte every two seconds, in the status line, the headers or the body, holds a connection for ever. So the socket's
reader knows when the whole answer has to be there.
"""

from __future__ import annotations

import base64
import http.client
import io
import ipaddress
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

import urllib3

from mgmt.errors import NotConfiguredError

if TYPE_CHECKING:  # names for annotations only
    import ssl

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
        is_shorter = silence_seconds is None or left_seconds < silence_seconds
        if is_shorter:  # each setting is a call of the system
            self._sock.settimeout(left_seconds)
        count: int | None = self._raw.readinto(buffer)
        if is_shorter:
            self._sock.settimeout(silence_seconds)  # a tunnel's answer: the following bytes have their own time
        self._left_bytes -= count or 0
        if self._left_bytes < 0:
            raise OSError("the answer is too large")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


BLOCK_SIZE_BYTES: Final = 256 * 1024
"""Bytes that urllib3 reads and sends at a time: half the CPU of its default on large bodies."""
_CONNECTIONS_PER_HOST: Final = 64
"""Connections kept open: as many as workers, so that none needs a new handshake."""
CONNECT_TIMEOUT_SECONDS: Final = 10.0
READ_TIMEOUT_SECONDS: Final = 60.0
"""Longest silence."""
SEND_TIMEOUT_SECONDS: Final = 60.0
"""Longest time for one block: sixteen files at a time get through a line of 70 kB/s with it."""


class _Connection(urllib3.connection.HTTPConnection):
    """Gives each block its own send timeout; urllib3 uses that of connecting: too little on a slow line."""

    response_class = BoundedResponse

    def send(self, data: Any) -> None:
        _allow_time(self.sock)
        super().send(data)


class _TLSConnection(urllib3.connection.HTTPSConnection):
    """The same over TLS."""

    response_class = BoundedResponse

    def send(self, data: Any) -> None:
        _allow_time(self.sock)
        super().send(data)


def _allow_time(connected: socket.socket | None) -> None:
    if connected is not None:  # else this is the request's head, and sending it connects first
        connected.settimeout(SEND_TIMEOUT_SECONDS)


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


class Proxy(NamedTuple):
    """A proxy as the environment or the system names it, taken apart."""

    address: str
    """Scheme, host and port, which may be shown."""
    authorization: str | None
    """The header with user and password; a secret."""


class Answer(NamedTuple):
    """An answer of the other side."""

    status: int
    body: bytes
    """Cut at its bound."""
    headers: Mapping[str, str]
    is_whole: bool
    """False where more bytes came than allowed."""

    @property
    def may_be_json(self) -> bool:
        """Whether it says that it is JSON, has come whole, and is not compressed, which nobody has asked for."""
        says_json = "json" in self.headers.get("content-type", "")
        return self.is_whole and says_json and "content-encoding" not in self.headers


class Connections:
    """Pools of connections to the service and the storage: direct, or through the proxy where one is set."""

    def __init__(self, *, ca_bundle: Path | None = None) -> None:
        if ca_bundle is not None:
            from mgmt.network.trust import check_certificates

            check_certificates(ca_bundle)
        self._ca_bundle = ca_bundle
        self._keywords = {
            "maxsize": _CONNECTIONS_PER_HOST,
            "block": False,
            "retries": False,
            "timeout": make_timeout(None),
            "blocksize": BLOCK_SIZE_BYTES,
        }
        self._pools: dict[tuple[str, Proxy | None], urllib3.PoolManager] = {}

    def ask(
        self,
        method: str,
        url: str,
        body: BinaryIO | bytes | None,
        headers: Mapping[str, str],
        timeout: urllib3.Timeout,
        bounds: Bounds,
    ) -> Answer:
        """Send one request and read its answer, within its bounds; redirects are answers like any other.

        Raises:
            urllib3.exceptions.HTTPError: If no answer came, or none that is one.
            NotConfiguredError: If a proxy is set that cannot be used.
        """
        with bounded(bounds):
            response = self.pool_for(url).request(
                method, url, body=body, headers=headers, redirect=False, timeout=timeout, preload_content=False
            )
            return _read(response, bounds.size_bytes)

    def pool_for(self, url: str) -> urllib3.PoolManager:
        """Return the pool to reach `url` with: loopback is never sent to a proxy.

        Raises:
            NotConfiguredError: If a proxy is set that cannot be used.
        """
        way = (urlsplit(url).scheme, proxy_for(url))
        if way not in self._pools:
            # Two threads may come at once: one pool stays.
            self._pools.setdefault(way, self._make_pool(*way))
        return self._pools[way]

    def close(self) -> None:
        """Close every connection."""
        for pool in list(self._pools.values()):
            pool.clear()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made when the first https address is used: reading a system's certificates takes its time."""
        from mgmt.network.trust import make_tls_context

        return make_tls_context(self._ca_bundle, os.environ)

    def _make_pool(self, scheme: str, proxy: Proxy | None) -> urllib3.PoolManager:
        keywords: dict[str, Any] = dict(self._keywords)
        if scheme == "https":
            keywords["ssl_context"] = self._tls
        pool = urllib3.PoolManager(**keywords) if proxy is None else self._make_proxy_pool(proxy, keywords)
        pool.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
        return pool

    def _make_proxy_pool(self, proxy: Proxy, keywords: dict[str, Any]) -> urllib3.PoolManager:
        headers = {"proxy-authorization": proxy.authorization} if proxy.authorization else None
        if proxy.address.startswith("https:"):
            keywords["proxy_ssl_context"] = self._tls
        return urllib3.ProxyManager(proxy.address, proxy_headers=headers, **keywords)


def _read(response: urllib3.BaseHTTPResponse, most_bytes: int) -> Answer:
    body = bytearray()
    try:
        # Never decoded: a few bytes could become gigabytes. To the very end: only that tells a body that was cut.
        while len(body) <= most_bytes and (piece := response.read(most_bytes + 1 - len(body), decode_content=False)):
            body += piece
    except ValueError as error:  # such as a chunk of negative length, which http.client accepts
        response.close()
        raise urllib3.exceptions.ProtocolError(f"no answer of HTTP ({error})") from error
    is_whole = len(body) <= most_bytes
    if is_whole:
        response.release_conn()
    else:
        response.close()  # the remaining bytes would be read as the next answer
    return Answer(response.status, bytes(body[:most_bytes]), response.headers, is_whole)


def make_timeout(try_seconds: float | None, answer_seconds: float = READ_TIMEOUT_SECONDS) -> urllib3.Timeout:
    """Say how long to wait for a connection and for an answer, with a bound on both where there is one."""
    bound = try_seconds if try_seconds is not None else answer_seconds
    return urllib3.Timeout(
        connect=min(CONNECT_TIMEOUT_SECONDS, bound), read=min(answer_seconds, bound), total=try_seconds
    )


def proxy_for(url: str) -> Proxy | None:
    """Say which proxy leads to an address; None where it is reached directly.

    Raises:
        NotConfiguredError: If the proxy's address cannot be used.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    named = next((name for name in (parts.scheme, "all") if proxies.get(name)), None)
    return _parse_proxy(proxies[named], f"{named.upper()}_PROXY") if named else None


def _parse_proxy(text: str, variable: str) -> Proxy:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _bad_proxy(variable, "no proxy's address") from error
    if parts.scheme.startswith("socks"):
        raise _bad_proxy(variable, "a SOCKS proxy, which mgmt does not speak to")
    if parts.scheme not in ("http", "https") or not host:
        raise _bad_proxy(variable, "no proxy's address")  # the text may hold a password
    shown_host = f"[{host}]" if ":" in host else host
    address = f"{parts.scheme}://{shown_host}" + (f":{port}" if port else "")
    return Proxy(address, _authorize(parts.netloc.rpartition("@")[0]))


def _authorize(userinfo: str) -> str | None:
    if not userinfo:
        return None
    user, _, password = userinfo.partition(":")
    # As curl does: the very bytes that were percent-encoded, in whichever character set they are.
    plain = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return f"Basic {base64.b64encode(plain).decode()}"


def _bad_proxy(variable: str, what: str) -> NotConfiguredError:
    return NotConfiguredError(
        f"{variable} (or the system's settings) names {what}; expected http://HOST:PORT or "
        "http://USER:PASSWORD@HOST:PORT with special characters percent-encoded. Correct it, or list the service's "
        "host in NO_PROXY to go without a proxy.",
        code="proxy",
    )


def is_loopback(host: str) -> bool:
    """Tell whether a host is this very machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
