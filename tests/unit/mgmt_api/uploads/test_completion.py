"""Completing an upload: done only when the storage states what the client computed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from mgmt_api.ports import RecordsUnavailableError
from mgmt_contract import routes
from mgmt_contract.messages.uploads import CleanUp, CompleteItem, CompleteRequest, CompleteResponse
from mgmt_contract.records import FileRecord
from support.fakes import ManualClock
from support.interposed import fail_at, interpose_objects, interpose_records
from support.studio import BODY, CONTENT, LARGE, PART_SIZE, RefusedError, Studio, content_of, item_for, part_of


def test_success_is_recorded_with_what_the_storage_states(studio, ada):
    item = item_for("clip", BODY)
    started = ada.start(item)
    ada.carry(started, BODY)
    studio.clock.advance(5)
    done = ada.complete(started, CONTENT)
    stored = studio.objects.head_object("clip.tar.gz")
    record = done.record
    assert done.outcome == "done"
    assert (record.status, record.phase, record.result_path) == ("success", "done", "clip.tar.gz")
    assert (record.etag, record.version_id) == (stored.etag, stored.version_id)
    assert record.crc64nvme == stored.crc64nvme == CONTENT.crc64nvme
    assert record.finished_at == record.started_at + timedelta(seconds=5)
    assert record.s3_file_record == FileRecord(
        "clip.tar.gz", "clip.tar.gz", "s3", 5, is_directory=False, status="completed"
    )
    assert record.source_file_record.status == "completed"
    assert record.compressed_file_record.status == "pending"
    current = studio.records.names["clip.tar.gz"].current
    assert (current.operation_id, current.etag, current.content_digest) == (
        item.operation_id,
        stored.etag,
        CONTENT.content_digest,
    )
    assert current.finished_at == record.finished_at


def test_completing_again_answers_the_same(studio, ada):
    started = ada.start(item_for("clip", BODY))
    ada.carry(started, BODY)
    first = ada.complete(started, CONTENT)
    studio.clock.advance(60)
    assert ada.complete(started, CONTENT) == first
    assert ada.elsewhere().complete(started, CONTENT, epoch=7) == first


def test_done_is_never_said_of_other_content(ada):
    started = ada.start(item_for("clip", BODY))
    ada.carry(started, BODY)
    ada.complete(started, CONTENT)
    assert ada.complete(started, content_of(b"other")).problem.code == "content-differs"


def test_several_parts_become_one_object(studio, ada):
    started = ada.start(item_for("clip", LARGE))
    ada.carry(started, LARGE)
    done = ada.complete(started, content_of(LARGE))
    assert done.outcome == "done"
    assert studio.objects.read("clip.tar.gz") == LARGE
    assert not studio.objects.uploads


def test_an_unknown_size_is_known_from_the_completion_at_the_latest(studio, ada):
    started = ada.start(item_for("clip", upper_bound=100))
    signed = ada.sign(started, [part_of(1, BODY)], CONTENT)
    ada.send_parts(signed, BODY, PART_SIZE)
    done = ada.complete(started, CONTENT)
    assert (done.record.content_digest, done.record.uncompressed_size) == (CONTENT.content_digest, 10)
    assert done.record.compressed_file_record.size == 5


def test_a_whole_object_that_is_missing_is_part_1_missing(studio, ada):
    started = ada.start(item_for("clip", BODY))
    incomplete = ada.complete(started, CONTENT)
    assert (incomplete.outcome, incomplete.missing_parts) == ("incomplete", [1])
    ada.carry(started, BODY)
    assert ada.complete(started, CONTENT).outcome == "done"


def test_missing_parts_are_named_and_can_be_sent(studio, ada):
    started = ada.start(item_for("clip", LARGE))
    signed = ada.sign(started, [part_of(1, LARGE[:PART_SIZE]), part_of(2, b"tail")])
    assert ada.complete(started, content_of(LARGE)).missing_parts == [1, 2]
    assert studio.objects.put_part(signed.parts[1].request, b"tail") == 200
    assert ada.complete(started, content_of(LARGE)).missing_parts == [1]
    assert studio.operation(started.operation_id).phase == "carrying"
    assert studio.objects.put_part(signed.parts[0].request, LARGE[:PART_SIZE]) == 200
    assert ada.complete(started, content_of(LARGE)).outcome == "done"


def test_a_part_with_another_checksum_than_signed_is_missing(studio, ada):
    """Where the storage states checksums of parts, they are compared."""
    studio.objects._tells_part_checksums = True
    started = ada.start(item_for("clip", upper_bound=100))
    ada.send_parts(ada.sign(started, [part_of(1, BODY)], CONTENT), BODY, PART_SIZE)
    upload = next(iter(studio.objects.uploads.values()))
    stored, body = upload.parts[1]
    upload.parts[1] = (replace(stored, crc64nvme="AAAAAAAAAAA="), body)
    assert ada.complete(started, CONTENT).missing_parts == [1]


def test_a_part_that_is_longer_than_the_end_leaves_room_for_is_missing(studio, ada):
    started = ada.start(item_for("clip", upper_bound=2 * PART_SIZE))
    signed = ada.sign(started, [part_of(1, bytes(PART_SIZE))])
    assert studio.objects.put_part(signed.parts[0].request, bytes(PART_SIZE)) == 200
    assert ada.complete(started, CONTENT).missing_parts == [1]
    assert ada.sign(started, [part_of(1, BODY)], CONTENT).problem.code == "part-differs"


def test_parts_beyond_the_end_are_left_out(studio, ada):
    started = ada.start(item_for("clip", upper_bound=2 * PART_SIZE))
    signed = ada.sign(started, [part_of(2, bytes(PART_SIZE))])
    assert studio.objects.put_part(signed.parts[0].request, bytes(PART_SIZE)) == 200
    ada.send_parts(ada.sign(started, [part_of(1, BODY)], CONTENT), BODY, PART_SIZE)
    assert ada.complete(started, CONTENT).outcome == "done"
    assert studio.objects.read("clip.tar.gz") == BODY


def test_somebody_elses_object_under_the_name_fails_the_upload(studio, ada, bob):
    started = ada.start(item_for("clip", BODY))
    studio.objects.place("clip.tar.gz", b"theirs")
    assert ada.send(started, BODY) == 412
    result = ada.complete(started, CONTENT)
    assert result.problem.code == "name-taken"
    assert result.record.status == "failed"
    assert result.record.s3_file_record.status == "failed"
    assert result.record.finished_at == studio.clock()
    assert ada.complete(started, CONTENT) == result
    assert bob.start(item_for("clip", b"bobs", replace=True)).outcome == "put"


def test_the_winner_is_named_where_the_records_know_it(studio, ada, bob):
    """The bytes of Bob's failed upload arrive before Ada's."""
    theirs = bob.start(item_for("clip", b"bobs"))
    bob.fail(theirs)
    started = ada.start(item_for("clip", BODY))
    assert bob.send(theirs, b"bobs") == 200
    problem = ada.complete(started, CONTENT).problem
    assert problem.code == "name-taken"
    assert "by bob" in problem.detail


def test_the_object_that_is_to_be_replaced_is_not_somebody_elses(studio, ada):
    ada.upload(item_for("clip", b"old"), b"old")
    started = ada.start(item_for("clip", BODY, replace=True))
    assert ada.complete(started, CONTENT).missing_parts == [1]
    ada.carry(started, BODY)
    assert ada.complete(started, CONTENT).outcome == "done"


def test_an_object_that_was_to_be_replaced_and_is_gone_fails_the_upload(studio, ada):
    ada.upload(item_for("clip", b"old"), b"old")
    started = ada.start(item_for("clip", BODY, replace=True))
    studio.objects.delete("clip.tar.gz")
    problem = ada.complete(started, CONTENT).problem
    assert problem.code == "name-taken"
    assert "gone" in problem.detail


def test_replacing_an_object_by_the_same_bytes_is_told_from_not_having_replaced_it(studio, ada):
    """Both have one ETag; whose they are is in the metadata."""
    old = studio.objects.place("clip.tar.gz", BODY)
    started = ada.start(item_for("clip", BODY, replace=True))
    assert ada.complete(started, CONTENT).missing_parts == [1]
    ada.carry(started, BODY)
    done = ada.complete(started, CONTENT)
    assert (done.outcome, done.record.etag) == ("done", old.etag)
    assert done.record.version_id != old.version_id


def test_parts_replace_exactly_what_stood_there(studio, ada):
    old = studio.objects.place("clip.tar.gz", b"old")
    large = content_of(LARGE)
    started = ada.start(item_for("clip", LARGE, replace=True))
    ada.carry(started, LARGE)
    assert studio.operation(started.operation_id).replaces_etag == old.etag
    assert ada.complete(started, large).outcome == "done"
    assert len(studio.objects.versions["clip.tar.gz"]) == 2


def test_parts_do_not_replace_what_came_in_between(studio, ada):
    studio.objects.place("clip.tar.gz", b"old")
    started = ada.start(item_for("clip", LARGE, replace=True))
    ada.carry(started, LARGE)
    studio.objects.place("clip.tar.gz", b"newer")
    assert ada.complete(started, content_of(LARGE)).problem.code == "name-taken"
    assert studio.objects.read("clip.tar.gz") == b"newer"
    assert not studio.objects.uploads


@pytest.mark.parametrize(
    "change", [{"size": 4}, {"crc64nvme": None}, {"crc64nvme": "AAAAAAAAAAA="}], ids=["size", "none", "checksum"]
)
def test_an_object_of_ours_that_is_not_what_was_computed_fails(studio, ada, change):
    started = ada.start(item_for("clip", BODY))
    ada.carry(started, BODY)
    stored, body = studio.objects.versions["clip.tar.gz"][0]
    studio.objects.versions["clip.tar.gz"][0] = (replace(stored, **change), body)
    result = ada.complete(started, CONTENT)
    assert result.problem.code == "content-differs"
    assert CONTENT.crc64nvme in result.problem.detail
    assert result.record.status == "failed"
    assert studio.records.names["clip.tar.gz"].current is None


def test_only_the_holder_completes(ada, bob):
    started = ada.start(item_for("clip", BODY))
    assert bob.complete(started, CONTENT).problem.code == "not-allowed"
    assert ada.elsewhere().complete(started, CONTENT).problem.code == "lease-lost"
    assert ada.complete(started, CONTENT, epoch=2).problem.code == "lease-lost"
    unknown = replace(started, operation_id="00000000-0000-7000-8000-000000000000")
    assert ada.complete(unknown, CONTENT).problem.code == "no-such-operation"


def test_content_that_cannot_be_is_refused(studio, ada):
    started = ada.start(item_for("clip", upper_bound=100))
    assert ada.complete(started, replace(CONTENT, size=101)).problem.code == "invalid-request"
    assert ada.complete(started, replace(CONTENT, crc64nvme="x")).problem.code == "invalid-request"
    assert studio.operation(started.operation_id).content is None


def test_a_failed_upload_says_so(ada):
    started = ada.start(item_for("clip", BODY))
    ada.fail(started, "the disk is gone")
    result = ada.complete(started, CONTENT)
    assert (result.problem.code, result.problem.detail) == ("operation-failed", "the disk is gone")


@pytest.mark.parametrize("count", [0, 101])
def test_a_list_holds_1_to_100_items(ada, count):
    items = [CompleteItem("00000000-0000-7000-8000-000000000000", 1, CONTENT)] * count
    with pytest.raises(RefusedError, match="invalid-request"):
        ada.call(routes.COMPLETE, CompleteResponse, CompleteRequest(ada.machine_id, items))


# --- long lists ----------------------------------------------------------------------------------------


def test_what_a_call_has_no_time_for_is_to_be_asked_again():
    """The clock moves ten seconds per look at the storage: the third item is not looked at."""
    studio = Studio()
    ada = studio.person()
    started = [ada.start(item_for(str(n), BODY)) for n in range(4)]
    for one in started:
        ada.carry(one, BODY)
    clock: ManualClock = studio.clock
    studio.serve(studio.records, interpose_objects(studio.objects, after=lambda _: clock.advance(10)))
    items = [CompleteItem(one.operation_id, 1, CONTENT) for one in started]
    request = CompleteRequest(ada.machine_id, items)
    first = ada.call(routes.COMPLETE, CompleteResponse, request).results
    assert [result.outcome for result in first] == ["done", "done", "completing", "completing"]
    second = ada.call(routes.COMPLETE, CompleteResponse, request).results
    assert [result.outcome for result in second] == ["done"] * 4


def test_records_that_do_not_answer_concern_one_item(studio, ada):
    one, two = ada.start(item_for("a", BODY)), ada.start(item_for("b", BODY))
    ada.carry(one, BODY)
    ada.carry(two, BODY)
    error = RecordsUnavailableError("throttled")
    studio.serve(interpose_records(studio.records, before=fail_at("update_operation", error)), studio.objects)
    items = [CompleteItem(started.operation_id, 1, CONTENT) for started in (one, two)]
    results = ada.call(routes.COMPLETE, CompleteResponse, CompleteRequest(ada.machine_id, items)).results
    assert [result.outcome for result in results] == ["problem", "done"]
    assert results[0].problem.code == "storage-unavailable"


def test_clean_ups_ride_on_and_an_unknown_one_does_not_disturb(studio, ada):
    done = ada.upload(item_for("clip", BODY), BODY)
    unknown = "00000000-0000-7000-8000-000000000000"
    started = ada.start(
        item_for("next", BODY),
        clean_ups=[CleanUp(unknown, "completed", "deleted"), CleanUp(done.operation_id, "moved", "deleted")],
    )
    assert started.outcome == "put"
    record = studio.operation(done.operation_id).record
    assert (record.source_file_record.status, record.compressed_file_record.status) == ("moved", "deleted")
    ada.carry(started, BODY)
    clean_ups = [CleanUp(done.operation_id, "completed", "completed")]
    assert ada.complete(started, CONTENT, clean_ups=clean_ups).outcome == "done"
    record = studio.operation(done.operation_id).record
    assert (record.source_file_record.status, record.compressed_file_record.status) == ("completed", "completed")


def test_more_than_a_hundred_clean_ups_are_refused(ada):
    with pytest.raises(RefusedError, match="clean_ups"):
        ada.start(item_for(), clean_ups=[CleanUp("x", "completed", "deleted")] * 101)
