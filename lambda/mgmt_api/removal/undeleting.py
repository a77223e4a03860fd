"""Bringing deleted uploads back: the mark is taken out of the records again.

The version never left the storage, so nothing is copied or restored. Where its name has another upload by then, it
comes back as a version that was replaced. From the named date on it does not come back.
"""

from __future__ import annotations

from mgmt_api.calls.backends import Backends, ReadAhead
from mgmt_api.calls.versions import look_at, tell_deletion
from mgmt_api.domain.entities import Actor, Name, Operation
from mgmt_api.domain.removal import may_be_brought_back
from mgmt_api.removal.deleting import mark_name
from mgmt_api.removal.desk import Desk, answer_removals
from mgmt_contract.messages.removal import NewerUpload, RemovalItem, RemovalRequest, RemovalResponse, RemovalResult
from mgmt_contract.problems import ProblemError
from mgmt_contract.records import UploadRecord
from mgmt_contract.wire import format_time


def undelete_uploads(
    backends: Backends, actor: Actor, request: RemovalRequest, run_id: str | None = None
) -> RemovalResponse:
    """Bring deleted uploads back.

    Raises:
        ProblemError: invalid-request, where the list is too long or empty.
    """
    desk = Desk("undelete", backends, actor, run_id, ReadAhead(backends))
    return answer_removals(desk, request, lambda item: _undelete(desk, item))


def _undelete(desk: Desk, item: RemovalItem) -> RemovalResult:
    earlier = desk.find_earlier(item)
    upload = desk.find_upload(item.upload_id)
    name = desk.ahead.name(upload.record.s3_object_key)
    if earlier is not None:
        newer = _find_newer(desk, name, upload)
        return RemovalResult(earlier.id, "done", record=earlier.record, upload=upload.record, newer=newer)
    desk.require_right(item, upload)
    if upload.record.deleted_at is None:
        return RemovalResult(item.operation_id, "already", upload=upload.record)
    _require_recoverable(desk.backends, upload)
    newer = _find_newer(desk, name, upload)
    undelete, back = desk.backends.records.create_with_upload(
        desk.draft(item, upload, "done"),
        upload.advance("done", deleted_at=None, deleted_by=None, recoverable_until=None),
        mark_name(name, upload, is_deleted=False),
    )
    return RemovalResult(undelete.id, "done", record=undelete.record, upload=back.record, newer=newer)


def _require_recoverable(backends: Backends, upload: Operation) -> None:
    """Refuse an upload whose days are over, or whose version is gone; what is answered as back can be had.

    Raises:
        ProblemError: not-recoverable or object-gone.
    """
    record = upload.record
    if not may_be_brought_back(record, backends.now()):
        raise ProblemError(
            "not-recoverable",
            f"{record.s3_object_key}, {tell_deletion(record)}, could be brought back until "
            f"{_told(record)}; that has passed. Upload it again.",
        )
    version = look_at(backends, upload)
    if version.standing == "gone":
        raise ProblemError(
            "object-gone",
            f"{record.s3_object_key}, {tell_deletion(record)}, cannot be brought back: its version is not in the "
            "bucket any more. It was removed past this service; ask the admin.",
        )


def _find_newer(desk: Desk, name: Name, upload: Operation) -> NewerUpload | None:
    """Find the upload that has, or is about to have, the name of another one."""
    claim, current = name.pending, name.current
    if claim is not None and claim.operation_id != upload.id:
        holder = desk.backends.records.get_operations([claim.operation_id]).get(claim.operation_id)
        if holder is None or holder.phase not in ("done", "failed"):
            return NewerUpload(claim.operation_id, claim.actor, is_pending=True)
    if current is None or current.operation_id == upload.id or current.is_deleted:
        return None
    return NewerUpload(current.operation_id, current.actor, is_pending=False)


def _told(record: UploadRecord) -> str:
    return format_time(record.recoverable_until) if record.recoverable_until is not None else "then"
