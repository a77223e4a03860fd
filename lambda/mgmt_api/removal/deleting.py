"""Deleting uploads: a mark in the records, and nothing changes in the storage.

The deletion, the upload's record and the name's are written together. The name is free at once; the version stays, and
can be read by the upload's id and brought back until the date that is named here.
"""

from __future__ import annotations

import dataclasses

from mgmt_api.calls.backends import Backends, ReadAhead
from mgmt_api.domain.entities import Actor, Name, Operation
from mgmt_api.domain.removal import recoverable_until
from mgmt_api.removal.desk import Desk, answer_removals
from mgmt_contract.messages.removal import RemovalItem, RemovalRequest, RemovalResponse, RemovalResult


def delete_uploads(
    backends: Backends, actor: Actor, request: RemovalRequest, run_id: str | None = None
) -> RemovalResponse:
    """Delete uploads.

    Raises:
        ProblemError: invalid-request, where the list is too long or empty.
    """
    desk = Desk("delete", backends, actor, run_id, ReadAhead(backends))
    return answer_removals(desk, request, lambda item: _delete(desk, item))


def _delete(desk: Desk, item: RemovalItem) -> RemovalResult:
    earlier = desk.find_earlier(item)
    upload = desk.find_upload(item.upload_id)
    if earlier is not None:
        return RemovalResult(earlier.id, "done", record=earlier.record, upload=upload.record)
    desk.require_right(item, upload)
    if upload.record.deleted_at is not None:
        return RemovalResult(item.operation_id, "already", upload=upload.record)
    now = desk.backends.now()
    until = recoverable_until(now, desk.backends.settings.recoverable_days)
    name = desk.ahead.name(upload.record.s3_object_key)
    delete, deleted = desk.backends.records.create_with_upload(
        desk.draft(item, upload, "done", recoverable_until=until),
        upload.advance("done", deleted_at=now, deleted_by=desk.actor.name, recoverable_until=until),
        mark_name(name, upload, is_deleted=True),
    )
    desk.backends.metrics.count("UploadsDeleted")
    return RemovalResult(delete.id, "done", record=delete.record, upload=deleted.record)


def mark_name(name: Name, upload: Operation, *, is_deleted: bool) -> Name:
    """Return an upload's name, with its mark where the name is that upload's; it is written anew in either case.

    So a start that has read the name before writes over another revision, and reads it again.
    """
    current = name.current
    if current is None or current.operation_id != upload.id:
        return name
    return dataclasses.replace(name, current=dataclasses.replace(current, is_deleted=is_deleted))
