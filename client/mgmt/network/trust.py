"""Trusted certificates: the operating system's, and those of a company's proxy.

Behind such a proxy both are needed: the proxy's own certificates for connections that it opens, the system's for
those that it passes on. So MGMT_CA_BUNDLE adds to the system's trust and never takes its place. SSL_CERT_FILE and
REQUESTS_CA_BUNDLE, which people set for other tools for the same reason, count likewise; on Linux
SSL_CERT_FILE keeps the meaning OpenSSL gives it, which is to be the system's store.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mgmt.errors import NotConfiguredError

_ADDED_BY: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_OWN_VERIFIERS: Final = ("darwin", "win32")
"""Systems whose trust OpenSSL cannot see whole: the system itself is asked there."""
_LINUX_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
)
"""Debian's, Fedora's and SUSE's: a Python from elsewhere may have been built to look in other places."""


def make_tls_context(
    ca_bundle: Path | None, environment: Mapping[str, str], platform: str = sys.platform
) -> ssl.SSLContext:
    """Make the TLS context that verifies servers: host name and chain, TLS 1.2 or newer.

    Args:
        ca_bundle: More certificates to trust, in PEM.
        environment: Where other tools' variables name more of them; unreadable ones of those are ignored.
        platform: As `sys.platform`.

    Raises:
        NotConfiguredError: If `ca_bundle` cannot be read or holds no certificate.
    """
    context = _system_context(platform)
    # A bundle may hold just the proxy's own issuing certificate and not its root.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if ca_bundle is not None:
        add_certificates(context, ca_bundle)
    for path in _named_elsewhere(environment, ca_bundle):
        with contextlib.suppress(OSError):
            context.load_verify_locations(*((None, path) if path.is_dir() else (path, None)))
    return context


def add_certificates(context: ssl.SSLContext, path: Path) -> None:
    """Trust the certificates of a PEM file as well.

    Raises:
        NotConfiguredError: If the file cannot be read or holds none.
    """
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise _bad_bundle(
            path, "it holds no certificate in PEM, which is text with -----BEGIN CERTIFICATE----- in it"
        ) from error
    except FileNotFoundError as error:
        raise _bad_bundle(path, "there is no such file") from error
    except OSError as error:
        raise _bad_bundle(path, f"it cannot be read ({error.strerror or error})") from error


def check_certificates(path: Path) -> None:
    """Refuse a file that cannot serve as MGMT_CA_BUNDLE.

    Raises:
        NotConfiguredError: With the reason.
    """
    add_certificates(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), path)


def _bad_bundle(path: Path, why: str) -> NotConfiguredError:
    return NotConfiguredError(
        f"MGMT_CA_BUNDLE names {path}, but {why}. Ask your IT department for the file, or clear the setting with: "
        "mgmt config set MGMT_CA_BUNDLE ''",
        code="ca-bundle",
    )


def _system_context(platform: str) -> ssl.SSLContext:
    if platform in _OWN_VERIFIERS:
        # On Linux it would read the whole store anew for each connection: 45 ms of CPU instead of 3.
        context: ssl.SSLContext = importlib.import_module("truststore").SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return context
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    if not context.cert_store_stats()["x509_ca"] and not _has_folder():
        for bundle in filter(os.path.isfile, _LINUX_BUNDLES):
            context.load_verify_locations(cafile=bundle)
    return context


def _has_folder() -> bool:
    """Say whether OpenSSL looks certificates up in a folder, one by one and only when it needs them."""
    folder = ssl.get_default_verify_paths().capath
    return bool(folder) and any(Path(folder).glob("*.0"))


def _named_elsewhere(environment: Mapping[str, str], known: Path | None) -> list[Path]:
    """Name the files that other tools' variables name, without those that are read already."""
    store = ssl.get_default_verify_paths().cafile
    # Not Path.resolve, which raises RuntimeError where links lead round in a circle, before Python 3.13.
    seen = {os.path.realpath(each) for each in (known, None if sys.platform in _OWN_VERIFIERS else store) if each}
    named = {os.path.realpath(environment[name]) for name in _ADDED_BY if environment.get(name)}
    return [Path(each) for each in sorted(named - seen)]
