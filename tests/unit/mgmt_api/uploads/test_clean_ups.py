"""Reporting how local files ended."""

from __future__ import annotations

import pytest

from mgmt_api.ports import RecordsFullError, RecordsUnavailableError
from mgmt_contract.messages.uploads import CleanUp
from support.studio import BODY, RefusedError, item_for


def test_both_files_end_as_reported(ada):
    done = ada.upload(item_for("clip", BODY), BODY)
    (result,) = ada.clean_up(CleanUp(done.operation_id, "moved", "deleted"))
    assert result.outcome == "record"
    assert result.record.source_file_record.status == "moved"
    assert result.record.compressed_file_record.status == "deleted"
    assert result.record.s3_file_record.status == "completed"
    assert (result.record.status, result.record.finished_at) == ("success", done.record.finished_at)


def test_the_same_report_again_writes_nothing(studio, ada):
    done = ada.upload(item_for("clip", BODY), BODY)
    first = ada.clean_up(CleanUp(done.operation_id, "completed", "deleted"))
    revision = studio.operation(done.operation_id).revision
    assert ada.clean_up(CleanUp(done.operation_id, "completed", "deleted")) == first
    assert studio.operation(done.operation_id).revision == revision


def test_only_the_owner_reports_and_only_of_a_success(studio, ada, bob):
    done = ada.upload(item_for("clip", BODY), BODY)
    pending = ada.start(item_for("next", BODY))
    (theirs,) = bob.clean_up(CleanUp(done.operation_id, "moved", "deleted"))
    assert theirs.problem.code == "not-allowed"
    (early,) = ada.clean_up(CleanUp(pending.operation_id, "moved", "deleted"))
    assert early.problem.code == "invalid-request"
    (unknown,) = ada.clean_up(CleanUp("nonsense", "moved", "deleted"))
    assert unknown.problem.code == "no-such-operation"
    assert studio.operation(done.operation_id).record.source_file_record.status == "completed"


def test_an_empty_list_is_refused(ada):
    with pytest.raises(RefusedError, match="invalid-request"):
        ada.clean_up()


@pytest.mark.parametrize(
    ("error", "code"),
    [(RecordsUnavailableError("throttled"), "storage-unavailable"), (RecordsFullError("No room."), "storage-full")],
)
def test_what_could_not_be_recorded_just_now_has_the_call_it_rides_on_made_again(studio, ada, monkeypatch, error, code):
    """When that call has come back, the client crosses out all that rode on it."""
    done = ada.upload(item_for("clip", BODY), BODY)
    report = CleanUp(done.operation_id, "moved", "deleted")

    def refuse(_):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(studio.records, "update_operation", refuse)
        with pytest.raises(RefusedError, match=code):
            ada.start_all([item_for("next", BODY)], clean_ups=[report])
    ada.start_all([item_for("next", BODY)], clean_ups=[report, CleanUp("nonsense", "moved", "deleted")])
    assert studio.operation(done.operation_id).record.source_file_record.status == "moved"
