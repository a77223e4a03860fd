"""In-memory fakes of both ports: honest about conditions, bytes and checksums; nothing is mocked.

`FakeObjectStore.put` and `put_part` let a test play the client: they answer the status S3 would.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from anycrc import Model  # type: ignore[import-untyped]  # it has no annotations

from mgmt_api.domain.entities import HistoryPage, HistoryQuery, Name, Operation, Recorded, RecordedT
from mgmt_api.domain.metrics import MetricName
from mgmt_api.domain.work import Work, read_work, write_work
from mgmt_api.ports import (
    Clock,
    ConflictError,
    ContentRefusedError,
    ListedObject,
    ListedUpload,
    NewObject,
    NoSuchMultipartUploadError,
    NotArchivedError,
    PreconditionFailedError,
    QueueUnavailableError,
    StorageError,
    StoredObject,
    StoredPart,
    TierUnavailableError,
    WriteCondition,
)
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.uploads import Part
from mgmt_contract.names import fold_key, fold_person
from mgmt_contract.parts import PART_SIZE_MIN_BYTES
from mgmt_contract.records import STATUS_OF_PHASE, may_follow
from mgmt_contract.restoring import RestoreTier
from mgmt_contract.storage import TAGS_MAX
from mgmt_contract.wire import format_time

_CRC64NVME = Model("CRC64-NVME")


def crc64nvme(body: bytes) -> str:
    """The checksum of some bytes as S3 writes it."""
    return base64.b64encode(_CRC64NVME.calc(body).to_bytes(8, "big")).decode()


def content_md5(body: bytes) -> str:
    """The MD5 of some bytes as HTTP writes it."""
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, start: datetime = datetime(2026, 11, 1, 12, tzinfo=UTC)) -> None:
        self.now = start

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


# --- the worker's queue --------------------------------------------------------------------------------


class FakeWorkQueue:
    """A queue that keeps work until its delay has passed by a clock that moves when told to."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.waiting: list[tuple[datetime, Work]] = []
        self.is_broken = False
        self.do_at_once: Callable[[Work], None] | None = None
        """A worker that is so fast; None: what is due is taken."""

    def send(self, work: Work, *, delay_seconds: int = 0) -> bool:
        """See `WorkQueue`; what cannot be written as a message is no work."""
        if self.is_broken:
            raise QueueUnavailableError("the queue is out of order")
        assert read_work(write_work(work)) == [work]
        assert 0 <= delay_seconds <= 900
        if self.do_at_once is not None and delay_seconds == 0:
            self.do_at_once(work)
            return True
        self.waiting.append((self._clock() + timedelta(seconds=delay_seconds), work))
        return False

    def take_due(self) -> list[Work]:
        """Take out what is to be done now."""
        due = [work for due_at, work in self.waiting if due_at <= self._clock()]
        self.waiting = [(due_at, work) for due_at, work in self.waiting if due_at > self._clock()]
        return due


# --- records -------------------------------------------------------------------------------------------


class FakeMetrics:
    """Counts that are looked at."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """By name, or by name and code: "UploadsFailed superseded"."""
        self.flushes = 0

    def count(self, name: MetricName, value: int = 1, *, code: str | None = None) -> None:
        """Add to a count."""
        self.counts[f"{name} {code}" if code else name] += value

    def flush(self) -> None:
        """Note that a request has ended."""
        self.flushes += 1


class FakeRecordStore:
    """A record store in dictionaries.

    With `examined_per_call`, a page looks at no more operations than that, as an adapter does where no
    index serves a filter.
    """

    def __init__(self, *, examined_per_call: int | None = None) -> None:
        self.operations: dict[str, Recorded] = {}
        self.names: dict[str, Name] = {}
        self.signed_parts: dict[str, dict[int, Part]] = {}
        self._examined_per_call = examined_per_call

    def get_operations(self, operation_ids: Iterable[str]) -> dict[str, Recorded]:
        """See `RecordStore`."""
        wanted = set(operation_ids)
        return {id_: _read(self.operations[id_]) for id_ in wanted if id_ in self.operations}

    def create_operation(self, operation: RecordedT) -> RecordedT:
        """See `RecordStore`."""
        if operation.id in self.operations:
            raise ConflictError(f"operation {operation.id} exists")
        return self._store_operation(replace(operation, revision=1))

    def update_operation(self, operation: RecordedT) -> RecordedT:
        """See `RecordStore`."""
        stored = self.operations.get(operation.id)
        if stored is None or stored.revision != operation.revision:
            raise ConflictError(f"operation {operation.id} is not at revision {operation.revision}")
        return self._store_operation(replace(operation, revision=operation.revision + 1))

    def _store_operation(self, operation: RecordedT) -> RecordedT:
        self.operations[operation.id] = copy.deepcopy(operation)
        return operation

    def create_with_upload(self, operation: RecordedT, upload: Operation, name: Name) -> tuple[RecordedT, Operation]:
        """See `RecordStore`."""
        stored, named = self.operations.get(upload.id), self.names.get(fold_key(name.key))
        revisions = (stored.revision if stored else 0, named.revision if named else 0)
        if operation.id in self.operations or stored is None or revisions != (upload.revision, name.revision):
            raise ConflictError(f"{operation.id}: the upload {upload.id} or its name is at another revision")
        self.put_name(name)
        return self.create_operation(operation), self.update_operation(upload)

    def update_with_name(self, operation: RecordedT, name: Name) -> RecordedT:
        """See `RecordStore`."""
        stored, named = self.operations.get(operation.id), self.names.get(fold_key(name.key))
        revisions = (stored.revision if stored else 0, named.revision if named else 0)
        if stored is None or revisions != (operation.revision, name.revision):
            raise ConflictError(f"{operation.id} or its name is at another revision")
        self.put_name(name)
        return self.update_operation(operation)

    def get_names(self, keys: Iterable[str]) -> dict[str, Name]:
        """See `RecordStore`."""
        wanted = {fold_key(key) for key in keys}
        return {folded: self.names[folded] for folded in wanted if folded in self.names}

    def get_operations_and_names(
        self, operation_ids: Iterable[str], keys: Iterable[str]
    ) -> tuple[dict[str, Recorded], dict[str, Name]]:
        """See `RecordStore`."""
        return self.get_operations(operation_ids), self.get_names(keys)

    def put_name(self, name: Name) -> Name:
        """See `RecordStore`."""
        folded = fold_key(name.key)
        stored = self.names.get(folded)
        if (stored.revision if stored else 0) != name.revision:
            raise ConflictError(f"name {name.key} is not at revision {name.revision}")
        self.names[folded] = replace(name, revision=name.revision + 1)
        return self.names[folded]

    def get_signed_parts(self, operation_id: str) -> dict[int, Part]:
        """See `RecordStore`."""
        return dict(self.signed_parts.get(operation_id, {}))

    def add_signed_parts(self, operation_id: str, parts: Sequence[Part]) -> None:
        """See `RecordStore`."""
        known = self.get_signed_parts(operation_id)
        for part in parts:
            if known.setdefault(part.number, part) != part:
                raise ConflictError(f"part {part.number} was signed for other bytes")
        self.signed_parts[operation_id] = known

    def find_operations(self, query: HistoryQuery) -> HistoryPage:
        """See `RecordStore`."""
        stored = sorted(self.operations.values(), key=lambda operation: operation.order)
        ahead = [operation for operation in stored if query.after is None or operation.order > query.after]
        if not query.oldest_first:
            ahead = [each for each in reversed(stored) if query.after is None or each.order < query.after]
        found: list[Recorded] = []
        for examined, operation in enumerate(ahead, start=1):
            if _fits(operation, query):
                found.append(_read(operation))
            if len(found) == query.limit or examined == self._examined_per_call:
                return HistoryPage(found, operation.order if examined < len(ahead) else None)
        return HistoryPage(found, None)


class StrictRecordStore(FakeRecordStore):
    """Refuses a phase that may not follow the stored one, and a status that is not the phase's."""

    def _store_operation(self, operation: RecordedT) -> RecordedT:
        stored = self.operations.get(operation.id)
        assert may_follow(operation.record.operation_type, stored.phase if stored else None, operation.phase)
        assert operation.record.status == STATUS_OF_PHASE[operation.phase]
        return super()._store_operation(operation)


def _read(operation: Recorded) -> Recorded:
    return copy.deepcopy(operation).cut_to_bounds()


def _fits(operation: Recorded, query: HistoryQuery) -> bool:
    record = operation.record
    wanted = (
        (query.actor, fold_person(record.actor)),
        (query.actor_id, record.actor_id),
        (query.status, record.status),
        (query.operation_type, record.operation_type),
        (query.base_name, operation.base_name),
        (query.key, record.s3_object_key),
    )
    started = format_time(record.started_at)
    if query.is_deleted and not (isinstance(operation, Operation) and operation.awaits_removal):
        return False
    return (
        (query.folder is None or record.s3_object_key.startswith(query.folder))
        and all(asked is None or asked == there for asked, there in wanted)
        and (query.since is None or format_time(query.since) <= started)
        and (query.until is None or started < format_time(query.until))
    )


# --- objects -------------------------------------------------------------------------------------------


@dataclass
class _Upload:
    new_object: NewObject
    begun_at: datetime
    parts: dict[int, tuple[StoredPart, bytes]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Promise:
    """What one presigned URL is good for."""

    key: str
    length: int
    crc64nvme: str
    expires_at: datetime
    new_object: NewObject | None = None
    condition: WriteCondition | None = None
    multipart_upload_id: str | None = None
    part_number: int = 0
    content_md5: str | None = None


@dataclass(frozen=True)
class _Readable:
    """What one presigned GET is good for."""

    key: str
    version_id: str | None
    expires_at: datetime


class FakeObjectStore:
    """A versioned bucket in dictionaries that compares bytes and conditions as S3 does.

    With `tells_part_checksums=False` ListParts states none, as SeaweedFS does.
    """

    def __init__(self, clock: Clock | None = None, *, tells_part_checksums: bool = True) -> None:
        self.versions: dict[str, list[tuple[StoredObject, bytes]]] = {}
        self.uploads: dict[str, _Upload] = {}
        self._clock: Clock = clock or ManualClock()
        self._tells_part_checksums = tells_part_checksums
        self.tiers_without_capacity: set[RestoreTier] = set()
        self.restores: list[tuple[str, RestoreTier, int | None]] = []
        self._promises: dict[str, _Promise] = {}
        self._readable: dict[str, _Readable] = {}
        self._deleted: set[str] = set()
        self._serial = itertools.count(1)
        self.tags: dict[tuple[str, str | None], dict[str, str]] = {}
        """By key and version."""
        self.stored_at: dict[tuple[str, str | None], datetime] = {}
        self.listed_at_once = 1000

    # What the service does.

    def presign_put(
        self,
        new_object: NewObject,
        *,
        size: int,
        crc64nvme: str,
        condition: WriteCondition,
        expires_in_seconds: int,
        content_md5: str | None = None,
    ) -> SignedRequest:
        """See `ObjectStore`."""
        expires_at = self._clock() + timedelta(seconds=expires_in_seconds)
        promise = _Promise(new_object.key, size, crc64nvme, expires_at, new_object, condition, content_md5=content_md5)
        etag = condition.replaces_etag
        headers = {
            "if-none-match" if etag is None else "if-match": etag or "*",
            "x-amz-meta-operation-id": new_object.operation_id,
        }
        if content_md5 is not None:
            headers["content-md5"] = content_md5
        return self._sign(promise, headers, expires_in_seconds)

    def presign_part(self, key: str, multipart_upload_id: str, part: Part, *, expires_in_seconds: int) -> SignedRequest:
        """See `ObjectStore`."""
        expires_at = self._clock() + timedelta(seconds=expires_in_seconds)
        promise = _Promise(
            key,
            part.length,
            part.crc64nvme,
            expires_at,
            multipart_upload_id=multipart_upload_id,
            part_number=part.number,
        )
        return self._sign(promise, {}, expires_in_seconds)

    def _sign(self, promise: _Promise, headers: Mapping[str, str], expires_in_seconds: int) -> SignedRequest:
        url = f"https://bucket.invalid/{promise.key}?X-Amz-Signature={next(self._serial):064x}"
        self._promises[url] = promise
        headers = {
            "content-length": str(promise.length),
            "x-amz-checksum-crc64nvme": promise.crc64nvme,
            **headers,
        }
        return SignedRequest(url, headers, expires_in_seconds)

    def create_multipart_upload(self, new_object: NewObject) -> str:
        """See `ObjectStore`."""
        multipart_upload_id = f"upload-{next(self._serial)}"
        self.uploads[multipart_upload_id] = _Upload(new_object, self._clock())
        return multipart_upload_id

    def list_parts(self, key: str, multipart_upload_id: str) -> list[StoredPart]:
        """See `ObjectStore`."""
        stored = self._upload(key, multipart_upload_id).parts
        parts = [stored[number][0] for number in sorted(stored)]
        return parts if self._tells_part_checksums else [replace(part, crc64nvme=None) for part in parts]

    def complete_multipart_upload(
        self,
        key: str,
        multipart_upload_id: str,
        parts: Sequence[StoredPart],
        *,
        size: int,
        crc64nvme: str,
        condition: WriteCondition,
        within_seconds: float,
    ) -> None:
        """See `ObjectStore`."""
        assert within_seconds > 0
        upload = self._upload(key, multipart_upload_id)
        if not parts or sum(part.size for part in parts) != size:
            raise ContentRefusedError(f"{len(parts)} parts, expected {size} bytes")
        body = _join(upload, parts)
        if _crc64nvme_of(body) != crc64nvme:
            raise ContentRefusedError(f"{len(body)} bytes, checksum {_crc64nvme_of(body)}")
        if self._refusal(key, condition) is not None:
            raise PreconditionFailedError(key)
        self._store(upload.new_object, body, etag=_etag(body, count=len(parts)))
        del self.uploads[multipart_upload_id]

    def abort_multipart_upload(self, key: str, multipart_upload_id: str) -> None:
        """See `ObjectStore`."""
        if multipart_upload_id in self.uploads:
            self._upload(key, multipart_upload_id)
            del self.uploads[multipart_upload_id]

    def presign_get(self, key: str, version_id: str | None, *, expires_in_seconds: int) -> SignedRequest:
        """See `ObjectStore`."""
        url = f"https://bucket.invalid/{key}?versionId={version_id}&X-Amz-Signature={next(self._serial):064x}"
        self._readable[url] = _Readable(key, version_id, self._clock() + timedelta(seconds=expires_in_seconds))
        return SignedRequest(url, {}, expires_in_seconds)

    def restore_object(self, key: str, version_id: str | None, tier: RestoreTier, days: int | None) -> None:
        """See `ObjectStore`."""
        stored = self.head_object(key, version_id)
        if stored is None or stored.reading != "archived":
            raise NotArchivedError(f"{key} is not archived")
        if tier in self.tiers_without_capacity:
            raise TierUnavailableError(f"no capacity for {tier}")
        self.restores.append((key, tier, days))
        self.state(key, stored.version_id, is_restoring=True)

    def head_object(self, key: str, version_id: str | None = None) -> StoredObject | None:
        """See `ObjectStore`."""
        if version_id is not None:
            return next((each for each, _ in self.versions.get(key, []) if each.version_id == version_id), None)
        if key in self._deleted or key not in self.versions:
            return None
        return self.versions[key][-1][0]

    def tag_version(self, key: str, version_id: str, name: str, value: str) -> bool:
        """See `ObjectStore`."""
        if self.head_object(key, version_id) is None:
            return False
        tags = self.tags.setdefault((key, version_id), {})
        tags.pop(name, None)
        while len(tags) >= TAGS_MAX:
            tags.popitem()
        tags[name] = value
        return True

    def list_objects(self, prefix: str, after: str) -> list[ListedObject]:
        """See `ObjectStore`."""
        ahead = (key for key in self.versions if key.startswith(prefix) and key.encode() > after.encode())
        keys = sorted(ahead, key=str.encode)
        found = [(key, self.head_object(key)) for key in keys]
        listed = [ListedObject(key, each.etag, self.stored_at[key, each.version_id]) for key, each in found if each]
        return listed[: self.listed_at_once]

    def list_multipart_uploads(self, prefix: str, after: ListedUpload | None) -> list[ListedUpload]:
        """See `ObjectStore`."""
        places = sorted((each.new_object.key, id_) for id_, each in self.uploads.items())
        last = ("", "") if after is None else (after.key, after.multipart_upload_id)
        return [
            ListedUpload(key, id_, self.uploads[id_].begun_at)
            for key, id_ in places
            if key.startswith(prefix) and (key, id_) > last
        ][: self.listed_at_once]

    # What a client does with a presigned URL.

    def put(self, request: SignedRequest, body: bytes) -> int:
        """Send a whole object; return the HTTP status S3 would answer."""
        promise = self._promises.get(request.url)
        if promise is None or promise.new_object is None or promise.condition is None:
            return 403
        refusal = self._check(promise, request, body) or self._refusal(promise.key, promise.condition)
        if refusal is None:
            self._store(promise.new_object, body)
        return refusal or 200

    def get(self, request: SignedRequest, byte_range: tuple[int, int] | None = None) -> tuple[int, bytes]:
        """Fetch an object, or the bytes from the first to the last of a range; return the HTTP status and the bytes."""
        readable = self._readable.get(request.url)
        if readable is None or self._clock() >= readable.expires_at:
            return 403, b""
        found = self.head_object(readable.key, readable.version_id)
        if found is None:
            return 404, b""
        if found.reading != "readable":
            return 403, b""
        (body,) = (body for stored, body in self.versions[readable.key] if stored == found)
        if byte_range is None:
            return 200, body
        first, last = byte_range
        return (206, body[first : last + 1]) if first < len(body) else (416, b"")

    def put_part(self, request: SignedRequest, body: bytes) -> int:
        """Send one part; return the HTTP status S3 would answer."""
        promise = self._promises.get(request.url)
        if promise is None or promise.multipart_upload_id is None:
            return 403
        refusal = self._check(promise, request, body)
        upload = self.uploads.get(promise.multipart_upload_id)
        if refusal is None and upload is None:
            return 404
        if refusal is None and upload is not None:
            part = StoredPart(promise.part_number, len(body), _etag(body), promise.crc64nvme)
            upload.parts[promise.part_number] = (part, body)
        return refusal or 200

    def _check(self, promise: _Promise, request: SignedRequest, body: bytes) -> int | None:
        signed = {"content-length": str(promise.length), "x-amz-checksum-crc64nvme": promise.crc64nvme}
        if promise.content_md5 is not None:
            signed["content-md5"] = promise.content_md5
        if self._clock() >= promise.expires_at or not signed.items() <= request.headers.items():
            return 403
        right = len(body) == promise.length and _crc64nvme_of(body) == promise.crc64nvme
        right = right and promise.content_md5 in (None, content_md5(body))
        return None if right else 400

    # What others do to the bucket.

    def place(self, key: str, body: bytes, *, operation_id: str | None = None) -> StoredObject:
        """Store an object past the service."""
        return self._store(NewObject(key, operation_id or ""), body)

    def state(self, key: str, version_id: str | None, **states: Any) -> None:
        """Have HEAD state other things of one version, such as that it is archived."""
        self.versions[key] = [
            (replace(stored, **states) if stored.version_id == version_id else stored, body)
            for stored, body in self.versions[key]
        ]

    def destroy(self, key: str, version_id: str | None) -> None:
        """Remove one version for ever."""
        self.versions[key] = [each for each in self.versions[key] if each[0].version_id != version_id]
        if not self.versions[key]:
            del self.versions[key]

    def delete(self, key: str) -> None:
        """Lay a delete marker over an object."""
        self._deleted.add(key)

    def read(self, key: str) -> bytes:
        """Return the current object's bytes."""
        return self.versions[key][-1][1]

    # How it is kept.

    def _upload(self, key: str, multipart_upload_id: str) -> _Upload:
        upload = self.uploads.get(multipart_upload_id)
        if upload is None or upload.new_object.key != key:
            raise NoSuchMultipartUploadError(multipart_upload_id)
        return upload

    def _refusal(self, key: str, condition: WriteCondition) -> int | None:
        current = self.head_object(key)
        if condition.replaces_etag is None:
            return None if current is None else 412
        if current is None:
            return 404
        return None if current.etag == condition.replaces_etag else 412

    def _store(self, new_object: NewObject, body: bytes, *, etag: str | None = None) -> StoredObject:
        stored = StoredObject(
            key=new_object.key,
            size=len(body),
            etag=etag or _etag(body),
            crc64nvme=_crc64nvme_of(body),
            operation_id=new_object.operation_id or None,
            version_id=f"version-{next(self._serial)}",
            storage_class=new_object.storage_class,
        )
        self.versions.setdefault(new_object.key, []).append((stored, body))
        self.stored_at[new_object.key, stored.version_id] = self._clock()
        if new_object.tags:
            self.tags[new_object.key, stored.version_id] = dict(new_object.tags)
        self._deleted.discard(new_object.key)
        return stored


def _etag(body: bytes, count: int = 0) -> str:
    """The same for the same bytes, as S3's is; of another form for an object that was joined."""
    digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
    return f'"{digest}-{count}"' if count else f'"{digest}"'


_crc64nvme_of = crc64nvme


def _join(upload: _Upload, parts: Sequence[StoredPart]) -> bytes:
    numbers = [part.number for part in parts]
    if numbers != sorted(set(numbers)):
        raise StorageError(f"parts {numbers} are not in order", code="InvalidPartOrder")
    for part in parts:
        there = upload.parts.get(part.number)
        if there is None or there[0].etag != part.etag:
            raise StorageError(f"part {part.number} is not there under this ETag", code="InvalidPart")
        if part.crc64nvme not in (None, there[0].crc64nvme):
            raise StorageError(f"part {part.number} has another checksum", code="InvalidPart")
    bodies = [upload.parts[number][1] for number in numbers]
    if any(len(body) < PART_SIZE_MIN_BYTES for body in bodies[:-1]):
        raise StorageError("a part but the last is too small", code="EntityTooSmall")
    return b"".join(bodies)
