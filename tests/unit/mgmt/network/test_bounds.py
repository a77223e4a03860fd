"""What the other side may take: seconds and bytes, in every place of an answer."""

import gzip
import itertools
import threading
import time
import tracemalloc

import pytest

from mgmt import storage
from mgmt.errors import UnavailableError
from mgmt.network import Bounds, Connections
from mgmt.network.retry import Patience
from mgmt.service import ServiceApi
from mgmt.service.replies import REPLY_MAX_BYTES
from mgmt.storage import Carrier, PutOutcome, RateLimit
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.service import Service
from mgmt_contract.parts import MIB
from mgmt_contract.wire import to_json
from support.raw_server import raw_server

DEADLINE_SECONDS = 0.4
PAUSE_SECONDS = 0.02
"""Between two pieces: no silence that a timeout of the socket would notice."""
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
GOOD = to_json(Service(1, 1, "0", "bucket", "region", "", 1, 1, 1, 1, 1)).encode()

DRIPS = {
    "the status line": lambda: itertools.chain([b"HTTP/1.1 200 "], itertools.repeat(b"O")),
    "headers": lambda: itertools.chain([OK], (b"x-%d: 1\r\n" % count for count in itertools.count())),
    "one header": lambda: itertools.chain([OK, b"x: "], itertools.repeat(b"1")),
    "interim answers": lambda: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "the body": lambda: itertools.chain([OK, b"content-length: 100000\r\n\r\n"], itertools.repeat(b" ")),
    "a body without end": lambda: itertools.chain([OK, b"\r\n"], itertools.repeat(b" ")),
    "chunks": lambda: itertools.chain([OK, b"transfer-encoding: chunked\r\n\r\n"], itertools.repeat(b"1\r\n \r\n")),
    "the size of a chunk": lambda: itertools.chain([OK, b"transfer-encoding: chunked\r\n\r\n"], itertools.repeat(b"0")),
    "trailers": lambda: itertools.chain(
        [OK, b"transfer-encoding: chunked\r\n\r\n0\r\n"], itertools.repeat(b"x: 1\r\n")
    ),
}


@pytest.fixture
def connections():
    made = Connections()
    yield made
    made.close()


@pytest.fixture
def make_api(connections):
    def make(url, budget_seconds):
        patience = Patience(threading.Event(), start_budget_seconds=budget_seconds, budget_seconds=0.0)
        return ServiceApi(url, lambda: "sesame", connections, patience, lambda _: None), patience

    return make


@pytest.mark.parametrize(("where", "has_answered"), [*((where, True) for where in DRIPS), ("the body", False)])
def test_a_service_that_drips_is_given_up_at_the_deadline(make_api, monkeypatch, where, has_answered):
    """Each byte comes in time, and the answer never does."""
    monkeypatch.setattr("mgmt.service.calls.ANSWER_MAX_SECONDS", DEADLINE_SECONDS)
    with raw_server(DRIPS[where], PAUSE_SECONDS) as server:
        service, patience = make_api(server.url, 0.0 if has_answered else 0.1)
        if has_answered:
            patience.note_progress()
        began = time.monotonic()
        with pytest.raises(UnavailableError):
            service.describe()
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("where", DRIPS)
def test_a_storage_that_drips_is_a_broken_connection_at_the_deadline(connections, monkeypatch, tmp_path, where):
    monkeypatch.setattr(storage, "_ANSWER_BOUNDS", Bounds(DEADLINE_SECONDS, 64 * 1024))
    path = tmp_path / "a.tar.gz"
    path.write_bytes(b"bytes")
    stop = threading.Event()
    with raw_server(DRIPS[where], PAUSE_SECONDS) as server:
        began = time.monotonic()
        request = SignedRequest(f"{server.url}/key", {}, 900)
        result = Carrier(connections, stop, RateLimit(None, stop)).put(request, path, 0, 5, lambda _: None)
        assert time.monotonic() - began < 5
    assert result.outcome is PutOutcome.BROKEN


def endless(head):
    return lambda: itertools.chain([head], itertools.repeat(b" " * MIB))


BOMB = gzip.compress(GOOD + b" " * 64 * MIB)
LARGE = {
    "a large body": lambda: [OK + b"content-length: %d\r\n\r\n" % (64 * MIB), *[b" " * MIB] * 64],
    "a body without end": endless(OK + b"\r\n"),
    "a chunk without end": endless(OK + b"transfer-encoding: chunked\r\n\r\nffffffffffff\r\n"),
    "a chunk of less than nothing": endless(OK + b"transfer-encoding: chunked\r\n\r\n-1\r\n"),
    "a compressed body": lambda: [OK + b"content-encoding: gzip\r\n\r\n" + BOMB],
    "compressed twice": lambda: [OK + b"content-encoding: gzip, gzip\r\n\r\n" + gzip.compress(BOMB)],
    "nothing but lists": lambda: [
        OK + b"\r\n" + b'{"scopes": [' + b"[]," * (REPLY_MAX_BYTES // 3 - 20) + b"[]]}",
    ],
    "nothing but objects in texts": lambda: [
        OK + b"\r\n" + b'{"scopes": [' + b'{"a,":{}},' * (REPLY_MAX_BYTES // 10 - 20) + b"[]]}",
    ],
}


@pytest.mark.parametrize("what", LARGE)
def test_an_answer_that_would_fill_the_memory_is_no_answer(make_api, what):
    with raw_server(LARGE[what]) as server:
        service, _ = make_api(server.url, 0.1)
        tracemalloc.start()
        try:
            with pytest.raises(UnavailableError):
                service.describe()
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak_bytes < 50 * MIB


def test_a_storage_answers_no_more_than_is_read(connections, tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(b"bytes")
    stop = threading.Event()
    head = b"HTTP/1.1 403 Forbidden\r\n\r\n<Error><Code>AccessDenied</Code>"
    with raw_server(endless(head)) as server:
        tracemalloc.start()
        try:
            request = SignedRequest(f"{server.url}/key", {}, 900)
            result = Carrier(connections, stop, RateLimit(None, stop)).put(request, path, 0, 5, lambda _: None)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert result.outcome is PutOutcome.REFUSED
    assert "AccessDenied" in result.reason
    assert peak_bytes < 10 * MIB


def test_a_body_that_was_cut_is_asked_for_again(make_api):
    answers = iter([OK + b"content-length: %d\r\n\r\n" % len(GOOD) + body for body in (GOOD[:-1], GOOD)])
    with raw_server(lambda: [next(answers)]) as server:
        service, _ = make_api(server.url, 30.0)
        assert service.describe().bucket == "bucket"
        assert server.requests == 2


def test_names_of_nothing_but_commas_are_no_attack(make_api):
    """Such texts come from file names, and must not make the history unreadable."""
    described = GOOD.replace(b'"bucket":"bucket"', b'"bucket":"%s"' % (b',[{\\"' * 100_000))
    assert described.count(b",") > 100_000
    with raw_server(lambda: [OK + b"content-length: %d\r\n\r\n" % len(described) + described]) as server:
        service, _ = make_api(server.url, 5.0)
        assert len(service.describe().bucket) == 400_000
