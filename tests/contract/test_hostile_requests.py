"""Every route before requests that no client sends, byte for byte over a socket: each is refused as what it is.

The gateway, the service and its records are real; the storage is not asked.
"""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from joserfc.jwk import RSAKey

from mgmt_api.domain.answers import BODY_MAX_BYTES
from mgmt_api.wiring import build_app
from mgmt_contract.problems import PROBLEMS
from mgmt_contract.routes import DESCRIBE, HISTORY, ROUTES, Route
from mgmt_contract.wire import to_plain
from mgmt_local.gateway import server
from mgmt_local.gateway.server import BODY_SIZE_MAX_BYTES, Gateway
from mgmt_local.issuer.people import Person
from mgmt_local.issuer.signing import SCOPE, Signer
from mgmt_local.process.activity import Activity
from mgmt_local.process.state import StateFolder, open_state_folder, write_private_json
from mgmt_local.records import SQLiteRecordStore
from support.events import make_event
from support.good_requests import Good, make_good_requests
from support.local_backend import wait_until
from support.odd_requests import FILTERS, find_places
from support.sign_in import make_authorizer, make_signer, make_token
from support.studio import SETTINGS, Studio

REFUSED = frozenset({400, 401, 403, 404, 405, 411, 413, 414, 421, 422, 431, 501, 505})
"""What is not let in. 501 and 505 are said of methods and versions of HTTP that there are not."""


@dataclass
class Asked:
    """A good request to a route, as bytes, before it is made a bad one."""

    route: Route
    body: bytes
    token: str
    target: str = ""
    method: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.target = self.target or self.route.path
        self.method = self.method or self.route.method
        self.headers = self.headers or [("content-type", "application/json"), ("authorization", f"Bearer {self.token}")]

    def set(self, name: str, *values: str) -> None:
        """Have a header so often, none included."""
        self.headers = [each for each in self.headers if each[0] != name] + [(name, value) for value in values]

    def to_bytes(self, host: str) -> bytes:
        """Write it as it goes over the wire."""
        names = {name for name, _ in self.headers}
        own = {"host": host, "connection": "close", "content-length": str(len(self.body))}
        sent = [*self.headers, *(each for each in own.items() if each[0] not in names)]
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in sent)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


class Border:
    """A service that listens, and who may call it."""

    def __init__(self, folder: StateFolder) -> None:
        self.records = SQLiteRecordStore(folder.records)
        self.studio = Studio()
        self.studio.serve(self.records, self.studio.objects)
        self.folder = folder
        self.token = make_token(folder, "ada")
        app = build_app(SETTINGS_OF_GATEWAY, self.records, self.studio.objects, self.studio.clock)
        self.gateway = Gateway(app, make_authorizer(folder), Activity(600))
        self.host = urlsplit(self.gateway.url).netloc
        ada = self.studio.person("ada", groups=("admins",))
        self.good: dict[Route, Good] = {each.route: each for each in reversed(make_good_requests(ada, "1"))}

    def asked(self, route: Route) -> Asked:
        """Make a good request to a route."""
        body = self.good[route].body
        return Asked(route, b"" if body is None else json.dumps(to_plain(body)).encode(), self.token)

    def ask(self, request: Asked | bytes) -> tuple[int, bytes]:
        """Send a request on a connection of its own; return the status and all that was said."""
        raw = request if isinstance(request, bytes) else request.to_bytes(self.host)
        with self.connect() as connection:
            connection.sendall(raw)
            said = b"".join(iter(lambda: connection.recv(65536), b""))
        return int(said.split(b" ", 2)[1]), said

    def connect(self) -> socket.socket:
        """Connect to the gateway."""
        name, port = self.host.split(":")
        return socket.create_connection((name, int(port)), timeout=30)

    def close(self) -> None:
        """Stop the service."""
        self.gateway.close()
        self.records.close()


SETTINGS_OF_GATEWAY = replace(SETTINGS, scopes=(SCOPE,))


@pytest.fixture(scope="module")
def border(tmp_path_factory) -> Iterator[Border]:
    made = Border(open_state_folder(tmp_path_factory.mktemp("border")))
    yield made
    made.close()


def test_good_requests_are_let_in(border: Border):
    """Else every refusal below would prove nothing."""
    for route in ROUTES:
        status, said = border.ask(border.asked(route))
        assert status == 200, (route, said)


# --- who asks ------------------------------------------------------------------------------------------


def _foreign(folder: StateFolder, tmp: StateFolder) -> str:
    """A token of another issuer's key under the same name."""
    name = make_signer(folder).publish()["keys"][0]["kid"]
    other = dict(RSAKey.generate_key(2048, parameters={"kid": name}).as_dict(private=True))
    write_private_json(tmp.issuer_key, other)
    return Signer(tmp, "http://127.0.0.1/issuer").sign_access_token(Person("ada"))


def test_no_route_is_open_to_who_has_no_good_token(border: Border, tmp_path):
    signer, good = make_signer(border.folder), border.token
    head, payload, signature = good.split(".")
    unsigned = "eyJhbGciOiJub25lIn0"
    tokens = {
        "none": [],
        "an empty one": [""],
        "only the word": ["Bearer"],
        "another word": [f"Basic {good}"],
        "two": [f"Bearer {good}", f"Bearer {good}"],
        "two in one": [f"Bearer {good}, Bearer {good}"],
        "expired": [f"Bearer {signer.sign_access_token(Person('ada'), life_seconds=-1)}"],
        "without the scope": [f"Bearer {signer.sign_access_token(Person('ada'), ['openid'])}"],
        "of another key": [f"Bearer {_foreign(border.folder, open_state_folder(tmp_path))}"],
        "unsigned": [f"Bearer {unsigned}.{payload}."],
        "with another's claims": [f"Bearer {head}.{make_token(border.folder, 'bob').split('.')[1]}.{signature}"],
        "cut": [f"Bearer {good[:-5]}"],
        "of nothing but dots": ["Bearer .."],
        "very long": [f"Bearer {'a' * 60_000}"],
        "no text": ["Bearer \xff\x00"],
    }
    for route in ROUTES:
        for what, sent in tokens.items():
            request = border.asked(route)
            request.set("authorization", *sent)
            status, said = border.ask(request)
            assert status == (200 if route == DESCRIBE else 403 if "scope" in what else 401), (route, what, said)
            assert good.encode() not in said
        request = border.asked(route)
        request.set("authorization")
        request.target += f"?access_token={good}&authorization=Bearer%20{good}"
        assert border.ask(request)[0] == (200 if route == DESCRIBE else 401)


# --- what is asked -------------------------------------------------------------------------------------


def _body(make: Callable[[bytes], bytes]) -> Callable[[Asked], None]:
    def change(asked: Asked) -> None:
        asked.body = make(asked.body)

    return change


def _header(name: str, *values: str) -> Callable[[Asked], None]:
    return lambda asked: asked.set(name, *values)


def _packed(asked: Asked) -> None:
    asked.body = gzip.compress(asked.body)
    asked.set("content-encoding", "gzip")


_first = b'{"first":'
BAD_BODIES: dict[str, Callable[[Asked], None]] = {
    "none": _body(lambda _: b""),
    "half": _body(lambda body: body[: len(body) // 2]),
    "two": _body(lambda body: body + body),
    "a list": _body(lambda body: b"[" + body + b"]"),
    "a text": _body(lambda body: json.dumps(body.decode()).encode()),
    "null": _body(lambda _: b"null"),
    "NUL bytes": _body(lambda _: bytes(1000)),
    "no UTF-8": _body(lambda body: body.replace(b'"', b'"\xff', 1)),
    "UTF-16": _body(lambda body: body.decode().encode("utf-16")),
    "half a character": _body(lambda body: b'{"\\ud800": 1, ' + body[1:]),
    "deep lists": _body(lambda body: b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"," + body[1:]),
    "deep objects": _body(lambda body: _first * 50_000 + b"1" + b"}" * 50_000),
    "5,000 digits": _body(lambda body: b'{"a": ' + b"9" * 5000 + b"," + body[1:]),
    "NaN": _body(lambda body: b'{"a": NaN,' + body[1:]),
    "1e400": _body(lambda body: b'{"a": 1e400,' + body[1:]),
    "an unknown field": _body(lambda body: b'{"a": 1,' + body[1:]),
    "prototypes": _body(lambda body: b'{"__proto__": {"a": 1}, "__class__": 1,' + body[1:]),
    "too large": _body(lambda body: body + b" " * BODY_MAX_BYTES),
    "larger than a Lambda takes": _body(lambda body: body + b" " * BODY_SIZE_MAX_BYTES),
    "packed": _packed,
    "a form": _header("content-type", "application/x-www-form-urlencoded"),
    "parts of a form": _header("content-type", "multipart/form-data; boundary=x"),
    "text": _header("content-type", "text/plain"),
    "XML": _header("content-type", "application/xml"),
    "a problem": _header("content-type", "application/problem+json"),
}


@pytest.mark.parametrize("what", BAD_BODIES)
def test_a_body_that_is_none_is_refused_by_every_route_that_takes_one(border: Border, what: str):
    for route in ROUTES:
        if route.method == "POST":
            request = border.asked(route)
            BAD_BODIES[what](request)
            status, said = border.ask(request)
            assert status in (400, 413), (route, said[:1000])
            assert b"Traceback" not in said


def _target(make: Callable[[str], str]) -> Callable[[Asked], None]:
    def change(asked: Asked) -> None:
        asked.target = make(asked.target)

    return change


def _method(name: str) -> Callable[[Asked], None]:
    def change(asked: Asked) -> None:
        asked.method = name

    return change


def _many_headers(asked: Asked) -> None:
    for number in range(101):
        asked.set(f"x-{number}", "y")


BAD_TARGETS: dict[str, Callable[[Asked], None]] = {
    "upwards": _target(lambda path: f"{path}/../x"),
    "upwards, coded": _target(lambda path: f"{path}/%2e%2e/x"),
    "with NUL": _target(lambda path: f"{path}%00"),
    "with a line end": _target(lambda path: f"{path}%0d%0ax"),
    "no UTF-8": _target(lambda path: f"{path}%ff%fe"),
    "longer": _target(lambda path: f"{path}/x"),
    "very long": _target(lambda path: f"{path}/{'x' * 60_000}"),
    "too long": _target(lambda path: f"{path}/{'x' * 70_000}"),
    "another version": _target(lambda path: path.replace("/v1/", "/v2/")),
    "no version": _target(lambda path: path.removeprefix("/v1")),
    "capitals": _target(str.upper),
    "a pattern": _target(lambda path: path[:-1] + "."),
    "another place": _target(lambda path: f"http://169.254.169.254{path}"),
    "no path": _target(lambda path: path[1:]),
    "no method": _method("BREW"),
    "TRACE": _method("TRACE"),
    "DELETE": _method("DELETE"),
    "PATCH": _method("PATCH"),
    "another host": _header("host", "evil.example"),
    "two hosts": lambda asked: asked.set("host", *["127.0.0.1"] * 2),
    "no host": _header("host", ""),
    "a page's origin": _header("origin", "https://evil.example"),
    "another site's image": _header("sec-fetch-site", "cross-site"),
    "a length below zero": _header("content-length", "-1"),
    "two lengths": _header("content-length", "0", "5"),
    "chunks": _header("transfer-encoding", "chunked"),
    "101 headers": _many_headers,
    "a header of 70 kB": _header("x-long", "y" * 70_000),
}


@pytest.mark.parametrize("what", BAD_TARGETS)
def test_a_request_to_elsewhere_or_of_another_kind_is_refused(border: Border, what: str):
    for route in ROUTES:
        request = border.asked(route)
        BAD_TARGETS[what](request)
        status, said = border.ask(request)
        assert status in REFUSED, (route, said[:1000])
        assert border.token.encode() not in said


def test_a_coded_slash_is_a_slash_and_opens_nothing(border: Border):
    """Without a token not even the self-description, which has an address of its own."""
    for route in ROUTES:
        request = border.asked(route)
        request.target = request.target[0] + request.target[1:].replace("/", "%2F")
        assert border.ask(request)[0] in (200, 404)
        request.set("authorization")
        assert border.ask(request)[0] == 401


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/service\r\n\r\n",
        b"GET /v1/service HTTP/3.0\r\nhost: HOST\r\n\r\n",
        b"GET /v1/service HTTP/1.1\r\nno header\r\norigin: https://evil.example\r\nhost: HOST\r\n\r\n",
        b"GET /v1/service HTTP/1.1\r\nhost: HOST\r\nno header\r\norigin: https://evil.example\r\n\r\n",
        b"GET /v1/service HTTP/1.1\r\nhost : HOST\r\n\r\n",
        b"GET /v1/service HTTP/1.1\r\nhost: HOST\r\nhost: evil.example\r\n\r\n",
        b"GET /v1/service HTTP/1.1\r\nhost: HOST\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        b"GET /v1/service HTTP/1.1\r\nhost: HOST\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
        b"\r\n" * 10 + b"X",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300) + b"\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["0.9", "3.0", "odd-first", "odd-last", "blank", "hosts", "smuggled", "lengths", "nothing", "TLS", "HTTP2"],
)
def test_what_is_no_request_is_let_in_by_nobody(border: Border, head: bytes):
    said = _send_and_close(border, head.replace(b"HOST", border.host.encode()))
    assert b" 200 " not in said[:20], said


def _send_and_close(border: Border, raw: bytes) -> bytes:
    with border.connect() as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


# --- values --------------------------------------------------------------------------------------------

ODD: dict[str, Any] = {
    "below zero": -1,
    "a number as text": "7",
    "half": 0.5,
    "2**63": 2**63,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "true": True,
    "null": None,
    "very long": "x" * 70_000,
    "a control character": "a\x1b[2Jb",
    "NUL": "\x00",
    "upwards": "../../etc",
    "an empty text": "",
    "an object": {},
    "an empty list": [],
    "a list of 101": ["x"] * 101,
}


@pytest.mark.parametrize("what", ODD)
def test_no_value_in_any_place_is_a_fault_of_the_service(border: Border, what: str):
    """Every place of every message in turn; the fuzzed requests do two or three at once."""
    app = build_app(SETTINGS, border.records, border.studio.objects, border.studio.clock)
    claims = border.studio.person("ada", groups=("admins",)).claims
    for route, good in border.good.items():
        body = to_plain(good.body)
        for way in list(find_places(body))[1:] if body else ():
            changed = json.loads(json.dumps(body))
            target = changed
            for key in way[:-1]:
                target = target[key]
            target[way[-1]] = ODD[what]
            answer = app(make_event(route, claims=claims, body=json.dumps(changed)), None)
            assert answer["statusCode"] in (200, 400, 409), (route, way, answer)
            for result in json.loads(answer["body"]).get("results", []):
                problem = result.get("problem")
                assert problem is None or PROBLEMS[problem["code"]].http_status < 500, (route, way, problem)


def test_lists_are_of_one_to_a_hundred_and_the_same_twice_is_one(border: Border):
    for route, good in border.good.items():
        if good.body is None:
            continue
        body = to_plain(good.body)
        name = next(name for name in ("items", "operation_ids", "upload_ids") if name in body)
        item = body[name][0]
        for items, allowed in (([], (400,)), ([item] * 101, (400,)), ([item] * 2, (200, 400))):
            request = border.asked(route)
            request.body = json.dumps({**body, name: items}).encode()
            status, said = border.ask(request)
            assert status in allowed, (route, len(items), said[:1000])
            assert b"internal-error" not in said, (route, said[:3000])


def test_no_filter_of_the_history_is_a_fault_of_the_service(border: Border):
    values = ("", "x", "-1", "0", "101", "1e400", "NaN", "%00", "%ff", "%ed%a0%80", "%27%3B--", "x" * 8000, "..%2F")
    for name in FILTERS:
        for value in values:
            request = border.asked(HISTORY)
            request.target += f"?{name}={value}&{name}=twice" if value == "x" else f"?{name}={value}"
            status, said = border.ask(request)
            assert status in (200, 400), (name, value, said[:1000])


# --- connections ---------------------------------------------------------------------------------------


def test_connections_that_send_nothing_keep_nobody_else_out(border: Border):
    with ExitStack() as stack:
        held = [stack.enter_context(border.connect()) for _ in range(50)]
        for connection in held[:25]:
            connection.sendall(b"POST /v1/uploads/start HTTP/1.1\r\nhost: " + border.host.encode())
        began = time.monotonic()
        assert border.ask(border.asked(DESCRIBE))[0] == 200
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "begun", [b"", b"GET /v1/service HTTP/1.1\r\nx: y", b"POST /x HTTP/1.1\r\nhost: HOST\r\ncontent-length: 99\r\n\r\n"]
)
def test_a_request_that_arrives_byte_by_byte_is_not_waited_for(border: Border, begun: bytes, monkeypatch):
    monkeypatch.setattr(server, "_ARRIVAL_MAX_SECONDS", 0.3)
    pause = threading.Event()
    with border.connect() as connection:
        connection.sendall(begun.replace(b"HOST", border.host.encode()))
        connection.settimeout(0.05)
        for _ in range(200):
            try:
                if connection.recv(1) == b"":
                    return
            except TimeoutError:
                pass
            except ConnectionError:
                return
            with suppress(OSError):
                connection.sendall(b"x")
            pause.wait(0.01)
    pytest.fail("it is still waited for")


def test_a_connection_too_many_is_closed_and_there_is_room_again_when_others_end(border: Border, monkeypatch):
    monkeypatch.setattr(server, "_CONNECTIONS_MAX", 3)
    few = Border(open_state_folder(border.folder.path / "few"))
    try:
        with ExitStack() as stack:
            for _ in range(3):
                held = stack.enter_context(few.connect())
                held.sendall(few.asked(DESCRIBE).to_bytes(few.host).replace(b"connection: close\r\n", b""))
                assert held.recv(12) == b"HTTP/1.1 200"
            with few.connect() as one_more, suppress(ConnectionError):
                assert one_more.recv(1) == b""
        wait_until(lambda: _is_served(few), seconds=10)
    finally:
        few.close()


def _is_served(border: Border) -> bool:
    try:
        return border.ask(border.asked(DESCRIBE))[0] == 200
    except (ConnectionError, IndexError):
        return False
