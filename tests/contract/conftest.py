"""Every implementation of both ports, made fresh for a test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mgmt_api.adapters.dynamodb import DynamoDBRecordStore
from mgmt_api.adapters.s3 import S3ObjectStore
from mgmt_api.ports import ObjectStore, RecordStore
from mgmt_contract.messages.objects import SignedRequest
from mgmt_local.engine.seaweedfs import StorageEngine
from mgmt_local.records import SQLiteRecordStore
from support.engine import connect, fetch, send, versioned_bucket
from support.fakes import FakeObjectStore, FakeRecordStore
from support.moto_table import create_table, moto_dynamodb

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MakeRecordStore = Callable[[], RecordStore]
Send = Callable[[SignedRequest, bytes], int]
Fetch = Callable[..., tuple[int, bytes]]
"""Takes a presigned GET, and the first and last byte of a range if not all is wanted."""


# --- record stores -------------------------------------------------------------------------------------


def _make_sqlite_stores(folder: Path, stack: ExitStack) -> MakeRecordStore:
    numbers = itertools.count()

    def make() -> RecordStore:
        store = SQLiteRecordStore(folder / f"records-{next(numbers)}.sqlite")
        stack.callback(store.close)
        return store

    return make


_TABLES = itertools.count()


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[DynamoDBClient]:
    """Give a client of a DynamoDB; each store has a table of its own in it."""
    with moto_dynamodb() as client:
        yield client


def _make_dynamodb_stores(client: DynamoDBClient, shards: int) -> MakeRecordStore:
    return lambda: DynamoDBRecordStore(client, create_table(client, f"records-{next(_TABLES)}"), shards)


@pytest.fixture
def record_store_maker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeRecordStore]:
    """Give a function that makes an empty store of the kind the test is parametrized with."""
    with ExitStack() as stack:
        makers: dict[str, Callable[[], MakeRecordStore]] = {
            "fake": lambda: FakeRecordStore,
            "sqlite": lambda: _make_sqlite_stores(tmp_path, stack),
            "dynamodb": lambda: _make_dynamodb_stores(request.getfixturevalue("dynamodb"), 1),
            "dynamodb-of-4-shards": lambda: _make_dynamodb_stores(request.getfixturevalue("dynamodb"), 4),
        }
        yield makers[request.param]()


@pytest.fixture
def store(record_store_maker: MakeRecordStore) -> RecordStore:
    """Give one empty record store."""
    return record_store_maker()


# --- object stores -------------------------------------------------------------------------------------


@pytest.fixture
def bucket(engine: StorageEngine) -> Iterator[str]:
    """Give an empty bucket that keeps versions."""
    with versioned_bucket(engine) as name:
        yield name


@dataclass(frozen=True)
class Storage:
    """An object store and what a client does with the URLs it signs."""

    store: ObjectStore
    put: Send
    put_part: Send
    get: Fetch
    delete: Callable[[str], object]
    """Lays a delete marker over an object, past the service."""
    destroy: Callable[[str, str | None], object]
    """Removes one version for ever, past the service."""
    tags: Callable[[str, str | None], dict[str, str]]
    """Tells the tags of one version."""


@pytest.fixture
def storage(request: pytest.FixtureRequest) -> Storage:
    """Give an empty object store of the kind the test is parametrized with."""
    if request.param == "fake":
        fake = FakeObjectStore()
        fake_tags = fake.tags
        return Storage(
            fake,
            fake.put,
            fake.put_part,
            fake.get,
            fake.delete,
            fake.destroy,
            lambda key, version_id: fake_tags.get((key, version_id), {}),
        )
    engine, bucket = request.getfixturevalue("engine"), request.getfixturevalue("bucket")
    client = connect(engine)

    def destroy(key: str, version_id: str | None) -> None:
        client.delete_object(Bucket=bucket, Key=key, VersionId=version_id or "null")

    def tags(key: str, version_id: str | None) -> dict[str, str]:
        found = client.get_object_tagging(Bucket=bucket, Key=key, VersionId=version_id or "null")["TagSet"]
        return {each["Key"]: each["Value"] for each in found}

    return Storage(
        S3ObjectStore(client, bucket),
        send,
        send,
        fetch,
        lambda key: client.delete_object(Bucket=bucket, Key=key),
        destroy,
        tags,
    )
