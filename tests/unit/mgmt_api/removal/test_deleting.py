"""Deleting: recorded with who, when and until when; the storage is not asked, and everything can be read still."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from mgmt_api.ports import ConflictError
from mgmt_contract import routes
from mgmt_contract.messages.removal import RemovalItem, RemovalRequest, RemovalResponse
from mgmt_contract.messages.service import Service
from mgmt_contract.messages.uploads import CleanUp
from mgmt_contract.records import DeleteRecord
from support.fakes import StrictRecordStore
from support.studio import SETTINGS, Machine, RefusedError, Studio, item_for

BODY = b"footage, packed"


@pytest.fixture
def studio() -> Studio:
    return Studio(records=StrictRecordStore())


@pytest.fixture
def upload_id(ada: Machine) -> str:
    item = item_for("clip", BODY)
    assert ada.upload(item, BODY).outcome == "done"
    return item.operation_id


def test_who_deleted_it_when_and_until_when_it_comes_back_is_in_both_records(studio: Studio, ada: Machine, upload_id):
    studio.clock.advance(60)
    before = dict(studio.objects.versions)
    result = replace(ada, run_id="run-7").delete(upload_id)
    now, until = studio.clock(), studio.clock() + timedelta(days=30)
    record, upload = result.record, result.upload
    assert (result.outcome, type(record), record.status, record.phase) == ("done", DeleteRecord, "success", "done")
    assert (record.upload_id, record.s3_bucket, record.s3_object_key) == (upload_id, "footage", "clip.tar.gz")
    assert (record.version_id, record.size, record.recoverable_until) == (upload.version_id, len(BODY), until)
    assert (record.actor, record.started_at, record.finished_at, record.run_id) == ("ada", now, now, "run-7")
    assert (upload.deleted_at, upload.deleted_by, upload.recoverable_until) == (now, "ada", until)
    assert (upload.status, upload.removed_at) == ("success", None)
    assert ada.history(name="clip").records == [record, upload]
    assert ada.history(operation_type="delete").records == [record]
    assert studio.objects.versions == before


def test_the_deployment_decides_the_days(ada: Machine):
    studio = Studio(replace(SETTINGS, recoverable_days=3))
    ada = studio.person("ada")
    item = item_for("clip", BODY)
    ada.upload(item, BODY)
    assert ada.delete(item.operation_id).record.recoverable_until == studio.clock() + timedelta(days=3)
    assert ada.call(routes.DESCRIBE, Service).recoverable_days == 3


def test_the_same_call_again_records_no_more(studio: Studio, ada: Machine, upload_id: str):
    first = ada.delete(upload_id)
    studio.clock.advance(3600)
    again = ada.delete(upload_id, first.operation_id)
    assert again == first
    assert len(ada.history(operation_type="delete").records) == 1


def test_what_is_deleted_already_keeps_its_date_and_is_answered_it(studio: Studio, ada: Machine, upload_id: str):
    first = ada.delete(upload_id)
    studio.clock.advance(3600)
    second = studio.person("chief", groups=("admins",)).delete(upload_id)
    assert (second.outcome, second.record, second.upload) == ("already", None, first.upload)
    assert len(ada.history(operation_type="delete").records) == 1


def test_somebody_elses_is_refused_and_that_is_recorded(studio: Studio, ada: Machine, bob: Machine, upload_id: str):
    refused = bob.delete(upload_id)
    assert refused.problem.code == "not-allowed"
    assert "clip.tar.gz was uploaded by ada; only they or an admin may delete it" in refused.problem.detail
    [record] = ada.history(operation_type="delete").records
    assert (record.status, record.actor, record.error_code) == ("failed", "bob", "not-allowed")
    assert (record.upload_id, record.recoverable_until) == (upload_id, None)
    assert ada.look_up(upload_id)[0].record.deleted_at is None
    again = bob.delete(upload_id, refused.operation_id)
    assert again.problem.code == "not-allowed"
    assert len(ada.history(operation_type="delete").records) == 1


def test_an_admin_deletes_anybodys_and_the_records_say_who(studio: Studio, upload_id: str):
    result = studio.person("chief", groups=("admins",)).delete(upload_id)
    assert (result.record.actor, result.upload.deleted_by, result.upload.actor) == ("chief", "chief", "ada")


@pytest.mark.parametrize("phase", ["carrying", "failed"])
def test_what_has_stored_nothing_cannot_be_deleted(ada: Machine, phase: str):
    started = ada.start(item_for("clip", BODY))
    if phase == "failed":
        ada.fail(started)
    result = ada.delete(started.operation_id)
    assert result.problem.code == "not-stored"
    assert ("has failed" if phase == "failed" else "has not ended") in result.problem.detail
    assert ada.history(operation_type="delete").records == []


@pytest.mark.parametrize("of", ["nothing", "no id", "a download"])
def test_what_is_no_upload_cannot_be_deleted(ada: Machine, upload_id: str, of: str):
    ids = {"nothing": str(uuid.uuid4()), "no id": "clip", "a download": ada.open_download(upload_id).operation_id}
    assert ada.delete(ids[of]).problem.code == "no-such-operation"


@pytest.mark.parametrize("of", ["an upload", "another delete", "an undelete", "somebody else's"])
def test_an_id_that_is_another_operations_is_refused(studio: Studio, ada: Machine, upload_id: str, of: str):
    other = item_for("other", BODY)
    ada.upload(other, BODY)
    chief = studio.person("chief", groups=("admins",))
    ids = {
        "an upload": lambda: other.operation_id,
        "another delete": lambda: ada.delete(other.operation_id).operation_id,
        "an undelete": lambda: (ada.delete(other.operation_id), ada.undelete(other.operation_id))[1].operation_id,
        "somebody else's": lambda: chief.delete(other.operation_id).operation_id,
    }
    assert ada.delete(upload_id, ids[of]()).problem.code == "operation-differs"
    assert ada.look_up(upload_id)[0].record.deleted_at is None


@pytest.mark.parametrize("items", [[], [RemovalItem(str(uuid.uuid4()), "x")] * 101])
def test_a_list_that_is_empty_or_too_long_is_refused(ada: Machine, items: list[RemovalItem]):
    with pytest.raises(RefusedError, match="invalid-request"):
        ada.call(routes.DELETE, RemovalResponse, RemovalRequest(items))


def test_one_of_several_that_fails_does_not_keep_the_others(ada: Machine, upload_id: str):
    items = [RemovalItem(str(uuid.uuid4()), id_) for id_ in (str(uuid.uuid4()), upload_id)]
    items.append(RemovalItem("no id", upload_id))
    results = ada.call(routes.DELETE, RemovalResponse, RemovalRequest(items)).results
    assert [each.problem.code if each.problem else each.outcome for each in results] == [
        "no-such-operation", "done", "invalid-request",
    ]  # fmt: skip


def test_two_at_once_make_one_deletion(studio: Studio, ada: Machine, upload_id: str, monkeypatch):
    """The second has read before the first wrote: its write is refused, and it reads again."""
    write, chief, first = studio.records.create_with_upload, studio.person("chief", groups=("admins",)), []

    def lose(*written):
        monkeypatch.setattr(studio.records, "create_with_upload", write)
        first.append(chief.delete(upload_id))
        return write(*written)

    monkeypatch.setattr(studio.records, "create_with_upload", lose)
    second = ada.delete(upload_id)
    assert (second.outcome, second.upload.deleted_by) == ("already", "chief")
    assert ada.history(operation_type="delete").records == [first[0].record]


def test_a_record_that_changes_all_the_time_is_to_be_asked_for_again(studio, ada: Machine, upload_id, monkeypatch):
    def lose(*_):
        raise ConflictError

    monkeypatch.setattr(studio.records, "create_with_upload", lose)
    assert ada.delete(upload_id).problem.code == "changed-meanwhile"


def test_the_clean_up_of_a_deleted_upload_is_still_recorded(ada: Machine, upload_id: str):
    ada.delete(upload_id)
    [result] = ada.clean_up(CleanUp(upload_id, "moved", "deleted"))
    assert result.record.source_file_record.status == "moved"
    assert result.record.deleted_by == "ada"
