"""The object that is stored under a key now, and its uploader, as far as the records know."""

from __future__ import annotations

from mgmt_api.calls.backends import Backends
from mgmt_api.domain.checks import is_operation_id
from mgmt_api.domain.entities import Actor, CurrentVersion, Name, Operation
from mgmt_api.domain.policy import may_act_on
from mgmt_api.ports import StoredObject
from mgmt_contract.messages.uploads import Existing
from mgmt_contract.problems import Problem, make_problem
from mgmt_contract.wire import format_time


def describe_existing(backends: Backends, name: Name, stored: StoredObject, caller_id: str) -> Existing:
    """Describe a stored object from the storage and the records.

    An object that was not stored through this service is described by the storage's statements alone.

    Args:
        backends: The stores.
        name: The key's record.
        stored: The object as the storage states it.
        caller_id: The subject of the person for whom it is described.
    """
    current = name.current
    if current is not None and (current.etag, current.version_id) == (stored.etag, stored.version_id):
        return _describe_current(stored, current, caller_id)
    operation = _find_origin(backends, stored)
    if operation is not None:
        is_deleted = operation.record.deleted_at is not None or _was_replaced_by_deleted(operation, current)
        return _describe_origin(stored, operation, caller_id, is_deleted=is_deleted)
    return Existing(
        s3_object_key=stored.key,
        size=stored.size,
        etag=stored.etag,
        crc64nvme=stored.crc64nvme,
        version_id=stored.version_id,
    )


def tell_owner(existing: Existing) -> str:
    """Say in words by whom and when an object was stored."""
    owner = existing.actor or "somebody outside this service"
    when = f" on {format_time(existing.finished_at)}" if existing.finished_at else ""
    return f"{owner}{when}"


def refuse_replacement(backends: Backends, actor: Actor, existing: Existing) -> Problem | None:
    """Return the problem of a person who may not replace this object; None where they may."""
    owner_id = actor.id if existing.is_own else None
    if may_act_on(actor, "replace", backends.settings, owner_id=owner_id):
        return None
    return make_problem(
        "not-allowed",
        f"{existing.s3_object_key} was stored by {tell_owner(existing)}; here only they or an admin may replace it. "
        "Upload under another name with --as.",
    )


def _describe_current(stored: StoredObject, current: CurrentVersion, caller_id: str) -> Existing:
    return Existing(
        s3_object_key=stored.key,
        size=stored.size,
        etag=stored.etag,
        operation_id=current.operation_id,
        actor=current.actor,
        finished_at=current.finished_at,
        content_digest=current.content_digest,
        crc64nvme=stored.crc64nvme,
        version_id=stored.version_id,
        is_own=current.actor_id == caller_id,
        is_deleted=current.is_deleted,
    )


def _was_replaced_by_deleted(operation: Operation, current: CurrentVersion | None) -> bool:
    """Tell whether an upload was replaced by one that was deleted: its name is as free as that one's.

    Its object is the current one again where a storage has removed the later version without a delete marker.
    """
    if current is None or not current.is_deleted or operation.record.finished_at is None:
        return False
    return operation.phase == "done" and operation.record.finished_at <= current.finished_at


def _find_origin(backends: Backends, stored: StoredObject) -> Operation | None:
    """Find the operation that an object's metadata names, if the object has the size and checksum of that operation.

    That is an upload whose bytes arrived after it had been given up.
    """
    id_ = stored.operation_id
    if id_ is None or not is_operation_id(id_):
        return None
    operation = backends.records.get_operations([id_]).get(id_)
    if (
        not isinstance(operation, Operation)
        or operation.content is None
        or operation.record.s3_object_key != stored.key
    ):
        return None
    promised = (operation.content.size, operation.content.crc64nvme)
    return operation if promised == (stored.size, stored.crc64nvme) else None


def _describe_origin(stored: StoredObject, operation: Operation, caller_id: str, *, is_deleted: bool) -> Existing:
    return Existing(
        s3_object_key=stored.key,
        size=stored.size,
        etag=stored.etag,
        operation_id=operation.id,
        actor=operation.record.actor,
        finished_at=operation.record.finished_at,
        content_digest=operation.content.content_digest if operation.content else None,
        crc64nvme=stored.crc64nvme,
        version_id=stored.version_id,
        is_own=operation.record.actor_id == caller_id,
        is_deleted=is_deleted,
    )
