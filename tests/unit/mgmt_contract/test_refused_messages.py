"""JSON that is not the expected message is refused at the very place that is wrong, with what was expected there."""

from __future__ import annotations

import pytest

from mgmt_contract.messages.history import HistoryResponse, RecordsResponse
from mgmt_contract.messages.service import Service
from mgmt_contract.messages.uploads import StartResult
from mgmt_contract.records import DeleteRecord, DownloadRecord, OperationRecord, UploadRecord
from mgmt_contract.wire import MessageError, from_json, from_plain, to_json

RECORD = {
    "operation_id": "x",
    "operation_type": "delete",
    "target_path": "k",
    "started_at": "2026-01-01T00:00:00Z",
    "status": "success",
    "result_path": None,
    "error_message": None,
}
UPLOAD = RECORD | {
    "operation_type": "upload",
    "compression_type": "gzip",
    "compressed_file_path": "p",
    "s3_bucket": "b",
    "s3_object_key": "k",
    "source_file_record": None,
    "compressed_file_record": None,
    "s3_file_record": None,
}
SERVICE = dict.fromkeys(
    ["api_version_min", "api_version_max", "single_put_max_bytes", "part_count_max", "sign_parts_max"], 1
) | {
    "items_max": 1,
    "lease_seconds": 1,
    "service_version": "1",
    "bucket": "b",
    "region": "r",
    "root_prefix": "",
}


def refusal(kind, data):
    with pytest.raises(MessageError) as caught:
        from_plain(kind, data)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tags": []}, "UploadRecord.tags is [], expected an object"),
        ({"tags": {"a": "b", "c": 3}}, "UploadRecord.tags.c is 3, expected str"),
        ({"started_at": 5}, "UploadRecord.started_at is 5, expected a time"),
        ({"started_at": "now"}, "UploadRecord.started_at is 'now', expected a time with a zone"),
        ({"started_at": "2026-01-01T00:00:00"}, "UploadRecord.started_at is '2026-01-01T00:00:00', expected a time"),
        ({"source_file_record": []}, "UploadRecord.source_file_record is [], expected an object"),
        ({"source_file_record": {"name": 1}}, "UploadRecord.source_file_record.name is 1, expected str"),
        ({"started_at": "1969-01-01T00:00:00Z"}, "UploadRecord.started_at is '1969-01-01T00:00:00Z', expected a time"),
        ({"status": 1}, "UploadRecord.status is 1, expected one of 'pending', 'success', 'failed'"),
        ({"operation_type": "download"}, "UploadRecord.operation_type is 'download', expected 'upload'"),
        ({"member_count": -1}, "UploadRecord.member_count is -1, expected a whole number from 0 to 9007199254740991"),
        ({"member_count": 1.0}, "UploadRecord.member_count is 1.0, expected int"),
    ],
)
def test_the_place_and_what_was_expected_there_are_named(change, said):
    assert refusal(UploadRecord, UPLOAD | change).startswith(said)


def test_a_place_in_a_list_is_named_by_its_index():
    assert refusal(RecordsResponse, {"results": {}}) == "RecordsResponse.results is {}, expected a list"
    results = [{"operation_id": "x", "outcome": "record"}, {"operation_id": "y"}]
    assert refusal(RecordsResponse, {"results": results}) == "RecordsResponse.results[1].outcome is missing"


def test_a_long_value_is_not_repeated_whole():
    said = refusal(UploadRecord, UPLOAD | {"member_count": "y" * 10_000})
    assert 50 < said.count("y") < 100


def test_text_that_is_no_json_says_what_was_expected():
    with pytest.raises(MessageError, match="no JSON where Service was expected"):
        from_json(Service, "<html>")


def test_records_are_told_apart_by_their_type_and_not_by_what_fits():
    """One of tomorrow may have all fields of an upload; an upload that lacks one is not taken for something else."""
    verify = UPLOAD | {"operation_type": "verify"}
    delete = UPLOAD | {"operation_type": "delete", "upload_id": "u", "version_id": "v", "size": 3}
    download = UPLOAD | {"operation_type": "download", "upload_id": "u", "version_id": "v", "size": 3}
    records = from_plain(HistoryResponse, {"records": [UPLOAD, delete, verify, download]}).records
    assert [type(record) for record in records] == [UploadRecord, DeleteRecord, OperationRecord, DownloadRecord]
    assert [record.operation_type for record in records] == ["upload", "delete", "verify", "download"]
    assert refusal(HistoryResponse, {"records": [RECORD | {"operation_type": "upload"}]}).startswith(
        "HistoryResponse.records[0].compression_type is missing"
    )
    assert refusal(HistoryResponse, {"records": [UPLOAD | {"operation_type": ["upload"]}]}).startswith(
        "HistoryResponse.records[0].operation_type is a list"
    )
    assert refusal(HistoryResponse, {"records": [RECORD | {"target_path": 1}]}).startswith(
        "HistoryResponse.records[0].target_path is 1"
    )


def test_a_field_that_may_be_left_out_takes_its_default_and_one_that_may_be_none_takes_none():
    result = from_plain(StartResult, {"operation_id": "x", "outcome": "done", "lease": None})
    assert (result.lease, result.problem) == (None, None)
    assert from_plain(UploadRecord, UPLOAD).tags == {}
    assert refusal(StartResult, {"operation_id": None, "outcome": "done"}).startswith(
        "StartResult.operation_id is None"
    )


def test_lists_of_the_wire_become_what_the_class_declares():
    service = from_plain(Service, SERVICE | {"scopes": ["a", "b"]})
    assert service.scopes == ("a", "b")
    assert from_plain(HistoryResponse, {"records": []}).records == []


def test_what_is_written_has_no_spaces_and_its_own_letters():
    assert to_json({"a": [1, None, "é"], "b": {}}) == '{"a":[1,null,"é"],"b":{}}'
