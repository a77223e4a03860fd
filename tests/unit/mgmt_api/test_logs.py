"""What goes wrong without failing a call is found in the lines that are printed, by the operation it concerns."""

from __future__ import annotations

from mgmt_api.ports import ConflictError, RecordsUnavailableError, StorageError, StorageUnavailableError
from mgmt_contract import routes
from mgmt_contract.messages.uploads import CleanUp
from support.events import make_claims, make_event
from support.interposed import fail_at, interpose_objects, interpose_records
from support.studio import content_of, item_for

UNKNOWN = "00000000-0000-7000-8000-000000000000"


def only(lines, level="WARNING"):
    [line] = [line for line in lines() if line["level"] == level]
    return line


def test_a_report_that_was_not_recorded_is_told_with_its_operation_and_why(ada, lines):
    ada.start(item_for("clip"), clean_ups=[CleanUp(UNKNOWN, "completed", "deleted")])
    warning = only(lines)
    assert "clean-up" in warning["message"]
    assert (warning["operation_id"], warning["code"]) == (UNKNOWN, "no-such-operation")


def test_parts_that_are_left_behind_are_told_with_their_key_and_why(studio, ada, lines):
    error = StorageError("s3 is away")
    started = ada.start(item_for("clip", upper_bound=100))
    studio.serve(studio.records, interpose_objects(studio.objects, before=fail_at("abort_multipart_upload", error)))
    assert ada.fail(started).record.status == "failed"
    warning = only(lines)
    assert "left behind" in warning["message"]
    assert (warning["key"], warning["reason"]) == ("clip.tar.gz", "s3 is away")


def test_a_store_that_does_not_answer_one_item_is_told_with_the_operation_and_why(studio, ada, lines):
    error = StorageUnavailableError("slow down")
    studio.serve(studio.records, interpose_objects(studio.objects, before=fail_at("create_multipart_upload", error)))
    item = item_for("clip", upper_bound=100)
    assert ada.start(item).problem.retry_after_seconds == 2
    warning = only(lines)
    assert "does not answer" in warning["message"]
    assert (warning["operation_id"], warning["reason"]) == (item.operation_id, "slow down")


def test_a_lost_race_is_told_and_decided_again(studio, ada, lines):
    error = ConflictError("somebody was faster")
    studio.serve(interpose_records(studio.records, before=fail_at("put_name", error, times=4)), studio.objects)
    assert ada.start(item_for("clip")).outcome == "put"
    *told, answered = lines()
    assert [(line["message"], line["reason"]) for line in told] == [("decided again", "somebody was faster")] * 4
    assert answered["message"] == "answered"


def test_who_always_loses_is_asked_to_come_again_soon(studio, ada):
    error = ConflictError("somebody was faster")
    studio.serve(interpose_records(studio.records, before=fail_at("put_name", error, times=5)), studio.objects)
    problem = ada.start(item_for("clip")).problem
    assert (problem.code, problem.retry_after_seconds) == ("changed-meanwhile", 1)


def test_every_result_is_told_with_who_asked_what_and_how_it_ended(studio, ada, lines):
    item = item_for("clip", b"bytes")
    started = ada.start(item)
    assert ada.complete(started, content_of(b"bytes"), epoch=9).problem.code == "lease-lost"
    [start, complete] = lines()
    who = {"actor": "ada", "actor_id": "sub-ada", "operation_id": item.operation_id, "level": "INFO"}
    assert start.items() >= (who | {"path": "/v1/uploads/start", "outcome": "put", "key": "clip.tar.gz"}).items()
    assert "code" not in start
    assert complete.items() >= (who | {"path": "/v1/uploads/complete", "outcome": "problem"}).items()
    assert complete["code"] == "lease-lost"
    assert "key" not in complete


def test_a_refused_request_is_told_with_its_code(studio, lines):
    studio.app(make_event(routes.START, claims=make_claims("sub", "ada"), body="{"))
    [line] = lines()
    assert (line["level"], line["message"], line["code"]) == ("INFO", "refused", "invalid-request")
    assert "JSON" in line["detail"]


def test_a_store_that_does_not_answer_is_a_warning_and_a_fault_an_error_with_its_place(studio, lines):
    event = make_event(routes.HISTORY, claims=make_claims("sub", "ada"))
    for error in (RecordsUnavailableError("throttled"), RuntimeError("a bug")):
        studio.serve(interpose_records(studio.records, before=fail_at("find_operations", error)), studio.objects)
        studio.app(event)
    [unavailable, fault] = lines()
    assert (unavailable["level"], unavailable["reason"]) == ("WARNING", "throttled")
    assert "does not answer" in unavailable["message"]
    assert (fault["level"], fault["exception_name"]) == ("ERROR", "RuntimeError")
    assert "failed" in fault["message"]
