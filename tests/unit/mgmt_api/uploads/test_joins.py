"""Joining the parts of an upload: whatever the storage answers, what it has under the key decides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mgmt_api.calls.backends import ANSWER_SECONDS
from mgmt_api.ports import (
    ConflictError,
    ContentRefusedError,
    NoSuchMultipartUploadError,
    OperationInProgressError,
    PreconditionFailedError,
    RecordsUnavailableError,
    StorageError,
    StorageUnavailableError,
    WriteCondition,
)
from mgmt_contract import routes
from mgmt_contract.messages.uploads import CompleteItem, CompleteRequest, CompleteResponse
from mgmt_contract.wire import from_json
from support.events import make_event
from support.interposed import fail_at, interpose_objects, interpose_records
from support.studio import BODY, CONTENT, LARGE, PART_SIZE, content_of, item_for, part_of


def carried(machine, **changes):
    """An upload in parts whose only part has arrived."""
    started = machine.start(item_for("clip", upper_bound=100, **changes))
    machine.carry(started, BODY)
    return started


def with_storage_error(studio, error, *, times=1, after=False):
    hook = fail_at("complete_multipart_upload", error, times=times)
    hooks = {"after": hook} if after else {"before": hook}
    studio.serve(studio.records, interpose_objects(studio.objects, **hooks))


@pytest.mark.parametrize(
    "error",
    [
        NoSuchMultipartUploadError("gone"),
        PreconditionFailedError("exists"),
        OperationInProgressError("at work"),
        ContentRefusedError("odd"),
        StorageUnavailableError("lost"),
    ],
)
def test_whatever_is_answered_an_object_that_is_there_and_ours_is_done(studio, ada, error):
    started = carried(ada)
    with_storage_error(studio, error, after=True)
    assert ada.complete(started, CONTENT).outcome == "done"


def test_a_completion_that_may_still_be_at_work_is_only_looked_at_for_ten_minutes(studio, ada):
    """Asked twice, S3 may throw the parts away."""
    started = carried(ada)
    asked = []
    with_storage_error(studio, OperationInProgressError("at work"))
    result = ada.complete(started, CONTENT)
    assert (result.outcome, result.retry_after_seconds) == ("completing", 3)
    assert studio.operation(started.operation_id).record.status == "pending"
    studio.serve(studio.records, interpose_objects(studio.objects, before=asked.append))
    for _ in range(4):
        assert ada.complete(started, CONTENT).outcome == "completing"
        studio.clock.advance(149)
    assert set(asked) == {"head_object"}
    studio.clock.advance(4)
    assert ada.complete(started, CONTENT).outcome == "done"
    assert asked.count("complete_multipart_upload") == 1


def test_a_completion_that_ends_behind_ones_back_is_done_at_the_next_look(studio, ada):
    started = carried(ada)
    with_storage_error(studio, OperationInProgressError("at work"))
    assert ada.complete(started, CONTENT).outcome == "completing"
    [(upload_id, upload)] = studio.objects.uploads.items()
    studio.objects.complete_multipart_upload(
        "clip.tar.gz", upload_id, [upload.parts[1][0]], size=CONTENT.size, crc64nvme=CONTENT.crc64nvme,
        condition=WriteCondition(), within_seconds=1,
    )  # fmt: skip
    assert ada.complete(started, CONTENT).outcome == "done"


REFUSED = [StorageError("no", code=code) for code in ("InvalidRequest", "InvalidPart", "AccessDenied", "New")]


@pytest.mark.parametrize("refusal", REFUSED, ids=lambda refusal: refusal.code)
def test_a_refusal_that_is_not_surely_about_content_throws_no_part_away(studio, ada, bob, refusal):
    item = item_for("clip", upper_bound=100)
    started = ada.start(item)
    ada.carry(started, BODY)
    before = fail_at("complete_multipart_upload", refusal, times=2)
    studio.serve(studio.records, interpose_objects(studio.objects, before=before))
    for _ in range(2):
        problem = ada.complete(started, CONTENT).problem
        assert (problem.code, problem.retry_after_seconds) == ("storage-unavailable", 3)
        assert refusal.code in problem.detail
        assert studio.operation(started.operation_id).record.status == "pending"
        again = ada.start(item)
        assert (again.outcome, again.multipart.received_parts) == ("multipart", (1,))
    assert ada.complete(started, CONTENT).outcome == "done"


def test_an_upload_that_the_storage_always_refuses_to_join_can_be_ended(studio, ada, bob):
    """By its owner at once, by other people when the lease has lapsed."""
    before = fail_at("complete_multipart_upload", StorageError("no", code="InvalidRequest"), times=99)
    studio.serve(studio.records, interpose_objects(studio.objects, before=before))
    started = carried(ada)
    assert ada.complete(started, CONTENT).problem.code == "storage-unavailable"
    assert ada.fail(started).record.status == "failed"
    started = carried(ada)
    assert ada.complete(started, CONTENT).problem.code == "storage-unavailable"
    studio.clock.advance(600)
    assert bob.start(item_for("clip")).outcome == "put"
    assert not studio.objects.uploads


def test_a_storage_that_has_answered_is_not_waited_for(studio, ada):
    """Only a lost answer leaves a completion that may be at work."""
    started = carried(ada)
    for error in (StorageUnavailableError("slow down"), PreconditionFailedError("exists")):
        with_storage_error(studio, error)
        ada.complete(started, CONTENT)
        assert studio.operation(started.operation_id).join_asked_at is None
    assert ada.complete(started, CONTENT).outcome == "done"


def test_the_parts_checksums_go_along_as_they_were_signed(studio, ada, monkeypatch):
    """Also where the storage itself states none of them."""
    started = ada.start(item_for("clip", LARGE))
    ada.carry(started, LARGE)
    complete, seen = studio.objects.complete_multipart_upload, []
    monkeypatch.setattr(
        studio.objects,
        "complete_multipart_upload",
        lambda key, id_, parts, **named: (seen.extend(parts), complete(key, id_, parts, **named)),
    )
    assert ada.complete(started, content_of(LARGE)).outcome == "done"
    assert [part.crc64nvme for part in seen] == [part_of(1, LARGE[:PART_SIZE]).crc64nvme, part_of(2, b"tail").crc64nvme]


class Hurry:
    """A call that has only so long to go."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self._seconds * 1000)


@pytest.mark.parametrize("remaining_seconds", [0.5, 9, 13])
def test_a_join_that_does_not_fit_the_call_is_left_to_the_next(studio, ada, remaining_seconds):
    """The time comes from the function's context, not from a constant."""
    started = carried(ada)
    asked = []
    studio.serve(studio.records, interpose_objects(studio.objects, before=asked.append))
    item = CompleteItem(started.operation_id, started.lease.epoch, CONTENT)
    event = make_event(routes.COMPLETE, claims=ada.claims, body=CompleteRequest(ada.machine_id, [item]))
    answer = studio.app(event, Hurry(remaining_seconds))
    [result] = from_json(CompleteResponse, answer["body"]).results
    assert (result.outcome, result.retry_after_seconds) == ("completing", 0)
    assert "complete_multipart_upload" not in asked
    assert studio.operation(started.operation_id).phase == "carrying"
    assert ada.complete(started, CONTENT).outcome == "done"


def test_the_storage_has_as_long_for_joining_as_the_call_has_to_spare(studio, ada, monkeypatch):
    started = carried(ada)
    complete, seen = studio.objects.complete_multipart_upload, []

    def note(*arguments, within_seconds, **named):
        seen.append(within_seconds)
        complete(*arguments, within_seconds=within_seconds, **named)

    monkeypatch.setattr(studio.objects, "complete_multipart_upload", note)
    item = CompleteItem(started.operation_id, started.lease.epoch, CONTENT)
    event = make_event(routes.COMPLETE, claims=ada.claims, body=CompleteRequest(ada.machine_id, [item]))
    studio.app(event, Hurry(24))
    assert seen == [24 - ANSWER_SECONDS]


def test_a_write_that_was_stored_though_its_answer_was_lost_leaves_nobody_waiting(studio, ada):
    """It says that the storage was asked to join the parts: so it must be asked."""
    started = carried(ada)
    error = RecordsUnavailableError("the answer was lost")
    studio.serve(interpose_records(studio.records, after=fail_at("update_operation", error)), studio.objects)
    assert ada.complete(started, CONTENT).outcome == "done"


def test_a_refused_condition_with_nothing_there_is_asked_again(studio, ada):
    started = carried(ada)
    with_storage_error(studio, PreconditionFailedError("exists"))
    assert ada.complete(started, CONTENT).outcome == "completing"
    assert ada.complete(started, CONTENT).outcome == "done"


def test_refused_bytes_fail_the_upload(studio, ada):
    started = carried(ada)
    with_storage_error(studio, ContentRefusedError("BadDigest"))
    result = ada.complete(started, CONTENT)
    assert result.problem.code == "content-differs"
    assert "BadDigest" in result.problem.detail
    assert not studio.objects.uploads
    assert ada.complete(started, CONTENT).problem.code == "content-differs"


def test_a_wrong_checksum_of_the_whole_is_refused_by_the_storage(studio, ada):
    started = ada.start(item_for("clip", upper_bound=100))
    wrong = replace(CONTENT, crc64nvme="AAAAAAAAAAA=")
    ada.send_parts(ada.sign(started, [part_of(1, BODY)], wrong), BODY, PART_SIZE)
    assert ada.complete(started, wrong).problem.code == "content-differs"


def test_a_storage_that_does_not_answer_leaves_the_upload_completing(studio, ada):
    started = carried(ada)
    with_storage_error(studio, StorageUnavailableError("slow down"))
    problem = ada.complete(started, CONTENT).problem
    assert (problem.code, problem.retry_after_seconds) == ("storage-unavailable", 2)
    assert studio.operation(started.operation_id).phase == "completing"
    assert ada.complete(started, CONTENT).outcome == "done"


def test_a_multipart_upload_that_is_gone_is_carried_again(studio, ada):
    started = carried(ada)
    studio.objects.uploads.clear()
    assert ada.complete(started, CONTENT).missing_parts == [1]
    ada.carry(ada.start(replace(item_for("clip", upper_bound=100), operation_id=started.operation_id)), BODY)
    assert ada.complete(started, CONTENT).outcome == "done"


def test_a_multipart_upload_that_is_gone_while_completing_is_carried_again(studio, ada):
    started = carried(ada)
    with_storage_error(studio, OperationInProgressError("at work"))
    ada.complete(started, CONTENT)
    studio.clock.advance(600)
    studio.objects.uploads.clear()
    assert ada.complete(started, CONTENT).missing_parts == [1]
    assert studio.operation(started.operation_id).phase == "carrying"
    assert len(studio.objects.uploads) == 1


def test_a_part_that_is_gone_while_completing_is_carried_again(studio, ada):
    started = carried(ada)
    with_storage_error(studio, OperationInProgressError("at work"))
    ada.complete(started, CONTENT)
    studio.clock.advance(600)
    next(iter(studio.objects.uploads.values())).parts.clear()
    assert ada.complete(started, CONTENT).missing_parts == [1]
    ada.send_parts(ada.sign(started, [part_of(1, BODY)]), BODY, PART_SIZE)
    assert ada.complete(started, CONTENT).outcome == "done"


def test_an_upload_whose_start_was_interrupted_is_to_be_started_again(studio, ada):
    item = item_for("clip", upper_bound=100)
    error = StorageUnavailableError("slow down")
    studio.serve(studio.records, interpose_objects(studio.objects, before=fail_at("create_multipart_upload", error)))
    interrupted = ada.start(item)
    assert interrupted.problem.code == "storage-unavailable"
    assert ada.complete(interrupted, CONTENT).problem.code == "invalid-request"
    assert ada.sign(interrupted, []).problem.code == "invalid-request"
    assert ada.start(item).outcome == "multipart"


def test_a_record_that_always_changes_is_given_up_for_now(studio, ada):
    started = ada.start(item_for("clip", BODY))
    ada.carry(started, BODY)
    error = ConflictError("somebody was faster")
    studio.serve(interpose_records(studio.records, before=fail_at("update_operation", error, times=5)), studio.objects)
    problem = ada.complete(started, CONTENT).problem
    assert (problem.code, problem.retry_after_seconds) == ("changed-meanwhile", 1)
    assert ada.complete(started, CONTENT).outcome == "done"


def test_a_multipart_upload_that_is_gone_with_another_object_there_fails(studio, ada):
    started = carried(ada)
    studio.objects.uploads.clear()
    studio.objects.place("clip.tar.gz", b"theirs")
    assert ada.complete(started, CONTENT).problem.code == "name-taken"


def test_while_completing_nothing_else_is_done(studio, ada, bob):
    started = carried(ada)
    with_storage_error(studio, OperationInProgressError("at work"))
    assert ada.complete(started, CONTENT).outcome == "completing"
    assert ada.sign(started, []).problem.code == "changed-meanwhile"
    assert bob.start(item_for("clip")).problem.code == "name-reserved"


def test_an_upload_that_is_completing_is_never_superseded(studio, ada, bob):
    started = carried(ada)
    with_storage_error(studio, OperationInProgressError("at work"), times=3)
    ada.complete(started, CONTENT)
    studio.clock.advance(600)
    problem = bob.start(item_for("clip", b"bobs")).problem
    assert (problem.code, problem.retry_after_seconds) == ("changed-meanwhile", 3)
    assert "is being completed" in problem.detail
    assert ada.fail(started).problem.code == "changed-meanwhile"
    studio.clock.advance(600)
    assert bob.start(item_for("clip", b"bobs")).problem.code == "changed-meanwhile"
    studio.clock.advance(600)
    taken = bob.start(item_for("clip", b"bobs"))
    assert taken.problem.code == "name-taken"
    assert taken.existing.actor == "ada"
    assert ada.complete(started, CONTENT).outcome == "done"


def test_starting_again_while_completing_finds_nothing_left_to_send(studio, ada):
    item = item_for("clip", upper_bound=100)
    started = ada.start(item)
    ada.carry(started, BODY)
    with_storage_error(studio, OperationInProgressError("at work"), times=3)
    ada.complete(started, CONTENT)
    again = ada.start(item)
    assert (again.outcome, again.multipart.received_parts) == ("multipart", (1,))
    studio.clock.advance(600)
    assert ada.elsewhere().start(item).problem.code == "changed-meanwhile"
    studio.clock.advance(600)
    assert ada.elsewhere().start(item).problem.code == "changed-meanwhile"
    studio.clock.advance(600)
    done = ada.elsewhere().start(item)
    assert (done.outcome, done.record.status) == ("done", "success")
