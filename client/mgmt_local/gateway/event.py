"""Events as API Gateway's HTTP API hands them to a Lambda, payload format 2.0.

Source: Amazon API Gateway Developer Guide, "Create AWS Lambda proxy integrations for HTTP APIs", read 2026-11.
"""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from mgmt_contract.values import Value
from mgmt_local.gateway.authorizer import Granted

STAGE: Final = "$default"
_TEXT_TYPES: Final = ("application/json", "application/xml", "application/javascript")
_TEXT_SUFFIXES: Final = ("+json", "+xml")


class Request(Value):
    """An HTTP request as it came over the wire."""

    method: str
    target: str
    """Path and query, still percent-encoded."""
    headers: tuple[tuple[str, str], ...]
    body: bytes
    protocol: str
    source_ip: str
    server_port: int

    @property
    def path(self) -> str:
        """The path, percent-decoded."""
        return unquote(self.target.partition("?")[0])


def build_event(request: Request, granted: Granted | None, *, now: datetime) -> dict[str, Any]:
    """Build the event of a request.

    Args:
        request: The request.
        granted: The caller; None on a route of its own, outside the default one with its authorizer.
        now: When the request came; aware.
    """
    headers = _join_headers(request)
    cookies = [cookie.strip() for cookie in headers.pop("cookie", "").split(";") if cookie.strip()]
    query = request.target.partition("?")[2]
    route_key = f"{request.method} {request.path}" if granted is None else "$default"
    if granted is not None:
        headers["authorization"] = f"Bearer {granted.token}"
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": request.path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": _build_context(request, granted, headers, route_key, now),
        "isBase64Encoded": False,
    }
    if cookies:
        event["cookies"] = cookies
    if query:
        event["queryStringParameters"] = _join(parse_qsl(query, keep_blank_values=True))
    if request.body:
        event["body"], event["isBase64Encoded"] = _encode_body(request.body, headers)
    return event


def flatten_claims(claims: Mapping[str, Any]) -> dict[str, str]:
    """Write claims as the authorizer hands them on: every one a string.

    A list becomes its elements in brackets, with blanks between them.
    """
    return {name: _flatten(value) for name, value in claims.items()}


def _flatten(value: object) -> str:
    if isinstance(value, list):
        return f"[{' '.join(map(_flatten, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _build_context(
    request: Request, granted: Granted | None, headers: Mapping[str, str], route_key: str, now: datetime
) -> dict[str, Any]:
    context: dict[str, Any] = {
        "accountId": "000000000000",
        "apiId": "local",
        "domainName": headers.get("host", "").partition(":")[0],
        "domainPrefix": "local",
        "http": {
            "method": request.method,
            "path": request.path,
            "protocol": request.protocol,
            "sourceIp": request.source_ip,
            "userAgent": headers.get("user-agent", ""),
        },
        "requestId": uuid.uuid4().hex,
        "routeKey": route_key,
        "stage": STAGE,
        "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", now.astimezone(UTC).timetuple()),
        "timeEpoch": int(now.timestamp() * 1000),
    }
    if granted is not None:
        jwt = {"claims": flatten_claims(granted.claims), "scopes": list(granted.scopes)}
        context["authorizer"] = {"jwt": jwt}
    return context


def _join_headers(request: Request) -> dict[str, str]:
    headers = _join((name.lower(), value) for name, value in request.headers)
    return headers | {
        "x-forwarded-for": request.source_ip,
        "x-forwarded-port": str(request.server_port),
        "x-forwarded-proto": "http",
    }


def _join(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Join the values of a repeated name with commas."""
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _encode_body(body: bytes, headers: Mapping[str, str]) -> tuple[str, bool]:
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    is_text = media_type.startswith("text/") or media_type in _TEXT_TYPES or media_type.endswith(_TEXT_SUFFIXES)
    if is_text and "content-encoding" not in headers:
        try:
            return body.decode("utf-8"), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(body).decode("ascii"), True
