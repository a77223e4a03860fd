import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mgmt import network, storage
from mgmt.errors import CancelledError, LocalStateError
from mgmt.network import Connections
from mgmt.storage import Carrier, PutOutcome, RateLimit
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.parts import KIB, MIB
from support.certificates import make_certificate
from support.scripted_server import Answer, scripted_server

CONNECT_SECONDS = 1.5
"""As little as connecting may take in a test, and still enough for a handshake on a busy machine."""


@pytest.fixture
def stop():
    return threading.Event()


@pytest.fixture
def carrier(stop):
    connections = Connections()
    yield Carrier(connections, stop, RateLimit(None, stop))
    connections.close()


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(bytes(range(256)) * 4096)
    return path


def signed(server, **headers):
    return SignedRequest(f"{server.url}/key?X-Amz-Signature=secret", headers, 900)


def test_exactly_the_slice_and_exactly_the_signed_headers_are_sent(carrier, archive):
    sent = []
    with scripted_server(Answer()) as server:
        result = carrier.put(
            signed(server, **{"x-amz-checksum-crc64nvme": "abc="}), archive, 1000, 500_000, sent.append
        )
        [asked] = server.asked
    assert result.outcome is PutOutcome.STORED
    assert asked.body == archive.read_bytes()[1000:501_000]
    assert asked.headers["content-length"] == "500000"
    assert asked.headers["x-amz-checksum-crc64nvme"] == "abc="
    assert "transfer-encoding" not in asked.headers
    assert not [name for name in asked.headers if name.startswith("x-amz-") and name != "x-amz-checksum-crc64nvme"]
    assert sum(sent) == 500_000


def test_an_empty_slice_is_an_empty_body(carrier, archive):
    with scripted_server(Answer()) as server:
        assert carrier.put(signed(server), archive, 0, 0, lambda _: None).outcome is PutOutcome.STORED
        assert server.asked[0].headers["content-length"] == "0"


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (400, "BadDigest", PutOutcome.CORRUPTED),
        (400, "XAmzContentChecksumMismatch", PutOutcome.CORRUPTED),
        (400, "IncompleteBody", PutOutcome.CORRUPTED),
        (400, "RequestTimeout", PutOutcome.RETRY),
        (400, "ExpiredToken", PutOutcome.REFUSED),
        (400, "InvalidToken", PutOutcome.REFUSED),
        (403, "RequestTimeTooSkewed", PutOutcome.REFUSED),
        (301, "PermanentRedirect", PutOutcome.REFUSED),
        (307, "TemporaryRedirect", PutOutcome.RETRY),
        (200, "InternalError", PutOutcome.RETRY),
        (403, "AccessDenied", PutOutcome.REFUSED),
        (403, "SignatureDoesNotMatch", PutOutcome.REFUSED),
        (404, "NoSuchUpload", PutOutcome.GONE),
        (404, "NoSuchKey", PutOutcome.GONE),
        (404, "NoSuchBucket", PutOutcome.REFUSED),
        (404, "", PutOutcome.REFUSED),
        (409, "ConditionalRequestConflict", PutOutcome.RETRY),
        (412, "PreconditionFailed", PutOutcome.EXISTS),
        (429, "", PutOutcome.RETRY),
        (500, "InternalError", PutOutcome.RETRY),
        (503, "SlowDown", PutOutcome.RETRY),
        (501, "NotImplemented", PutOutcome.RETRY),
        (400, "InvalidArgument", PutOutcome.REFUSED),
        (302, "", PutOutcome.REFUSED),
    ],
)
def test_an_answer_says_what_to_do_next(carrier, archive, status, code, outcome):
    sent = []
    body = f"<Error><Code>{code}</Code></Error>".encode() if code else b""
    with scripted_server(Answer(status, body, {"retry-after": "7"})) as server:
        result = carrier.put(signed(server), archive, 0, 1000, sent.append)
    assert result.outcome is outcome
    assert result.retry_after_seconds == 7
    assert f"{status} {code}".strip() in result.reason
    assert "secret" not in result.reason
    assert sum(sent) == 0


@pytest.mark.parametrize("body", [b"<html>Please sign in</html>", b" " * 70_000, b"{}"])
def test_a_page_in_place_of_an_answer_stores_nothing(carrier, archive, body):
    """Such as that of a proxy: S3 takes bytes without a word."""
    with scripted_server(Answer(200, body, {"content-type": "text/html"})) as server:
        result = carrier.put(signed(server), archive, 0, 1000, lambda _: None)
    assert result.outcome is PutOutcome.RETRY
    assert "text/html, expected nothing" in result.reason


def test_a_broken_connection_takes_its_bytes_back(carrier, archive):
    sent = []
    with scripted_server(Answer(breaks=True)) as server:
        result = carrier.put(signed(server), archive, 0, 1_000_000, sent.append)
    assert result.outcome is PutOutcome.BROKEN
    assert "secret" not in result.reason
    assert sum(sent) == 0
    assert max(sent) > 0


def test_who_waited_in_vain_for_an_answer_waits_twice_as_long_the_next_time(stop, archive, monkeypatch):
    """Or small files on a slow line would be sent again for ever: their bytes lie with the system for minutes."""
    monkeypatch.setattr(storage, "READ_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(storage, "ANSWER_MAX_SECONDS", 0.4)
    connections = Connections()
    carrier = Carrier(connections, stop, RateLimit(None, stop))
    waited_seconds = []
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/key"
        for _ in range(4):
            began = time.monotonic()
            result = carrier.put(SignedRequest(url, {}, 900), archive, 0, 1000, lambda _: None)
            waited_seconds.append(time.monotonic() - began)
            assert result.outcome is PutOutcome.BROKEN
    connections.close()
    for waited, wanted in zip(waited_seconds, (0.1, 0.2, 0.4, 0.4), strict=True):
        assert wanted <= waited < wanted + 5
    assert carrier._answer_seconds == 0.4


@pytest.mark.parametrize("uses_tls", [False, True])
def test_a_block_may_take_longer_to_leave_than_a_connection_to_come_about(stop, tmp_path, monkeypatch, uses_tls):
    """Or a slow line would lose every connection, however often its bytes are sent again."""
    monkeypatch.setattr(network, "CONNECT_TIMEOUT_SECONDS", CONNECT_SECONDS)
    path = tmp_path / "large.tar.gz"
    with path.open("wb") as file:
        file.truncate(8 * MIB)
    certificate = make_certificate(tmp_path)
    connections = Connections(ca_bundle=certificate.certificate_path)
    carrier = Carrier(connections, stop, RateLimit(None, stop))
    with socket.socket() as listening, ThreadPoolExecutor(1) as beside:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * KIB)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        served = beside.submit(store_after_a_while, listening, server_context(certificate) if uses_tls else None)
        url = f"{'https' if uses_tls else 'http'}://127.0.0.1:{listening.getsockname()[1]}/key"
        result = carrier.put(SignedRequest(url, {}, 900), path, 0, 8 * MIB, lambda _: None)
        assert served.result(20) == 8 * MIB
    connections.close()
    assert result.outcome is PutOutcome.STORED


def server_context(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate_path, certificate.key_path)
    return context


def store_after_a_while(listening, context):
    """Take one request, but nothing of it for longer than connecting may take; return how many bytes its body has."""
    accepted, _ = listening.accept()
    if context is not None:
        accepted = context.wrap_socket(accepted, server_side=True)
    with accepted, accepted.makefile("rb") as request:
        threading.Event().wait(CONNECT_SECONDS + 0.5)  # the line is that slow: there is nothing else to wait for
        while request.readline().strip():
            pass
        body = request.read(8 * MIB)
        accepted.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        return len(body)


def test_a_stopped_command_stops_in_the_middle_of_a_slice(carrier, archive, stop):
    with scripted_server(Answer()) as server, pytest.raises(CancelledError):
        carrier.put(signed(server), archive, 0, 1_000_000, lambda _: stop.set())


def test_all_workers_together_keep_to_the_rate(stop):
    limit = RateLimit(1_000_000, stop)
    began = time.monotonic()
    threads = [threading.Thread(target=lambda: [limit.take(50_000) for _ in range(2)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # 300 kB at 1 MB/s: the last of six pieces may begin after 0.25 s.
    assert time.monotonic() - began >= 0.24


def test_under_a_low_limit_every_connection_says_something_every_few_seconds(stop, archive):
    """A storage closes connections that are silent for long, and all transfers share the rate."""
    connections, sent = Connections(), []
    with scripted_server(Answer()) as server:
        Carrier(connections, stop, RateLimit(8_000, stop)).put(signed(server), archive, 0, 2_000, sent.append)
        assert server.asked[0].body == archive.read_bytes()[:2_000]
    connections.close()
    workers_max, silent_seconds_max = 64, 5
    assert max(sent) * workers_max <= 8_000 * silent_seconds_max
    assert RateLimit(1, stop).most_bytes(1000) == 1
    assert RateLimit(None, stop).most_bytes(1000) == 1000


def test_an_archive_that_is_too_short_is_an_error_and_not_a_wait(carrier, archive):
    with scripted_server(Answer()) as server, pytest.raises(LocalStateError, match="too early"):
        carrier.put(signed(server), archive, 0, archive.stat().st_size + 1, lambda _: None)
