"""What is recorded of an upload, field by field, at every station: the team reads it and later calls rely on it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from mgmt_api.domain.entities import CurrentVersion, PendingUpload
from mgmt_contract.messages.uploads import CleanUp, Existing, Packing
from mgmt_contract.parts import MIB
from mgmt_contract.records import FileRecord, UploadRecord
from support.fakes import crc64nvme
from support.studio import content_of, item_for, part_of

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
BODY = b"the bytes"
KEY = "team/day1/clip.mp4.tar.gz"


def make_item():
    return item_for(
        "clip.mp4",
        BODY,
        target_path="footage/clip.mp4",
        source_file_record=FileRecord(
            "clip.mp4", "footage/clip.mp4", "local", 10, is_directory=True, status="completed"
        ),
        compressed_file_path="footage/clip.mp4.tar.gz",
        packing=Packing("isal 1.8.0", "fast"),
        prefix="day1",
        storage_class="GLACIER_IR",
        tags={"shoot": "1"},
    )


def expected_record(item, **changes):
    """What a start records."""
    content = content_of(BODY)
    record = UploadRecord(
        operation_id=item.operation_id,
        operation_type="upload",
        target_path="footage/clip.mp4",
        started_at=START,
        status="pending",
        result_path=None,
        error_message=None,
        compression_type="gzip",
        compressed_file_path="footage/clip.mp4.tar.gz",
        s3_bucket="footage",
        s3_object_key=KEY,
        source_file_record=replace(item.source_file_record, status="pending"),
        compressed_file_record=FileRecord(
            "clip.mp4.tar.gz", "footage/clip.mp4.tar.gz", "local", len(BODY), is_directory=False, status="pending"
        ),
        s3_file_record=FileRecord("clip.mp4.tar.gz", KEY, "s3", len(BODY), is_directory=False, status="pending"),
        phase="carrying",
        actor="ada",
        actor_id="sub-ada",
        uncompressed_size=content.uncompressed_size,
        member_count=content.member_count,
        content_digest=content.content_digest,
        crc64nvme=content.crc64nvme,
        storage_class="GLACIER_IR",
        tags={"shoot": "1"},
        codec="isal 1.8.0",
        compression_plan="fast",
    )
    return replace(record, **changes)


def begin(studio, ada):
    studio.settings = replace(studio.settings, root_prefix="team")
    item = make_item()
    return item, ada.start(item)


def test_a_start_records_all_that_was_said_and_who_holds_the_name(studio, ada):
    item, _ = begin(studio, ada)
    operation = studio.operation(item.operation_id)
    assert operation.record == expected_record(item)
    assert (operation.lease_epoch, operation.machine_id) == (1, ada.machine_id)
    assert operation.lease_expires_at == START + timedelta(seconds=600)
    assert (operation.content, operation.part_size, operation.upper_bound) == (item.content, None, None)
    [name] = studio.records.names.values()
    assert (name.key, name.current) == (KEY, None)
    assert name.pending == PendingUpload(
        item.operation_id, ada.machine_id, "ada", "sub-ada", START + timedelta(seconds=600)
    )


def test_a_success_records_the_object_as_the_storage_states_it(studio, ada):
    item, started = begin(studio, ada)
    assert ada.send(started, BODY) == 200
    studio.clock.advance(60)
    record = ada.complete(started, content_of(BODY)).record
    stored = studio.objects.head_object(KEY)
    pending = expected_record(item)
    assert (
        record
        == studio.operation(item.operation_id).record
        == expected_record(
            item,
            phase="done",
            status="success",
            result_path=KEY,
            finished_at=START + timedelta(seconds=60),
            etag=stored.etag,
            version_id=stored.version_id,
            source_file_record=replace(pending.source_file_record, status="completed"),
            s3_file_record=replace(pending.s3_file_record, status="completed"),
        )
    )
    [name] = studio.records.names.values()
    content = content_of(BODY)
    assert name.current == CurrentVersion(
        item.operation_id,
        "ada",
        START + timedelta(seconds=60),
        len(BODY),
        content.crc64nvme,
        content.content_digest,
        stored.etag,
        stored.version_id,
        "sub-ada",
    )


def test_a_clean_up_changes_the_two_local_files_and_nothing_else(studio, ada):
    item, started = begin(studio, ada)
    ada.send(started, BODY)
    before = ada.complete(started, content_of(BODY)).record
    [result] = ada.clean_up(CleanUp(item.operation_id, "moved", "deleted"))
    assert result.record == replace(
        before,
        source_file_record=replace(before.source_file_record, status="moved"),
        compressed_file_record=replace(before.compressed_file_record, status="deleted"),
    )


def test_a_failure_records_when_and_why_and_that_there_is_no_object(studio, ada):
    item, started = begin(studio, ada)
    studio.clock.advance(5)
    record = ada.fail(started, "the disk is gone", code="local-state").record
    pending = expected_record(item)
    assert record == expected_record(
        item,
        phase="failed",
        status="failed",
        finished_at=START + timedelta(seconds=5),
        error_code="local-state",
        error_message="the disk is gone",
        s3_file_record=replace(pending.s3_file_record, status="failed"),
    )


def test_what_is_still_being_packed_is_recorded_without_its_content_and_learns_it_at_the_end(studio, ada):
    item = item_for("clip", upper_bound=32 * MIB)
    started = ada.start(item)
    record = studio.operation(item.operation_id).record
    unknown = (None, None, None, None)
    assert (record.uncompressed_size, record.member_count, record.content_digest, record.crc64nvme) == unknown
    assert (record.compressed_file_record.size, record.s3_file_record.size, record.phase) == (0, 0, "carrying")
    ada.sign(started, [part_of(1, BODY)], content_of(BODY))
    operation = studio.operation(item.operation_id)
    record, content = operation.record, content_of(BODY)
    assert operation.content == content
    assert (record.uncompressed_size, record.member_count) == (content.uncompressed_size, content.member_count)
    assert (record.content_digest, record.crc64nvme) == (content.content_digest, content.crc64nvme)
    assert (record.compressed_file_record.size, record.s3_file_record.size) == (len(BODY), len(BODY))


def test_whose_an_object_is_and_since_when_is_told_to_the_next(studio, ada, bob):
    item, started = begin(studio, ada)
    ada.send(started, BODY)
    studio.clock.advance(60)
    ada.complete(started, content_of(BODY))
    stored = studio.objects.head_object(KEY)
    result = bob.start(item_for("clip.mp4", BODY, prefix="day1"))
    assert (result.outcome, result.s3_object_key, result.record, result.lease) == ("already_there", KEY, None, None)
    assert result.existing == Existing(
        s3_object_key=KEY,
        size=len(BODY),
        etag=stored.etag,
        operation_id=item.operation_id,
        actor="ada",
        finished_at=START + timedelta(seconds=60),
        content_digest=content_of(BODY).content_digest,
        crc64nvme=crc64nvme(BODY),
        version_id=stored.version_id,
    )
    assert list(studio.records.operations) == [item.operation_id]


def test_an_object_from_elsewhere_is_told_as_the_storage_states_it(studio, ada):
    stored = studio.objects.place("clip.tar.gz", b"theirs")
    result = ada.start(item_for("clip", upper_bound=100))
    assert (result.outcome, result.s3_object_key) == ("name_taken", "clip.tar.gz")
    assert result.existing == Existing(
        "clip.tar.gz", 6, stored.etag, crc64nvme=crc64nvme(b"theirs"), version_id=stored.version_id
    )


def test_bytes_that_came_after_their_upload_was_given_up_are_told_as_its(studio, ada):
    item = item_for("clip", BODY)
    started = ada.start(item)
    ada.fail(started)
    ada.send(started, BODY)
    stored = studio.objects.head_object("clip.tar.gz")
    existing = ada.start(item_for("clip", upper_bound=100)).existing
    assert existing == Existing(
        "clip.tar.gz",
        len(BODY),
        stored.etag,
        operation_id=item.operation_id,
        actor="ada",
        finished_at=studio.operation(item.operation_id).record.finished_at,
        content_digest=content_of(BODY).content_digest,
        crc64nvme=crc64nvme(BODY),
        version_id=stored.version_id,
        is_own=True,
    )
