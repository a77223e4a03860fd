"""Multipart uploads at the storage: opened, compared with what was signed, thrown away."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mgmt_api.calls.backends import Backends
from mgmt_api.domain.entities import Operation
from mgmt_api.ports import ConflictError, NewObject, RecordsUnavailableError, StorageError, StoredPart
from mgmt_contract.messages.uploads import Part
from mgmt_contract.parts import part_count, part_span

logger = logging.getLogger(__name__)


def make_new_object(operation: Operation) -> NewObject:
    """Return the properties that an operation's object gets at its creation."""
    record = operation.record
    return NewObject(
        key=record.s3_object_key,
        operation_id=operation.id,
        storage_class=record.storage_class,
        tags=record.tags or None,
    )


def open_multipart_upload(backends: Backends, operation: Operation) -> Operation:
    """Create a multipart upload and store its id over the revision that `operation` was computed from.

    Creating is not idempotent: a call that loses the write throws the new upload away again. A write whose answer was
    lost may have been stored, and others may have continued it: so it is read before anything is thrown away.

    Raises:
        ConflictError: If another call was faster.
        RecordsUnavailableError: If the result is unknown; the new upload is left to the bucket's lifecycle rule.
    """
    key = operation.record.s3_object_key
    multipart_upload_id = backends.objects.create_multipart_upload(make_new_object(operation))
    try:
        return backends.records.update_operation(
            replace(operation.advance("carrying"), multipart_upload_id=multipart_upload_id)
        )
    except (ConflictError, RecordsUnavailableError):
        stored = backends.records.get_operations([operation.id]).get(operation.id)
        if isinstance(stored, Operation) and stored.multipart_upload_id == multipart_upload_id:
            return stored
        discard_multipart_upload(backends, key, multipart_upload_id)
        raise


def discard_multipart_upload(backends: Backends, key: str, multipart_upload_id: str | None) -> None:
    """Try to throw a multipart upload away; if that fails, the bucket's lifecycle rule removes it."""
    if multipart_upload_id is None:
        return
    try:
        backends.objects.abort_multipart_upload(key, multipart_upload_id)
    except StorageError as error:
        logger.warning("a multipart upload was left behind", extra={"key": key, "reason": str(error)})


def list_whole_parts(backends: Backends, operation: Operation) -> list[StoredPart]:
    """Return the parts that the storage holds as they were signed.

    Raises:
        NoSuchMultipartUploadError: If the upload is gone.
    """
    stored = backends.objects.list_parts(operation.record.s3_object_key, operation.multipart_upload_id or "")
    signed = backends.records.get_signed_parts(operation.id)
    return find_whole_parts(stored, signed)


def find_whole_parts(stored: Sequence[StoredPart], signed: Mapping[int, Part]) -> list[StoredPart]:
    """Return the parts the storage holds exactly as they were signed, each with its signed checksum.

    Where the storage states no checksums of parts, equal lengths are enough: it has compared the bytes with
    the signed checksum when they arrived, and compares the whole at completion.
    """
    whole = [part for part in stored if part.number in signed and _is_whole(part, signed[part.number])]
    return [replace(part, crc64nvme=signed[part.number].crc64nvme) for part in whole]


def _is_whole(stored: StoredPart, signed: Part) -> bool:
    return stored.size == signed.length and stored.crc64nvme in (None, signed.crc64nvme)


def find_missing_parts(operation: Operation, whole_parts: Sequence[StoredPart]) -> tuple[int, ...]:
    """Return the numbers of the parts that an operation with known content still lacks."""
    if operation.content is None or operation.part_size is None:
        raise ValueError(f"{operation.id} is no multipart upload of known content")
    size_bytes, part_size_bytes = operation.content.size, operation.part_size
    held = {part.number: part.size for part in whole_parts}
    numbers = range(1, part_count(size_bytes, part_size_bytes) + 1)
    return tuple(
        number for number in numbers if held.get(number) != part_span(number, size_bytes, part_size_bytes).length
    )
