"""Restoring: the storage is asked once for the whole team, and everybody else is told by whom and when."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from mgmt_contract.messages.objects import RestoreItem, RestoreRequest, RestoreResponse, RestoreResult
from mgmt_contract.records import RestoreRecord
from mgmt_contract.restoring import PRICES_OF, TERMS, price_of
from mgmt_contract.routes import RESTORE
from support.studio import Machine, Studio, item_for

BODY = b"footage, packed"


def restore(person: Machine, upload_id: str, operation_id: str | None = None, **more) -> RestoreResult:
    item = RestoreItem(operation_id or str(uuid.uuid4()), upload_id, **more)
    return person.call(RESTORE, RestoreResponse, RestoreRequest([item])).results[0]


@pytest.fixture
def upload_id(studio: Studio, ada: Machine) -> str:
    """An upload of Ada's that has been archived since."""
    item = item_for("clip", BODY)
    ada.upload(item, BODY)
    state(studio, item.operation_id, storage_class="DEEP_ARCHIVE")
    return item.operation_id


def state(studio: Studio, upload_id: str, **states) -> None:
    record = studio.operation(upload_id).record
    studio.objects.state(record.s3_object_key, record.version_id, **states)


def finish(studio: Studio, upload_id: str) -> None:
    state(studio, upload_id, is_restoring=False, restored_until=studio.clock() + timedelta(days=7))


def test_the_storage_is_asked_and_the_history_says_by_whom_at_which_tier_and_for_when(studio, bob: Machine, upload_id):
    asked = restore(bob, upload_id, tier="Bulk", days=3)
    assert (asked.outcome, studio.objects.restores) == ("asked", [("clip.tar.gz", "Bulk", 3)])
    record = asked.record
    assert (record.operation_type, record.status, record.actor) == ("restore", "pending", "bob")
    assert (record.tier, record.days, record.size, record.upload_id) == ("Bulk", 3, len(BODY), upload_id)
    assert record.ready_at == studio.clock() + timedelta(hours=48)
    assert bob.history(operation_type="restore").records == [record]
    assert type(bob.look_up(record.operation_id)[0].record) is RestoreRecord
    terms = TERMS["DEEP_ARCHIVE", "Bulk"]
    assert (asked.price_dollars, asked.prices_of) == (price_of(terms, len(BODY)), PRICES_OF)


def test_who_asks_second_is_answered_the_first(studio: Studio, ada: Machine, bob: Machine, upload_id: str):
    first = restore(ada, upload_id)
    second = restore(bob, upload_id, tier="Bulk")
    assert (second.outcome, second.record) == ("restoring", first.record)
    assert len(studio.objects.restores) == 1
    assert len(ada.history(operation_type="restore").records) == 1


def test_the_same_call_again_asks_no_more(studio: Studio, ada: Machine, upload_id: str):
    first = restore(ada, upload_id)
    again = restore(ada, upload_id, first.operation_id)
    assert (again.outcome, again.record, len(studio.objects.restores)) == ("restoring", first.record, 1)


def test_a_call_that_died_before_the_storage_was_asked_asks_when_it_comes_again(studio, ada: Machine, upload_id: str):
    first = restore(ada, upload_id)
    state(studio, upload_id, is_restoring=False)
    again = restore(ada, upload_id, first.operation_id)
    assert (again.outcome, again.record, len(studio.objects.restores)) == ("asked", first.record, 2)


def test_what_can_be_read_is_said_so_and_the_restore_is_done(studio: Studio, ada: Machine, bob: Machine, upload_id):
    first = restore(ada, upload_id)
    assert bob.open_download(upload_id).outcome == "restoring"
    finish(studio, upload_id)
    result = restore(bob, upload_id)
    assert (result.outcome, result.record.operation_id) == ("readable", first.operation_id)
    assert (result.record.status, result.record.actor, result.record.result_path) == ("success", "ada", "clip.tar.gz")
    assert bob.open_download(upload_id).outcome == "opened"


def test_what_is_archived_again_later_is_restored_anew(studio: Studio, ada: Machine, upload_id: str):
    first = restore(ada, upload_id)
    finish(studio, upload_id)
    restore(ada, upload_id)
    state(studio, upload_id, restored_until=None)
    assert restore(ada, upload_id, first.operation_id).problem.code == "operation-failed"
    studio.clock.advance(60)
    assert restore(ada, upload_id).outcome == "asked"
    assert len(studio.objects.restores) == 2


def test_where_another_call_was_faster_its_restore_is_the_teams(
    studio, ada: Machine, bob: Machine, upload_id, monkeypatch
):
    ask, first = studio.objects.restore_object, []

    def lose(*words) -> None:
        monkeypatch.setattr(studio.objects, "restore_object", ask)
        studio.clock.advance(1)
        first.append(restore(ada, upload_id))
        ask(*words)

    monkeypatch.setattr(studio.objects, "restore_object", lose)
    second = restore(bob, upload_id)
    assert (second.outcome, second.record) == ("restoring", first[0].record)
    own = studio.operation(second.operation_id).record
    assert (own.status, own.error_code) == ("failed", "asked-already")
    again = restore(bob, upload_id, second.operation_id)
    assert (again.outcome, again.record) == ("restoring", first[0].record), "not one's own, which has failed"


def test_where_the_storages_answer_was_lost_the_restore_is_the_callers_own(
    studio, ada: Machine, bob: Machine, upload_id, monkeypatch
):
    """The same request is sent twice then, and the second one is told that the object is being restored."""
    ask = studio.objects.restore_object

    def ask_twice(*words) -> None:
        ask(*words)
        ask(*words)

    monkeypatch.setattr(studio.objects, "restore_object", ask_twice)
    result = restore(bob, upload_id, tier="Bulk")
    assert (result.outcome, len(studio.objects.restores)) == ("restoring", 1)
    assert (result.record.actor, result.record.tier, result.record.status) == ("bob", "Bulk", "pending")
    assert restore(ada, upload_id).record == result.record


def test_a_restore_that_was_asked_past_the_service_is_not_an_earlier_ones(studio: Studio, ada: Machine, upload_id: str):
    restore(ada, upload_id)
    finish(studio, upload_id)
    assert restore(ada, upload_id).outcome == "readable"
    state(studio, upload_id, restored_until=None, is_restoring=True)
    result = restore(ada, upload_id)
    assert (result.outcome, result.record) == ("restoring", None)


def test_a_tier_without_capacity_is_told_and_recorded_and_another_one_can_be_asked_for(
    studio: Studio, ada: Machine, upload_id: str
):
    state(studio, upload_id, storage_class="GLACIER")
    studio.objects.tiers_without_capacity.add("Expedited")
    refused = restore(ada, upload_id, tier="Expedited")
    assert (refused.problem.code, studio.objects.restores) == ("tier-unavailable", [])
    record = studio.operation(refused.operation_id).record
    assert (record.status, record.error_code, record.error_message) == (
        "failed",
        "tier-unavailable",
        refused.problem.detail,
    )
    assert restore(ada, upload_id, tier="Standard").outcome == "asked"


def test_what_is_not_archived_needs_no_restore(studio: Studio, ada: Machine):
    item = item_for("other", BODY)
    ada.upload(item, BODY)
    result = restore(ada, item.operation_id)
    assert (result.outcome, result.record, studio.objects.restores) == ("readable", None, [])


def test_intelligent_tiering_knows_no_days(studio: Studio, ada: Machine, upload_id: str):
    state(studio, upload_id, storage_class="INTELLIGENT_TIERING", archive_tier="ARCHIVE_ACCESS")
    asked = restore(ada, upload_id, days=3)
    assert (asked.record.days, asked.price_dollars) == (None, 0.0)
    assert studio.objects.restores == [("clip.tar.gz", "Standard", None)]


@pytest.mark.parametrize("more", [{"days": 0}, {"days": 31}, {"tier": "Expedited"}])
def test_what_cannot_be_asked_for_is_refused_and_not_recorded(studio: Studio, ada: Machine, upload_id: str, more):
    result = restore(ada, upload_id, **more)
    assert (result.problem.code, studio.objects.restores) == ("invalid-request", [])
    assert result.operation_id not in studio.records.operations


def test_an_id_is_of_one_restore(ada: Machine, bob: Machine, upload_id: str):
    first = restore(ada, upload_id)
    assert restore(bob, upload_id, first.operation_id).problem.code == "operation-differs"
    assert restore(ada, upload_id, upload_id).problem.code == "operation-differs"
    assert ada.open_download(upload_id, first.operation_id).problem.code == "operation-differs"


def test_a_version_that_is_gone_is_not_restored(studio: Studio, ada: Machine, upload_id: str):
    record = studio.operation(upload_id).record
    studio.objects.destroy(record.s3_object_key, record.version_id)
    assert restore(ada, upload_id).outcome == "gone"
    assert restore(ada, str(uuid.uuid4())).problem.code == "no-such-operation"
