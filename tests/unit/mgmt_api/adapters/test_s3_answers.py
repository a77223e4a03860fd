"""What S3 answers, as its documentation writes it, and what the port makes of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mgmt_api.adapters.clients import make_s3_client
from mgmt_api.adapters.s3 import S3ObjectStore
from mgmt_api.calls.backends import ANSWER_SECONDS, CALL_MAX_SECONDS
from mgmt_api.ports import (
    ContentRefusedError,
    NewObject,
    NoSuchMultipartUploadError,
    NotArchivedError,
    OperationInProgressError,
    PreconditionFailedError,
    StorageError,
    StorageUnavailableError,
    StoredPart,
    TierUnavailableError,
    WriteCondition,
)
from support.scripted_server import Answer, scripted_server

NEW = NewObject("clip.tar.gz", "operation-1")
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
COMPLETED = "<CompleteMultipartUploadResult><ETag>&quot;e-1&quot;</ETag></CompleteMultipartUploadResult>"


def error_answer(status: int, code: str, *, has_body: bool = True) -> Answer:
    if not has_body:
        return Answer(status)
    body = f"{DECLARATION}<Error><Code>{code}</Code><Message>told so</Message></Error>"
    return Answer(status, body.encode(), {"content-type": "application/xml"})


def make_store(url: str) -> S3ObjectStore:
    """Make a store on a loopback address whose client does not wait to try again."""
    client = make_s3_client("eu-west-1", endpoint_url=url, access_key="key", secret_key="made up")
    client.meta.events.unregister("needs-retry.s3", unique_id="retry-config-s3")
    return S3ObjectStore(client, "bucket")


def complete(store: S3ObjectStore, *, within_seconds: float = 20.0, part_checksum: str | None = None) -> None:
    store.complete_multipart_upload(
        NEW.key,
        "upload-1",
        [StoredPart(1, 5, '"e"', part_checksum)],
        size=5,
        crc64nvme="rosUhgoHmIg=",
        condition=WriteCondition(),
        within_seconds=within_seconds,
    )


CALLS: dict[str, Callable[[S3ObjectStore], object]] = {
    "create": lambda store: store.create_multipart_upload(NEW),
    "list": lambda store: store.list_parts(NEW.key, "upload-1"),
    "complete": complete,
    "abort": lambda store: store.abort_multipart_upload(NEW.key, "upload-1"),
    "head": lambda store: store.head_object(NEW.key),
    "restore": lambda store: store.restore_object(NEW.key, "version-1", "Expedited", 7),
}


@pytest.mark.parametrize(
    ("call", "status", "code", "expected"),
    [
        ("complete", 412, "PreconditionFailed", PreconditionFailedError),
        ("complete", 404, "NoSuchKey", PreconditionFailedError),
        ("complete", 409, "ConditionalRequestConflict", OperationInProgressError),
        ("complete", 409, "OperationAborted", OperationInProgressError),
        ("complete", 404, "NoSuchUpload", NoSuchMultipartUploadError),
        ("complete", 400, "BadDigest", ContentRefusedError),
        *[
            ("complete", 400, code, StorageError)
            for code in ("InvalidRequest", "InvalidPart", "InvalidPartOrder", "EntityTooSmall", "InvalidDigest", "New")
        ],
        ("complete", 409, "SomethingNew", OperationInProgressError),
        ("complete", 400, "RequestTimeout", StorageUnavailableError),
        *[(call, 400, "ExpiredToken", StorageUnavailableError) for call in ("complete", "list", "create")],
        ("head", 400, "ExpiredToken", StorageUnavailableError),  # without a body it is a bare 400
        *[(call, 403, "RequestTimeTooSkewed", StorageUnavailableError) for call in ("complete", "list", "create")],
        ("list", 404, "NoSuchUpload", NoSuchMultipartUploadError),
        *[(call, 503, "SlowDown", StorageUnavailableError) for call in CALLS],
        *[(call, 500, "InternalError", StorageUnavailableError) for call in CALLS],
        *[(call, 429, "TooManyRequests", StorageUnavailableError) for call in CALLS],
        *[(call, 403, "AccessDenied", StorageError) for call in CALLS],
        ("create", 400, "InvalidRequest", StorageError),
        ("restore", 409, "RestoreAlreadyInProgress", NotArchivedError),
        ("restore", 403, "InvalidObjectState", NotArchivedError),
        ("restore", 403, "ObjectAlreadyInActiveTierError", NotArchivedError),
        ("restore", 503, "GlacierExpeditedRetrievalNotAvailable", TierUnavailableError),
        ("restore", 400, "InvalidArgument", StorageError),
    ],
)
def test_each_error_is_the_ports(call: str, status: int, code: str, expected: type[StorageError]):
    answer = error_answer(status, code, has_body=call != "head")
    with scripted_server(answer) as server, pytest.raises(StorageError) as caught:
        CALLS[call](make_store(server.url))
    assert type(caught.value) is expected


def test_an_error_within_an_answer_of_200_is_an_error():
    """S3 answers 200 at once while it joins parts, and tells in the body how it ended."""
    with scripted_server(error_answer(200, "InternalError")) as server, pytest.raises(StorageUnavailableError):
        complete(make_store(server.url))


def test_aborting_what_is_gone_is_no_error():
    with scripted_server(error_answer(404, "NoSuchUpload")) as server:
        CALLS["abort"](make_store(server.url))


def test_an_answer_that_is_no_answer_is_unavailable():
    answer = Answer(200, b"<html>Please sign in", {"content-type": "text/html"})
    with scripted_server(answer) as server, pytest.raises(StorageUnavailableError):
        CALLS["list"](make_store(server.url))


@pytest.mark.parametrize("call", sorted(CALLS.keys() - {"complete"}))
def test_a_lost_answer_is_unavailable(call: str):
    with scripted_server(Answer(breaks=True)) as server, pytest.raises(StorageUnavailableError):
        CALLS[call](make_store(server.url))


def test_a_lost_answer_to_a_completion_asks_to_look_again():
    with scripted_server(Answer(breaks=True)) as server, pytest.raises(OperationInProgressError):
        complete(make_store(server.url))


@pytest.mark.parametrize("call", CALLS)
def test_a_storage_that_is_not_there_is_unavailable(call: str):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(StorageUnavailableError):
        CALLS[call](make_store(url))


def test_a_completion_says_everything_that_s3_can_compare():
    with scripted_server(Answer(200, (DECLARATION + COMPLETED).encode())) as server:
        complete(make_store(server.url))
    [asked] = server.asked
    assert b"ChecksumCRC64NVME" not in asked.body
    assert asked.method == "POST"
    assert asked.headers["x-amz-checksum-crc64nvme"] == "rosUhgoHmIg="
    assert asked.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert asked.headers["x-amz-mp-object-size"] == "5"
    assert asked.headers["if-none-match"] == "*"


def test_a_completion_sends_the_checksums_of_its_parts():
    with scripted_server(Answer(200, (DECLARATION + COMPLETED).encode())) as server:
        complete(make_store(server.url), part_checksum="rosUhgoHmIg=")
    assert b"<ChecksumCRC64NVME>rosUhgoHmIg=</ChecksumCRC64NVME>" in server.asked[0].body


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (error_answer(500, "InternalError"), StorageUnavailableError),
        (error_answer(503, "SlowDown"), StorageUnavailableError),
        (error_answer(200, "InternalError"), StorageUnavailableError),
        (Answer(breaks=True), OperationInProgressError),
    ],
)
def test_a_completion_is_one_request_whatever_comes_of_it(answer: Answer, error: type[StorageError]):
    """Asked twice, S3 may throw the parts away; the client of other calls does ask again."""
    client = make_s3_client("eu-west-1", access_key="key", secret_key="made up", endpoint_url="http://127.0.0.1:9")
    assert client.meta.config.retries["total_max_attempts"] > 1
    with scripted_server(answer, answer, answer) as server:
        client = make_s3_client("eu-west-1", endpoint_url=server.url, access_key="key", secret_key="made up")
        with pytest.raises(error):
            complete(S3ObjectStore(client, "bucket"))
    assert len(server.asked) == 1


def test_a_multipart_upload_declares_its_checksum():
    created = "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
    with scripted_server(Answer(200, (DECLARATION + created).encode())) as server:
        assert make_store(server.url).create_multipart_upload(NEW) == "u1"
    [asked] = server.asked
    assert asked.headers["x-amz-checksum-algorithm"] == "CRC64NVME"
    assert asked.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert asked.headers["x-amz-meta-operation-id"] == "operation-1"


def test_parts_are_listed_page_by_page_with_their_checksums():
    def page(parts: list[tuple[int, str, str]], following: int | None) -> Answer:
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><LastModified>{time}</LastModified>"
            f"<ETag>{etag}</ETag><Size>7</Size><ChecksumCRC64NVME>rosUhgoHmIg=</ChecksumCRC64NVME></Part>"
            for number, etag, time in parts
        )
        more = (
            f"<IsTruncated>true</IsTruncated><NextPartNumberMarker>{following}</NextPartNumberMarker>"
            if following
            else "<IsTruncated>false</IsTruncated>"
        )
        return Answer(200, f"{DECLARATION}<ListPartsResult>{more}{listed}</ListPartsResult>".encode())

    early, late = "2026-11-01T12:00:00.000Z", "2026-11-01T12:00:01.000Z"
    first = page([(1, "new", late), (1, "old", early), (2, "b", early)], following=2)
    with scripted_server(first, page([(3, "c", early)], following=None)) as server:
        parts = make_store(server.url).list_parts(NEW.key, "upload-1")
    assert parts == [StoredPart(number, 7, etag, "rosUhgoHmIg=") for number, etag in enumerate(["new", "b", "c"], 1)]
    assert "part-number-marker=2" in server.asked[1].path


@contextmanager
def slow_server(release: threading.Event) -> Iterator[str]:
    """Answer 200 at once and then white space until `release` is set, as S3 does while it joins parts."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            received = b""
            while not received.endswith(b"</CompleteMultipartUpload>"):
                received += connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + DECLARATION.encode())
            while not release.wait(0.02):
                connection.sendall(b" ")
            connection.sendall(COMPLETED.encode())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            release.set()
            thread.join()


def test_a_completion_that_lasts_is_left_to_itself_and_no_thread_outlives_it():
    """White space keeps the connection alive, so that no read ever times out."""
    with slow_server(threading.Event()) as url:
        threads = set(threading.enumerate())
        with pytest.raises(OperationInProgressError):
            complete(make_store(url), within_seconds=0.2)
        assert set(threading.enumerate()) <= threads


def test_a_storage_that_says_nothing_at_all_is_not_waited_for_longer_either():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(OperationInProgressError):
            complete(make_store(url), within_seconds=0.2)


def test_white_space_before_the_answer_is_no_fault():
    release = threading.Event()
    with slow_server(release) as url:
        threading.Timer(0.1, release.set).start()
        complete(make_store(url))


def test_an_engine_on_its_own_address_is_reached_past_any_proxy(monkeypatch: pytest.MonkeyPatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with scripted_server(Answer(404)) as server:
        assert make_store(server.url).head_object(NEW.key) is None
    assert len(server.asked) == 1


def test_no_call_outlasts_the_function():
    """All tries of one call together end well within 29 seconds, the life of a call to the service."""
    config = make_s3_client("eu-west-1", access_key="key", secret_key="made up").meta.config
    tries = config.retries["total_max_attempts"]
    assert tries * (config.connect_timeout + config.read_timeout) < 25
    assert CALL_MAX_SECONDS - ANSWER_SECONDS < 25
