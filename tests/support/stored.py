"""Archives that a team has stored, with indexes beside them, without the commands and calls that bring them there."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

from mgmt.archive import PackedArchive, current_codec
from mgmt.archive.index import IndexWriter
from mgmt.archive.rebuilding import rebuild_index
from mgmt_contract.names import index_key
from mgmt_contract.records import FileRecord, UploadRecord
from support.fakes import crc64nvme
from support.operations import make_operation
from support.team import Team


def make_index(archive: bytes, folder: Path) -> bytes:
    """Make the index of an archive."""
    made = io.BytesIO()
    with IndexWriter(folder) as writer:
        rebuild_index(io.BytesIO(archive), writer)
        writer.write(made)
    return made.getvalue()


def give_index(team: Team, upload_id: str, index: bytes) -> None:
    """Store an index beside an upload's archive and record it, as an upload in parts does."""
    stored = team.s3.put_object(
        Bucket=team.bucket, Key=index_key("", upload_id), Body=index, ChecksumAlgorithm="CRC64NVME"
    )
    change_record(
        team,
        upload_id,
        index_size=len(index),
        index_crc64nvme=crc64nvme(index),
        index_version_id=stored["VersionId"],
    )


def store_upload(team: Team, packed: PackedArchive, number: int = 1) -> UploadRecord:
    """Store an archive and record its upload, as one that is done."""
    content, key = packed.content, packed.path.name
    with packed.path.open("rb") as body:
        stored = team.s3.put_object(Bucket=team.bucket, Key=key, Body=body, ChecksumAlgorithm="CRC64NVME")
    operation = make_operation(number, key=key, phase="done")
    record = replace(
        operation.record,
        s3_bucket=team.bucket,
        s3_file_record=FileRecord(key, key, "s3", content.size, is_directory=False, status="completed"),
        version_id=stored["VersionId"],
        crc64nvme=content.crc64nvme,
        content_digest=content.content_digest,
        member_count=content.member_count,
        uncompressed_size=content.uncompressed_size,
        codec=current_codec(),
    )
    team.records.create_operation(replace(operation, record=record, content=content))
    return record


def read_record(team: Team, upload_id: str) -> UploadRecord:
    """Return an upload's record as it stands."""
    operation: Any = team.records.get_operations([upload_id])[upload_id]
    record: UploadRecord = operation.record
    return record


def change_record(team: Team, upload_id: str, **changes: Any) -> UploadRecord:
    """Change fields of an upload's record, as nobody can."""
    operation: Any = team.records.get_operations([upload_id])[upload_id]
    team.records.update_operation(replace(operation, record=replace(operation.record, **changes)))
    return read_record(team, upload_id)
