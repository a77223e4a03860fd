"""The end of the days: what may be removed is found, and what was removed is no longer to be had."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mgmt_api.calls.backends import Backends
from mgmt_api.domain.removal import REMOVAL_MARGIN
from mgmt_api.ports import ConflictError
from mgmt_api.removal.expiring import PAGE, find_expired, note_removed
from support.fakes import StrictRecordStore
from support.studio import Machine, Studio, item_for

BODY = b"footage, packed"
DAYS = timedelta(days=30) + REMOVAL_MARGIN


@pytest.fixture
def studio() -> Studio:
    return Studio(records=StrictRecordStore())


@pytest.fixture
def backends(studio: Studio) -> Backends:
    return Backends(studio.settings, studio.records, studio.objects, studio.clock)


def delete_one(person: Machine, name: str) -> str:
    item = item_for(name, BODY)
    person.upload(item, BODY)
    assert person.delete(item.operation_id).outcome == "done"
    return item.operation_id


def find_all(backends: Backends) -> list[str]:
    found, after = [], None
    while True:
        page = find_expired(backends, after)
        found += [each.id for each in page.uploads]
        if page.after is None:
            return found
        after = page.after


def test_only_what_was_deleted_long_enough_ago_is_found(studio: Studio, ada: Machine, backends: Backends):
    kept = item_for("kept", BODY)
    ada.upload(kept, BODY)
    first, back = delete_one(ada, "first"), delete_one(ada, "back")
    ada.undelete(back)
    studio.clock.advance(1)
    second = delete_one(ada, "second")
    studio.clock.now += DAYS - timedelta(seconds=1, milliseconds=1)
    assert find_all(backends) == []
    studio.clock.now += timedelta(milliseconds=1)
    assert find_all(backends) == [first]
    studio.clock.advance(1)
    assert find_all(backends) == [second, first]


def test_all_pages_are_found(studio: Studio, ada: Machine, backends: Backends):
    ids = [delete_one(ada, f"clip-{number}") for number in range(PAGE + 3)]
    studio.clock.now += DAYS
    assert set(find_all(backends)) == set(ids)
    assert find_expired(backends).after is not None


def test_what_was_removed_is_found_no_more_and_not_to_be_had(studio: Studio, ada: Machine, backends: Backends):
    """Even while its bytes are there for another day: from now on nobody counts on them."""
    upload_id = delete_one(ada, "clip")
    assert ada.open_download(upload_id).outcome == "opened"
    studio.clock.now += DAYS
    [upload] = find_expired(backends).uploads
    note_removed(backends, upload)
    assert find_all(backends) == []
    record = ada.look_up(upload_id)[0].record
    assert (record.removed_at, record.deleted_by, record.status) == (studio.clock(), "ada", "success")
    assert ada.undelete(upload_id).problem.code == "not-recoverable"
    opened, [looked] = ada.open_download(upload_id), ada.look(upload_id)
    assert (opened.outcome, looked.outcome) == ("gone", "gone")
    for problem in (opened.problem, looked.problem):
        assert problem.code == "object-gone"
        assert "deleted by ada on 2026-11-01T12:00:00.000Z" in problem.detail
        assert "until 2026-12-01T12:00:00.000Z. Its bytes are gone." in problem.detail
    assert ada.delete(upload_id).outcome == "already"


def test_a_record_that_was_changed_meanwhile_is_not_written_over(studio: Studio, ada: Machine, backends: Backends):
    delete_one(ada, "clip")
    studio.clock.now += DAYS
    [upload] = find_expired(backends).uploads
    studio.records.update_operation(upload)
    with pytest.raises(ConflictError):
        note_removed(backends, upload)


def test_a_deleted_version_is_looked_at_with_its_mark(studio: Studio, ada: Machine):
    upload_id = delete_one(ada, "clip")
    [looked] = ada.look(upload_id)
    until = studio.clock() + timedelta(days=30)
    assert (looked.outcome, looked.deleted_at, looked.recoverable_until) == ("there", studio.clock(), until)
    studio.objects.destroy("clip.tar.gz", studio.operation(upload_id).record.version_id)
    assert "deleted by ada" in ada.look(upload_id)[0].problem.detail
    assert "past this service" in ada.open_download(upload_id).problem.detail
