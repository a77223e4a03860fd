"""The embedded backend's object store signs no PUT that its disk has no room for, and does everything else."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from mgmt_api.ports import NewObject, StorageFullError, WriteCondition
from mgmt_contract.messages.uploads import Part
from mgmt_local.engine.room import Room
from mgmt_local.engine.seaweedfs import StorageEngine
from mgmt_local.objects import LocalObjectStore
from support.engine import connect, send, versioned_bucket
from support.fakes import crc64nvme

KEY = "clip.tar.gz"
NEW = NewObject(KEY, "operation-1")
BODY = b"footage"
TOTAL_BYTES = 1000


class Disk:
    """A disk of which a test says how much is free."""

    def __init__(self, folder):
        self._folder = folder
        self.free_bytes = TOTAL_BYTES
        self.error = None

    def read(self):
        if self.error is not None:
            raise self.error
        return Room(self._folder, self.free_bytes, TOTAL_BYTES)


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path)


@pytest.fixture
def store(engine: StorageEngine, disk: Disk) -> Iterator[LocalObjectStore]:
    with closing(connect(engine)) as client, versioned_bucket(engine) as bucket:
        yield LocalObjectStore(client, bucket, disk.read)


def sign_put(store):
    return store.presign_put(
        NEW, size=len(BODY), crc64nvme=crc64nvme(BODY), condition=WriteCondition(), expires_in_seconds=60
    )


def sign_part(store, multipart_upload_id="any"):
    part = Part(1, len(BODY), crc64nvme(BODY))
    return store.presign_part(KEY, multipart_upload_id, part, expires_in_seconds=60)


@pytest.mark.parametrize(
    ("call", "needed_bytes"),
    [
        (sign_put, 10 + len(BODY)),
        (sign_part, 10 + len(BODY)),
        (lambda store: store.create_multipart_upload(NEW), 10),
    ],
    ids=["put", "part", "multipart upload"],
)
def test_what_needs_room_is_refused_with_the_reason_until_there_is_some(store, disk, call, needed_bytes):
    disk.free_bytes = needed_bytes - 1
    with pytest.raises(StorageFullError, match=r"has no room: .*, then run the same command again: it goes on"):
        call(store)
    disk.free_bytes = needed_bytes
    assert call(store)


def test_a_disk_that_does_not_say_is_left_to_the_engine(store, disk):
    disk.error = OSError("gone")
    assert send(sign_put(store), BODY) == 200


def test_what_is_stored_can_be_read_tagged_and_completed_on_a_full_disk(store, disk):
    assert send(sign_put(store), BODY) == 200
    upload = store.create_multipart_upload(NewObject("other", "operation-2"))
    part = Part(1, len(BODY), crc64nvme(BODY))
    assert send(store.presign_part("other", upload, part, expires_in_seconds=60), BODY) == 200
    disk.free_bytes = 0
    stored = store.head_object(KEY)
    assert store.tag_version(KEY, stored.version_id, "mgmt-expired", "now")
    assert store.presign_get(KEY, stored.version_id, expires_in_seconds=60)
    store.complete_multipart_upload(
        "other",
        upload,
        store.list_parts("other", upload),
        size=len(BODY),
        crc64nvme=crc64nvme(BODY),
        condition=WriteCondition(),
        within_seconds=30,
    )
    assert store.head_object("other").size == len(BODY)
