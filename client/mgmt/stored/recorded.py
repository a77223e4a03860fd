"""What an upload's record says of its archive, and the comparison of an archive that was read with it."""

from __future__ import annotations

from typing import Final

from mgmt.errors import IntegrityError, SourceError
from mgmt.layout import FORMAT_VERSION
from mgmt_contract.records import OperationRecord, UploadRecord

CODEC_BEGINNING: Final = f"mgmt {FORMAT_VERSION},"
"""Of records of uploads whose content digest is computed as here; their archives can be listed and read by blocks."""


def require_upload(record: OperationRecord, name: str) -> UploadRecord:
    """Return the record of an upload, whatever became of it.

    Raises:
        SourceError: no-upload.
    """
    if isinstance(record, UploadRecord):
        return record
    raise SourceError(
        f"'{name}' is the id of a {record.operation_type}, not of an upload. `mgmt history` lists what is stored.",
        code="no-upload",
    )


def require_stored(record: OperationRecord, name: str) -> UploadRecord:
    """Return the record of an upload that has stored an archive.

    Args:
        record: What was found.
        name: What the user named it.

    Raises:
        SourceError: no-upload or not-stored.
    """
    record = require_upload(record, name)
    if record.status != "success" or not size_of(record):
        raise SourceError(
            f"The upload of {record.target_path} has stored nothing: it is {record.status}. `mgmt history` lists what "
            "is stored.",
            code="not-stored",
        )
    return record


def size_of(upload: UploadRecord) -> int:
    """Return the recorded size of an upload's archive, in bytes."""
    return upload.object_size or 0


def has_this_format(upload: UploadRecord) -> bool:
    """Tell whether an upload's archive was packed in this mgmt's format."""
    return (upload.codec or "").startswith(CODEC_BEGINNING)


def refuse_other_content(upload: UploadRecord, *, size: int, crc64nvme: str, content_digest: str | None) -> None:
    """Compare an archive that was read whole with its record; without the digest where that is None.

    Raises:
        IntegrityError: content-differs.
    """
    compared = {
        "size": (size, size_of(upload)),
        "crc64nvme": (crc64nvme, upload.crc64nvme),
        "content digest": (content_digest, upload.content_digest),
    }
    for what, (found, recorded) in compared.items():
        if None not in (found, recorded) and found != recorded:
            raise IntegrityError(
                f"What was fetched of {upload.s3_object_key} is not what was uploaded: its {what} is {found}, and "
                f"{recorded} is recorded. Run the same command again; tell the admin if that does not help.",
                code="content-differs",
            )
