"""Settling one operation: it is compared with what the storage has, and brought to its true end where it has one."""

from __future__ import annotations

import dataclasses
import logging
from datetime import datetime, timedelta
from typing import Final

from mgmt_api.calls.backends import Backends
from mgmt_api.domain.entities import Download, Name, Operation, Recorded, RecordedT, Restore
from mgmt_api.ports import NoSuchMultipartUploadError
from mgmt_api.uploads.multipart import find_missing_parts, list_whole_parts
from mgmt_api.uploads.settlement import end_unfinished, finish
from mgmt_contract.names import fold_key

logger = logging.getLogger(__name__)

WORKER: Final = "worker"
ABANDONED: Final = "abandoned"
"""The error code of what was given up because nobody went on with it."""
RESTORE_BEGINS_WITHIN: Final = timedelta(hours=1)
"""A restore is recorded before the storage is asked for it."""


def settle_by_id(backends: Backends, operation_id: str) -> None:
    """Settle an operation, if it exists and is pending.

    Raises:
        ConflictError: If another call has changed it meanwhile; and as the stores.
    """
    operation = backends.records.get_operations([operation_id]).get(operation_id)
    if operation is None:
        logger.warning("there is no such operation", extra={"operation_id": operation_id})
        return
    if isinstance(operation, Operation):
        key = operation.record.s3_object_key
        name = backends.records.get_names([key]).get(fold_key(key), Name(key))
        settle_upload(backends, operation, name)
    else:
        settle_other(backends, operation)


def settle_other(backends: Backends, operation: Recorded) -> None:
    """Settle an operation that is no upload."""
    if isinstance(operation, Download):
        _settle_download(backends, operation)
    elif isinstance(operation, Restore):
        _settle_restore(backends, operation)


def may_be_settled(backends: Backends, operation: Recorded) -> bool:
    """Tell whether a pending operation is one to look at in a round: no client is at work on it."""
    if not isinstance(operation, Operation) or operation.phase == "completing":
        return True
    return operation.lease_expires_at <= backends.now()


# --- uploads -------------------------------------------------------------------------------------------


def settle_upload(backends: Backends, operation: Operation, name: Name) -> Operation:
    """Complete an upload whose bytes are all there, and end one that nobody has gone on with for too long.

    Args:
        backends: The stores.
        operation: In any phase; one that has ended is returned as it is.
        name: Read before this call.
    """
    if operation.phase in ("done", "failed"):
        return operation
    asked_by_client = operation.phase == "completing"
    if not asked_by_client:
        operation = _mark(operation)
    if asked_by_client or _has_arrived(backends, operation):
        # Where the storage refuses to join parts that are all there, they stay: nobody's bytes are thrown away for it.
        operation = finish(backends, operation, name).operation
    elif _is_abandoned(backends, operation.lease_expires_at):
        _throw_parts_away(backends, operation)
        operation = end_unfinished(backends, operation, name, ABANDONED, _say_abandoned(backends, "upload"))
    if operation.phase in ("done", "failed") and operation.record.settled_by == WORKER:
        backends.metrics.count("Settled")
        logger.info("settled", extra={"operation_id": operation.id, "outcome": operation.phase})
    return operation


def _mark(operation: Operation) -> Operation:
    return dataclasses.replace(operation, record=dataclasses.replace(operation.record, settled_by=WORKER))


def _has_arrived(backends: Backends, operation: Operation) -> bool:
    """Tell whether all bytes of an upload that nobody asks about are there."""
    if operation.content is None or operation.phase != "carrying":
        return False
    if operation.part_size is None:
        return _is_stored(backends, operation)
    try:
        return not find_missing_parts(operation, list_whole_parts(backends, operation))
    except NoSuchMultipartUploadError:
        return _is_stored(backends, operation)


def _is_stored(backends: Backends, operation: Operation) -> bool:
    stored = backends.objects.head_object(operation.record.s3_object_key)
    return stored is not None and stored.operation_id == operation.id


def _throw_parts_away(backends: Backends, operation: Operation) -> None:
    """Throw the parts of an abandoned upload away before it ends: of one that has ended, no later round would.

    Should its client come back at this very moment, the upload is begun again from its first part.
    """
    if operation.multipart_upload_id is not None:
        backends.objects.abort_multipart_upload(operation.record.s3_object_key, operation.multipart_upload_id)


def _is_abandoned(backends: Backends, last_seen_at: datetime) -> bool:
    return backends.now() >= last_seen_at + timedelta(days=backends.settings.resume_days)


def _say_abandoned(backends: Backends, kind: str) -> str:
    days = backends.settings.resume_days
    return f"Nobody went on with this {kind} for {days} days, so it was given up. Begin it again."


# --- downloads and restores ----------------------------------------------------------------------------


def _settle_download(backends: Backends, download: Download) -> None:
    if download.phase != "carrying" or not _is_abandoned(backends, download.opened_at or download.record.started_at):
        return
    message, now = _say_abandoned(backends, "download"), backends.now()
    _end(backends, download.advance("failed", error_code=ABANDONED, error_message=message, finished_at=now))


def _settle_restore(backends: Backends, restore: Restore) -> None:
    """Record that an object has become readable; or that nobody will make it so."""
    if restore.phase != "carrying":
        return
    record, now = restore.record, backends.now()
    stored = backends.objects.head_object(record.s3_object_key, record.version_id)
    if stored is None:
        gone = "The version is not in the bucket any more. It was removed past this service; ask the admin."
        _end(backends, restore.advance("failed", error_code="object-gone", error_message=gone, finished_at=now))
    elif stored.reading == "readable" or not backends.settings.restores_archived:
        _end(backends, restore.advance("done", result_path=record.s3_object_key, finished_at=now))
    elif stored.reading == "archived" and now >= record.started_at + RESTORE_BEGINS_WITHIN:
        lapsed = "The object is archived, and the storage is not restoring it. Ask for it again."
        _end(backends, restore.advance("failed", error_code="restore-lapsed", error_message=lapsed, finished_at=now))


def _end(backends: Backends, operation: RecordedT) -> None:
    backends.records.update_operation(operation)
    backends.metrics.count("Settled")
    logger.info("settled", extra={"operation_id": operation.id, "outcome": operation.phase})
