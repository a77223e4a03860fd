"""HTTP connections: one pool per run, with the proxy and the certificates this machine needs."""

from __future__ import annotations

import ipaddress
import urllib.request
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

import urllib3

from mgmt.errors import NotConfiguredError

BLOCK_SIZE_BYTES: Final = 256 * 1024
"""What urllib3 reads and sends at a time: costs half the CPU of its default on large bodies."""
CONNECT_TIMEOUT_SECONDS: Final = 10.0
READ_TIMEOUT_SECONDS: Final = 60.0


class Connections:
    """Pools of connections to the service and the storage: direct, or through the proxy where one is set."""

    def __init__(self, *, ca_bundle: Path | None = None, connections_per_host: int = 16) -> None:
        if ca_bundle is not None and not ca_bundle.is_file():
            raise NotConfiguredError(f"MGMT_CA_BUNDLE names {ca_bundle}, and there is no such file.", code="ca-bundle")
        self._keywords = {
            "maxsize": connections_per_host,
            "block": False,
            "retries": False,
            "timeout": urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=READ_TIMEOUT_SECONDS),
            "blocksize": BLOCK_SIZE_BYTES,
            "ca_certs": str(ca_bundle) if ca_bundle else None,
        }
        self._direct = urllib3.PoolManager(**self._keywords)  # type: ignore[arg-type]
        self._proxied: dict[str, urllib3.ProxyManager] = {}

    def pool_for(self, url: str) -> urllib3.PoolManager:
        """Return the pool to reach `url` with: loopback is never sent to a proxy."""
        proxy_url = _proxy_for(url)
        if proxy_url is None:
            return self._direct
        if proxy_url not in self._proxied:
            self._proxied[proxy_url] = self._make_proxied(proxy_url)
        return self._proxied[proxy_url]

    def close(self) -> None:
        """Close every connection."""
        for pool in (self._direct, *self._proxied.values()):
            pool.clear()

    def _make_proxied(self, proxy_url: str) -> urllib3.ProxyManager:
        parts = urlsplit(proxy_url)
        headers = None
        if parts.username is not None:
            password = unquote(parts.password or "")
            headers = urllib3.make_headers(proxy_basic_auth=f"{unquote(parts.username)}:{password}")
        address = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "", "", ""))
        return urllib3.ProxyManager(address, proxy_headers=headers, **self._keywords)  # type: ignore[arg-type]


def _proxy_for(url: str) -> str | None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if _is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    return proxy


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
