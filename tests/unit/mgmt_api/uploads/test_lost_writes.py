"""A stored write whose answer was lost is read again before anything is thrown away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mgmt_api.ports import ConflictError, RecordsUnavailableError
from support.interposed import fail_at, interpose_objects, interpose_records
from support.studio import BODY, CONTENT, item_for


@pytest.mark.parametrize("error", [RecordsUnavailableError("the answer was lost"), ConflictError("it met itself")])
def test_a_multipart_upload_whose_id_was_stored_is_the_one_that_goes_on(studio, ada, error):
    item = item_for("clip", upper_bound=100)
    after, asked = fail_at("update_operation", error), []
    objects = interpose_objects(studio.objects, before=asked.append)
    studio.serve(interpose_records(studio.records, after=after), objects)
    started = ada.start(item)
    assert (started.outcome, started.problem) == ("multipart", None)
    assert asked.count("create_multipart_upload") == 1
    assert "abort_multipart_upload" not in asked
    assert list(studio.objects.uploads) == [studio.operation(item.operation_id).multipart_upload_id]
    ada.carry(started, BODY)
    assert ada.complete(started, CONTENT).outcome == "done"


def test_it_goes_on_also_where_another_call_has_written_since(studio, ada):
    """Then the SDK's own repetition meets a later revision, and cannot know that the one before was ours."""
    item = item_for("clip", upper_bound=100)
    error = ConflictError("somebody was faster")
    fail = fail_at("update_operation", error)

    def renew(name: str) -> None:
        if name == "update_operation":
            stored = studio.operation(item.operation_id)
            if stored.revision == 2:
                studio.records.update_operation(replace(stored, lease_expires_at=studio.clock()))
        fail(name)

    asked = []
    objects = interpose_objects(studio.objects, before=asked.append)
    studio.serve(interpose_records(studio.records, after=renew), objects)
    started = ada.start(item)
    assert started.outcome == "multipart"
    assert asked.count("create_multipart_upload") == 1
    assert "abort_multipart_upload" not in asked
    assert list(studio.objects.uploads) == [studio.operation(item.operation_id).multipart_upload_id]


def test_what_cannot_be_read_now_is_not_thrown_away(studio, ada):
    item = item_for("clip", upper_bound=100)
    lost = RecordsUnavailableError("the answer was lost")
    records = interpose_records(studio.records, after=fail_at("update_operation", lost))
    records = interpose_records(records, before=fail_at("get_operations", lost))
    studio.serve(records, studio.objects)
    assert ada.start(item).problem.code == "storage-unavailable"
    [upload_id] = studio.objects.uploads
    assert studio.operation(item.operation_id).multipart_upload_id == upload_id
    started = ada.start(item)
    ada.carry(started, BODY)
    assert ada.complete(started, CONTENT).outcome == "done"


def test_what_was_not_stored_is_thrown_away(studio, ada):
    item = item_for("clip", upper_bound=100)
    before = fail_at("update_operation", RecordsUnavailableError("throttled"))
    studio.serve(interpose_records(studio.records, before=before), studio.objects)
    assert ada.start(item).problem.code == "storage-unavailable"
    assert not studio.objects.uploads
