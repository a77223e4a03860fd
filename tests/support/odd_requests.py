"""Requests that no client of ours sends: good ones, changed in one to three places to whatever JSON and HTTP allow."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

from hypothesis import strategies as st

from mgmt_contract import routes
from mgmt_contract.messages.downloads import OpenDownloadsResponse
from mgmt_contract.messages.history import HistoryResponse, RecordsResponse
from mgmt_contract.messages.objects import LookResponse, RestoreResponse
from mgmt_contract.messages.removal import RemovalResponse
from mgmt_contract.messages.service import Me, Service
from mgmt_contract.messages.uploads import CompleteResponse, PreviewResponse, SignResponse, StartResponse
from mgmt_contract.routes import Route
from mgmt_contract.wire import to_plain
from support.events import make_event
from support.good_requests import Good

ANSWERS: dict[Route, type[Any]] = {
    routes.DESCRIBE: Service,
    routes.PREVIEW: PreviewResponse,
    routes.START: StartResponse,
    routes.SIGN: SignResponse,
    routes.COMPLETE: CompleteResponse,
    routes.FAIL: RecordsResponse,
    routes.CLEAN_UP: RecordsResponse,
    routes.LOOK_UP: RecordsResponse,
    routes.DELETE: RemovalResponse,
    routes.UNDELETE: RemovalResponse,
    routes.OPEN_DOWNLOADS: OpenDownloadsResponse,
    routes.END_DOWNLOADS: RecordsResponse,
    routes.RESTORE: RestoreResponse,
    routes.LOOK: LookResponse,
    routes.HISTORY: HistoryResponse,
    routes.ME: Me,
}
"""What each route answers where it answers no problem."""

ODD_NUMBERS = (
    0, -1, 1, 5 * 2**20, 16 * 2**20, 2**31, 2**53, 2**63, 2**64, 10**40, 10**400, -(10**400), 0.5, 1e308, -1e-308,
    float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
ODD_TEXTS = (
    "", " ", ".", "..", "/", "a/b", "a//b", "\x00", "a\nb", "\x7f", "\ud800", "\udfff\ud800", "\u202e", "\ufeff",
    "e\u0301", "\N{LATIN SMALL LETTER N PRECEDED BY APOSTROPHE}", "\u0130", "\U0001f3ac" * 200, "\u0323\u0307" * 1000,
    "x" * 1018, "x" * 3000, '"' * 1025, "x" * 100_000, "NaN", "-0", "1e400", "9" * 5000, "true", "null", "[]", "%00",
    "%ff", "${jndi:x}", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-02-30T00:00:00Z",
    "2026-11-01T00:00:00", "1970-01-01", "A" * 36, "00000000-0000-0000-0000-000000000000", "AAAAAAAAAAA=",
    "//////////8=", "blake3:" + "0" * 64, "upload", "STANDARD", "GLACIER", "aws:x", "mgmt-x", "..tar.gz",
    "clip.tar.gz", "CLIP",
)  # fmt: skip


def _nest(depth: int, kind: type[list[Any] | dict[str, Any]]) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


ODD_VALUES: tuple[Any, ...] = (
    None, True, False, *ODD_NUMBERS, *ODD_TEXTS, [], {}, [[]], [None], {"": ""}, {"a": None}, [1, "a", {}],
    _nest(50, list), _nest(50, dict), _nest(500, list), _nest(500, dict), ["x"] * 101,
    {f"k{n}": "v" for n in range(101)},
)  # fmt: skip

RAW_BODIES: tuple[str | None, ...] = (
    None, "", " ", "{", "[]", "null", "NaN", '"x"', "0", "{}", "\ufeff{}", "[" * 100_000, '{"a":' * 100_000,
    '{"machine_id": ' + "9" * 5000 + "}", '{"items": [], "items": [{}]}', "{'a': 1}", "\x00", "\ud800",
    "x" * 3_000_000, '{"operation_ids": ["\\ud800"]}', '{"operation_ids": ["\\u0000"]}', "a=1&b=2",
    "--x\r\n\r\n--x--",
)  # fmt: skip
BASE64_BODIES = ("", "!", "/w==", "A", "e30", "e30=", base64.b64encode(b'{"operation_ids": ["x"]}').decode(), "4oI=")

ODD_HEADERS: tuple[tuple[str, str | None], ...] = (
    ("content-type", None), ("content-type", ""), ("content-type", "text/plain"),
    ("content-type", "application/json;"), ("content-type", "application/json; charset=utf-16"),
    ("content-type", "multipart/form-data"), ("content-type", "multipart/form-data; boundary=x"),
    ("content-type", "application/x-www-form-urlencoded"), ("content-type", "APPLICATION/JSON"),
    ("content-type", "application/problem+json"), ("content-type", "\udc80"), ("content-encoding", "gzip"),
    ("accept", "text/html"), ("accept-encoding", "br"), ("origin", "https://elsewhere.example"),
    ("authorization", None), ("authorization", ""), ("authorization", "Bearer"), ("authorization", "Bearer a.b.c"),
    ("authorization", "Bearer " + "a" * 9000), ("authorization", "Bearer é.é.é"), ("mgmt-client-version", "x" * 9000),
    ("mgmt-run-id", ""), ("mgmt-run-id", "\n"), ("mgmt-run-id", "x" * 9000), ("host", ""), ("cookie", "a=b"),
    ("x-forwarded-for", "é"), ("content-length", "-1"),
)  # fmt: skip
ODD_PATHS = (
    "/", "", "//", "/v1", "/v1/", "/v1/history/", "/v1//history", "/v1/uploads", "/v1/uploads/start/",
    "/v1/uploads/../history", "/v2/history", "/V1/history", "/v1/uploads/é", "/v1/history\n", "/v1/\x00",
    "/" + "x" * 8000, "/v1/uploads/(.*)", "/%2e",
)  # fmt: skip
METHODS = ("GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE", "get", "")
ODD_CLAIMS: tuple[Any, ...] = (
    None, {}, {"sub": ""}, {"sub": "x" * 9000}, {"sub": "a\nb"}, {"sub": "sub-ada", "username": "x" * 9000},
    {"sub": "sub-ada", "username": "\x1b[31m"}, {"sub": "sub-ada", "username": ""},
    {"sub": "é", "username": "\U0001f3ac"}, {"sub": "sub-bob", "username": "bob"}, {"username": "ada"},
)  # fmt: skip
FILTERS = ("actor", "mine", "status", "operation_type", "name", "since", "until", "limit", "cursor", "unknown", "")


def find_places(data: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Name the way to every value in a message, itself included."""
    yield way
    pairs: Any = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in pairs:
        yield from find_places(value, (*way, key))


@st.composite
def odd_events(draw: st.DrawFn, good: Sequence[Good], claims: Any) -> dict[str, Any]:
    """Draw the event of a request that was good before it was changed."""
    chosen = draw(st.sampled_from(good))
    body, query, who = to_plain(chosen.body), dict(chosen.query or {}), claims
    changes: list[Any] = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(_KINDS_OF_BODY if chosen.body is not None else _KINDS_OF_QUERY))
        if kind == "value":
            body = _change(draw, body)
        elif kind == "filter":
            query[draw(st.sampled_from(FILTERS))] = draw(st.sampled_from(ODD_TEXTS) | st.text(max_size=40))
        elif kind == "claims":
            who = draw(st.sampled_from(ODD_CLAIMS))
        else:
            changes.append((kind, draw(st.sampled_from(_EVENT_CHANGES[kind]))))
    written = None if chosen.body is None else json.dumps(body, ensure_ascii=draw(st.booleans()))
    event = make_event(chosen.route, claims=who, body=written)
    if query:
        event["queryStringParameters"] = query
        event["rawQueryString"] = urlencode(query, errors="surrogatepass")
    for kind, change in changes:
        _change_event(event, kind, change)
    return event


_EVENT_CHANGES: dict[str, Sequence[Any]] = {
    "raw": RAW_BODIES,
    "base64": BASE64_BODIES,
    "header": ODD_HEADERS,
    "path": ODD_PATHS,
    "method": METHODS,
}
_KINDS_OF_BODY = (*["value"] * 12, "raw", "base64", "header", "path", "method", "claims")
_KINDS_OF_QUERY = (*["filter"] * 8, "raw", "header", "path", "method", "claims")


def _change(draw: st.DrawFn, body: Any) -> Any:
    """Put another value at one place of a message, take one out, add one, or repeat what is in a list."""
    changed = copy.deepcopy(body)
    way = draw(st.sampled_from(list(find_places(changed))))
    value = draw(st.sampled_from(ODD_VALUES))
    if not way:
        return value
    target = changed
    for key in way[:-1]:
        target = target[key]
    what = draw(st.sampled_from(("replace", "replace", "replace", "remove", "add", "repeat", "name")))
    if what == "remove":
        del target[way[-1]]
    elif what == "add" and isinstance(target, dict):
        target["unknown"] = value
    elif what == "repeat" and isinstance(target, list):
        target *= draw(st.sampled_from((2, 100, 101)))
    elif what == "name" and isinstance(target, dict):
        target[draw(st.sampled_from(ODD_TEXTS))] = target.pop(way[-1])
    else:
        target[way[-1]] = value
    return changed


def _change_event(event: dict[str, Any], kind: str, change: Any) -> None:
    if kind in ("raw", "base64"):
        event.pop("body", None)
        if change is not None:
            event["body"] = change
        event["isBase64Encoded"] = kind == "base64"
    elif kind == "header":
        name, value = change
        event["headers"].pop(name, None)
        if value is not None:
            event["headers"][name] = value
    elif kind == "path":
        event["rawPath"] = event["requestContext"]["http"]["path"] = change
    else:
        event["requestContext"]["http"]["method"] = change
