"""HEADs over the wire: what is asked, and what is read of the answer."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest

from mgmt_api.adapters.clients import make_s3_client
from mgmt_api.adapters.s3 import S3ObjectStore
from mgmt_api.ports import StorageUnavailableError, StoredObject
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


def make_store(url: str) -> S3ObjectStore:
    return S3ObjectStore(make_s3_client("eu-west-1", endpoint_url=url, access_key="k", secret_key="made up"), "bucket")


def test_a_head_asks_for_the_checksum_and_reads_all_that_the_storage_states():
    with scripted_server(FOUND) as server:
        assert make_store(server.url).head_object(KEY) == STORED
        [asked] = server.asked
    assert (asked.method, asked.headers["x-amz-checksum-mode"]) == ("HEAD", "ENABLED")
    assert asked.headers["user-agent"].startswith("mgmt/")
    assert "x-amz-checksum-mode" in asked.headers["authorization"]


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


@pytest.mark.parametrize("trouble", [Answer(503), Answer(breaks=True)])
def test_where_the_storage_stumbles_it_is_asked_once_more(trouble: Answer):
    with scripted_server(FOUND, trouble, FOUND) as server:
        store = make_store(server.url)
        store.head_object(KEY)
        assert store.head_object(KEY) == STORED
        assert len(server.asked) == 3


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
