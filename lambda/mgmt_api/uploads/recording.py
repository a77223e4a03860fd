"""The end of an upload as the records have it: done with the object that the storage states, or failed with a reason.

Whether it has ended, and how, `settlement` finds out.
"""

from __future__ import annotations

import dataclasses

from mgmt_api.calls.backends import Backends
from mgmt_api.domain.entities import CurrentVersion, Name, Operation
from mgmt_api.domain.redaction import redact
from mgmt_api.ports import StoredObject
from mgmt_api.uploads.content import change_file, require_content
from mgmt_api.uploads.existing import describe_existing, tell_owner
from mgmt_api.uploads.index import find_index
from mgmt_api.uploads.multipart import discard_multipart_upload


def record_outcome(backends: Backends, operation: Operation, name: Name, stored: StoredObject | None) -> Operation:
    """Record an upload whose bytes all went out, by the object under its key: done, or failed.

    Args:
        backends: The stores.
        operation: Not ended yet.
        name: Read before the look at the storage.
        stored: What the storage states of the key.

    Raises:
        ConflictError: If another call has changed the operation or the name.
    """
    if stored is None or stored.operation_id != operation.id:
        return fail_for_name(backends, operation, name, stored)
    if not is_as_promised(operation, stored):
        states = f"{stored.size} bytes, checksum {stored.crc64nvme or 'unknown'}"
        return fail_for_content(backends, operation, name, f"the storage states {states}")
    return record_success(backends, operation, name, stored)


def is_as_promised(operation: Operation, stored: StoredObject) -> bool:
    """Tell whether an object is this operation's, with the size and checksum the client computed."""
    content = operation.content
    return content is not None and (stored.operation_id, stored.size, stored.crc64nvme) == (
        operation.id,
        content.size,
        content.crc64nvme,
    )


# --- success -------------------------------------------------------------------------------------------


def record_success(backends: Backends, operation: Operation, name: Name, stored: StoredObject) -> Operation:
    """Record the name's current version, then the operation as done.

    In between no other call can end it otherwise, and the name stays reserved for it: one in parts is completing, and
    the failure of one that was sent whole is written with its name. One that had failed stays so until then.
    """
    index = find_index(backends, operation)
    operation = _enter_completing(backends, operation)
    current = _make_current(backends, operation, name, stored)
    backends.records.put_name(dataclasses.replace(name, key=stored.key, current=current))
    record = operation.record
    done = operation.advance(
        "done",
        result_path=stored.key,
        finished_at=current.finished_at,
        etag=stored.etag,
        version_id=stored.version_id,
        index_size=index.size if index else None,
        index_crc64nvme=index.crc64nvme if index else None,
        index_version_id=index.version_id if index else None,
        index_missing=index is None and operation.index is not None,
        error_code=None,
        error_message=None,
        source_file_record=change_file(record.source_file_record, status="completed"),
        s3_file_record=change_file(record.s3_file_record, status="completed", size=stored.size),
    )
    done = backends.records.update_operation(done)
    backends.metrics.count("UploadsDone")
    backends.metrics.count("BytesStored", stored.size)
    return done


def _enter_completing(backends: Backends, operation: Operation) -> Operation:
    """Note that an upload in parts is about to be done; one that was sent whole needs no note (`record_failure`)."""
    if operation.phase != "carrying" or operation.part_size is None:
        return operation
    return backends.records.update_operation(operation.advance("completing"))


def _make_current(backends: Backends, operation: Operation, name: Name, stored: StoredObject) -> CurrentVersion:
    content = require_content(operation)
    known = name.current
    # An interrupted call may have recorded this very version: its time is kept.
    finished_at = known.finished_at if known is not None and known.operation_id == operation.id else backends.now()
    return CurrentVersion(
        operation_id=operation.id,
        actor=operation.record.actor,
        actor_id=operation.record.actor_id,
        finished_at=finished_at,
        size=stored.size,
        crc64nvme=content.crc64nvme,
        content_digest=content.content_digest,
        etag=stored.etag,
        version_id=stored.version_id,
    )


def adopt_late(backends: Backends, operation: Operation, name: Name, stored: StoredObject) -> Operation:
    """Record an upload that had failed as done: its object has arrived, is as promised, and has the name to itself.

    Raises:
        ConflictError: If another call has changed the operation or the name.
    """
    record = dataclasses.replace(operation.record, late_at=backends.now(), late_version_id=stored.version_id)
    return record_success(backends, dataclasses.replace(operation, record=record), name, stored)


# --- failure -------------------------------------------------------------------------------------------


def record_failure(
    backends: Backends, operation: Operation, name: Name, error_code: str, error_message: str
) -> Operation:
    """Record an operation as failed and throw its parts away. Its name is free from then on.

    The failure of an upload that was sent whole is written together with its name: another call that has found the
    object writes the name, then the operation as done, and so neither comes between the two writes of the other.

    Args:
        backends: The stores.
        operation: Not ended yet.
        name: Read before the look at the storage that found no object of the operation.
        error_code: Why it has failed.
        error_message: The same for a person.

    Raises:
        ConflictError: If another call has changed the operation or the name.
    """
    failed = operation.advance(
        "failed",
        finished_at=backends.now(),
        error_code=error_code,
        error_message=redact(error_message),
        s3_file_record=change_file(operation.record.s3_file_record, status="failed"),
    )
    if operation.part_size is None:
        failed = backends.records.update_with_name(failed, name)
    else:
        failed = backends.records.update_operation(failed)
    backends.metrics.count("UploadsFailed", code=error_code)
    discard_parts(backends, failed)
    return failed


def discard_parts(backends: Backends, operation: Operation) -> None:
    """Throw the parts of a failed operation away; again, where an earlier call was interrupted."""
    discard_multipart_upload(backends, operation.record.s3_object_key, operation.multipart_upload_id)


def fail_for_name(backends: Backends, operation: Operation, name: Name, stored: StoredObject | None) -> Operation:
    """Record an upload as failed because another object has its name, or the one that it was to replace is gone."""
    key = operation.record.s3_object_key
    if stored is None:
        sentence = f"The object under {key} that was to be replaced is gone. Start the upload again."
    else:
        owner = tell_owner(describe_existing(backends, name, stored, operation.record.actor_id))
        sentence = (
            f"Another object was stored under {key} meanwhile, by {owner}. "
            "Upload under another name with --as, or replace it with --replace."
        )
    return record_failure(backends, operation, name, "name-taken", sentence)


def fail_for_content(backends: Backends, operation: Operation, name: Name, finding: str) -> Operation:
    """Record an upload as failed because the storage has other bytes than the client computed: so the finding says."""
    content = require_content(operation)
    sentence = f"The client computed {content.size} bytes, checksum {content.crc64nvme}; {finding}. Upload it again."
    return record_failure(backends, operation, name, "content-differs", sentence)
