"""A start request as the operation it asks for: drafted, and compared when it comes again."""

from __future__ import annotations

import dataclasses

from mgmt_api.calls.backends import Backends
from mgmt_api.domain.access import Caller
from mgmt_api.domain.entities import Operation
from mgmt_contract.messages.uploads import Existing, StartItem
from mgmt_contract.names import archive_name
from mgmt_contract.parts import SINGLE_PUT_MAX_BYTES, part_size_for
from mgmt_contract.records import FileLocation, FileRecord, UploadRecord

FIRST_EPOCH = 1


def is_whole_put(item: StartItem) -> bool:
    """Tell whether an upload is sent as one object; else it goes in parts."""
    return item.content is not None and item.content.size <= SINGLE_PUT_MAX_BYTES


def draft_operation(
    backends: Backends, caller: Caller, item: StartItem, key: str, replaced: Existing | None
) -> Operation:
    """Draft the operation that a start request asks for, in its first phase; `replaced` is the object it may replace.

    A whole object can be carried at once; one in parts is reserved until its multipart upload exists.
    """
    return Operation(
        record=_draft_record(backends, caller, item, key, replaced),
        lease_epoch=FIRST_EPOCH,
        machine_id=caller.machine_id,
        lease_expires_at=backends.lease_end(),
        part_size=None if is_whole_put(item) else part_size_for(_size_bound(item)),
        upper_bound=item.upper_bound,
        content=item.content,
        content_md5=item.content_md5 if is_whole_put(item) else None,
        replaces_etag=replaced.etag if replaced is not None else None,
        replaces_deleted=replaced is not None and replaced.is_deleted,
    )


def is_same_request(operation: Operation, item: StartItem, key: str) -> bool:
    """Tell whether a start request is the one that an operation was started with.

    From which folder it comes does not matter. One that was started with a bound may come again with its
    content: the archive has become whole since. One that would replace an object goes on only where
    that is still asked for; one that can only create, or takes the place of what was deleted, needs no such word.
    """
    record = operation.record
    asked = (key, item.packing.codec, item.packing.plan, item.storage_class, item.tags)
    stored = (
        record.s3_object_key,
        record.codec,
        record.compression_plan,
        record.storage_class,
        record.tags,
    )
    may_replace = item.replace or operation.replaces_etag is None or operation.replaces_deleted
    return asked == stored and may_replace and _is_same_size(operation, item)


def _is_same_size(operation: Operation, item: StartItem) -> bool:
    content, bound = item.content, operation.upper_bound
    if content is None:
        return item.upper_bound == bound
    if operation.content is None:
        return bound is not None and content.size <= bound
    return content == operation.content


def _size_bound(item: StartItem) -> int:
    return item.content.size if item.content is not None else item.upper_bound or 0


def _draft_record(
    backends: Backends, caller: Caller, item: StartItem, key: str, replaced: Existing | None
) -> UploadRecord:
    content = item.content
    return UploadRecord(
        operation_id=item.operation_id,
        operation_type="upload",
        target_path=item.target_path,
        started_at=backends.now(),
        status="pending",
        result_path=None,
        error_message=None,
        compression_type="gzip",
        compressed_file_path=item.compressed_file_path,
        s3_bucket=backends.settings.bucket,
        s3_object_key=key,
        source_file_record=dataclasses.replace(item.source_file_record, status="pending"),
        compressed_file_record=_draft_file(item, archive_name(item.name), item.compressed_file_path, "local"),
        s3_file_record=_draft_file(item, key.rsplit("/", 1)[-1], key, "s3"),
        phase="carrying" if is_whole_put(item) else "reserved",
        actor=caller.actor.name,
        actor_id=caller.actor.id,
        run_id=caller.run_id,
        uncompressed_size=content.uncompressed_size if content else None,
        member_count=content.member_count if content else None,
        content_digest=content.content_digest if content else None,
        crc64nvme=content.crc64nvme if content else None,
        storage_class=item.storage_class,
        tags=item.tags,
        excludes=item.excludes,
        codec=item.packing.codec,
        compression_plan=item.packing.plan,
        replaces=replaced.operation_id if replaced is not None else None,
        replaces_actor=replaced.actor if replaced is not None else None,
    )


def _draft_file(item: StartItem, name: str, path: str, location: FileLocation) -> FileRecord:
    size = item.content.size if item.content is not None else 0
    return FileRecord(name=name, path=path, location=location, size=size, is_directory=False, status="pending")
