"""The real storage engine for tests: one process, a bucket per test, and a client that sends as mgmt does."""

from __future__ import annotations

import secrets
import subprocess
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import pytest
import urllib3

from mgmt_api.adapters.clients import make_s3_client
from mgmt_contract.messages.objects import SignedRequest
from mgmt_local.engine.seaweedfs import REGION, StorageEngine

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef


_RESTING_BUCKETS = 3
_free_buckets: WeakKeyDictionary[StorageEngine, deque[str]] = WeakKeyDictionary()
_own_clients: WeakKeyDictionary[StorageEngine, S3Client] = WeakKeyDictionary()


@contextmanager
def storage_engine(folder: Path) -> Iterator[StorageEngine]:
    """Run an engine whose data lies in `folder`; it is killed at the end, as one in order takes more than a second.

    It ends with this process, also where that is killed.
    """
    access_key, secret_key = secrets.token_hex(10), secrets.token_hex(20)
    engine = StorageEngine.start(folder, access_key=access_key, secret_key=secret_key)
    try:
        with ending_with_us(engine.pid):
            yield engine
    finally:
        engine.kill()


@contextmanager
def ending_with_us(pid: int) -> Iterator[None]:
    """Have a process be killed when this one dies within the context.

    A shell of its own session waits for the end of a pipe, of which this process holds the other end: the system
    closes it however this one dies.
    """
    guard = subprocess.Popen(
        ["/bin/sh", "-c", 'read -r line || kill -KILL "$1"', "sh", str(pid)],
        stdin=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        yield
    finally:
        guard.communicate("ended\n")


def connect(engine: StorageEngine) -> S3Client:
    """Connect to an engine as the service does."""
    return make_s3_client(
        REGION,
        endpoint_url=engine.endpoint_url,
        access_key=engine.access_key,
        secret_key=engine.secret_key,
    )


def own_client(engine: StorageEngine) -> S3Client:
    """Return the one client with which tests themselves look at an engine: making one takes longer than most calls."""
    if engine not in _own_clients:
        _own_clients[engine] = connect(engine)
    return _own_clients[engine]


@contextmanager
def versioned_bucket(engine: StorageEngine) -> Iterator[str]:
    """Lend an empty bucket that keeps versions.

    It is lent again, as the first object of a new one takes the engine a fifth of a second; but only after some others,
    and emptied once more, so that what a killed command still sends does not reach the next test.
    """
    free = _free_buckets.setdefault(engine, deque())
    bucket = free.popleft() if len(free) >= _RESTING_BUCKETS else _make_bucket(engine)
    _empty(own_client(engine), bucket)
    yield bucket
    _empty(own_client(engine), bucket)
    free.append(bucket)


def _make_bucket(engine: StorageEngine) -> str:
    bucket = f"bucket-{secrets.token_hex(8)}"
    engine.ensure_bucket(bucket)
    return bucket


def _empty(client: S3Client, bucket: str) -> None:
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if found:
            objects: list[ObjectIdentifierTypeDef] = [
                {"Key": version["Key"], "VersionId": version["VersionId"]} for version in found
            ]
            answer = client.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
            assert not answer.get("Errors"), answer["Errors"]
    for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
        client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])


def send(request: SignedRequest, body: bytes, *, headers: dict[str, str] | None = None) -> int:
    """PUT a body as the client does, with the headers of the request or with others; return the status."""
    sent = request.headers if headers is None else headers
    with urllib3.PoolManager(retries=False, timeout=10) as pool:
        return pool.request("PUT", request.url, body=body, headers=sent).status


def fetch(request: SignedRequest, byte_range: tuple[int, int] | None = None) -> tuple[int, bytes]:
    """GET an object, or the bytes from the first to the last of a range; return the status and the body."""
    headers = dict(request.headers)
    if byte_range is not None:
        headers["range"] = f"bytes={byte_range[0]}-{byte_range[1]}"
    with urllib3.PoolManager(retries=False, timeout=10) as pool:
        answer = pool.request("GET", request.url, headers=headers)
        return answer.status, answer.data


@contextmanager
def sign_in_the_past(monkeypatch: pytest.MonkeyPatch, life_seconds: int) -> Iterator[None]:
    """Have URLs signed at a moment from which on they have lived a second too long by now."""
    import botocore.crt.auth  # only where awscrt is installed, which a test of the engine does without

    now: Any = vars(botocore.auth)["get_current_datetime"]  # its types do not know it

    def earlier(*arguments: Any, **options: Any) -> Any:
        return now(*arguments, **options) - timedelta(seconds=life_seconds + 1)

    with monkeypatch.context() as patch:
        for signer in (botocore.auth, botocore.crt.auth):  # the second signs where awscrt is installed
            patch.setattr(signer, "get_current_datetime", earlier)
        yield
