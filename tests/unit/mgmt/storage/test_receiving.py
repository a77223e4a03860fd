import threading
from contextlib import closing, contextmanager

import pytest

from mgmt.errors import CancelledError
from mgmt.network import Connections
from mgmt.storage import RateLimit
from mgmt.storage.receiving import GetOutcome, GetResult, HandedOn, Memory, Noted, Receiver
from mgmt_contract.messages.objects import SignedRequest
from support.scripted_server import Answer, scripted_server

SIZE = 1_000_000
BODY = bytes(range(256)) * 400


def ranged(body, first=1000, size=SIZE, status=206):
    return Answer(status, body, {"content-range": f"bytes {first}-{first + len(body) - 1}/{size}"})


@contextmanager
def getting(*answers):
    stop, connections = threading.Event(), Connections()
    with scripted_server(*answers) as server:
        signed = SignedRequest(f"{server.url}/key?X-Amz-Signature=secret", {}, 900)
        receiver = Receiver(connections, stop, RateLimit(None, stop))

        def get(offset=1000, size=SIZE):
            got = bytearray()
            return receiver.get(signed, offset, len(BODY), size, HandedOn(got.extend)), bytes(got)

        get.server, get.stop = server, stop
        yield get
    connections.close()


def test_exactly_the_range_is_asked_for_and_taken():
    with getting(ranged(BODY)) as get:
        result, got = get()
        assert (result.outcome, got) == (GetOutcome.RECEIVED, BODY)
        [asked] = get.server.asked
    assert (asked.method, asked.headers["range"]) == ("GET", f"bytes=1000-{1000 + len(BODY) - 1}")
    assert "authorization" not in asked.headers


@pytest.mark.parametrize(
    "answer",
    [
        ranged(BODY, first=0),
        ranged(BODY, size=SIZE + 1),
        ranged(BODY[:-1]),
        Answer(206, BODY),
        Answer(200, BODY),
        Answer(206, BODY, {"content-range": f"bytes 1000-{1000 + len(BODY) - 1}/{SIZE}", "content-encoding": "gzip"}),
        Answer(302, b"", {"location": "http://127.0.0.1:1/elsewhere"}),
    ],
)
def test_an_answer_with_other_bytes_than_were_asked_for_gives_none(answer):
    with getting(answer) as get:
        result, got = get()
    assert (result.outcome, got) == (GetOutcome.REFUSED, b"")


def test_memory_is_filled_from_its_beginning_on_and_every_byte_is_told():
    filled, told = bytearray(len(BODY)), []
    stop, connections = threading.Event(), Connections()
    with scripted_server(ranged(BODY)) as server, closing(connections):
        receiver = Receiver(connections, stop, RateLimit(None, stop))
        place = Noted(Memory(memoryview(filled)), told.append)
        result = receiver.get(SignedRequest(f"{server.url}/key", {}, 900), 1000, len(BODY), SIZE, place)
    assert (result.outcome, bytes(filled), sum(told)) == (GetOutcome.RECEIVED, BODY, len(BODY))


def test_the_whole_may_come_from_a_server_without_ranges():
    with getting(Answer(200, BODY)) as get:
        result, got = get(offset=0, size=len(BODY))
        assert (result.outcome, got) == (GetOutcome.RECEIVED, BODY)


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (403, "AccessDenied", GetOutcome.REFUSED),
        (404, "NoSuchVersion", GetOutcome.REFUSED),
        (416, "InvalidRange", GetOutcome.REFUSED),
        (400, "RequestTimeout", GetOutcome.RETRY),
        (503, "SlowDown", GetOutcome.RETRY),
        (500, "", GetOutcome.RETRY),
        (429, "", GetOutcome.RETRY),
    ],
)
def test_what_the_storage_answers_decides_the_next_step_and_no_url_is_said(status, code, outcome):
    body = f"<Error><Code>{code}</Code></Error>".encode()
    with getting(Answer(status, body, {"retry-after": "3"})) as get:
        result, got = get()
    assert (result.outcome, result.reason, got) == (outcome, f"the storage answers {status} {code}".rstrip(), b"")
    assert result.retry_after_seconds == 3


def test_a_connection_that_breaks_is_an_outcome():
    with getting(Answer(breaks=True)) as get:
        assert get()[0].outcome is GetOutcome.BROKEN


def test_nothing_is_taken_after_the_command_was_stopped():
    with getting(ranged(BODY)) as get:
        get.stop.set()
        with pytest.raises(CancelledError):
            get()


def chunks(*bodies):
    return b"".join(b"%x\r\n%s\r\n" % (len(body), body) for body in bodies)


@pytest.mark.parametrize(
    ("headers", "body", "taken"),
    [
        ({"transfer-encoding": "chunked"}, chunks(BODY[:1000], BODY[1000:], b""), BODY),
        ({"transfer-encoding": "chunked"}, chunks(BODY[:1000], b""), BODY[:1000]),
        ({"transfer-encoding": "chunked"}, b"-5\r\n" + BODY, b""),
        ({"transfer-encoding": "chunked"}, b"none\r\n" + BODY, b""),
    ],
    ids=["whole", "short", "negative", "no number"],
)
def test_a_body_that_is_none_breaks_only_its_own_connection(headers, body, taken):
    said = {"content-range": f"bytes 1000-{1000 + len(BODY) - 1}/{SIZE}", "connection": "close"}
    with getting(Answer(206, body, {**headers, **said}), ranged(BODY)) as get:
        result, got = get()
        assert result.outcome is (GetOutcome.RECEIVED if taken == BODY else GetOutcome.BROKEN)
        assert got == taken
        assert get() == (GetResult(GetOutcome.RECEIVED, ""), BODY)
