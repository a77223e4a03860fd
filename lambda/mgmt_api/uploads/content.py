"""The content of a whole archive in its operation: entered once it is known, required where the upload ends."""

from __future__ import annotations

import dataclasses

from mgmt_api.domain.entities import Operation
from mgmt_contract.messages.uploads import Content
from mgmt_contract.problems import ProblemError
from mgmt_contract.records import FileRecord, FileStatus


def add_content(operation: Operation, content: Content) -> Operation:
    """Return the operation with its content known, in the same phase; nothing is stored yet.

    Raises:
        ProblemError: invalid-request, where the archive is larger than the bound it was started with.
    """
    if operation.upper_bound is not None and content.size > operation.upper_bound:
        raise ProblemError(
            "invalid-request",
            f"The archive has {content.size} bytes, it was started with a bound of {operation.upper_bound}. "
            "Start it under a new id.",
        )
    record = operation.record
    advanced = operation.advance(
        operation.phase,
        uncompressed_size=content.uncompressed_size,
        member_count=content.member_count,
        content_digest=content.content_digest,
        crc64nvme=content.crc64nvme,
        compressed_file_record=change_file(record.compressed_file_record, size=content.size),
        s3_file_record=change_file(record.s3_file_record, size=content.size),
    )
    return dataclasses.replace(advanced, content=content)


def change_file(
    file: FileRecord | None, *, status: FileStatus | None = None, size: int | None = None
) -> FileRecord | None:
    """Return a file's record with another status or size; None where there is none."""
    if file is None:
        return None
    return dataclasses.replace(file, status=status or file.status, size=file.size if size is None else size)


def require_content(operation: Operation) -> Content:
    """Return the content of an upload that is about to end: it is known by then."""
    if operation.content is None:
        raise ValueError(f"the content of {operation.id} is not known")
    return operation.content
