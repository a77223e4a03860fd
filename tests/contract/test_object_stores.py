"""One suite for the fake and for S3 as a real engine speaks it: signed bytes arrive, all others do not."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta

import pytest
import urllib3

from mgmt_api.adapters.s3 import S3ObjectStore
from mgmt_api.ports import (
    ContentRefusedError,
    NewObject,
    NoSuchMultipartUploadError,
    ObjectStore,
    PreconditionFailedError,
    StorageError,
    StoredObject,
    StoredPart,
    WriteCondition,
)
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.uploads import Part
from mgmt_contract.parts import PART_SIZE_MIN_BYTES
from mgmt_local.engine.seaweedfs import StorageEngine
from support.engine import connect, send, sign_in_the_past
from support.fakes import content_md5, crc64nvme
from support.forger import forge

both = pytest.mark.parametrize("storage", ["fake", "s3"], indirect=True)
engine_only = pytest.mark.parametrize("storage", ["s3"], indirect=True)

NEW = NewObject("team/clip é+1.tar.gz", "operation-1")
CREATE_ONLY = WriteCondition()
BODY = b"footage, packed"
LIFE_SECONDS = 60


def sign(
    store: ObjectStore,
    body: bytes = BODY,
    condition: WriteCondition = CREATE_ONLY,
    new_object: NewObject = NEW,
    *,
    md5: str | None = None,
) -> SignedRequest:
    """Sign the PUT of a body."""
    return store.presign_put(
        new_object,
        size=len(body),
        crc64nvme=crc64nvme(body),
        condition=condition,
        expires_in_seconds=LIFE_SECONDS,
        content_md5=md5,
    )


def head(store: ObjectStore) -> StoredObject:
    stored = store.head_object(NEW.key)
    assert stored is not None
    return stored


def flip_a_bit(body: bytes) -> bytes:
    return body[:-1] + bytes([body[-1] ^ 1])


@both
class TestPresignedPut:
    @pytest.mark.parametrize("body", [BODY, b"", secrets.token_bytes(300_000)], ids=["some", "none", "much"])
    def test_the_signed_bytes_arrive_and_head_tells_what_they_are(self, storage, body: bytes):
        assert storage.store.head_object(NEW.key) is None
        assert storage.put(sign(storage.store, body), body) == 200
        stored = head(storage.store)
        assert (stored.key, stored.size, stored.crc64nvme) == (NEW.key, len(body), crc64nvme(body))
        assert stored.operation_id == NEW.operation_id
        assert stored.etag
        assert stored.version_id

    def test_the_request_says_how_long_it_lives_and_every_header_to_send(self, storage):
        request = sign(storage.store)
        assert request.expires_in_seconds == LIFE_SECONDS
        assert request.headers["content-length"] == str(len(BODY))
        assert request.headers["x-amz-checksum-crc64nvme"] == crc64nvme(BODY)

    @pytest.mark.parametrize("other", [BODY + b".", BODY[:-1], b"", flip_a_bit(BODY)])
    def test_no_other_bytes_do(self, storage, other: bytes):
        request = sign(storage.store)
        headers = request.headers | {"content-length": str(len(other))}
        assert storage.put(replace(request, headers=headers), other) in (400, 403)
        assert storage.store.head_object(NEW.key) is None

    @pytest.mark.parametrize("size", [100, 300_000])
    def test_other_bytes_of_the_same_length_and_checksum_are_taken_unless_the_md5_is_signed(self, storage, size: int):
        """CRC64 is linear, so such bytes are made in moments. No way to make a second preimage of MD5 is known."""
        body = secrets.token_bytes(size)
        forged = forge(b"somebody else's" + bytes(size - 15), crc64nvme(body))
        assert (len(forged), crc64nvme(forged), forged != body) == (size, crc64nvme(body), True)
        with_md5 = sign(storage.store, body, md5=content_md5(body))
        assert storage.put(with_md5, forged) == 400
        other = with_md5.headers | {"content-md5": content_md5(forged)}
        assert storage.put(replace(with_md5, headers=other), forged) == 403
        without = {name: value for name, value in with_md5.headers.items() if name != "content-md5"}
        assert storage.put(replace(with_md5, headers=without), forged) == 403
        assert storage.store.head_object(NEW.key) is None
        assert storage.put(with_md5, body) == 200
        stored = head(storage.store)
        assert (stored.size, stored.crc64nvme) == (size, crc64nvme(body))
        replacing = sign(storage.store, body, WriteCondition(stored.etag))
        assert storage.put(replacing, forged) == 200, "without the MD5 nothing shows it"
        assert (head(storage.store).size, head(storage.store).crc64nvme) == (size, crc64nvme(body))

    def test_the_checksum_cannot_be_exchanged_with_the_bytes(self, storage):
        request, other = sign(storage.store), flip_a_bit(BODY)
        headers = request.headers | {"x-amz-checksum-crc64nvme": crc64nvme(other)}
        assert storage.put(replace(request, headers=headers), other) == 403
        assert storage.store.head_object(NEW.key) is None

    def test_what_is_there_is_not_overwritten(self, storage):
        request, other = sign(storage.store), flip_a_bit(BODY)
        assert storage.put(request, BODY) == 200
        stored = head(storage.store)
        assert storage.put(request, BODY) == 412
        assert storage.put(sign(storage.store, other), other) == 412
        assert head(storage.store) == stored

    def test_the_object_that_was_seen_is_replaced_once(self, storage):
        storage.put(sign(storage.store), BODY)
        first, other = head(storage.store), flip_a_bit(BODY)
        request = sign(storage.store, other, WriteCondition(first.etag))
        assert storage.put(request, other) == 200
        second = head(storage.store)
        assert second.crc64nvme == crc64nvme(other)
        assert second.version_id != first.version_id
        assert storage.put(request, other) == 412
        assert storage.put(sign(storage.store, BODY, WriteCondition(first.etag)), BODY) == 412
        assert head(storage.store) == second

    def test_nothing_is_replaced_where_nothing_is(self, storage):
        request = sign(storage.store, BODY, WriteCondition('"0123456789abcdef0123456789abcdef"'))
        assert storage.put(request, BODY) in (404, 412)
        assert storage.store.head_object(NEW.key) is None


@engine_only
class TestSignatures:
    """What only an engine that verifies signatures can refuse."""

    @pytest.mark.parametrize(
        ("found", "instead"),
        [("X-Amz-Signature=", "X-Amz-Signature=0"), ("clip", "clop"), ("X-Amz-Expires=6", "X-Amz-Expires=7")],
        ids=["signature", "key", "life"],
    )
    def test_a_url_that_was_changed_is_refused(self, storage, found: str, instead: str):
        request = sign(storage.store)
        assert found in request.url
        changed = replace(request, url=request.url.replace(found, instead, 1))
        assert storage.put(changed, BODY) == 403
        assert storage.store.head_object(NEW.key) is None

    def test_a_url_is_refused_once_it_has_expired(self, storage, monkeypatch: pytest.MonkeyPatch):
        with sign_in_the_past(monkeypatch, LIFE_SECONDS):
            request = sign(storage.store)
        assert storage.put(request, BODY) == 403
        assert storage.store.head_object(NEW.key) is None

    def test_each_signed_header_is_needed(self, storage):
        rich = replace(NEW, storage_class="STANDARD_IA", tags={"shoot": "day 1"})
        request = sign(storage.store, new_object=rich)
        assert len(request.headers) == 6
        for name in request.headers.keys() - {"content-length"}:
            headers = {each: value for each, value in request.headers.items() if each != name}
            assert storage.put(replace(request, headers=headers), BODY) == 403, name
        assert storage.store.head_object(NEW.key) is None
        assert storage.put(request, BODY) == 200

    def test_a_url_is_good_for_nothing_but_its_put(self, storage):
        request = sign(storage.store)
        storage.put(request, BODY)
        with urllib3.PoolManager(retries=False, timeout=10) as pool:
            for method in ("GET", "HEAD", "DELETE", "POST"):
                answer = pool.request(method, request.url, body=BODY, headers=request.headers)
                assert answer.status in (403, 405), method
        assert head(storage.store).size == len(BODY)


@both
class TestReading:
    """One version of an object, by HEAD and by a presigned GET."""

    def test_one_url_serves_the_whole_version_and_every_range_of_it(self, storage):
        storage.put(sign(storage.store), BODY)
        request = storage.store.presign_get(NEW.key, head(storage.store).version_id, expires_in_seconds=LIFE_SECONDS)
        assert (request.headers, request.expires_in_seconds) == ({}, LIFE_SECONDS)
        assert storage.get(request) == (200, BODY)
        assert storage.get(request, (3, 6)) == (206, BODY[3:7])
        assert storage.get(request, (0, 0)) == (206, BODY[:1])
        assert storage.get(request, (8, len(BODY) + 100)) == (206, BODY[8:])
        assert storage.get(request, (len(BODY), len(BODY)))[0] == 416

    def test_a_version_is_read_as_it_was_whatever_came_after(self, storage):
        storage.put(sign(storage.store), BODY)
        first, other = head(storage.store), flip_a_bit(BODY)
        storage.put(sign(storage.store, other, WriteCondition(first.etag)), other)
        second = head(storage.store)
        assert storage.store.head_object(NEW.key, first.version_id) == first
        assert storage.store.head_object(NEW.key, second.version_id) == second
        old = storage.store.presign_get(NEW.key, first.version_id, expires_in_seconds=LIFE_SECONDS)
        new = storage.store.presign_get(NEW.key, second.version_id, expires_in_seconds=LIFE_SECONDS)
        assert (storage.get(old), storage.get(new)) == ((200, BODY), (200, other))

    def test_a_version_that_was_joined_from_parts_states_its_one_checksum(self, storage):
        upload = Multipart(storage)
        upload.send(BODIES)
        upload.complete(BODIES)
        stored, whole = head(storage.store), FIRST + LAST
        assert storage.store.head_object(NEW.key, stored.version_id) == stored
        request = storage.store.presign_get(NEW.key, stored.version_id, expires_in_seconds=LIFE_SECONDS)
        assert storage.get(request, (len(FIRST) - 2, len(FIRST) + 1)) == (206, whole[len(FIRST) - 2 : len(FIRST) + 2])

    def test_a_version_under_a_delete_marker_is_read_and_one_that_was_destroyed_is_none(self, storage):
        storage.put(sign(storage.store), BODY)
        stored = head(storage.store)
        request = storage.store.presign_get(NEW.key, stored.version_id, expires_in_seconds=LIFE_SECONDS)
        storage.delete(NEW.key)
        assert storage.store.head_object(NEW.key) is None
        assert storage.store.head_object(NEW.key, stored.version_id) == stored
        assert storage.get(request) == (200, BODY)
        storage.destroy(NEW.key, stored.version_id)
        assert storage.store.head_object(NEW.key, stored.version_id) is None
        assert storage.get(request)[0] == 404

    def test_a_version_of_nothing_is_none(self, storage):
        storage.put(sign(storage.store), BODY)
        assert storage.store.head_object("another", head(storage.store).version_id) is None


@engine_only
class TestSignaturesOfReading:
    """What only an engine that verifies signatures can refuse."""

    @pytest.fixture
    def request_(self, storage) -> SignedRequest:
        storage.put(sign(storage.store), BODY)
        version_id = head(storage.store).version_id
        return storage.store.presign_get(NEW.key, version_id, expires_in_seconds=LIFE_SECONDS)

    @pytest.mark.parametrize("found", ["versionId", "clip", "X-Amz-Expires=6", "X-Amz-Signature="])
    def test_a_url_that_was_changed_is_refused(self, storage, request_: SignedRequest, found: str):
        changes = {
            "versionId": ("versionId=", "versionId=1"),
            "clip": ("clip", "clop"),
            "X-Amz-Expires=6": ("X-Amz-Expires=6", "X-Amz-Expires=7"),
            "X-Amz-Signature=": ("X-Amz-Signature=", "X-Amz-Signature=0"),
        }
        changed = request_.url.replace(*changes[found], 1)
        assert changed != request_.url
        assert storage.get(replace(request_, url=changed))[0] == 403

    def test_a_url_without_its_version_is_refused(self, storage, request_: SignedRequest):
        address, _, query = request_.url.partition("?")
        rest = "&".join(each for each in query.split("&") if not each.startswith("versionId="))
        assert rest != query
        assert storage.get(replace(request_, url=f"{address}?{rest}"))[0] == 403

    def test_the_url_of_another_version_is_refused(self, storage, request_: SignedRequest):
        first, other = head(storage.store), flip_a_bit(BODY)
        storage.put(sign(storage.store, other, WriteCondition(first.etag)), other)
        later = head(storage.store).version_id
        changed = request_.url.replace(str(first.version_id), str(later), 1)
        assert changed != request_.url
        assert storage.get(replace(request_, url=changed))[0] == 403

    def test_a_url_is_refused_once_it_has_expired(self, storage, monkeypatch: pytest.MonkeyPatch):
        storage.put(sign(storage.store), BODY)
        version_id = head(storage.store).version_id
        with sign_in_the_past(monkeypatch, LIFE_SECONDS):
            request = storage.store.presign_get(NEW.key, version_id, expires_in_seconds=LIFE_SECONDS)
        assert storage.get(request)[0] == 403

    def test_a_url_is_good_for_nothing_but_its_get(self, storage, request_: SignedRequest):
        stored = head(storage.store)
        with urllib3.PoolManager(retries=False, timeout=10) as pool:
            for method in ("PUT", "DELETE", "POST"):
                answer = pool.request(method, request_.url, body=b"instead")
                assert answer.status in (403, 405), method
        assert head(storage.store) == stored
        assert storage.get(request_) == (200, BODY)


@engine_only
class TestStoredBeside:
    """What goes with the bytes, whichever way they come."""

    RICH = replace(NEW, storage_class="STANDARD_IA", tags={"shoot": "day 1/2", "k&=": "ü"})

    def test_a_put_carries_storage_class_and_tags(self, storage, engine: StorageEngine, bucket: str):
        assert storage.put(sign(storage.store, new_object=self.RICH), BODY) == 200
        assert head(storage.store).storage_class == "STANDARD_IA"
        assert read_tags(engine, bucket) == self.RICH.tags

    def test_a_multipart_upload_carries_storage_class_and_tags(self, storage, engine: StorageEngine, bucket: str):
        upload = Multipart(storage, self.RICH)
        upload.send([BODY])
        upload.complete([BODY])
        assert head(storage.store).storage_class == "STANDARD_IA"
        assert head(storage.store).operation_id == NEW.operation_id
        assert read_tags(engine, bucket) == self.RICH.tags


def read_tags(engine: StorageEngine, bucket: str) -> dict[str, str]:
    tags = connect(engine).get_object_tagging(Bucket=bucket, Key=NEW.key)["TagSet"]
    return {tag["Key"]: tag["Value"] for tag in tags}


# --- multipart uploads ---------------------------------------------------------------------------------

FIRST = secrets.token_bytes(PART_SIZE_MIN_BYTES)
LAST = b"the rest"
BODIES = [FIRST, LAST]


class Multipart:
    """One multipart upload and what a client sends to it."""

    def __init__(self, storage, new_object: NewObject = NEW) -> None:
        self.storage = storage
        self.store: ObjectStore = storage.store
        self.id = self.store.create_multipart_upload(new_object)

    def sign(self, number: int, body: bytes) -> SignedRequest:
        part = Part(number, len(body), crc64nvme(body))
        return self.store.presign_part(NEW.key, self.id, part, expires_in_seconds=LIFE_SECONDS)

    def send(self, bodies: list[bytes]) -> None:
        for number, body in enumerate(bodies, start=1):
            assert self.storage.put_part(self.sign(number, body), body) == 200

    def list_parts(self) -> list[StoredPart]:
        return self.store.list_parts(NEW.key, self.id)

    def complete(
        self,
        bodies: list[bytes],
        condition: WriteCondition = CREATE_ONLY,
        *,
        parts: list[StoredPart] | None = None,
    ) -> None:
        whole = b"".join(bodies)
        self.store.complete_multipart_upload(
            NEW.key,
            self.id,
            self.list_parts() if parts is None else parts,
            size=len(whole),
            crc64nvme=crc64nvme(whole),
            condition=condition,
            within_seconds=20,
        )


@both
class TestMultipart:
    def test_parts_become_one_object_with_one_checksum(self, storage):
        upload = Multipart(storage)
        upload.send(BODIES)
        assert storage.store.head_object(NEW.key) is None
        upload.complete(BODIES)
        stored, whole = head(storage.store), FIRST + LAST
        assert (stored.size, stored.crc64nvme) == (len(whole), crc64nvme(whole))
        assert stored.operation_id == NEW.operation_id
        assert stored.version_id

    def test_an_empty_object_is_one_empty_part(self, storage):
        upload = Multipart(storage)
        upload.send([b""])
        upload.complete([b""])
        assert (head(storage.store).size, head(storage.store).crc64nvme) == (0, crc64nvme(b""))

    def test_the_parts_are_listed_by_number_whatever_came_first(self, storage):
        upload = Multipart(storage)
        assert upload.list_parts() == []
        for number in (3, 1, 2):
            body = bytes(number)
            assert storage.put_part(upload.sign(number, body), body) == 200
        assert [(part.number, part.size) for part in upload.list_parts()] == [(1, 1), (2, 2), (3, 3)]

    def test_a_part_sent_again_is_listed_once_and_used_once(self, storage):
        upload = Multipart(storage)
        upload.send(BODIES)
        upload.send(BODIES)
        assert [(part.number, part.size) for part in upload.list_parts()] == [(1, len(FIRST)), (2, len(LAST))]
        upload.complete(BODIES)
        assert head(storage.store).crc64nvme == crc64nvme(FIRST + LAST)

    @pytest.mark.parametrize("other", [LAST + b".", LAST[:-1], flip_a_bit(LAST)])
    def test_a_part_is_the_signed_bytes_or_none(self, storage, other: bytes):
        upload = Multipart(storage)
        request = upload.sign(2, LAST)
        headers = request.headers | {"content-length": str(len(other))}
        assert storage.put_part(replace(request, headers=headers), other) in (400, 403)
        assert upload.list_parts() == []

    def test_a_part_has_exactly_two_signed_headers(self, storage):
        request = Multipart(storage).sign(1, LAST)
        assert request.headers == {
            "content-length": str(len(LAST)),
            "x-amz-checksum-crc64nvme": crc64nvme(LAST),
        }

    def test_another_whole_checksum_is_refused_and_the_parts_stay(self, storage):
        upload = Multipart(storage)
        upload.send(BODIES)
        with pytest.raises(ContentRefusedError):
            upload.complete([FIRST, flip_a_bit(LAST)])
        assert storage.store.head_object(NEW.key) is None
        upload.complete(BODIES)
        assert head(storage.store).size == len(FIRST + LAST)

    def test_another_size_is_refused(self, storage):
        upload = Multipart(storage)
        upload.send(BODIES)
        with pytest.raises(ContentRefusedError):
            storage.store.complete_multipart_upload(
                NEW.key,
                upload.id,
                upload.list_parts(),
                size=len(FIRST + LAST) + 1,
                crc64nvme=crc64nvme(FIRST + LAST),
                condition=CREATE_ONLY,
                within_seconds=20,
            )
        assert storage.store.head_object(NEW.key) is None

    def test_parts_that_are_not_there_are_refused(self, storage):
        upload = Multipart(storage)
        upload.send(BODIES)
        first, last = upload.list_parts()
        for parts in ([], [first]):
            with pytest.raises(ContentRefusedError):
                upload.complete(BODIES, parts=parts)
        for parts in ([last, first], [replace(first, etag='"0"'), last], [first, replace(last, number=3)]):
            with pytest.raises(StorageError) as refused:
                upload.complete(BODIES, parts=parts)
            assert (type(refused.value), refused.value.code[:11]) == (StorageError, "InvalidPart"), "not surely content"
        assert storage.store.head_object(NEW.key) is None
        upload.complete(BODIES)
        assert head(storage.store).size == len(FIRST + LAST)

    def test_a_part_but_the_last_that_is_too_small_is_refused(self, storage):
        upload = Multipart(storage)
        upload.send([LAST, LAST])
        with pytest.raises(StorageError) as refused:
            upload.complete([LAST, LAST])
        assert type(refused.value) is StorageError

    def test_the_parts_checksums_go_along(self, storage):
        upload = Multipart(storage)
        upload.send(BODIES)
        listed = zip(upload.list_parts(), BODIES, strict=True)
        upload.complete(BODIES, parts=[replace(part, crc64nvme=crc64nvme(body)) for part, body in listed])
        assert head(storage.store).crc64nvme == crc64nvme(FIRST + LAST)

    def test_an_object_that_came_meanwhile_is_not_overwritten(self, storage):
        upload = Multipart(storage)
        upload.send(BODIES)
        storage.put(sign(storage.store), BODY)
        with pytest.raises(PreconditionFailedError):
            upload.complete(BODIES)
        assert head(storage.store).size == len(BODY)

    def test_the_object_that_was_seen_is_replaced_and_no_other(self, storage):
        storage.put(sign(storage.store), BODY)
        upload = Multipart(storage)
        upload.send(BODIES)
        with pytest.raises(PreconditionFailedError):
            upload.complete(BODIES, WriteCondition('"0123456789abcdef0123456789abcdef"'))
        assert head(storage.store).size == len(BODY)
        upload.complete(BODIES, WriteCondition(head(storage.store).etag))
        assert head(storage.store).size == len(FIRST + LAST)

    def test_nothing_is_replaced_where_nothing_is(self, storage):
        upload = Multipart(storage)
        upload.send([LAST])
        with pytest.raises(PreconditionFailedError):
            upload.complete([LAST], WriteCondition('"0123456789abcdef0123456789abcdef"'))
        assert storage.store.head_object(NEW.key) is None

    def test_completing_again_changes_nothing(self, storage):
        upload = Multipart(storage)
        upload.send(BODIES)
        parts = upload.list_parts()
        upload.complete(BODIES, parts=parts)
        stored = head(storage.store)
        with pytest.raises((NoSuchMultipartUploadError, PreconditionFailedError)):
            upload.complete(BODIES, parts=parts)
        assert head(storage.store) == stored

    def test_a_completed_upload_is_gone(self, storage):
        upload = Multipart(storage)
        upload.send([LAST])
        upload.complete([LAST])
        with pytest.raises(NoSuchMultipartUploadError):
            upload.list_parts()
        assert storage.put_part(upload.sign(1, LAST), LAST) == 404
        upload.store.abort_multipart_upload(NEW.key, upload.id)
        assert head(storage.store).size == len(LAST)

    def test_aborting_throws_the_parts_away_and_may_be_repeated(self, storage):
        upload = Multipart(storage)
        upload.send([LAST])
        parts = upload.list_parts()
        for _ in range(2):
            upload.store.abort_multipart_upload(NEW.key, upload.id)
        with pytest.raises(NoSuchMultipartUploadError):
            upload.list_parts()
        with pytest.raises(NoSuchMultipartUploadError):
            upload.complete([LAST], parts=parts)
        assert storage.put_part(upload.sign(1, LAST), LAST) == 404
        assert storage.store.head_object(NEW.key) is None

    def test_uploads_of_one_key_know_nothing_of_each_other(self, storage):
        first, second = Multipart(storage), Multipart(storage)
        assert first.id != second.id
        first.send([LAST])
        second.send([b"another"])
        first.store.abort_multipart_upload(NEW.key, first.id)
        second.complete([b"another"])
        assert head(storage.store).size == len(b"another")


# --- the bucket ----------------------------------------------------------------------------------------


def test_the_bucket_keeps_what_was_replaced(engine: StorageEngine, bucket: str):
    client = connect(engine)
    store = S3ObjectStore(client, bucket)
    send(sign(store), BODY)
    first, other = head(store), flip_a_bit(BODY)
    assert first.version_id is not None
    send(sign(store, other, WriteCondition(first.etag)), other)
    old = client.get_object(Bucket=bucket, Key=NEW.key, VersionId=first.version_id)
    assert old["Body"].read() == BODY
    assert client.get_object(Bucket=bucket, Key=NEW.key)["Body"].read() == other


def test_a_deleted_object_is_none_and_its_key_is_free(engine: StorageEngine, bucket: str):
    client = connect(engine)
    store = S3ObjectStore(client, bucket)
    send(sign(store), BODY)
    client.delete_object(Bucket=bucket, Key=NEW.key)
    assert store.head_object(NEW.key) is None
    assert send(sign(store), BODY) == 200


def test_an_object_of_somebody_else_has_no_operation(engine: StorageEngine, bucket: str):
    client = connect(engine)
    client.put_object(Bucket=bucket, Key=NEW.key, Body=BODY)
    stored = head(S3ObjectStore(client, bucket))
    assert (stored.size, stored.operation_id, stored.storage_class) == (len(BODY), None, None)


def test_what_has_no_name_in_the_port_is_still_a_storage_error(engine: StorageEngine, bucket: str):
    store = S3ObjectStore(connect(engine), "no-such-bucket")
    with pytest.raises(StorageError, match="NoSuchBucket") as caught:
        store.create_multipart_upload(NEW)
    assert type(caught.value) is StorageError


# --- what the worker asks ------------------------------------------------------------------------------


@both
def test_a_tag_is_added_to_one_version_beside_those_that_it_has(storage):
    tags = {f"tag{number}": "x y" for number in range(3)}
    tagged = replace(NEW, tags=tags)
    assert storage.put(sign(storage.store, new_object=tagged), BODY) == 200
    old = head(storage.store)
    assert storage.put(sign(storage.store, b"later", WriteCondition(old.etag)), b"later") == 200
    assert storage.store.tag_version(NEW.key, old.version_id, "mgmt-expired", "true")
    assert storage.store.tag_version(NEW.key, old.version_id, "mgmt-expired", "true"), "twice is once"
    assert storage.tags(NEW.key, old.version_id) == {**tags, "mgmt-expired": "true"}
    assert storage.tags(NEW.key, head(storage.store).version_id) == {}


@both
def test_a_tag_finds_room_where_there_are_as_many_as_can_be(storage):
    tags = {f"tag{number}": "x" for number in range(10)}
    assert storage.put(sign(storage.store, new_object=replace(NEW, tags=tags)), BODY) == 200
    assert storage.store.tag_version(NEW.key, head(storage.store).version_id, "mgmt-expired", "true")
    found = storage.tags(NEW.key, head(storage.store).version_id)
    assert (len(found), found["mgmt-expired"]) == (10, "true")


@both
def test_a_version_that_is_not_there_is_not_tagged(storage):
    assert storage.put(sign(storage.store), BODY) == 200
    version_id = head(storage.store).version_id
    storage.destroy(NEW.key, version_id)
    assert not storage.store.tag_version(NEW.key, version_id, "mgmt-expired", "true")


@both
def test_objects_are_listed_in_order_below_a_prefix_and_from_a_place_on(storage):
    keys = [f"team/{name}.tar.gz" for name in ("a b", "b+1", "c", "d")]
    for key in [*keys, "other/x.tar.gz"]:
        assert storage.put(sign(storage.store, new_object=replace(NEW, key=key)), BODY) == 200
    listed = storage.store.list_objects("team/", "")
    assert [each.key for each in listed] == keys
    for each in listed:
        assert each.etag == storage.store.head_object(each.key).etag
        assert each.modified_at.utcoffset() == timedelta()
    rest = storage.store.list_objects("team/", listed[1].key)
    assert rest == listed[2:]
    assert storage.store.list_objects("team/", listed[-1].key) == []


@both
def test_open_multipart_uploads_are_listed_from_a_place_on(storage):
    new = [replace(NEW, key=f"team/{name}.tar.gz") for name in ("a", "b", "b")]
    ids = {storage.store.create_multipart_upload(each) for each in new}
    storage.store.create_multipart_upload(replace(NEW, key="other/x.tar.gz"))
    listed = storage.store.list_multipart_uploads("team/", None)
    assert {each.multipart_upload_id for each in listed} == ids
    assert [each.key for each in listed] == [each.key for each in new]
    assert storage.store.list_multipart_uploads("team/", listed[1]) == listed[2:]
    assert storage.store.list_multipart_uploads("team/", listed[-1]) == []
