"""Opening downloads: what is stored as recorded is opened and recorded; everything else says why not."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mgmt_contract.messages.downloads import DownloadResult
from mgmt_contract.messages.history import HistoryResponse
from mgmt_contract.messages.uploads import StartResult
from mgmt_contract.records import DownloadRecord, OperationRecord, UploadRecord
from mgmt_contract.wire import from_plain, to_plain
from support.fakes import crc64nvme
from support.studio import SETTINGS, Machine, Studio, download_of, item_for

BODY = b"footage, packed"
LATER = b"other footage"


@pytest.fixture
def upload_id(ada: Machine) -> str:
    """An upload of Ada's that is done."""
    item = item_for("clip", BODY, prefix="day1")
    assert ada.upload(item, BODY).outcome == "done"
    return item.operation_id


def test_a_download_is_opened_for_any_member_and_recorded_in_their_name(studio: Studio, bob: Machine, upload_id: str):
    opened = bob.open_download(upload_id)
    assert (opened.outcome, opened.upload.operation_id) == ("opened", upload_id)
    assert (opened.stored.size, opened.stored.crc64nvme) == (len(BODY), crc64nvme(BODY))
    record = opened.record
    assert (record.operation_type, record.status, record.phase) == ("download", "pending", "carrying")
    assert (record.actor, record.actor_id, record.upload_id) == ("bob", "sub-bob", upload_id)
    assert (record.s3_object_key, record.version_id) == ("day1/clip.tar.gz", opened.upload.version_id)
    assert (record.size, record.received_bytes, record.target_path) == (len(BODY), None, "restored/clip.tar.gz")
    assert studio.operation(opened.operation_id).record == record


def test_one_url_serves_the_whole_and_all_ranges_until_it_expires(studio: Studio, ada: Machine, upload_id: str):
    request = ada.open_download(upload_id).request
    assert (request.headers, request.expires_in_seconds) == ({}, SETTINGS.url_life_seconds)
    assert studio.objects.get(request) == (200, BODY)
    assert studio.objects.get(request, (3, 6)) == (206, BODY[3:7])
    studio.clock.advance(SETTINGS.url_life_seconds)
    assert studio.objects.get(request) == (403, b"")


def test_opening_again_gives_a_fresh_url_and_writes_nothing(studio: Studio, ada: Machine, upload_id: str):
    first = ada.open_download(upload_id)
    studio.clock.advance(SETTINGS.url_life_seconds + 1)
    again = ada.elsewhere().open_download(upload_id, first.operation_id)
    assert (again.outcome, again.record) == ("opened", first.record)
    assert studio.objects.get(again.request) == (200, BODY)
    assert studio.operation(first.operation_id).revision == 1


def test_what_was_replaced_is_fetched_as_it_was(studio: Studio, ada: Machine, upload_id: str):
    assert ada.upload(item_for("clip", LATER, prefix="day1", replace=True), LATER).outcome == "done"
    assert studio.objects.get(ada.open_download(upload_id).request) == (200, BODY)


def test_the_run_that_opens_is_in_the_record(ada: Machine, upload_id: str):
    ada.run_id = "run-7"
    assert ada.open_download(upload_id).record.run_id == "run-7"


# --- what cannot be opened -----------------------------------------------------------------------------


def version_of(studio: Studio, upload_id: str) -> tuple[str, str | None]:
    record = studio.operation(upload_id).record
    return record.s3_object_key, record.version_id


def test_a_version_that_is_gone_is_said_and_nothing_is_recorded(studio: Studio, ada: Machine, upload_id: str):
    studio.objects.destroy(*version_of(studio, upload_id))
    result = ada.open_download(upload_id)
    assert (result.outcome, result.request, result.stored, result.record) == ("gone", None, None, None)
    assert result.problem.code == "object-gone"
    assert result.operation_id not in studio.records.operations


@pytest.mark.parametrize("states", [{"size": 3}, {"crc64nvme": "AAAAAAAAAAA="}, {"crc64nvme": None}])
def test_a_version_whose_size_or_checksum_is_not_the_recorded_one_differs(studio, ada, upload_id, states):
    studio.objects.state(*version_of(studio, upload_id), **states)
    result = ada.open_download(upload_id)
    assert (result.outcome, result.request, result.record) == ("differs", None, None)
    assert result.problem.code == "content-differs"
    assert result.operation_id not in studio.records.operations


RESTORED = datetime(2026, 12, 1, tzinfo=UTC)
PASSED = datetime(2026, 11, 1, tzinfo=UTC)
"""Half a day before the tests' clock begins."""


@pytest.mark.parametrize(
    ("states", "outcome"),
    [
        ({"storage_class": "GLACIER"}, "archived"),
        ({"storage_class": "DEEP_ARCHIVE"}, "archived"),
        ({"storage_class": "INTELLIGENT_TIERING", "archive_tier": "ARCHIVE_ACCESS"}, "archived"),
        ({"storage_class": "GLACIER", "is_restoring": True}, "restoring"),
        ({"storage_class": "INTELLIGENT_TIERING", "archive_tier": "X", "is_restoring": True}, "restoring"),
        ({"storage_class": "GLACIER", "restored_until": RESTORED}, "opened"),
        ({"storage_class": "GLACIER", "restored_until": PASSED}, "archived"),
        ({"storage_class": "GLACIER_IR"}, "opened"),
        ({"storage_class": "INTELLIGENT_TIERING"}, "opened"),
    ],
)
def test_what_is_archived_waits_for_its_restore(studio: Studio, ada: Machine, upload_id: str, states, outcome):
    studio.objects.state(*version_of(studio, upload_id), **states)
    result = ada.open_download(upload_id)
    assert (result.outcome, result.stored.storage_class) == (outcome, states["storage_class"])
    assert result.stored.restored_until == states.get("restored_until")
    assert (result.request is not None) == (outcome == "opened") == (result.operation_id in studio.records.operations)


def test_a_storage_that_only_labels_classes_has_nothing_to_restore():
    studio = Studio(replace(SETTINGS, restores_archived=False))
    ada, item = studio.person("ada"), item_for("clip", BODY)
    ada.upload(item, BODY)
    studio.objects.state(*version_of(studio, item.operation_id), storage_class="GLACIER")
    assert ada.open_download(item.operation_id).outcome == "opened"


def test_an_upload_that_is_not_known_or_has_stored_nothing_is_a_problem(ada: Machine, upload_id: str):
    pending = ada.start(item_for("other", BODY))
    failed = ada.start(item_for("third", BODY))
    ada.fail(failed)
    opened = ada.open_download(upload_id)
    asked = [str(uuid.uuid4()), "no id", pending.operation_id, failed.operation_id, opened.operation_id]
    results = ada.open_downloads(*map(download_of, asked))
    codes = [result.problem.code for result in results]
    assert codes == ["no-such-operation", "no-such-operation", "not-stored", "not-stored", "no-such-operation"]


def test_one_items_problem_is_its_own(ada: Machine, upload_id: str):
    results = ada.open_downloads(download_of(str(uuid.uuid4())), download_of(upload_id), download_of(upload_id, "X"))
    assert [result.outcome for result in results] == ["problem", "opened", "problem"]
    assert results[2].problem.code == "invalid-request"


def test_a_download_is_its_owners_and_of_one_upload(ada: Machine, bob: Machine, upload_id: str):
    other = item_for("other", BODY)
    ada.upload(other, BODY)
    opened = bob.open_download(upload_id)
    assert ada.open_download(upload_id, opened.operation_id).problem.code == "not-allowed"
    assert bob.open_download(other.operation_id, opened.operation_id).problem.code == "operation-differs"


def test_an_id_is_of_one_type(ada: Machine, upload_id: str):
    """Neither goes on as the other: an upload's id opens nothing, a download's id starts nothing."""
    assert ada.open_download(upload_id, upload_id).problem.code == "operation-differs"
    opened = ada.open_download(upload_id)
    item = item_for("new", BODY, operation_id=opened.operation_id)
    assert ada.start(item).problem.code == "operation-differs"
    assert ada.fail(StartResult(opened.operation_id, "put")).problem.code == "operation-differs"
    assert ada.end_download(DownloadResult(upload_id, "opened")).problem.code == "operation-differs"


# --- the history ---------------------------------------------------------------------------------------


def test_a_download_is_in_the_history_beside_the_uploads_of_its_name(
    studio: Studio, ada: Machine, bob: Machine, upload_id
):
    studio.clock.advance(1)
    opened = bob.open_download(upload_id)
    records = ada.history(name="clip").records
    assert [type(record) for record in records] == [DownloadRecord, UploadRecord]
    assert records[0] == opened.record == ada.look_up(opened.operation_id)[0].record
    assert ada.history(operation_type="download", actor="bob", status="pending").records == [opened.record]
    assert ada.history(operation_type="upload").records == records[1:]


def test_a_finished_download_is_no_replaced_object(ada: Machine, upload_id: str):
    ada.end_download(ada.open_download(upload_id), len(BODY))
    assert ada.history().replaced == ()


def test_a_client_that_knows_no_downloads_reads_them_as_operations(ada: Machine, upload_id: str):
    """As installed clients read a page: by the classes that they know."""
    opened = ada.open_download(upload_id)
    data = to_plain(HistoryResponse([opened.record]))["records"][0]
    read = from_plain(OperationRecord, data)
    assert (read.operation_type, read.status, read.target_path) == ("download", "pending", "restored/clip.tar.gz")
