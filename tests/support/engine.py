"""The real storage engine for tests: one process, a bucket per test, and a client that sends as mgmt does."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import urllib3

from mgmt_api.adapters.clients import make_s3_client
from mgmt_contract.messages import SignedRequest
from mgmt_local.engine.seaweedfs import REGION, StorageEngine

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef


@contextmanager
def storage_engine(folder: Path) -> Iterator[StorageEngine]:
    """Run an engine whose data lies in `folder`."""
    access_key, secret_key = secrets.token_hex(10), secrets.token_hex(20)
    with StorageEngine.start(folder, access_key=access_key, secret_key=secret_key) as engine:
        yield engine


def connect(engine: StorageEngine) -> S3Client:
    """Connect to an engine as the service does."""
    return make_s3_client(
        REGION,
        endpoint_url=engine.endpoint_url,
        access_key=engine.access_key,
        secret_key=engine.secret_key,
    )


@contextmanager
def versioned_bucket(engine: StorageEngine) -> Iterator[str]:
    """Make a bucket that keeps versions; it is emptied and removed, because an engine has room for some 70."""
    bucket = f"bucket-{secrets.token_hex(8)}"
    engine.ensure_bucket(bucket)
    yield bucket
    client = connect(engine)
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if found:
            objects: list[ObjectIdentifierTypeDef] = [
                {"Key": version["Key"], "VersionId": version["VersionId"]} for version in found
            ]
            answer = client.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
            assert not answer.get("Errors"), answer["Errors"]
    client.delete_bucket(Bucket=bucket)
    client.close()


def send(request: SignedRequest, body: bytes, *, headers: dict[str, str] | None = None) -> int:
    """PUT a body as the client does, with the headers of the request or with others; return the status."""
    sent = request.headers if headers is None else headers
    with urllib3.PoolManager(retries=False, timeout=10) as pool:
        return pool.request("PUT", request.url, body=body, headers=sent).status
