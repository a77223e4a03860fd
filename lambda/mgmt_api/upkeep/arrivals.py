"""Objects that have arrived: confirmed without their client, or named in the record of an upload that had failed."""

from __future__ import annotations

import logging

from mgmt_api.calls.backends import Backends
from mgmt_api.domain.checks import is_operation_id
from mgmt_api.domain.entities import Name, Operation
from mgmt_api.ports import StoredObject
from mgmt_api.upkeep.settling import settle_upload
from mgmt_api.uploads.recording import adopt_late, is_as_promised
from mgmt_contract.names import fold_key
from mgmt_contract.records import CANCELLED

logger = logging.getLogger(__name__)


def settle_arrival(backends: Backends, key: str, version_id: str | None) -> None:
    """Look at an object that has arrived, and settle the upload whose object it is.

    Raises:
        ConflictError: If another call has changed the records meanwhile; and as the stores.
    """
    stored = backends.objects.head_object(key)
    is_current = stored is not None and version_id in (None, stored.version_id)
    if not is_current:
        stored = backends.objects.head_object(key, version_id) if version_id is not None else None
    if stored is None:
        return  # removed since: there is nothing to record
    operation = find_operation_of(backends, stored)
    if operation is None:
        tell_orphan(backends, "object", key, version_id)
        return
    name = backends.records.get_names([key]).get(fold_key(key), Name(key))
    if operation.phase == "failed":
        _note_late(backends, operation, name, stored, is_current=is_current)
    elif is_current:
        settle_upload(backends, operation, name)


def find_operation_of(backends: Backends, stored: StoredObject) -> Operation | None:
    """Find the upload that has stored an object; None where no record knows it."""
    if stored.operation_id is None or not is_operation_id(stored.operation_id):
        return None
    operation = backends.records.get_operations([stored.operation_id]).get(stored.operation_id)
    is_its = isinstance(operation, Operation) and operation.record.s3_object_key == stored.key
    return operation if isinstance(operation, Operation) and is_its else None


def tell_orphan(backends: Backends, kind: str, key: str, detail: str | None = None) -> None:
    """Count what only the storage, or only the records, know, and name it in the log. Nothing is destroyed."""
    backends.metrics.count("Orphans")
    logger.warning("orphan", extra={"kind": kind, "key": key, "detail": detail})


def _note_late(backends: Backends, operation: Operation, name: Name, stored: StoredObject, *, is_current: bool) -> None:
    """Adopt an object that came after its upload had failed, or name it in the record."""
    if is_current and _may_be_adopted(backends, operation, name, stored):
        adopt_late(backends, operation, name, stored)
        backends.metrics.count("Settled")
        logger.info("a late object was adopted", extra={"operation_id": operation.id})
    elif operation.record.late_at is None:
        backends.records.update_operation(
            operation.advance("failed", late_at=backends.now(), late_version_id=stored.version_id)
        )
        logger.warning("an object came after its upload had failed", extra={"operation_id": operation.id})


def _may_be_adopted(backends: Backends, operation: Operation, name: Name, stored: StoredObject) -> bool:
    """Tell whether it is what was promised, and nobody else has the name."""
    if operation.record.error_code == CANCELLED or not is_as_promised(operation, stored):
        return False
    if name.key != stored.key:
        return False
    claim = name.pending
    if claim is None or claim.operation_id == operation.id:
        return True
    holder = backends.records.get_operations([claim.operation_id]).get(claim.operation_id)
    if holder is None:  # reserved, and not recorded yet
        return claim.lease_expires_at <= backends.now()
    return holder.phase in ("done", "failed")
