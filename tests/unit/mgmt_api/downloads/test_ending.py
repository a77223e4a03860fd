"""Ending downloads: what the client reports is recorded once, in its owner's name, and nothing changes it later."""

from __future__ import annotations

import pytest

from support.studio import Machine, Studio, item_for

BODY = b"footage, packed"


@pytest.fixture
def opened(ada: Machine):
    item = item_for("clip", BODY)
    ada.upload(item, BODY)
    return ada.open_download(item.operation_id)


def test_success_is_recorded_with_what_was_fetched_and_where_it_is(studio: Studio, ada: Machine, opened):
    studio.clock.advance(60)
    record = ada.end_download(opened, 15).record
    assert (record.status, record.phase, record.received_bytes) == ("success", "done", 15)
    assert (record.result_path, record.finished_at) == (record.target_path, studio.clock())
    assert (record.error_code, record.error_message) == (None, None)


def test_a_failure_is_recorded_with_its_reason_and_without_secrets(ada: Machine, opened):
    message = f"GET {opened.request.url} was cut off."
    record = ada.end_download(opened, 7, error_code="disk-full", error_message=message).record
    assert (record.status, record.error_code, record.received_bytes) == ("failed", "disk-full", 7)
    assert record.error_message == "GET https://bucket.invalid/clip.tar.gz?… was cut off."
    assert record.result_path is None


@pytest.mark.parametrize("first", [{}, {"error_code": "disk-full", "error_message": "No room."}])
@pytest.mark.parametrize("second", [{}, {"error_code": "cancelled", "error_message": "Given up."}])
def test_an_end_that_comes_again_changes_nothing(studio: Studio, ada: Machine, opened, first, second):
    record = ada.end_download(opened, 15, **first).record
    studio.clock.advance(60)
    assert ada.end_download(opened, 16, **second).record == record


def test_a_download_that_is_done_is_said_so_and_one_that_failed_is_begun_anew(ada: Machine, opened):
    upload_id = opened.upload.operation_id
    record = ada.end_download(opened, 15).record
    again = ada.open_download(upload_id, opened.operation_id)
    assert (again.outcome, again.record, again.request) == ("done", record, None)
    failed = ada.open_download(upload_id)
    ada.end_download(failed, 0, error_code="cancelled", error_message="Given up.")
    assert ada.open_download(upload_id, failed.operation_id).problem.code == "operation-failed"


def test_only_its_owner_ends_a_download(studio: Studio, bob: Machine, opened):
    for person in (bob, studio.person("chief", groups=("admins",))):
        assert person.end_download(opened).problem.code == "not-allowed"
    assert studio.operation(opened.operation_id).phase == "carrying"


@pytest.mark.parametrize(
    ("received_bytes", "more"),
    [
        (-1, {}),
        (2**53, {}),
        (0, {"error_code": "disk-full"}),
        (0, {"error_message": "No room."}),
        (0, {"error_code": "Disk full", "error_message": "No room."}),
    ],
)
def test_an_end_that_makes_no_sense_is_refused(studio: Studio, ada: Machine, opened, received_bytes, more):
    assert ada.end_download(opened, received_bytes, **more).problem.code == "invalid-request"
    assert studio.operation(opened.operation_id).phase == "carrying"
