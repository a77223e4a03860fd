"""The bodies of every call: plain dataclasses, the same on both ends.

Requests are strict: the service refuses a field it does not know, so that a mistyped one is not silently
lost. Answers are lenient: a client ignores fields it does not know, so that a service may be newer.
Calls of an upload are lists of 1 to 100 items with one result per item, in order, and no transaction
across items. Sizes are bytes; lives are seconds from the answer on, immune to a laptop's wrong clock.
"""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from typing import Any, ClassVar, Literal

from mgmt_contract.problems import Problem
from mgmt_contract.records import (
    DeleteRecord,
    DownloadRecord,
    FileRecord,
    OperationRecord,
    OperationStatus,
    OperationType,
    RestoreRecord,
    UndeleteRecord,
    UploadRecord,
)
from mgmt_contract.restoring import DAYS_DEFAULT, RestoreTier
from mgmt_contract.values import Value

AnyRecord = UploadRecord | DownloadRecord | RestoreRecord | DeleteRecord | UndeleteRecord | OperationRecord
"""A record of any type; one of tomorrow is read as the last."""

STRICT: dict[str, Any] = {"extra": "forbid", "strict": False}
"""Configuration that the service's validation reads from a request class; a plain dictionary needs no import."""


class Service(Value):
    """The service's description of itself, without sign-in and with the first answer of an upload."""

    api_version_min: int
    api_version_max: int
    service_version: str
    bucket: str
    region: str
    root_prefix: str
    single_put_max_bytes: int
    part_count_max: int
    sign_parts_max: int
    items_max: int
    lease_seconds: int
    issuer: str | None = None
    client_id: str | None = None
    audience: str | None = None
    scopes: tuple[str, ...] = ()
    """The scopes that a client asks for at sign-in."""
    recoverable_days: int | None = None
    """How long a deleted upload can be brought back; None from a service that deletes nothing."""
    optional_fields: tuple[str, ...] = ()
    """Request fields that not every service knows, and this one does: a client sends only these of them."""


class Me(Value):
    """The person for whom the service takes the caller."""

    id: str
    """The token's subject."""
    name: str
    """The name in the records of this person's uploads."""
    role: str
    """What the person may do: "member" or "admin"."""
    groups: tuple[str, ...] = ()
    """The groups that the token lists, sorted."""


CONTENT_MD5_FIELD = "start.content_md5"
"""The name of `StartItem.content_md5` in `Service.optional_fields`."""


SIGN_INDEX_FIELD = "sign.index"
"""The name of `SignItem.index` in `Service.optional_fields`."""


class Content(Value):
    """Size, checksum and digest of a whole archive, computed by the client while it wrote it."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    size: int
    crc64nvme: str
    """Base64 of the eight bytes, as S3 writes it."""
    content_digest: str
    """"blake3:" (or "sha256:") and 64 hexadecimal digits over the members, times left out."""
    uncompressed_size: int
    member_count: int


class Packing(Value):
    """How the archive's bytes were made; together with the source it makes them repeatable."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    codec: str
    """The program that makes the archive: its format, deflate and machine, such as "mgmt 3, isal 1.9.1, x86_64"."""
    plan: str
    """Compression plan, such as "auto"."""


class Part(Value):
    """One part the client wants to send: the bytes its URL will be good for."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    number: int
    length: int
    crc64nvme: str


class SignedRequest(Value):
    """A presigned PUT or GET: send exactly these headers. A GET may have a Range beside them, each time another."""

    url: str = field(repr=False)
    headers: dict[str, str]
    expires_in_seconds: int


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


# --- start ---------------------------------------------------------------------------------------------


class CleanUp(Value):
    """What became of the local files after a successful upload."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    operation_id: str
    source_status: Literal["completed", "moved"]
    archive_status: Literal["completed", "deleted"]


class StartItem(Value):
    """One upload to begin, or to begin again under the same id.

    Exactly one of `content` and `upper_bound` is given: the first when the archive is packed already, the
    second when parts are to be sent while it is still being packed.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

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


class StartRequest(Value):
    """Begin uploads."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

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


# --- preview -------------------------------------------------------------------------------------------


class PreviewRequest(Value):
    """Ask for the result that starting these uploads would have; nothing is written."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

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


# --- sign ----------------------------------------------------------------------------------------------


class IndexFile(Value):
    """The index of an archive: the bytes its URL will be good for."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    size: int
    crc64nvme: str


class SignItem(Value):
    """Parts of one upload to be sent next; renews the lease."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    operation_id: str
    lease_epoch: int
    parts: list[Part]
    final: Content | None = None
    """With the last part: the content of the whole, so that the service can finish alone."""

    index: IndexFile | None = None
    """With `final`: the index of the archive, to be stored beside it."""


class SignRequest(Value):
    """Ask for part URLs: at most 100 over all items."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

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


# --- complete ------------------------------------------------------------------------------------------


class CompleteItem(Value):
    """One upload whose bytes were all sent."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    operation_id: str
    lease_epoch: int
    content: Content


class CompleteRequest(Value):
    """Ask the service to look at the storage, compare, and record."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

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


# --- fail, clean up, look up ---------------------------------------------------------------------------


class FailItem(Value):
    """One upload that ends without success; its parts are thrown away and its name is free again."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    operation_id: str
    lease_epoch: int
    error_code: str
    error_message: str


class FailRequest(Value):
    """Record failures."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    machine_id: str
    items: list[FailItem]


class RecordResult(Value):
    """The record as it stands after the call (an upload that was done stays done), or why there is none."""

    operation_id: str
    outcome: Literal["record", "problem"]
    record: AnyRecord | None = None
    problem: Problem | None = None


class RecordsResponse(Value):
    """Results in the order of the items."""

    results: list[RecordResult]


class CleanUpRequest(Value):
    """Report what became of local files."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    items: list[CleanUp]


class LookUpRequest(Value):
    """Ask for the records of operations."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    operation_ids: list[str]


# --- download ------------------------------------------------------------------------------------------


class DownloadItem(Value):
    """One download to begin, or to go on with under the same id."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    operation_id: str
    """Minted by the client for this download; it stays the same until the download has ended."""
    upload_id: str
    """The upload whose object is to be fetched: the version that it stored, also where a later one replaced it."""
    target_path: str
    """Where the client puts what it fetches, as the team may see it."""


class OpenDownloadsRequest(Value):
    """Ask for the URLs of stored archives."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    items: list[DownloadItem]


class StoredVersion(Value):
    """One version of an object, as S3 states it now."""

    size: int
    crc64nvme: str | None = None
    storage_class: str | None = None
    """None is STANDARD."""
    is_current: bool | None = None
    """False where a later version, or a delete marker, lies over it; None where nobody looked."""
    restored_until: datetime | None = None
    """Until when an archived object can be read."""
    archive_tier: str | None = None
    """The tier into which INTELLIGENT_TIERING has archived it, such as ARCHIVE_ACCESS."""


class DownloadResult(Value):
    """How one download stands.

    `opened`: fetch with `request`, any ranges, until it expires; then open again. `archived`: S3 has to be asked for
    a restore first. `restoring`: it has been asked. `gone`, `differs`: the recorded version is not there, or its size
    or checksum is not the recorded one; both with a problem. `done`: this very download has ended with success
    before. `problem`: refused. Only what is opened is recorded.
    """

    operation_id: str
    outcome: Literal["opened", "archived", "restoring", "gone", "differs", "done", "problem"]
    upload: UploadRecord | None = None
    """The record of the upload, with size, checksum and content digest to compare with."""
    request: SignedRequest | None = None
    index_request: SignedRequest | None = None
    """The GET of the archive's index, where it has one; its size and checksum are in `upload`."""
    stored: StoredVersion | None = None
    record: DownloadRecord | None = None
    """The download's own record, of one that was opened or done."""
    problem: Problem | None = None


class OpenDownloadsResponse(Value):
    """Results in the order of the items."""

    results: list[DownloadResult]


class DownloadEnd(Value):
    """The end of one download: success where there is no `error_code`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    operation_id: str
    received_bytes: int
    error_code: str | None = None
    error_message: str | None = None


class EndDownloadsRequest(Value):
    """Record the ends of downloads."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    items: list[DownloadEnd]


# --- restore -------------------------------------------------------------------------------------------


class RestoreItem(Value):
    """One archived object that is to become readable."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    operation_id: str
    """Minted by the client for this request. Where the storage was asked before, the earlier operation stands."""
    upload_id: str
    tier: RestoreTier = "Standard"
    days: int = DAYS_DEFAULT
    """How long the readable copy stays; of no meaning in INTELLIGENT_TIERING."""


class RestoreRequest(Value):
    """Ask the storage to make archived objects readable."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    items: list[RestoreItem]


class RestoreResult(Value):
    """How the restore of one object stands.

    `asked`: the storage was asked by this operation. `restoring`: it was asked before; `record` says by whom, where
    that is known. `readable`: it can be fetched now. `gone`, `differs`, `problem`: as of a download.
    """

    operation_id: str
    outcome: Literal["asked", "restoring", "readable", "gone", "differs", "problem"]
    record: RestoreRecord | None = None
    """The team's operation, which may have another id than the asked one."""
    stored: StoredVersion | None = None
    price_dollars: float | None = None
    """About what it costs, without the days; see `price_of`."""
    prices_of: str | None = None
    """The region and the month of the prices."""
    problem: Problem | None = None


class RestoreResponse(Value):
    """Results in the order of the items."""

    results: list[RestoreResult]


# --- look ----------------------------------------------------------------------------------------------


class LookRequest(Value):
    """Ask what S3 states now of the objects that uploads have stored; nothing is written."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    upload_ids: list[str]
    signs_indexes: bool = False
    """Also sign the GET of each archive's index."""


class LookResult(Value):
    """The recorded version of one upload's object, compared with what S3 states of it now.

    `there`: size and checksum are the recorded ones. `differs`: they are not. `gone`: that version is not there.
    `problem`: the upload has stored nothing, or is not known.
    """

    operation_id: str
    """The upload's."""
    outcome: Literal["there", "differs", "gone", "problem"]
    s3_object_key: str | None = None
    version_id: str | None = None
    stored: StoredVersion | None = None
    index: Literal["there", "differs", "gone"] | None = None
    """The same of the archive's index; None where the record has none."""
    index_request: SignedRequest | None = None
    """The GET of the index, where it was asked for and the index is there."""
    deleted_at: datetime | None = None
    """When the upload was deleted; it may be there still, and is not to be counted on."""
    recoverable_until: datetime | None = None
    """Until when the deleted upload can be brought back."""
    problem: Problem | None = None


class LookResponse(Value):
    """Results in the order of the ids."""

    results: list[LookResult]


# --- delete and undelete -------------------------------------------------------------------------------


class RemovalItem(Value):
    """One upload to be deleted, or to be brought back."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    operation_id: str
    """Minted by the client for this deletion or undeletion."""
    upload_id: str
    """The upload whose object it is about: the version that it stored, also where a later one replaced it."""


class RemovalRequest(Value):
    """Delete uploads, or bring deleted ones back; nothing changes in the storage."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    items: list[RemovalItem]


class NewerUpload(Value):
    """The upload that has, or is about to have, the name of one that was brought back."""

    operation_id: str
    actor: str
    is_pending: bool
    """It is under way: once it has succeeded, it has the name."""


class RemovalResult(Value):
    """How one deletion or undeletion stands.

    `done`: it is recorded. `already`: the upload was deleted before (`upload` says by whom and until when), or is not
    deleted; nothing was recorded. `problem`: refused.
    """

    operation_id: str
    outcome: Literal["done", "already", "problem"]
    record: DeleteRecord | UndeleteRecord | OperationRecord | None = None
    upload: UploadRecord | None = None
    """The upload's record as it is now."""
    newer: NewerUpload | None = None
    """Of one that was brought back: who has its name now. It is read by its id, as any version that was replaced."""
    problem: Problem | None = None


class RemovalResponse(Value):
    """Results in the order of the items."""

    results: list[RemovalResult]


# --- history -------------------------------------------------------------------------------------------

HISTORY_LIMIT_DEFAULT = 50
HISTORY_LIMIT_MAX = 100


class HistoryRequest(Value):
    """Filters of one page of the team's operations, newest first; sent as query parameters.

    A page may hold fewer records than `limit`, even none, and still have a `cursor`: filters that no index
    serves read a bounded number of records per call.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    actor: str | None = None
    """A person's name; case does not matter."""
    mine: bool = False
    status: OperationStatus | None = None
    operation_type: OperationType | None = None
    name: str | None = None
    """Source name, archive name, whole key, or a folder in the bucket, which ends with a slash."""
    since: datetime | None = None
    until: datetime | None = None
    limit: int = HISTORY_LIMIT_DEFAULT
    cursor: str | None = None


class HistoryResponse(Value):
    """A page of records; `cursor` is None on the last."""

    records: list[AnyRecord]
    cursor: str | None = None
    replaced: tuple[str, ...] = ()
    """Ids of the successful uploads on this page whose object was replaced by a later one."""
