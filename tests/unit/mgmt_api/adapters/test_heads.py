"""HEADs by the short way: the same question, the same answer, and botocore's own call wherever nothing was found."""

from __future__ import annotations

import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.awsrequest import AWSRequest
from botocore.exceptions import SSLError

from mgmt_api.adapters import heads
from mgmt_api.adapters.clients import make_s3_client
from mgmt_api.adapters.s3 import S3ObjectStore
from mgmt_api.ports import StorageUnavailableError, StoredObject
from support.certificates import make_certificate
from support.scripted_server import Answer, scripted_server

KEY = "day 1/clip é+~1.tar.gz"
HEADERS = {
    "ETag": '"e"',
    "X-Amz-Checksum-Crc64nvme": "rosUhgoHmIg=",
    "X-Amz-Meta-Operation-Id": "operation-1",
    "X-Amz-Version-Id": "v7",
    "X-Amz-Storage-Class": "GLACIER",
    "Last-Modified": "Sun, 01 Nov 2026 12:00:00 GMT",
    "Connection": "close",  # the scripted server sends a body even after HEAD
}
FOUND = Answer(200, b"12345", HEADERS)
STORED = StoredObject(KEY, 5, '"e"', "rosUhgoHmIg=", "operation-1", "v7", "GLACIER")
BOTOCORES_OWN = "amz-sdk-request"
"""A header that only botocore's own calls carry."""


def make_client(url: str) -> Any:
    return make_s3_client("eu-west-1", endpoint_url=url, access_key="k", secret_key="made up")


def make_store(url: str) -> S3ObjectStore:
    return S3ObjectStore(make_client(url), "bucket")


def test_the_short_way_asks_the_same_and_reads_the_same():
    with scripted_server(FOUND) as server:
        store = make_store(server.url)
        found = [store.head_object(KEY) for _ in range(2)]
        own, short = server.asked
    assert found == [STORED, STORED]
    assert (BOTOCORES_OWN in own.headers, BOTOCORES_OWN in short.headers) == (True, False)
    assert (short.method, short.path) == (own.method, own.path)
    assert short.headers["user-agent"].startswith("mgmt/")
    same = ("host", "x-amz-checksum-mode", "x-amz-content-sha256")
    assert {name: short.headers[name] for name in same} == {name: own.headers[name] for name in same}
    signed = "SignedHeaders=host;x-amz-checksum-mode;x-amz-content-sha256;x-amz-date"
    assert signed in short.headers["authorization"]
    assert signed in own.headers["authorization"]


def test_each_key_is_asked_for_by_its_own_address():
    with scripted_server(FOUND) as server:
        store = make_store(server.url)
        for key in (KEY, "other.tar.gz", "deep/er/other.tar.gz"):
            store.head_object(key)
        paths = [asked.path for asked in server.asked]
    assert paths == [
        "/bucket/day%201/clip%20%C3%A9%2B~1.tar.gz",
        "/bucket/other.tar.gz",
        "/bucket/deep/er/other.tar.gz",
    ]


def test_first_questions_at_once_do_not_mix_up_their_addresses():
    """The address is taken from the first that is signed, whoever asked last: one key may end as another does."""
    client_asks, first_is_signed = threading.Event(), threading.Event()

    def wait_for_the_other(params: dict[str, str], **_: object) -> None:
        if params["Key"] == "b/a":
            assert client_asks.wait(10)
        else:
            client_asks.set()
            assert first_is_signed.wait(10)

    with scripted_server(FOUND) as server, ThreadPoolExecutor(2) as pool:
        client = make_client(server.url)
        store = S3ObjectStore(client, "bucket")
        client.meta.events.register("provide-client-params.s3.HeadObject", wait_for_the_other)
        signed_first, asked_last = (pool.submit(store.head_object, key) for key in ("b/a", "a"))
        signed_first.result()
        first_is_signed.set()
        asked_last.result()
        store.head_object("other")
        assert [asked.path for asked in server.asked] == ["/bucket/b/a", "/bucket/a", "/bucket/other"]


@pytest.mark.parametrize("trouble", [Answer(503), Answer(403), Answer(301), Answer(breaks=True)])
def test_where_the_short_way_meets_trouble_botocore_asks_again(trouble: Answer):
    with scripted_server(FOUND, trouble, FOUND) as server:
        store = make_store(server.url)
        store.head_object(KEY)
        assert store.head_object(KEY) == STORED
        assert [BOTOCORES_OWN in asked.headers for asked in server.asked] == [True, False, True]


def test_what_is_gone_meanwhile_is_none():
    with scripted_server(FOUND, Answer(404)) as server:
        store = make_store(server.url)
        store.head_object(KEY)
        assert store.head_object(KEY) is None


def test_a_storage_that_is_gone_is_unavailable():
    with scripted_server(FOUND) as server:
        store = make_store(server.url)
        store.head_object(KEY)
    with socket.socket() as unused:
        unused.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        unused.bind(("127.0.0.1", urlsplit(server.url).port))  # bound and not listening: refused, and nobody else's
        with pytest.raises(StorageUnavailableError):
            store.head_object(KEY)


@pytest.mark.parametrize("is_trusted", [False, True])
def test_the_short_way_trusts_whom_the_client_is_told_to_trust(tmp_path, monkeypatch, is_trusted):
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate_path, certificate.key_path)
    (tmp_path / "aws").write_text(f"[default]\nca_bundle = {certificate.certificate_path}\n" if is_trusted else "")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws"))
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)

    def answer() -> None:
        with context.wrap_socket(listening.accept()[0], server_side=True) as accepted:
            accepted.recv(65536)
            accepted.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as beside:
        answered = beside.submit(answer)
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/bucket/key"
        session = heads._open_session(url, make_client(url).meta.config)
        request = AWSRequest("HEAD", url).prepare()
        if is_trusted:
            assert session.send(request).status_code == 200
            answered.result(10)
        else:
            with pytest.raises(SSLError):
                session.send(request)
            with pytest.raises(ssl.SSLError):
                answered.result(10)
        session.close()
