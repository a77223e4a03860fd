"""The version of an object that an upload has stored: looked at, and compared with the record."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from mgmt_api.calls.backends import Backends
from mgmt_api.domain.checks import is_operation_id
from mgmt_api.domain.entities import Operation, Recorded
from mgmt_api.ports import Reading, StorageUnavailableError, StoredObject
from mgmt_contract.messages.objects import SignedRequest, StoredVersion
from mgmt_contract.names import index_key
from mgmt_contract.problems import Problem, ProblemError, make_problem
from mgmt_contract.records import UploadRecord
from mgmt_contract.values import Value
from mgmt_contract.wire import format_time

LOOK_MAX_SECONDS: Final = 18.0
"""The longest that one HEAD takes: two tries of 8 s each, and a moment between (`adapters.clients`)."""

Standing = Literal["there", "differs", "gone"]


class Version(Value):
    """One upload's version, as the storage states it now."""

    upload: Operation
    stored: StoredObject | None
    standing: Standing
    reading: Reading = "readable"
    is_current: bool | None = None

    def describe(self) -> StoredVersion | None:
        """Return what the storage states, for an answer."""
        stored = self.stored
        if stored is None:
            return None
        return StoredVersion(
            size=stored.size,
            crc64nvme=stored.crc64nvme,
            storage_class=stored.storage_class,
            is_current=self.is_current,
            restored_until=stored.restored_until,
            archive_tier=stored.archive_tier,
        )

    def make_problem(self, operation_id: str) -> Problem | None:
        """Say what is wrong with it, in the result of `operation_id`; None where it is as recorded."""
        record, stored = self.upload.record, self.stored
        if stored is None and record.deleted_at is not None:
            return make_problem("object-gone", _explain_removed(record), operation_id=operation_id)
        if stored is None:
            return make_problem(
                "object-gone",
                f"The version of {record.s3_object_key} that {record.actor} stored is not in the bucket any more. "
                "It was removed past this service; ask the admin.",
                operation_id=operation_id,
            )
        if self.standing == "there":
            return None
        return make_problem(
            "content-differs",
            f"The storage states {stored.size} bytes, checksum {stored.crc64nvme or 'unknown'}, for "
            f"{record.s3_object_key}; recorded are {_recorded_size(self.upload)} bytes, checksum {record.crc64nvme}. "
            "It was changed past this service; ask the admin.",
            operation_id=operation_id,
        )


class StoredIndex(NamedTuple):
    """The index of one upload's archive, as the storage states it now."""

    standing: Standing
    is_readable: bool
    """False too where it is as recorded, but somebody's own lifecycle rule has archived it."""


def tell_deletion(record: UploadRecord) -> str:
    """Say in words by whom and when an upload was deleted."""
    when = f" on {format_time(record.deleted_at)}" if record.deleted_at is not None else ""
    return f"deleted by {record.deleted_by or 'somebody'}{when}"


def _explain_removed(record: UploadRecord) -> str:
    said = f"The version of {record.s3_object_key} that {record.actor} stored was {tell_deletion(record)}, and "
    if record.removed_at is None:
        return f"{said}is not in the bucket any more. It was removed past this service; ask the admin."
    until = f" until {format_time(record.recoverable_until)}" if record.recoverable_until is not None else ""
    return f"{said}could be brought back{until}. Its bytes are gone. Upload it again."


def require_stored(recorded: Recorded | None, upload_id: str) -> Operation:
    """Return an upload that has stored an object.

    Raises:
        ProblemError: no-such-operation or not-stored.
    """
    if not isinstance(recorded, Operation):
        shown = upload_id if is_operation_id(upload_id) else "this id"
        raise ProblemError("no-such-operation", f"No upload is recorded under {shown}.")
    if recorded.phase != "done":
        raise ProblemError(
            "not-stored",
            f"Upload {upload_id} of {recorded.record.s3_object_key} is {recorded.record.status}: it has stored nothing "
            "that is proven.",
        )
    return recorded


def look_at(backends: Backends, upload: Operation, *, and_at_current: bool = False) -> Version:
    """Have the storage state the very version that an upload has stored, and compare it with the record.

    Args:
        backends: The stores.
        upload: One that is done.
        and_at_current: Also ask whether it is the current version.
    """
    record = upload.record
    if record.removed_at is not None:  # it may be there for another day, and is not to be counted on
        return Version(upload, None, "gone")
    stored = _find(backends, record.s3_object_key, record.version_id)
    if stored is None:
        return Version(upload, None, "gone")
    is_current = None
    if and_at_current:
        current = _find(backends, record.s3_object_key, None)
        is_current = current is not None and current.version_id == stored.version_id
    is_same = (stored.size, stored.crc64nvme) == (_recorded_size(upload), record.crc64nvme)
    return Version(upload, stored, "there" if is_same else "differs", _reading(backends, stored), is_current)


def look_at_index(backends: Backends, upload: Operation) -> StoredIndex | None:
    """Have the storage state the index of an upload's archive; None where the record has none."""
    record = upload.record
    if record.index_size is None:
        return None
    key = index_key(backends.settings.root_prefix, upload.id)
    stored = _find(backends, key, record.index_version_id)
    if stored is None:
        return StoredIndex("gone", is_readable=False)
    is_same = (stored.size, stored.crc64nvme) == (record.index_size, record.index_crc64nvme)
    return StoredIndex(
        "there" if is_same else "differs", is_readable=is_same and _reading(backends, stored) == "readable"
    )


def _reading(backends: Backends, stored: StoredObject) -> Reading:
    """Say whether bytes can be read now; a copy whose date has passed may be gone, whatever its header still says.

    If it is not, restoring it once more only moves its date.
    """
    if not backends.settings.restores_archived:
        return "readable"
    until = stored.restored_until
    return "archived" if until is not None and until <= backends.now() else stored.reading


def sign_index(backends: Backends, upload: Operation) -> SignedRequest | None:
    """Sign the GET of the index that an upload has stored, by its version; None where the record has none."""
    if upload.record.index_size is None:
        return None
    settings = backends.settings
    return backends.objects.presign_get(
        index_key(settings.root_prefix, upload.id),
        upload.record.index_version_id,
        expires_in_seconds=settings.url_life_seconds,
    )


def _find(backends: Backends, key: str, version_id: str | None) -> StoredObject | None:
    """Ask the storage for a version, or the current one, unless that may take longer than the call still has.

    A list waits for each of its items: those that a storage which stumbles has left no time for are asked for again.
    """
    if backends.remaining_seconds() < LOOK_MAX_SECONDS:
        raise StorageUnavailableError(f"{key} was not looked at: the call has too little time left")
    return backends.objects.head_object(key, version_id)


def _recorded_size(upload: Operation) -> int | None:
    return upload.content.size if upload.content is not None else None
