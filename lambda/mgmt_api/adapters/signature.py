"""Signature version 4 in a URL, in the one form the service needs: a request to S3 whose body is not signed.

Source: Amazon S3 API Reference, "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)", read
2026-11.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple, Protocol, Self
from urllib.parse import quote, urlsplit

ALGORITHM: Final = "AWS4-HMAC-SHA256"
TIMESTAMP_FORMAT: Final = "%Y%m%dT%H%M%SZ"

_SERVICE: Final = "s3"
_TERMINATOR: Final = "aws4_request"
_BODY: Final = "UNSIGNED-PAYLOAD"
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class Credentials(Protocol):
    """Keys at one moment, as botocore freezes them."""

    access_key: str
    secret_key: str
    token: str | None


class Bucket(NamedTuple):
    """The address of a bucket's objects, and the scope of a signature for it."""

    address: str
    """Ends where the quoted key begins."""
    host: str
    path: str
    """The end of the address, from the host on."""
    region: str

    @classmethod
    def at(cls, address: str, region: str) -> Self:
        """Take an address apart."""
        parts = urlsplit(address)
        host = parts.netloc.lower().removesuffix(_DEFAULT_PORTS[parts.scheme])
        return cls(address, host, parts.path, region)


class Request(NamedTuple):
    """The request that a URL allows."""

    method: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """All headers, by their lower-case names; the host is added here."""
    expires_in_seconds: int


def presign(bucket: Bucket, request: Request, credentials: Credentials, moment: datetime) -> str:
    """Return the URL that allows a request from `moment` (in UTC) on."""
    timestamp = moment.strftime(TIMESTAMP_FORMAT)
    date = timestamp[:8]
    scope = f"{date}/{bucket.region}/{_SERVICE}/{_TERMINATOR}"
    headers = sorted({"host": bucket.host, **request.headers}.items())
    signed_names = ";".join(name for name, _ in headers)
    signing = {
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{credentials.access_key}/{scope}",
        "X-Amz-Date": timestamp,
        "X-Amz-Expires": str(request.expires_in_seconds),
        "X-Amz-SignedHeaders": signed_names,
    }
    if credentials.token is not None:
        signing["X-Amz-Security-Token"] = credentials.token
    query = [(name, quote(value, safe="")) for name, value in (*request.query.items(), *signing.items())]
    quoted_key = quote(request.key)
    canonical = (
        request.method,
        bucket.path + quoted_key,
        _joined(sorted(query)),
        *(f"{name}:{' '.join(value.split())}" for name, value in headers),
        "",
        signed_names,
        _BODY,
    )
    hashed = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
    key = _signing_key(credentials.secret_key, date, bucket.region)
    signature = _hmac(key, f"{ALGORITHM}\n{timestamp}\n{scope}\n{hashed}").hex()
    return f"{bucket.address}{quoted_key}?{_joined(query)}&X-Amz-Signature={signature}"


def _joined(query: Iterable[tuple[str, str]]) -> str:
    return "&".join(f"{name}={value}" for name, value in query)


@lru_cache(maxsize=4)
def _signing_key(secret_key: str, date: str, region: str) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for text in (date, region, _SERVICE, _TERMINATOR):
        key = _hmac(key, text)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
