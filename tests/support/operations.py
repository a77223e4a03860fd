"""Operations and names to fill a record store with."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from mgmt_api.domain.entities import Delete, Download, Operation, Restore, Undelete
from mgmt_contract.records import (
    STATUS_OF_PHASE,
    DeleteRecord,
    DownloadRecord,
    FileRecord,
    Phase,
    RestoreRecord,
    UndeleteRecord,
    UploadRecord,
)

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


def make_id(number: int) -> str:
    """Make the id of a test's operation: a UUID of version 7 whose order is the number's."""
    return str(uuid.UUID(int=(number << 80) | (7 << 76) | (2 << 62) | number))


def make_operation(
    number: int = 1,
    *,
    key: str = "team/clip.mp4.tar.gz",
    actor: str = "kim",
    phase: Phase = "carrying",
    seconds: float = 0,
) -> Operation:
    """Make an operation that started `seconds` after `START`."""
    archive = key.rsplit("/", 1)[-1]
    source = archive.removesuffix(".tar.gz")
    record = UploadRecord(
        operation_id=make_id(number),
        operation_type="upload",
        target_path=source,
        started_at=START + timedelta(seconds=seconds),
        status=STATUS_OF_PHASE[phase],
        result_path=key if phase == "done" else None,
        error_message="the disk went away" if phase == "failed" else None,
        compression_type="gzip",
        compressed_file_path=archive,
        s3_bucket="media",
        s3_object_key=key,
        source_file_record=FileRecord(source, source, "local", 3, is_directory=False, status="pending"),
        compressed_file_record=None,
        s3_file_record=None,
        phase=phase,
        actor=actor,
        actor_id=f"subject-of-{actor}",
        run_id=f"run-{number}",
    )
    return Operation(record, lease_epoch=1, machine_id="machine-1", lease_expires_at=START + timedelta(minutes=10))


def make_download(
    number: int = 1, *, key: str = "team/clip.mp4.tar.gz", actor: str = "kim", seconds: float = 0
) -> Download:
    """Make a download that began `seconds` after `START`."""
    record = DownloadRecord(
        operation_id=make_id(number),
        operation_type="download",
        target_path="restored",
        started_at=START + timedelta(seconds=seconds),
        status="pending",
        result_path=None,
        error_message=None,
        upload_id=make_id(number + 1000),
        s3_bucket="media",
        s3_object_key=key,
        version_id=None,
        size=2**45,
        phase="carrying",
        actor=actor,
        actor_id=f"subject-of-{actor}",
    )
    return Download(record)


def make_restore(number: int = 1, *, key: str = "team/clip.mp4.tar.gz", seconds: float = 0) -> Restore:
    """Make a restore that was asked for `seconds` after `START`."""
    record = RestoreRecord(
        operation_id=make_id(number),
        operation_type="restore",
        target_path=key,
        started_at=START + timedelta(seconds=seconds),
        status="pending",
        result_path=None,
        error_message=None,
        upload_id=make_id(number + 1000),
        s3_bucket="media",
        s3_object_key=key,
        version_id="v7",
        size=2**45,
        tier="Bulk",
        days=7,
        ready_at=START + timedelta(hours=48),
        phase="carrying",
        actor="kim",
        actor_id="subject-of-kim",
    )
    return Restore(record)


def make_delete(number: int = 1, *, key: str = "team/clip.mp4.tar.gz", seconds: float = 0) -> Delete:
    """Make a deletion `seconds` after `START`."""
    return Delete(DeleteRecord(**_removal(number, key, seconds), recoverable_until=START + timedelta(days=30)))


def make_undelete(number: int = 1, *, key: str = "team/clip.mp4.tar.gz", seconds: float = 0) -> Undelete:
    """Make the end of a deletion `seconds` after `START`."""
    return Undelete(UndeleteRecord(**_removal(number, key, seconds)))


def _removal(number: int, key: str, seconds: float) -> dict[str, Any]:
    return {
        "operation_id": make_id(number),
        "operation_type": "delete",
        "target_path": key,
        "started_at": START + timedelta(seconds=seconds),
        "status": "success",
        "result_path": key,
        "error_message": None,
        "upload_id": make_id(number + 1000),
        "s3_bucket": "media",
        "s3_object_key": key,
        "version_id": "v7",
        "size": 2**45,
        "phase": "done",
        "actor": "kim",
        "actor_id": "subject-of-kim",
    }
