"""Bringing back: until the named date and no longer, and under its name where nobody has taken that."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from mgmt_api.calls.backends import Backends
from mgmt_api.domain.removal import REMOVAL_MARGIN, may_be_brought_back, may_be_removed
from mgmt_api.removal.expiring import note_removed
from mgmt_contract.records import UndeleteRecord
from support.fakes import StrictRecordStore
from support.studio import Machine, Studio, content_of, item_for

BODY, OTHER = b"footage, packed", b"other footage"
DAYS = timedelta(days=30)


@pytest.fixture
def studio() -> Studio:
    return Studio(records=StrictRecordStore())


@pytest.fixture
def deleted(ada: Machine) -> str:
    """An upload of Ada's that she has deleted."""
    item = item_for("clip", BODY)
    ada.upload(item, BODY)
    assert ada.delete(item.operation_id).outcome == "done"
    return item.operation_id


def test_it_is_as_if_it_had_not_been_deleted(studio: Studio, ada: Machine, deleted: str):
    studio.clock.advance(60)
    result = ada.undelete(deleted)
    record, upload = result.record, result.upload
    assert (result.outcome, type(record), record.status, record.upload_id) == (
        "done",
        UndeleteRecord,
        "success",
        deleted,
    )
    assert (record.actor, record.started_at, record.version_id) == ("ada", studio.clock(), upload.version_id)
    assert (upload.deleted_at, upload.deleted_by, upload.recoverable_until, result.newer) == (None, None, None, None)
    assert ada.start(item_for("clip", BODY)).outcome == "already_there"
    assert ada.start(item_for("clip", OTHER)).problem.code == "name-taken"
    assert {each.operation_type for each in ada.history().records} == {"undelete", "delete", "upload"}


def test_the_same_call_again_records_no_more(ada: Machine, deleted: str):
    first = ada.undelete(deleted)
    assert ada.undelete(deleted, first.operation_id) == first
    assert len(ada.history(operation_type="undelete").records) == 1


def test_what_is_not_deleted_is_answered_so(ada: Machine, deleted: str):
    back = ada.undelete(deleted)
    again = ada.undelete(deleted)
    assert (again.outcome, again.record, again.upload) == ("already", None, back.upload)


def test_it_can_be_deleted_and_brought_back_again(ada: Machine, studio: Studio, deleted: str):
    ada.undelete(deleted)
    studio.clock.advance(86_400)
    assert ada.delete(deleted).upload.recoverable_until == studio.clock() + DAYS
    assert ada.undelete(deleted).outcome == "done"


def test_somebody_elses_is_refused_and_that_is_recorded(studio: Studio, ada: Machine, bob: Machine, deleted: str):
    assert bob.undelete(deleted).problem.code == "not-allowed"
    [record] = ada.history(operation_type="undelete").records
    assert (record.status, record.actor, record.error_code) == ("failed", "bob", "not-allowed")
    assert studio.person("chief", groups=("admins",)).undelete(deleted).outcome == "done"


def test_until_the_named_date_and_no_longer(studio: Studio, ada: Machine, deleted: str):
    until = ada.look_up(deleted)[0].record.recoverable_until
    studio.clock.now = until - timedelta(milliseconds=1)
    assert ada.undelete(deleted).outcome == "done"
    until = ada.delete(deleted).upload.recoverable_until
    studio.clock.now = until
    refused = ada.undelete(deleted)
    assert refused.problem.code == "not-recoverable"
    assert "deleted by ada on 2026-12-01T11:59:59.999Z" in refused.problem.detail
    assert "until 2026-12-31T11:59:59.999Z" in refused.problem.detail


def test_what_is_removed_already_does_not_come_back_whatever_the_clock_says(studio: Studio, ada: Machine, deleted: str):
    note_removed(Backends(studio.settings, studio.records, studio.objects, studio.clock), studio.operation(deleted))
    assert ada.undelete(deleted).problem.code == "not-recoverable"


def test_a_version_that_is_gone_behind_our_back_is_not_said_to_be_back(studio: Studio, ada: Machine, deleted: str):
    studio.objects.destroy("clip.tar.gz", studio.operation(deleted).record.version_id)
    assert ada.undelete(deleted).problem.code == "object-gone"
    assert ada.look_up(deleted)[0].record.deleted_at is not None


def test_where_the_name_was_taken_meanwhile_it_comes_back_as_a_version_that_was_replaced(
    ada: Machine, bob: Machine, deleted: str
):
    new = item_for("clip", OTHER)
    bob.upload(new, OTHER)
    result = ada.undelete(deleted)
    assert (result.outcome, result.upload.deleted_at) == ("done", None)
    assert (result.newer.operation_id, result.newer.actor, result.newer.is_pending) == (new.operation_id, "bob", False)
    assert ada.undelete(deleted, result.operation_id) == result
    assert deleted in ada.history().replaced
    assert ada.open_download(deleted).outcome == "opened"
    assert ada.preview(item_for("clip", BODY))[0].existing.operation_id == new.operation_id


def test_while_somebody_uploads_under_the_name_it_is_said_who(studio: Studio, ada: Machine, bob: Machine, deleted: str):
    new = item_for("clip", OTHER)
    started = bob.start(new)
    result = ada.undelete(deleted)
    assert (result.newer.operation_id, result.newer.actor, result.newer.is_pending) == (new.operation_id, "bob", True)
    bob.carry(started, OTHER)
    assert bob.complete(started, content_of(OTHER)).outcome == "done"
    assert ada.open_download(deleted).outcome == "opened"


def test_an_upload_that_failed_has_not_taken_the_name(ada: Machine, bob: Machine, deleted: str):
    bob.fail(bob.start(item_for("clip", OTHER)))
    assert ada.undelete(deleted).newer is None
    assert ada.preview(item_for("clip", OTHER))[0].outcome == "taken"


def test_a_start_that_read_the_name_before_it_came_back_reads_it_again(
    studio: Studio, ada: Machine, bob: Machine, deleted: str, monkeypatch
):
    put, back = studio.records.put_name, []

    def lose(name):
        monkeypatch.setattr(studio.records, "put_name", put)
        back.append(ada.undelete(deleted))
        return put(name)

    monkeypatch.setattr(studio.records, "put_name", lose)
    started = bob.start(item_for("clip", OTHER))
    assert (back[0].outcome, back[0].newer) == ("done", None)
    assert started.problem.code == "name-taken"


def test_an_undelete_that_read_the_name_before_it_was_taken_says_so(studio, ada: Machine, bob, deleted, monkeypatch):
    write, new = studio.records.create_with_upload, item_for("clip", OTHER)

    def lose(*written):
        monkeypatch.setattr(studio.records, "create_with_upload", write)
        assert bob.start(new).outcome == "put"
        return write(*written)

    monkeypatch.setattr(studio.records, "create_with_upload", lose)
    result = ada.undelete(deleted)
    assert (result.outcome, result.newer.operation_id) == ("done", new.operation_id)


@pytest.mark.parametrize("of", ["nothing", "a download"])
def test_what_is_no_upload_cannot_be_brought_back(ada: Machine, deleted: str, of: str):
    ids = {"nothing": str(uuid.uuid4()), "a download": ada.open_download(deleted).operation_id}
    assert ada.undelete(ids[of]).problem.code == "no-such-operation"


def test_no_moment_lets_an_upload_come_back_and_be_removed(studio: Studio, ada: Machine, deleted: str):
    record, until = studio.operation(deleted).record, ada.look_up(deleted)[0].record.recoverable_until
    for minutes in range(-120, 180, 10):
        moment = until + timedelta(minutes=minutes)
        assert may_be_brought_back(record, moment) == (minutes < 0)
        assert may_be_removed(record, moment) == (minutes >= REMOVAL_MARGIN / timedelta(minutes=1))
