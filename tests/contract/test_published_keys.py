"""An issuer's keys are found through its discovery document, kept, and fetched again when they were rotated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from joserfc.jwk import ECKey, RSAKey

from mgmt_local.gateway.authorizer import RefusedError
from support.published_keys import KEYS_LIFE_SECONDS, UNKNOWN_KEY_PAUSE_SECONDS, PublishedKeys

DISCOVERY = "/pool/.well-known/openid-configuration"


KEY = RSAKey.generate_key(2048).as_dict(private=False)


def public(kid: str, **more) -> dict:
    return KEY | {"kid": kid} | more


class Issuer:
    """Answers documents and counts how often each is asked for."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}/pool"
        self.asked: list[str] = []
        self.documents: dict[str, tuple[int, bytes]] = {}
        self.publish(DISCOVERY, {"issuer": self.url, "jwks_uri": f"{url}/keys"})

    def publish(self, path: str, document: object, status: int = 200) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.documents[path] = (status, body)

    def rotate(self, *keys: dict) -> None:
        self.publish("/keys", {"keys": keys})


@contextmanager
def run_issuer() -> Iterator[Issuer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked.append(self.path)
            status, body = issuer.documents.get(self.path, (404, b""))
            self.send_response(status)
            self.send_header("Location", f"{issuer.url}/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with run_issuer() as running:
        yield running


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_keys_are_fetched_once_and_kept_for_two_hours(issuer: Issuer):
    issuer.rotate(public("a"), public("b"))
    clock = Clock()
    keys = PublishedKeys(issuer.url, clock)
    assert [keys.find(kid).kid for kid in "abab"] == list("abab")
    assert issuer.asked == [DISCOVERY, "/keys"]
    clock.now += KEYS_LIFE_SECONDS + 1
    issuer.rotate(public("b"))
    assert keys.find("a") is None
    assert keys.find("b") is not None
    assert len(issuer.asked) == 4


def test_rotated_keys_are_found_soon_and_made_up_names_do_not_make_it_ask(issuer: Issuer):
    issuer.rotate(public("a"))
    clock = Clock()
    keys = PublishedKeys(issuer.url, clock)
    assert keys.find("a") is not None
    issuer.rotate(public("a"), public("b"))
    assert keys.find("b") is None, "it has just asked"
    clock.now += UNKNOWN_KEY_PAUSE_SECONDS + 1
    assert keys.find("b") is not None
    for number in range(20):
        assert keys.find(f"made up {number}") is None
    assert len(issuer.asked) == 4


def test_only_rsa_keys_for_signatures_count(issuer: Issuer):
    broken = public("d") | {"n": "!"}
    other = ECKey.generate_key("P-256", {"kid": "c"}).as_dict(private=False)
    issuer.rotate(public("a", use="enc"), other, broken, {"kty": "RSA"}, [], public("e", use="sig", alg="RS256"))
    keys = PublishedKeys(issuer.url)
    assert [kid for kid in "abcde" if keys.find(kid)] == ["e"]


@pytest.mark.parametrize(
    ("path", "document", "status", "said"),
    [
        (DISCOVERY, {}, 500, "OIDC discovery endpoint"),
        (DISCOVERY, {}, 302, "OIDC discovery endpoint"),
        (DISCOVERY, b"<html>", 200, "OIDC discovery endpoint"),
        (DISCOVERY, b"[" * 50_000, 200, "OIDC discovery endpoint"),
        (DISCOVERY, {"issuer": "https://another.example"}, 200, "OIDC discovery endpoint"),
        ("/keys", {}, 404, "JWKS"),
        ("/keys", [], 200, "JWKS"),
        ("/keys", b'{"keys": [' + b" " * 300_000 + b"]}", 200, "JWKS"),
    ],
)
def test_an_issuer_that_does_not_answer_as_it_should_lets_nobody_in(issuer: Issuer, path, document, status, said):
    issuer.rotate(public("a"))
    working = issuer.documents[path]
    issuer.publish(path, document, status)
    keys = PublishedKeys(issuer.url)
    with pytest.raises(RefusedError, match=f"{said} communication error") as caught:
        keys.find("a")
    assert caught.value.status == 401
    issuer.documents[path] = working
    assert keys.find("a") is not None, "and is asked again at the next request"


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "no address", "ftp://127.0.0.1/x"])
def test_an_issuer_that_cannot_be_reached_lets_nobody_in(address: str):
    with pytest.raises(RefusedError, match="communication error"):
        PublishedKeys(address).find("a")
