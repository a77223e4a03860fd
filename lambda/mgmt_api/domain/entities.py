"""The service's entities: an operation with its phase and lease, and a name with its holder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal, Self, TypeVar

from mgmt_contract.messages.uploads import Content, IndexFile
from mgmt_contract.names import base_name
from mgmt_contract.records import (
    STATUS_OF_PHASE,
    DeleteRecord,
    DownloadRecord,
    FileRecord,
    OperationRecord,
    OperationStatus,
    OperationType,
    Phase,
    RestoreRecord,
    UndeleteRecord,
    UploadRecord,
    may_follow,
)
from mgmt_contract.texts import cut_text
from mgmt_contract.values import Value
from mgmt_contract.wire import format_time


class IllegalTransitionError(Exception):
    """A phase that may not follow the present one: a fault in the service, never a user's."""


_RecordT = TypeVar("_RecordT", bound=OperationRecord)

Role = Literal["nobody", "member", "admin"]
"""What a caller is to the service: a valid token alone makes a nobody."""


class Actor(Value):
    """The calling person or machine, as the verified token says."""

    id: str
    """The token's subject."""
    name: str
    role: Role = "nobody"
    only_reads: bool = False
    """True where the token's scopes are for reading alone."""
    groups: frozenset[str] = frozenset()

    @property
    def is_admin(self) -> bool:
        """Whether the person is an admin."""
        return self.role == "admin"


class _StoredRecord(Value):
    """Anything that is stored under an operation's id: a record for the team, and what follows from it."""

    record: UploadRecord | DownloadRecord | RestoreRecord | DeleteRecord | UndeleteRecord

    @property
    def id(self) -> str:
        """The operation's id."""
        return self.record.operation_id

    @property
    def phase(self) -> Phase:
        """The operation's phase."""
        return self.record.phase

    @property
    def order(self) -> str:
        """Sort key of every index: start time, then id."""
        return f"{format_time(self.record.started_at)}#{self.record.operation_id}"

    @property
    def base_name(self) -> str:
        """The archive's name without any prefix: the partition of the index of names."""
        return base_name(self.record.s3_object_key)

    def cut_to_bounds(self) -> Self:
        """Return the operation with the texts of its record cut to their bounds; every store reads through this.

        A record that is older than the bounds, or that was not written by the service, must not make a page of the
        team's history too large to be answered.
        """
        cut = _cut_record(self.record)
        return self if cut is self.record else dataclasses.replace(self, record=cut)


class Operation(_StoredRecord):
    """An upload as it is stored: the team's record, and fields for the service alone."""

    record: UploadRecord
    lease_epoch: int
    machine_id: str
    lease_expires_at: datetime
    multipart_upload_id: str | None = None
    """S3's id, stored by compare-and-set; None before it exists and for a whole-object PUT."""
    part_size: int | None = None
    """Bytes of every part but the last; None for a whole-object PUT."""
    upper_bound: int | None = None
    content: Content | None = None
    index: IndexFile | None = None
    """The archive's index, as the client has announced it."""
    content_md5: str | None = None
    """Signed into the URL of a whole PUT, where the client has sent it."""
    replaces_etag: str | None = None
    """The object this upload may replace; None where it may only create."""
    replaces_deleted: bool = False
    """That object was deleted, so its name was free: replacing it takes no right, and creating does as well once the
    object is gone."""
    join_asked_at: datetime | None = None
    """When the storage was asked to join the parts and has not answered: it may still be joining them."""
    handed_over_at: datetime | None = None
    """When the worker was last asked to have the parts joined."""
    refusal: str | None = None
    """Why the storage has refused to join the parts, where that says nothing about them; gone with the next change."""
    revision: int = 0
    """Grows with each write; a write names the revision it was computed from."""

    @property
    def awaits_removal(self) -> bool:
        """Whether it was deleted and its bytes are not given up yet."""
        return self.record.deleted_at is not None and self.record.removed_at is None

    def advance(self, phase: Phase, **changes: object) -> Operation:
        """Return the operation in another phase, its record's fields changed as named.

        The one way an operation's record changes: the table of transitions is checked here, and the
        record's status always follows its phase.

        Raises:
            IllegalTransitionError: If `phase` may not follow the present one.
        """
        record = _advance_record(self.record, phase, changes)
        join_asked_at = self.join_asked_at if phase == "completing" else None
        return dataclasses.replace(self, record=record, join_asked_at=join_asked_at, refusal=None)


class ObjectOperation(_StoredRecord):
    """An operation on a stored object, as it is stored: nothing but its record, for it holds no name and no parts."""

    record: DownloadRecord | RestoreRecord | DeleteRecord | UndeleteRecord
    revision: int = 0
    """As of an upload."""

    def advance(self, phase: Phase, **changes: object) -> Self:
        """Return the operation in another phase, its record's fields changed as named.

        Raises:
            IllegalTransitionError: If `phase` may not follow the present one.
        """
        return dataclasses.replace(self, record=_advance_record(self.record, phase, changes))


class Download(ObjectOperation):
    """A download as it is stored."""

    record: DownloadRecord
    opened_at: datetime | None = None
    """When it was last opened again, to the day; None: only when it began."""


class Restore(ObjectOperation):
    """A restore as it is stored."""

    record: RestoreRecord


class Delete(ObjectOperation):
    """A deletion as it is stored."""

    record: DeleteRecord


class Undelete(ObjectOperation):
    """The end of a deletion as it is stored."""

    record: UndeleteRecord


Recorded = Operation | Download | Restore | Delete | Undelete
"""Everything that is recorded under an operation's id."""
RecordedT = TypeVar("RecordedT", bound=Recorded)


def entity_of(operation_type: str) -> type[Recorded]:
    """Return the entity that keeps records of this type.

    Raises:
        KeyError: If there is none: a newer service wrote the record.
    """
    return _ENTITIES[operation_type]


_ENTITIES: Final[Mapping[str, type[Recorded]]] = {
    "upload": Operation,
    "download": Download,
    "restore": Restore,
    "delete": Delete,
    "undelete": Undelete,
}


def _advance_record(record: _RecordT, phase: Phase, changes: Mapping[str, object]) -> _RecordT:
    if not may_follow(record.operation_type, record.phase, phase):
        raise IllegalTransitionError(f"{record.operation_id}: {record.phase} -> {phase}")
    return dataclasses.replace(record, phase=phase, status=STATUS_OF_PHASE[phase], **changes)  # type: ignore[arg-type]


def _cut_record(record: _RecordT) -> _RecordT:
    texts = {name: getattr(record, name) for name in _FREE_TEXTS if hasattr(record, name)}
    longer = {name: cut for name, text in texts.items() if (cut := _cut(text)) != text}
    return dataclasses.replace(record, **longer) if longer else record  # type: ignore[arg-type]


_FREE_TEXTS: Final = (
    "target_path",
    "result_path",
    "compressed_file_path",
    "error_message",
    "actor",
    "replaces_actor",
    "deleted_by",
    "source_file_record",
    "compressed_file_record",
    "s3_file_record",
)
"""The fields of a record with free texts: names of people and files, and messages."""


def _cut(value: str | FileRecord | None) -> str | FileRecord | None:
    if isinstance(value, FileRecord):
        return dataclasses.replace(value, name=cut_text(value.name), path=cut_text(value.path))
    return None if value is None else cut_text(value)


class CurrentVersion(Value):
    """The object that is stored under a key now, as the service confirmed it."""

    operation_id: str
    actor: str
    finished_at: datetime
    size: int
    crc64nvme: str
    content_digest: str
    etag: str
    version_id: str | None
    actor_id: str = ""
    """The subject of the person who stored it."""
    is_deleted: bool = False
    """Its upload was deleted: the name is free for a new one."""


class PendingUpload(Value):
    """The upload that has reserved a name, and the end of its reservation."""

    operation_id: str
    machine_id: str
    actor: str
    actor_id: str
    lease_expires_at: datetime


class Name(Value):
    """One key: the object stored there and the upload that is about to store."""

    key: str
    current: CurrentVersion | None = None
    pending: PendingUpload | None = None
    revision: int = 0
    """0: not stored yet."""


class HistoryQuery(Value):
    """A query for operations, newest first."""

    limit: int
    oldest_first: bool = False
    """The other way round."""
    actor: str | None = None
    """Folded by `fold_person`."""
    actor_id: str | None = None
    status: OperationStatus | None = None
    operation_type: OperationType | None = None
    base_name: str | None = None
    key: str | None = None
    """Only this whole key; `base_name` is given beside it."""
    folder: str | None = None
    """Only keys that begin with this; it ends with a slash."""
    since: datetime | None = None
    """Started then or later; `until`: before then. Both in whole milliseconds, as times are stored."""
    until: datetime | None = None
    is_deleted: bool = False
    """Only uploads that were deleted and whose bytes are not given up yet; no other filter is given beside it."""
    after: str | None = None
    """The `order` of the last operation already seen."""


class HistoryPage(Value):
    """Operations found, in the query's order."""

    operations: list[Recorded]
    after: str | None
    """The beginning of the next page; None on the last."""
