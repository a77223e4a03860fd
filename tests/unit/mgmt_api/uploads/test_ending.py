"""Giving an upload up: recorded, nothing left behind, and never against what the storage holds."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from mgmt_api.ports import OperationInProgressError, StorageUnavailableError
from mgmt_contract import routes
from mgmt_contract.messages.history import RecordsResponse
from mgmt_contract.messages.uploads import FailItem, FailRequest
from support.interposed import fail_at, interpose_objects
from support.studio import BODY, CONTENT, RefusedError, item_for


def test_a_failure_is_recorded_with_its_reason(studio, ada):
    started = ada.start(item_for("clip", BODY))
    studio.clock.advance(7)
    record = ada.fail(started, "the disk is gone", code="local-state").record
    assert (record.status, record.phase, record.error_code, record.error_message) == (
        "failed",
        "failed",
        "local-state",
        "the disk is gone",
    )
    assert record.finished_at == studio.clock()
    assert record.result_path is None
    assert record.s3_file_record.status == "failed"
    assert record.compressed_file_record.status == "pending"


def test_parts_are_thrown_away(studio, ada):
    started = ada.start(item_for("clip", upper_bound=100))
    ada.carry(started, BODY)
    ada.fail(started)
    assert not studio.objects.uploads


def test_the_first_failure_stays(ada):
    started = ada.start(item_for("clip", BODY))
    first = ada.fail(started, "first")
    assert ada.fail(started, "second", code="other") == first


def test_a_done_upload_stays_done(ada):
    started = ada.start(item_for("clip", BODY))
    ada.carry(started, BODY)
    done = ada.complete(started, CONTENT)
    assert ada.fail(started).record == done.record


def test_an_upload_whose_bytes_have_arrived_is_done_instead(studio, ada):
    started = ada.start(item_for("clip", BODY))
    ada.carry(started, BODY)
    assert ada.fail(started).record.status == "success"
    assert studio.records.names["clip.tar.gz"].current.operation_id == started.operation_id


def test_an_object_of_somebody_else_does_not_make_it_done(studio, ada):
    started = ada.start(item_for("clip", BODY))
    studio.objects.place("clip.tar.gz", BODY)
    assert ada.fail(started, code="unavailable").record.error_code == "unavailable"


def test_an_upload_that_is_completing_is_settled(studio, ada):
    started = ada.start(item_for("clip", upper_bound=100))
    ada.carry(started, BODY)
    error = OperationInProgressError("at work")
    studio.serve(studio.records, interpose_objects(studio.objects, before=fail_at("complete_multipart_upload", error)))
    assert ada.complete(started, CONTENT).outcome == "completing"
    assert ada.fail(started).problem.code == "changed-meanwhile"
    studio.clock.advance(600)
    assert ada.fail(started).record.status == "success"


def test_an_upload_that_was_completing_without_its_parts_fails(studio, ada):
    started = ada.start(item_for("clip", upper_bound=100))
    ada.carry(started, BODY)
    error = OperationInProgressError("at work")
    studio.serve(studio.records, interpose_objects(studio.objects, before=fail_at("complete_multipart_upload", error)))
    ada.complete(started, CONTENT)
    studio.clock.advance(600)
    studio.objects.uploads.clear()
    assert ada.fail(started, "gave up").record.error_message == "gave up"
    assert not studio.objects.uploads


def test_only_the_holder_gives_up(studio, ada, bob):
    started = ada.start(item_for("clip", BODY))
    assert bob.fail(started).problem.code == "not-allowed"
    assert ada.elsewhere().fail(started).problem.code == "lease-lost"
    assert ada.fail(started, epoch=2).problem.code == "lease-lost"
    assert studio.operation(started.operation_id).record.status == "pending"


@pytest.mark.parametrize("item", [item_for("clip", BODY), item_for("clip", upper_bound=100)], ids=["whole", "parts"])
def test_its_owner_cancels_an_upload_from_any_machine_without_its_lease(studio, ada, bob, item):
    started = ada.start(item)
    if item.content is None:
        ada.carry(started, BODY)
    assert bob.fail(started, code="cancelled").problem.code == "not-allowed"
    record = ada.elsewhere().fail(started, "no longer wanted", code="cancelled", epoch=7).record
    assert (record.status, record.error_code, record.error_message) == ("failed", "cancelled", "no longer wanted")
    assert not studio.objects.uploads
    assert bob.start(replace(item, operation_id=str(uuid.uuid4()))).outcome in ("put", "multipart"), (
        "the name is free at once"
    )
    assert ada.fail(started, code="unavailable").record.error_code == "cancelled"


def test_what_was_never_started_cannot_fail(ada):
    item = FailItem("00000000-0000-7000-8000-000000000000", 1, "x", "x")
    results = ada.call(routes.FAIL, RecordsResponse, FailRequest(ada.machine_id, [item])).results
    assert results[0].problem.code == "no-such-operation"


@pytest.mark.parametrize("code", ["", "Has Capitals", "x" * 65, "new\nline"])
def test_an_error_code_is_a_word(ada, code):
    assert ada.fail(ada.start(item_for()), code=code).problem.code == "invalid-request"


@pytest.mark.parametrize("count", [0, 101])
def test_a_list_holds_1_to_100_items(ada, count):
    items = [FailItem("00000000-0000-7000-8000-000000000000", 1, "x", "x")] * count
    with pytest.raises(RefusedError, match="invalid-request"):
        ada.call(routes.FAIL, RecordsResponse, FailRequest(ada.machine_id, items))


def test_no_secret_gets_into_a_record(ada):
    started = ada.start(item_for("clip", BODY))
    record = ada.fail(started, f"PUT {started.request.url} was refused\u202e").record
    assert "Signature" not in record.error_message
    assert record.error_message == "PUT https://bucket.invalid/clip.tar.gz?… was refused\\u202e"


@pytest.mark.parametrize("again", ["fail", "start", "complete"])
def test_parts_that_could_not_be_thrown_away_are_when_asked_again(studio, ada, again):
    item = item_for("clip", upper_bound=100)
    started = ada.start(item)
    error = StorageUnavailableError("slow down")
    studio.serve(studio.records, interpose_objects(studio.objects, before=fail_at("abort_multipart_upload", error)))
    assert ada.fail(started).record.status == "failed"
    assert studio.objects.uploads
    calls = {
        "fail": lambda: ada.fail(started),
        "start": lambda: ada.start(item),
        "complete": lambda: ada.complete(started, CONTENT),
    }
    calls[again]()
    assert not studio.objects.uploads
