"""The records of the upload process: FileRecord, OperationRecord, UploadRecord, and how they may change.

The first fields of each class are the upload process document's own, in its order and with its names.
What the product adds follows as keyword-only fields with defaults, so that a record can still be built
exactly as the document builds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal

from mgmt_contract.values import StrictValue

FileLocation = Literal["local", "s3"]
FileStatus = Literal["pending", "completed", "failed", "deleted", "moved"]
OperationType = Literal["upload", "download", "restore", "delete", "undelete"]
OperationStatus = Literal["pending", "success", "failed"]
Phase = Literal["reserved", "carrying", "completing", "done", "failed"]

TRANSITIONS: Mapping[Phase | None, frozenset[Phase]] = {
    None: frozenset({"reserved", "carrying"}),
    "reserved": frozenset({"reserved", "carrying", "failed"}),
    "carrying": frozenset({"carrying", "completing", "done", "failed"}),
    "completing": frozenset({"completing", "carrying", "done", "failed"}),
    "done": frozenset({"done"}),
    "failed": frozenset({"failed", "done"}),
}
"""The phases that may follow each phase; `None` is an operation that is not recorded yet.

A phase may follow itself (a lease renewed, a clean-up reported). Completing falls back to carrying when
parts turn out to be missing. What was sent whole is done without completing: there are no parts to join. Failed becomes
done where the object arrives after all. Nothing leaves done.
"""

CANCELLED = "cancelled"
"""The error code of an upload that a person gave up: it stays so, even where its object arrives."""

STATUS_OF_PHASE: Mapping[Phase, OperationStatus] = {
    "reserved": "pending",
    "carrying": "pending",
    "completing": "pending",
    "done": "success",
    "failed": "failed",
}
"""The user's three statuses are a view of the phase."""

DOWNLOAD_TRANSITIONS: Mapping[Phase | None, frozenset[Phase]] = {
    None: frozenset({"carrying"}),
    "carrying": frozenset({"carrying", "done", "failed"}),
    "done": frozenset(),
    "failed": frozenset(),
}
"""The same of a download: it reserves nothing, and what its client reports ends it. It is opened again to go on."""

REMOVAL_TRANSITIONS: Mapping[Phase | None, frozenset[Phase]] = {
    None: frozenset({"done", "failed"}),
    "done": frozenset(),
    "failed": frozenset(),
}
"""The same of a delete and an undelete: one write, so they are recorded only at their end."""

TRANSITIONS_OF_TYPE: Mapping[OperationType, Mapping[Phase | None, frozenset[Phase]]] = {
    "upload": TRANSITIONS,
    "download": DOWNLOAD_TRANSITIONS,
    "restore": DOWNLOAD_TRANSITIONS,  # it is carried by the storage, and done once the object can be read
    "delete": REMOVAL_TRANSITIONS,
    "undelete": REMOVAL_TRANSITIONS,
}


def may_follow(operation_type: OperationType, before: Phase | None, after: Phase) -> bool:
    """Tell whether an operation in phase `before` may be written with phase `after`."""
    return after in TRANSITIONS_OF_TYPE[operation_type].get(before, ())


@dataclass
class FileRecord:
    """A file or directory at one stage of its life: source, archive or S3 object."""

    __pydantic_config__: ClassVar[dict[str, Any]] = StrictValue.__pydantic_config__
    """It stands in requests: the service refuses a field that it does not know."""

    name: str
    path: str
    """Path as it may be seen by the team: relative to the current directory, or the S3 key."""
    location: FileLocation
    size: int
    """Bytes; 0 for a directory (the upload's `uncompressed_size` carries the sum)."""
    is_directory: bool
    status: FileStatus


@dataclass
class OperationRecord:
    """One operation on a file or object, by one person."""

    operation_id: str
    """UUID (version 7), minted by the client: the idempotency key of everything."""
    operation_type: OperationType
    target_path: str
    started_at: datetime
    status: OperationStatus
    result_path: str | None
    error_message: str | None

    phase: Phase = field(default="reserved", kw_only=True)
    actor: str = field(default="", kw_only=True)
    """Name of the person or machine user, taken from the token."""
    actor_id: str = field(default="", kw_only=True)
    """The token's subject: stays the same when a name changes."""
    finished_at: datetime | None = field(default=None, kw_only=True)
    error_code: str | None = field(default=None, kw_only=True)
    """A code of `problems.PROBLEMS`, or the client's own error code."""
    run_id: str | None = field(default=None, kw_only=True)
    """The client's run that began it, as its log and the service's name that run."""


@dataclass
class UploadRecord(OperationRecord):
    """An upload with its archive, destination and the files at each stage."""

    TOLD_BY: ClassVar[tuple[str, str]] = ("operation_type", "upload")
    """The field and value that identify this type of record; others are read as OperationRecord."""

    compression_type: str
    """Always "gzip"."""
    compressed_file_path: str
    s3_bucket: str
    s3_object_key: str
    source_file_record: FileRecord | None
    compressed_file_record: FileRecord | None
    s3_file_record: FileRecord | None

    uncompressed_size: int | None = field(default=None, kw_only=True)
    """Bytes of all regular files in the archive together."""
    member_count: int | None = field(default=None, kw_only=True)
    content_digest: str | None = field(default=None, kw_only=True)
    """"blake3:" (or "sha256:") and 64 hexadecimal digits over the members, times left out."""
    crc64nvme: str | None = field(default=None, kw_only=True)
    """The object's full-object checksum, base64 as S3 writes it."""
    etag: str | None = field(default=None, kw_only=True)
    """Opaque: compared, never computed."""
    version_id: str | None = field(default=None, kw_only=True)
    storage_class: str | None = field(default=None, kw_only=True)
    tags: dict[str, str] = field(default_factory=dict, kw_only=True)
    excludes: tuple[str, ...] = field(default=(), kw_only=True)
    """Globs of what its archive leaves out, as far as they are known."""
    codec: str | None = field(default=None, kw_only=True)
    """The program that made the archive: its format, deflate and machine, such as "mgmt 3, isal 1.9.1, x86_64"."""
    compression_plan: str | None = field(default=None, kw_only=True)
    """How each block was compressed: with the codec, this makes the bytes repeatable."""
    index_size: int | None = field(default=None, kw_only=True)
    """Bytes of the archive's index, which lies beside the archives; None where there is none."""
    index_crc64nvme: str | None = field(default=None, kw_only=True)
    index_version_id: str | None = field(default=None, kw_only=True)
    index_missing: bool = field(default=False, kw_only=True)
    """An index was announced and is not there: whoever needs it reads the archive instead."""
    settled_by: str | None = field(default=None, kw_only=True)
    """"worker" where the service found out by itself how the upload ended; None where a client's call ended it."""
    late_at: datetime | None = field(default=None, kw_only=True)
    """When its object was found, after the upload had been recorded as failed."""
    late_version_id: str | None = field(default=None, kw_only=True)
    """The version of that object."""
    replaces: str | None = field(default=None, kw_only=True)
    """The upload whose object this one replaces, as far as the service knew that object."""
    replaces_actor: str | None = field(default=None, kw_only=True)
    """The person who had stored it."""
    deleted_at: datetime | None = field(default=None, kw_only=True)
    """When it was deleted; None where it was not, or was brought back since. Its status stays that of the upload."""
    deleted_by: str | None = field(default=None, kw_only=True)
    """The person who deleted it."""
    recoverable_until: datetime | None = field(default=None, kw_only=True)
    """Until when it can be brought back: its bytes are not removed before that."""
    removed_at: datetime | None = field(default=None, kw_only=True)
    """When its bytes were given up for removal: from then on they are not to be had."""

    def __post_init__(self) -> None:
        """Set the operation type: an upload is an upload, whatever it was built with."""
        self.operation_type = "upload"

    @property
    def object_size(self) -> int | None:
        """Bytes of the stored object, before that those announced, or 0; None where the record says nothing of one."""
        return self.s3_file_record.size if self.s3_file_record is not None else None


@dataclass
class DownloadRecord(OperationRecord):
    """A download of one stored version of an archive, or of single files out of it.

    `target_path` and, once it succeeded, `result_path` are where the client puts what it fetches.
    """

    TOLD_BY: ClassVar[tuple[str, str]] = ("operation_type", "download")

    upload_id: str
    """The upload whose object it fetches."""
    s3_bucket: str
    s3_object_key: str
    version_id: str | None
    size: int
    """Bytes of the whole archive."""

    received_bytes: int | None = field(default=None, kw_only=True)
    """Bytes that the client has fetched, as it reports: fewer than `size` for single files."""

    def __post_init__(self) -> None:
        """Set the operation type: a download is a download, whatever it was built with."""
        self.operation_type = "download"


@dataclass
class RestoreRecord(OperationRecord):
    """A request to the storage to make one archived version readable: one for the whole team.

    `actor` is the person who asked first.
    """

    TOLD_BY: ClassVar[tuple[str, str]] = ("operation_type", "restore")

    upload_id: str
    """The upload whose object is restored."""
    s3_bucket: str
    s3_object_key: str
    version_id: str | None
    size: int
    tier: str
    """How fast, and how dear: "Expedited", "Standard" or "Bulk"."""

    days: int | None = field(default=None, kw_only=True)
    """How long the readable copy stays; None where the storage keeps it readable until it archives it again."""
    ready_at: datetime | None = field(default=None, kw_only=True)
    """When it is expected to be readable."""

    def __post_init__(self) -> None:
        """Set the operation type: a restore is a restore, whatever it was built with."""
        self.operation_type = "restore"


@dataclass
class DeleteRecord(OperationRecord):
    """The deletion of one upload: its object stays in the bucket until `recoverable_until`, at least."""

    TOLD_BY: ClassVar[tuple[str, str]] = ("operation_type", "delete")

    upload_id: str
    s3_bucket: str
    s3_object_key: str
    version_id: str | None
    size: int

    recoverable_until: datetime | None = field(default=None, kw_only=True)
    """None where the deletion was refused."""

    def __post_init__(self) -> None:
        """Set the operation type: a deletion is a deletion, whatever it was built with."""
        self.operation_type = "delete"


@dataclass
class UndeleteRecord(OperationRecord):
    """The end of an upload's deletion: it is as if it had not been deleted."""

    TOLD_BY: ClassVar[tuple[str, str]] = ("operation_type", "undelete")

    upload_id: str
    s3_bucket: str
    s3_object_key: str
    version_id: str | None
    size: int

    def __post_init__(self) -> None:
        """Set the operation type: an undeletion is one, whatever it was built with."""
        self.operation_type = "undelete"
