"""Unfinished multipart uploads in the embedded storage expire."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mgmt_contract.parts import ABANDONED_AFTER_DAYS
from mgmt_local import server
from mgmt_local.engine.expiry import Expiry, StoredVersion
from mgmt_local.engine.seaweedfs import StorageEngine
from mgmt_local.process.state import open_state_folder
from support.local_backend import wait_until

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "abandoned"
LIFE = timedelta(days=ABANDONED_AFTER_DAYS)


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def client(engine: StorageEngine) -> Iterator[S3Client]:
    engine.ensure_bucket(BUCKET)
    made = engine.make_client()
    yield made
    made.close()


def begin(client: S3Client, count: int) -> None:
    for number in range(count):
        key = f"día {number}.tar.gz"
        upload_id = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
        client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload_id, PartNumber=1, Body=b"a part")


def count_open(client: S3Client) -> int:
    return len(client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []))


def test_what_was_begun_too_long_ago_is_removed_and_nothing_else(engine: StorageEngine, client: S3Client):
    clock = Clock()
    expiry = Expiry(engine.make_client, BUCKET, clock)
    client.put_object(Bucket=BUCKET, Key="stored", Body=b"stored")
    begin(client, 40)
    clock.now += LIFE - timedelta(minutes=5)
    expiry.look_if_due()
    assert count_open(client) == 40
    clock.now += timedelta(minutes=30)
    expiry.look_if_due()
    assert count_open(client) == 40, "a look an hour is enough"
    clock.now += timedelta(minutes=30)
    expiry.look_if_due()
    assert count_open(client) == 0
    assert client.get_object(Bucket=BUCKET, Key="stored")["Body"].read() == b"stored"


def test_a_storage_that_does_not_answer_is_looked_at_again(
    engine: StorageEngine, client: S3Client, monkeypatch: pytest.MonkeyPatch
):
    clock = Clock()
    monkeypatch.setattr(engine, "ports", engine.ports._replace(s3=9))  # nothing listens there
    expiry = Expiry(engine.make_client, BUCKET, clock)
    begin(client, 1)
    clock.now += LIFE + timedelta(hours=1)
    expiry.look_if_due()
    assert count_open(client) == 1
    monkeypatch.undo()
    clock.now += timedelta(hours=1)
    expiry.look_if_due()
    assert count_open(client) == 0


def test_the_running_backend_looks_by_itself(tmp_path: Path):
    """Its clock is moved, not the storage's: what was begun a moment ago is a month old by it."""
    folder, signals = open_state_folder(tmp_path), queue.SimpleQueue()
    later = datetime.now(UTC) + LIFE + timedelta(minutes=1)
    with (
        server._sole_server(folder) as claim,
        server._run_backend(folder, claim, signals, idle_seconds=60) as backend,
        closing(backend.engine.make_client()) as client,
    ):
        client.create_multipart_upload(Bucket=server.BUCKET, Key="large.mov.tar.gz")
        backend._check_seconds = 0.01
        backend._expiry = Expiry(backend.engine.make_client, server.BUCKET, lambda: later)
        watching = threading.Thread(target=backend.watch)
        watching.start()
        try:
            wait_until(lambda: not client.list_multipart_uploads(Bucket=server.BUCKET).get("Uploads"))
        finally:
            signals.put("stop")
            watching.join()


class Deleted:
    """A deleted upload that is found as long as its removal is not recorded."""

    def __init__(self, *versions: StoredVersion) -> None:
        self.versions = versions
        self.is_noted = False

    def note_removed(self) -> None:
        self.is_noted = True


def put(client: S3Client, key: str, body: bytes) -> StoredVersion:
    return StoredVersion(key, client.put_object(Bucket=BUCKET, Key=key, Body=body)["VersionId"])


def bodies(client: S3Client, key: str) -> list[bytes]:
    listed = client.list_object_versions(Bucket=BUCKET, Prefix=key).get("Versions", [])
    return [
        client.get_object(Bucket=BUCKET, Key=each["Key"], VersionId=each["VersionId"])["Body"].read()
        for each in listed
        if each["Key"] == key
    ]


def test_of_deleted_uploads_exactly_their_versions_are_removed_and_that_is_recorded_after_it(
    engine: StorageEngine, client: S3Client
):
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    older, wanted, newer = (put(client, "replaced", body) for body in (b"1", b"2", b"3"))
    current, index = put(client, "current", b"archive"), put(client, ".mgmt/id.index.gz", b"index")
    clock, asked = Clock(), []
    found = [Deleted(wanted), Deleted(current, index), Deleted()]

    def find(now: datetime) -> list[Deleted]:
        asked.append(now)
        return [each for each in found if not each.is_noted]

    expiry = Expiry(engine.make_client, BUCKET, clock, find)
    expiry.look_if_due()
    assert asked == [clock.now]
    assert [each.is_noted for each in found] == [True, True, False], "one without a version is left alone"
    assert sorted(bodies(client, "replaced")) == [b"1", b"3"]
    assert (bodies(client, "current"), bodies(client, index.key)) == ([], [])
    for each in found:
        each.is_noted = False
    clock.now += timedelta(hours=1)
    expiry.look_if_due()
    assert [each.is_noted for each in found] == [True, True, False], "a look that died before it recorded is made again"
    assert {older.version_id, newer.version_id}.isdisjoint({wanted.version_id})


def test_what_the_storage_does_not_remove_is_not_recorded_as_removed(engine, client, monkeypatch):
    version = put(client, "clip", b"archive")
    monkeypatch.setattr(engine, "ports", engine.ports._replace(s3=9))  # nothing listens there
    deleted = Deleted(version)
    Expiry(engine.make_client, BUCKET, Clock(), lambda _: [deleted]).look_if_due()
    assert not deleted.is_noted
