import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgmt_contract.messages.history import HistoryResponse, RecordResult
from mgmt_contract.messages.service import Service
from mgmt_contract.messages.uploads import (
    CompleteResponse,
    CompleteResult,
    PreviewResult,
    SignResult,
    StartItem,
    StartResult,
)
from mgmt_contract.records import DownloadRecord, FileRecord, OperationRecord, UploadRecord
from mgmt_contract.wire import (
    COUNT_MAX,
    MessageError,
    format_time,
    from_json,
    from_plain,
    parse_time,
    to_json,
    to_plain,
)

moments = st.datetimes(datetime(1970, 1, 1), datetime(2999, 12, 31), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)
sizes = st.integers(0, COUNT_MAX)
texts = st.text(st.characters(exclude_categories=["Cs"]))
file_records = st.none() | st.builds(
    FileRecord,
    texts,
    texts,
    st.sampled_from(["local", "s3"]),
    sizes,
    st.booleans(),
    st.sampled_from(["pending", "completed", "failed", "deleted", "moved"]),
)
upload_records = st.builds(
    UploadRecord, operation_id=texts, operation_type=st.just("upload"), target_path=texts, started_at=moments,
    status=st.sampled_from(["pending", "success", "failed"]),
    result_path=st.none() | texts, error_message=st.none() | texts,
    compression_type=st.just("gzip"), compressed_file_path=texts, s3_bucket=texts, s3_object_key=texts,
    source_file_record=file_records, compressed_file_record=file_records, s3_file_record=file_records,
    uncompressed_size=st.none() | sizes, tags=st.dictionaries(texts, texts), finished_at=st.none() | moments,
)  # fmt: skip


@given(upload_records)
def test_a_record_survives_json(record):
    assert from_json(UploadRecord, to_json(record)) == record


@given(upload_records)
def test_plain_values_are_what_json_would_hold(record):
    assert json.loads(to_json({"records": (record,)})) == to_plain({"records": (record,)})


@pytest.mark.parametrize("write", [to_plain, to_json])
def test_what_no_message_is_made_of_is_not_written(write):
    with pytest.raises(TypeError, match="set"):
        write({"names": {"a"}})


def test_the_documents_fields_come_first_and_in_its_order():
    """A record can be built exactly as the upload process document builds it."""
    names = [field.name for field in dataclasses.fields(UploadRecord) if not field.kw_only]
    assert names == [
        "operation_id", "operation_type", "target_path", "started_at", "status", "result_path", "error_message",
        "compression_type", "compressed_file_path", "s3_bucket", "s3_object_key",
        "source_file_record", "compressed_file_record", "s3_file_record",
    ]  # fmt: skip
    assert [field.name for field in dataclasses.fields(FileRecord)] == [
        "name", "path", "location", "size", "is_directory", "status",
    ]  # fmt: skip
    record = UploadRecord("id", "download", "t", datetime.now(UTC), "pending", None, None,
                          "gzip", "p", "b", "k", None, None, None)  # fmt: skip
    assert record.operation_type == "upload"


def test_a_reader_ignores_what_it_does_not_know():
    assert from_plain(FileRecord, {**to_plain(_file()), "colour": "red"}) == _file()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": "12"}, "FileRecord.size is '12', expected int"),
        ({"size": True}, "FileRecord.size is True, expected int"),
        ({"status": None}, "FileRecord.status is None, expected one of 'pending'"),
        ({"size": 10**400}, "FileRecord.size is 1000"),
        ({"name": None}, "FileRecord.name is None, expected str"),
    ],
)
def test_a_wrong_field_is_named(change, said):
    with pytest.raises(MessageError, match=said):
        from_plain(FileRecord, {**to_plain(_file()), **change})


def test_a_missing_field_is_named_with_its_place():
    with pytest.raises(MessageError, match=r"CompleteResponse.results\[0\].outcome is missing"):
        from_plain(CompleteResponse, {"results": [{"operation_id": "x"}]})


def test_the_whole_way_to_a_wrong_value_is_told():
    record = {**to_plain(OperationRecord("x", "verify", "t", datetime.now(UTC), "success", None, None)), "phase": 1}
    with pytest.raises(MessageError, match=r"HistoryResponse.records\[1\].phase is 1, expected one of 'reserved'"):
        from_plain(HistoryResponse, {"records": [{**record, "phase": "done"}, record]})
    with pytest.raises(MessageError, match=r"StartItem.tags.shoot is 1, expected str"):
        from_plain(StartItem, {"operation_id": "x", "name": "n", "target_path": "t", "compressed_file_path": "p",
                               "source_file_record": to_plain(_file()), "packing": {"codec": "c", "plan": "p"},
                               "tags": {"shoot": 1}})  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["", "<html>", "[]", "null", "{", b"\xff", "[" * 100_000, '{"items_max": Infinity}', '{"x": NaN}', "9" * 5000],
)
def test_what_is_no_message_is_refused(text):
    with pytest.raises(MessageError):
        from_json(Service, text)


OPERATION = {"operation_id": "x", "operation_type": "verify", "target_path": "k", "started_at": "2026-01-01T00:00:00Z",
             "status": "success", "result_path": None, "error_message": None}  # fmt: skip


@pytest.mark.parametrize("operation_type", ["verify", "verify-of-tomorrow"])
def test_an_operation_of_another_type_is_read_as_an_operation(operation_type):
    """History may hold operations that are no uploads, also of types that this version does not know."""
    [record] = from_plain(HistoryResponse, {"records": [OPERATION | {"operation_type": operation_type}]}).records
    assert type(record) is OperationRecord
    assert record.operation_type == operation_type


def test_a_download_is_read_whole_and_by_a_client_that_knows_none_as_an_operation():
    download = OPERATION | {"operation_type": "download", "upload_id": "u", "s3_bucket": "b", "s3_object_key": "k",
                            "version_id": None, "size": 3, "received_bytes": 2}  # fmt: skip
    [record] = from_plain(HistoryResponse, {"records": [download]}).records
    assert (type(record), record.upload_id, record.size, record.received_bytes) == (DownloadRecord, "u", 3, 2)
    assert from_plain(OperationRecord, download).operation_type == "download"


@given(upload_records, st.data())
def test_a_text_of_tomorrow_is_taken_wherever_one_of_several_is_expected(record, data):
    """A new status, phase, place or outcome must not break an installed client."""
    plain = to_plain(record)
    files = [each for each in plain.values() if isinstance(each, dict) and "location" in each]
    holder, name = data.draw(
        st.sampled_from(
            [(plain, "status"), (plain, "phase"), *((file, n) for file in files for n in ("status", "location"))]
        )
    )
    holder[name] = "of-tomorrow"
    assert to_plain(from_plain(UploadRecord, plain)) == plain
    for kind in (StartResult, PreviewResult, SignResult, CompleteResult, RecordResult):
        assert from_plain(kind, {"operation_id": "x", "outcome": "of-tomorrow"}).outcome == "of-tomorrow"


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-12-31T00:00:00Z"])
def test_times_at_which_nothing_is_recorded_are_refused(text):
    """With an offset they may have no equal in UTC or in a local time zone."""
    with pytest.raises(MessageError, match="started_at"):
        from_plain(HistoryResponse, {"records": [OPERATION | {"started_at": text}]})


def test_times_are_utc_with_milliseconds():
    east = timezone(timedelta(hours=2))
    assert format_time(datetime(2026, 1, 1, 1, 0, 0, 1999, tzinfo=east)) == "2025-12-31T23:00:00.001Z"
    assert parse_time("2026-01-01T01:00:00+02:00") == datetime(2025, 12, 31, 23, tzinfo=UTC)


def test_times_without_a_zone_are_refused():
    with pytest.raises(ValueError, match="zone"):
        parse_time("2026-01-01T00:00:00")
    with pytest.raises(ValueError, match="zone"):
        format_time(datetime(2026, 1, 1))  # noqa: DTZ001  the naive time is the test


def test_json_is_one_line_whatever_the_names():
    assert "\n" not in to_json({"name": "a\nb\u2028c"}).replace("\\n", "")
    assert json.loads(to_json({"name": "ü"})) == {"name": "ü"}


def _file():
    return FileRecord("a", "a", "local", 1, is_directory=False, status="pending")
