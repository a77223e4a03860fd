"""Restoring archived objects: one suite for the fake and for S3 as moto speaks it, which keeps such states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from moto import mock_aws
from moto.moto_api import state_manager

from mgmt_api.adapters.clients import make_s3_client
from mgmt_api.adapters.s3 import S3ObjectStore
from mgmt_api.ports import NotArchivedError, ObjectStore, StoredObject
from support.fakes import FakeObjectStore, ManualClock

KEY = "team/clip é.tar.gz"
DAYS = 7
_RESTORES = "s3::keyrestore"


@dataclass
class Archive:
    """An object store, and what S3 does by itself."""

    store: ObjectStore
    place: Callable[[str], str]
    """Stores an object of a class and returns its version."""
    finish: Callable[[str], object]
    """Lets the restore of a version end."""


def _open_fake() -> Archive:
    fake, clock = FakeObjectStore(), ManualClock()

    def place(storage_class: str) -> str:
        stored = fake.place(KEY, b"footage")
        fake.state(KEY, stored.version_id, storage_class=storage_class)
        return str(stored.version_id)

    def finish(version_id: str) -> None:
        fake.state(KEY, version_id, is_restoring=False, restored_until=clock() + timedelta(days=DAYS))

    return Archive(fake, place, finish)


@pytest.fixture
def archive(request: pytest.FixtureRequest) -> Iterator[Archive]:
    if request.param == "fake":
        yield _open_fake()
        return
    with mock_aws():
        state_manager.set_transition(_RESTORES, transition={"progression": "manual", "times": 2})
        client = make_s3_client("us-east-1", access_key="testing", secret_key="testing")
        client.create_bucket(Bucket="media")
        client.put_bucket_versioning(Bucket="media", VersioningConfiguration={"Status": "Enabled"})

        def place(storage_class: str) -> str:
            put = client.put_object(Bucket="media", Key=KEY, Body=b"footage", StorageClass=storage_class)  # type: ignore[arg-type]
            return put["VersionId"]

        def finish(version_id: str) -> None:  # each look brings moto's restore on by one step
            client.head_object(Bucket="media", Key=KEY, VersionId=version_id)

        yield Archive(S3ObjectStore(client, "media"), place, finish)
        state_manager.unset_transition(_RESTORES)


every_store = pytest.mark.parametrize("archive", ["fake", "moto"], indirect=True)


def head(archive: Archive, version_id: str) -> StoredObject:
    stored = archive.store.head_object(KEY, version_id)
    assert stored is not None
    return stored


@every_store
@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_an_archived_version_is_readable_once_its_restore_has_ended(archive: Archive, storage_class: str):
    version_id = archive.place(storage_class)
    assert (head(archive, version_id).reading, head(archive, version_id).storage_class) == ("archived", storage_class)
    archive.store.restore_object(KEY, version_id, "Bulk", DAYS)
    assert head(archive, version_id).reading == "restoring"
    archive.finish(version_id)
    restored = head(archive, version_id)
    assert (restored.reading, restored.storage_class) == ("readable", storage_class)
    assert restored.restored_until is not None
    assert restored.restored_until.tzinfo is not None


@every_store
@pytest.mark.parametrize("storage_class", ["STANDARD", "GLACIER_IR"])
def test_what_is_not_archived_cannot_be_restored(archive: Archive, storage_class: str):
    version_id = archive.place(storage_class)
    assert head(archive, version_id).reading == "readable"
    with pytest.raises(NotArchivedError):
        archive.store.restore_object(KEY, version_id, "Standard", DAYS)
