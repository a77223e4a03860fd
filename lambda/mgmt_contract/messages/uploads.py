"""Uploading, call by call: preview or start, sign, complete or fail, and the report of the clean-up."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from typing import Literal

from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.service import Service
from mgmt_contract.problems import Problem
from mgmt_contract.records import FileRecord, UploadRecord
from mgmt_contract.values import StrictValue, Value


class Content(StrictValue):
    """Size, checksum and digest of a whole archive, computed by the client while it wrote it."""

    size: int
    crc64nvme: str
    """Base64 of the eight bytes, as S3 writes it."""
    content_digest: str
    """"blake3:" (or "sha256:") and 64 hexadecimal digits over the members, times left out."""
    uncompressed_size: int
    member_count: int


class Packing(StrictValue):
    """How the archive's bytes were made; together with the source it makes them repeatable."""

    codec: str
    """The program that makes the archive: its format, deflate and machine, such as "mgmt 3, isal 1.9.1, x86_64"."""
    plan: str
    """Compression plan, such as "auto"."""


class Part(StrictValue):
    """One part the client wants to send: the bytes its URL will be good for."""

    number: int
    length: int
    crc64nvme: str


class SignedPart(Value):
    """The presigned PUT of one part."""

    number: int
    request: SignedRequest


class Lease(Value):
    """The right of one machine to carry on with an operation."""

    epoch: int
    """Grows with each take-over; goes into every later call of the operation."""
    expires_in_seconds: int


class Multipart(Value):
    """How a large object is to be sent."""

    part_size: int
    """Bytes of every part but the last."""
    received_parts: tuple[int, ...] = ()
    """Numbers of the parts that the storage already holds whole, in order."""


class Existing(Value):
    """The object that is stored under a name now: size and checksum as S3 states them, the rest as recorded."""

    s3_object_key: str
    size: int
    etag: str
    operation_id: str | None = None
    """None where the object was not stored by this service."""
    actor: str | None = None
    finished_at: datetime | None = None
    content_digest: str | None = None
    """As its uploader's client claimed it: it was not compared with the bytes."""
    crc64nvme: str | None = None
    version_id: str | None = None
    is_own: bool = False
    """The caller's own earlier upload."""
    is_deleted: bool = False
    """It was deleted: its name is free, and a new upload takes its place."""


class CleanUp(StrictValue):
    """What became of the local files after a successful upload."""

    operation_id: str
    source_status: Literal["completed", "moved"]
    archive_status: Literal["completed", "deleted"]


class StartItem(StrictValue):
    """One upload to begin, or to begin again under the same id.

    Exactly one of `content` and `upper_bound` is given: the first when the archive is packed already, the
    second when parts are to be sent while it is still being packed.
    """

    operation_id: str
    name: str
    """Source name or the name chosen for it, without ".tar.gz"."""
    target_path: str
    source_file_record: FileRecord
    compressed_file_path: str
    packing: Packing
    content: Content | None = None
    upper_bound: int | None = None
    """Bytes that the archive will not exceed."""
    prefix: str = ""
    replace: bool = False
    storage_class: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    content_md5: str | None = None
    """Base64 MD5 of the whole archive, to be signed into the URL of a whole PUT: unlike the checksum, it takes a second
    preimage to store other bytes under it."""
    excludes: tuple[str, ...] = ()
    """Globs of what the archive leaves out, for the record; none where they do not fit (`texts.fit_globs`)."""


class StartRequest(StrictValue):
    """Begin uploads."""

    machine_id: str
    """UUID of the machine, which holds the leases; kept beside its journal."""
    items: list[StartItem]
    expected_bucket: str | None = None
    """Refuse everything, before anything is recorded, if the service stores elsewhere."""
    clean_ups: list[CleanUp] = field(default_factory=list)


StartOutcome = Literal["put", "multipart", "already_there", "claimed_same", "name_taken", "done", "problem"]


class StartResult(Value):
    """The service's decision on one upload.

    `put`: send the whole archive with `request`. `multipart`: sign and send parts. `already_there`: the same
    content is stored under this name, by its bytes or by the caller's own earlier upload; nothing was recorded.
    `claimed_same`: refused, with a problem; the stored object was reported as this content, and has other bytes.
    `name_taken` (only for an upper bound): something is stored there, nothing was recorded; pack to the end, start
    again with the content. `done`: this very operation has succeeded before. `problem`: refused.
    """

    operation_id: str
    outcome: StartOutcome
    s3_object_key: str | None = None
    lease: Lease | None = None
    request: SignedRequest | None = None
    multipart: Multipart | None = None
    existing: Existing | None = None
    record: UploadRecord | None = None
    problem: Problem | None = None


class StartResponse(Value):
    """Results in the order of the items."""

    service: Service
    results: list[StartResult]


class PreviewRequest(StrictValue):
    """Ask for the result that starting these uploads would have; nothing is written."""

    machine_id: str
    items: list[StartItem]
    expected_bucket: str | None = None


class PreviewResult(Value):
    """The state of one upload's key.

    `free`: nothing is in the way. `taken`: an object is stored there; a client with the content can tell whether it is
    the same (`mgmt_contract.sameness`). `problem`: what a start would answer.
    """

    operation_id: str
    outcome: Literal["free", "taken", "problem"]
    s3_object_key: str | None = None
    existing: Existing | None = None
    problem: Problem | None = None


class PreviewResponse(Value):
    """Results in the order of the items."""

    service: Service
    results: list[PreviewResult]


class IndexFile(StrictValue):
    """The index of an archive: the bytes its URL will be good for."""

    size: int
    crc64nvme: str


class SignItem(StrictValue):
    """Parts of one upload to be sent next; renews the lease."""

    operation_id: str
    lease_epoch: int
    parts: list[Part]
    final: Content | None = None
    """With the last part: the content of the whole, so that the service can finish alone."""

    index: IndexFile | None = None
    """With `final`: the index of the archive, to be stored beside it."""


class SignRequest(StrictValue):
    """Ask for part URLs: at most 100 over all items."""

    machine_id: str
    items: list[SignItem]


class SignResult(Value):
    """URLs of one upload's parts."""

    operation_id: str
    outcome: Literal["signed", "problem"]
    lease: Lease | None = None
    parts: list[SignedPart] = field(default_factory=list)
    index_request: SignedRequest | None = None
    """The PUT of the index, where one was announced. 412 means that it is there already."""
    problem: Problem | None = None


class SignResponse(Value):
    """Results in the order of the items."""

    results: list[SignResult]


class CompleteItem(StrictValue):
    """One upload whose bytes were all sent."""

    operation_id: str
    lease_epoch: int
    content: Content


class CompleteRequest(StrictValue):
    """Ask the service to look at the storage, compare, and record."""

    machine_id: str
    items: list[CompleteItem]
    clean_ups: list[CleanUp] = field(default_factory=list)


class CompleteResult(Value):
    """How one upload stands.

    `done`: the object is there, with the size and checksum that the client computed. `completing`: S3 is still joining
    the parts; ask again after `retry_after_seconds`. `incomplete`: these parts are missing or have another length; send
    them again (a whole-object upload has the one part 1). `problem`: refused or failed.
    """

    operation_id: str
    outcome: Literal["done", "completing", "incomplete", "problem"]
    record: UploadRecord | None = None
    retry_after_seconds: int | None = None
    missing_parts: list[int] = field(default_factory=list)
    problem: Problem | None = None


class CompleteResponse(Value):
    """Results in the order of the items."""

    results: list[CompleteResult]


class FailItem(StrictValue):
    """One upload that ends without success; its parts are thrown away and its name is free again."""

    operation_id: str
    lease_epoch: int
    error_code: str
    error_message: str


class FailRequest(StrictValue):
    """Record failures."""

    machine_id: str
    items: list[FailItem]


class CleanUpRequest(StrictValue):
    """Report what became of local files."""

    items: list[CleanUp]
