"""Looking: each upload's own version, as the storage states it at this moment, compared with the record."""

from __future__ import annotations

import uuid

import pytest

from support.fakes import crc64nvme
from support.interposed import interpose_objects
from support.studio import Machine, Studio, item_for

BODY = b"footage, packed"
LATER = b"other footage"


@pytest.fixture
def upload_id(ada: Machine) -> str:
    item = item_for("clip", BODY)
    assert ada.upload(item, BODY).outcome == "done"
    return item.operation_id


def test_what_is_stored_as_recorded_is_there_for_everybody(bob: Machine, upload_id: str):
    [seen] = bob.look(upload_id)
    assert (seen.operation_id, seen.outcome, seen.s3_object_key, seen.problem) == (
        upload_id,
        "there",
        "clip.tar.gz",
        None,
    )
    assert (seen.stored.size, seen.stored.crc64nvme, seen.stored.is_current) == (len(BODY), crc64nvme(BODY), True)


def test_a_replaced_version_is_there_and_not_current(ada: Machine, upload_id: str):
    later = item_for("clip", LATER, replace=True)
    ada.upload(later, LATER)
    old, new = ada.look(upload_id, later.operation_id)
    assert [(each.outcome, each.stored.is_current) for each in (old, new)] == [("there", False), ("there", True)]
    assert old.version_id != new.version_id


def test_a_version_under_a_delete_marker_is_there_and_not_current(studio: Studio, ada: Machine, upload_id: str):
    studio.objects.delete("clip.tar.gz")
    [seen] = ada.look(upload_id)
    assert (seen.outcome, seen.stored.is_current) == ("there", False)


def test_a_version_that_is_gone_is_never_taken_for_the_one_that_is_current(
    studio: Studio, ada: Machine, upload_id: str
):
    ada.upload(item_for("clip", LATER, replace=True), LATER)
    record = studio.operation(upload_id).record
    studio.objects.destroy(record.s3_object_key, record.version_id)
    [seen] = ada.look(upload_id)
    assert (seen.outcome, seen.stored, seen.problem.code) == ("gone", None, "object-gone")


@pytest.mark.parametrize("states", [{"size": 3}, {"crc64nvme": "AAAAAAAAAAA="}, {"crc64nvme": None}])
def test_another_size_or_checksum_differs(studio: Studio, ada: Machine, upload_id: str, states):
    record = studio.operation(upload_id).record
    studio.objects.state(record.s3_object_key, record.version_id, **states)
    [seen] = ada.look(upload_id)
    assert (seen.outcome, seen.problem.code) == ("differs", "content-differs")


def test_nothing_is_written_and_what_has_stored_nothing_is_a_problem(studio: Studio, ada: Machine, upload_id: str):
    pending = ada.start(item_for("other", BODY)).operation_id
    before = dict(studio.records.operations)
    codes = [seen.problem and seen.problem.code for seen in ada.look(upload_id, pending, str(uuid.uuid4()), "x")]
    assert codes == [None, "not-stored", "no-such-operation", "no-such-operation"]
    assert studio.records.operations == before


def test_a_look_that_may_not_fit_into_the_call_is_left_to_the_next_one(studio: Studio, ada: Machine, upload_id: str):
    """Else a storage that stumbles would have Lambda end the call, and with it the answers of all other items."""
    asked = []

    def take_long(method: str) -> None:
        if method == "head_object":
            asked.append(method)
            studio.clock.advance(12)

    studio.serve(studio.records, interpose_objects(studio.objects, before=take_long))
    [seen] = ada.look(upload_id)
    assert (seen.outcome, seen.problem.code, asked) == ("problem", "storage-unavailable", ["head_object"])
    assert ada.open_download(upload_id).outcome == "opened"
