"""Events as API Gateway's HTTP API hands them to a function: payload 2.0, the claims as strings beside the token."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from mgmt_contract.routes import Route
from mgmt_contract.wire import to_plain


def make_claims(subject: str, username: str | None = None, groups: Iterable[str] = ()) -> dict[str, Any]:
    """Make the claims of an access token, as its issuer writes them."""
    claims: dict[str, Any] = {"sub": subject, "token_use": "access", "scope": "mgmt/use", "exp": 1793880000}
    if username is not None:
        claims["username"] = username
    names = list(groups)
    if names:
        claims["cognito:groups"] = names
    return claims


def flatten_claims(claims: Mapping[str, Any]) -> dict[str, str]:
    """Make of claims what the authorizer hands on: all strings, a list of groups as "[a b]"."""
    return {
        name: f"[{' '.join(map(str, value))}]" if isinstance(value, list) else str(value)
        for name, value in claims.items()
    }


def make_token(claims: Mapping[str, Any]) -> str:
    """Make the token that the authorizer has verified."""
    parts = ({"alg": "RS256", "kid": "key-1"}, claims)
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    return f"{'.'.join(encoded)}.c2lnbmF0dXJl"


def make_event(
    route: Route | tuple[str, str],
    *,
    claims: Mapping[str, Any] | None = None,
    body: Any = None,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Make an event. A body that is no text is written as the contract writes it."""
    method, path = route[0], route[1]
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": f"{method} {path}",
        "rawPath": path,
        "rawQueryString": urlencode(query or {}),
        "headers": {"content-type": "application/json", "host": "api.example", **(headers or {})},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api",
            "domainName": "api.example",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "mgmt",
            },
            "requestId": "request",
            "stage": "$default",
            "time": "01/Nov/2026:12:00:00 +0000",
            "timeEpoch": 1793534400000,
        },
        "isBase64Encoded": False,
    }
    if claims is not None:
        event["headers"] = {"authorization": f"Bearer {make_token(claims)}", **event["headers"]}
        event["requestContext"]["authorizer"] = {"jwt": {"claims": flatten_claims(claims), "scopes": ["mgmt/use"]}}
    if query:
        event["queryStringParameters"] = dict(query)
    if body is not None:
        event["body"] = body if isinstance(body, str) else json.dumps(to_plain(body))
    return event
