"""The service's entities: an operation with its phase and lease, and a name with its holder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from mgmt_contract.messages import Content
from mgmt_contract.names import base_name
from mgmt_contract.records import (
    STATUS_OF_PHASE,
    FileRecord,
    OperationStatus,
    OperationType,
    Phase,
    UploadRecord,
    may_follow,
)
from mgmt_contract.texts import cut_text
from mgmt_contract.wire import format_time


class IllegalTransitionError(Exception):
    """A phase that may not follow the present one: a fault in the service, never a user's."""


Role = Literal["nobody", "member", "admin"]
"""What a caller is to the service: a valid token alone makes a nobody."""


@dataclass(frozen=True)
class Actor:
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


@dataclass(frozen=True)
class Operation:
    """An operation as it is stored: the team's record, and fields for the service alone."""

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
    content_md5: str | None = None
    """Signed into the URL of a whole PUT, where the client has sent it."""
    replaces_etag: str | None = None
    """The object this upload may replace; None where it may only create."""
    join_asked_at: datetime | None = None
    """When the storage was asked to join the parts and has not answered: it may still be joining them."""
    revision: int = 0
    """Grows with each write; a write names the revision it was computed from."""

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

    def cut_to_bounds(self) -> Operation:
        """Return the operation with the texts of its record cut to their bounds; every store reads through this.

        A record that is older than the bounds, or that was not written by the service, must not make a page of the
        team's history too large to be answered.
        """
        record = self.record
        longer = {name: cut for name in _FREE_TEXTS if (cut := _cut(getattr(record, name))) != getattr(record, name)}
        return self if not longer else dataclasses.replace(self, record=dataclasses.replace(record, **longer))  # type: ignore[arg-type]

    def advance(self, phase: Phase, **changes: object) -> Operation:
        """Return the operation in another phase, its record's fields changed as named.

        The one way an operation's record changes: the table of transitions is checked here, and the
        record's status always follows its phase.

        Raises:
            IllegalTransitionError: If `phase` may not follow the present one.
        """
        if not may_follow(self.phase, phase):
            raise IllegalTransitionError(f"{self.id}: {self.phase} -> {phase}")
        status = STATUS_OF_PHASE[phase]
        record = dataclasses.replace(self.record, phase=phase, status=status, **changes)  # type: ignore[arg-type]
        join_asked_at = self.join_asked_at if phase == "completing" else None
        return dataclasses.replace(self, record=record, join_asked_at=join_asked_at)


_FREE_TEXTS: Final = (
    "target_path",
    "compressed_file_path",
    "error_message",
    "actor",
    "replaces_actor",
    "source_file_record",
    "compressed_file_record",
    "s3_file_record",
)
"""The fields of a record with free texts: names of people and files, and messages."""


def _cut(value: str | FileRecord | None) -> str | FileRecord | None:
    if isinstance(value, FileRecord):
        return dataclasses.replace(value, name=cut_text(value.name), path=cut_text(value.path))
    return None if value is None else cut_text(value)


@dataclass(frozen=True)
class CurrentVersion:
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


@dataclass(frozen=True)
class PendingUpload:
    """The upload that has reserved a name, and the end of its reservation."""

    operation_id: str
    machine_id: str
    actor: str
    actor_id: str
    lease_expires_at: datetime


@dataclass(frozen=True)
class Name:
    """One key: the object stored there and the upload that is about to store."""

    key: str
    current: CurrentVersion | None = None
    pending: PendingUpload | None = None
    revision: int = 0
    """0: not stored yet."""


@dataclass(frozen=True)
class HistoryQuery:
    """A query for operations, newest first."""

    limit: int
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
    after: str | None = None
    """The `order` of the last operation already seen."""


@dataclass(frozen=True)
class HistoryPage:
    """Operations found, newest first."""

    operations: list[Operation]
    after: str | None
    """The beginning of the next page; None on the last."""
