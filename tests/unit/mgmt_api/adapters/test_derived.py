"""What follows from the rest is left out of an upload's item, and nothing is lost by that."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from mgmt_api.adapters import table
from mgmt_contract.messages.uploads import Content
from mgmt_contract.records import STATUS_OF_PHASE, FileRecord, UploadRecord
from support.operations import make_id, make_operation
from support.write_units import UNIT_BYTES, size_of

DIGEST = "blake3:" + "0a" * 32
CONTENT = Content(5, "JphbblFKTCQ=", DIGEST, 10, 1)
KEY = "shoots/2026-11/day1/A001_C0000_0415AB.mov.tar.gz"
ARCHIVE = "A001_C0000_0415AB.mov.tar.gz"
SOURCE = "day1/A001_C0000_0415AB.mov"
FILES = ("source_file_record", "compressed_file_record", "s3_file_record")
OTHERS: dict[str, Any] = {
    "str": "other",
    "int": 77,
    "bool": True,
    "datetime": datetime(2027, 2, 3, tzinfo=UTC),
    "dict[str, str]": {"a": "b"},
    "tuple[str, ...]": ("*.tmp",),
}


def small_upload(phase: str, **changes: Any) -> Any:
    """Make an upload as a client's small one is, in a phase."""
    is_done = phase == "done"
    base = make_operation(1, phase=phase)
    record = replace(
        base.record,
        target_path=SOURCE,
        actor_id="0b9b6e0e-6a5c-4c56-9d5e-3a0b8c1d2e3f",
        s3_bucket="studio-footage-eu-west-1",
        s3_object_key=KEY,
        compressed_file_path=ARCHIVE,
        result_path=KEY if is_done else None,
        run_id=make_id(2),
        uncompressed_size=10,
        member_count=1,
        content_digest=DIGEST,
        crc64nvme=CONTENT.crc64nvme,
        finished_at=datetime(2026, 11, 1, 12, 0, 1, tzinfo=UTC) if is_done else None,
        etag='"4b3a6218bb3e3a7303e8a171a60fcf92"' if is_done else None,
        version_id="xHk3mQz.1Yb0mFqNJv8sT5e6r7u8i9o0" if is_done else None,
        codec="mgmt 3, isal 1.9.1, x86_64",
        compression_plan="auto",
        source_file_record=FileRecord(
            "A001_C0000_0415AB.mov",
            SOURCE,
            "local",
            10,
            is_directory=False,
            status="completed" if is_done else "pending",
        ),
        compressed_file_record=FileRecord(
            ARCHIVE, ARCHIVE, "local", 5, is_directory=False, status="deleted" if is_done else "pending"
        ),
        s3_file_record=FileRecord(
            ARCHIVE, KEY, "s3", 5, is_directory=False, status="completed" if is_done else "pending"
        ),
    )
    return replace(base, record=replace(record, **changes), content=CONTENT)


def changed_uploads() -> list[Any]:
    """Make uploads of which one value is not what follows from the others."""
    uploads = []
    for phase in STATUS_OF_PHASE:
        upload = small_upload(phase)
        uploads += [upload, replace(upload, content=None), replace(upload, replaces_deleted=True)]
        for field in fields(UploadRecord):
            if field.name in ("operation_id", "operation_type", "phase", "status", "started_at", *FILES):
                continue
            kind = str(field.type)
            values = [OTHERS[kind.removesuffix(" | None")]]
            values += [None] if kind.endswith(" | None") else [""] if kind == "str" else []
            uploads += [small_upload(phase, **{field.name: value}) for value in values]
        for name in FILES:
            uploads.append(small_upload(phase, **{name: None}))
            file = getattr(upload.record, name)
            uploads += [
                small_upload(phase, **{name: replace(file, **change)})
                for change in (
                    {"name": "other"},
                    {"path": ""},
                    {"location": "s3" if file.location == "local" else "local"},
                    {"size": 0},
                    {"is_directory": True},
                    {"status": "moved"},
                )
            ]
        uploads += [
            replace(upload, content=replace(CONTENT, **change))
            for change in ({"size": 6}, {"crc64nvme": "x"}, {"content_digest": "y"}, {"member_count": 0})
        ]
    return uploads


def test_every_value_is_read_as_it_was_written_whether_or_not_it_follows_from_others():
    for upload in changed_uploads():
        assert table.read_operation(table.operation_item(upload, 4)) == upload


@pytest.mark.parametrize("phase", STATUS_OF_PHASE)
def test_the_item_of_a_small_upload_stays_under_one_write_unit(phase):
    item = table.operation_item(small_upload(phase), 4) | {table.WRITE_ID: "74a2ad7c70f6a1d3"}
    assert size_of(item) <= UNIT_BYTES, size_of(item)


def test_what_is_left_out_stays_so_for_a_later_version_must_read_it():
    item = table.operation_item(small_upload("done"), 1)
    assert item["content"] == {"size": 5}
    assert item["record"] == {
        "operation_type": "upload",
        "target_path": SOURCE,
        "phase": "done",
        "actor": "kim",
        "finished_at": "2026-11-01T12:00:01.000Z",
        "run_id": make_id(2),
        "s3_bucket": "studio-footage-eu-west-1",
        "s3_object_key": KEY,
        "source_file_record": {},
        "compressed_file_record": {"status": "deleted"},
        "s3_file_record": {},
        "uncompressed_size": 10,
        "member_count": 1,
        "content_digest": DIGEST,
        "crc64nvme": "JphbblFKTCQ=",
        "etag": '"4b3a6218bb3e3a7303e8a171a60fcf92"',
        "version_id": "xHk3mQz.1Yb0mFqNJv8sT5e6r7u8i9o0",
        "codec": "mgmt 3, isal 1.9.1, x86_64",
        "compression_plan": "auto",
    }
