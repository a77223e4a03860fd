"""What goes to S3 over the wire and what is read from its answers: S3 fixes both."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from mgmt_api.adapters.clients import make_s3_client
from mgmt_api.adapters.s3 import S3ObjectStore
from mgmt_api.ports import ContentRefusedError, NewObject, NotArchivedError, StoredObject, StoredPart, WriteCondition
from support.scripted_server import Answer, scripted_server

CHECKSUM = "rosUhgoHmIg="
KEY = "day1/clip.tar.gz"
CREATE_ONLY = WriteCondition()
PARTS = [StoredPart(1, 5, '"one"', None), StoredPart(2, 3, '"two"', None)]


def make_store(url: str) -> S3ObjectStore:
    return S3ObjectStore(make_s3_client("eu-west-1", endpoint_url=url, access_key="k", secret_key="made up"), "bucket")


def xml(text: str) -> Answer:
    return Answer(200, text.encode(), {"content-type": "application/xml"})


COMPLETED = xml("<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>")


def asked_of(call, answer):
    """Make a call; return method, path, query, headers and body of the one request it made."""
    with scripted_server(answer) as server:
        call(make_store(server.url))
        [asked] = server.asked
    url = urlsplit(asked.path)
    query = {name: value for name, [value] in parse_qs(url.query, keep_blank_values=True).items()}
    return asked.method, url.path, query, asked.headers, asked.body.decode()


def complete(store, parts=PARTS, *, size=8, condition=CREATE_ONLY):
    store.complete_multipart_upload(
        KEY, "upload-1", parts, size=size, crc64nvme=CHECKSUM, condition=condition, within_seconds=20
    )


@pytest.mark.parametrize(
    ("condition", "header", "value"),
    [(CREATE_ONLY, "if-none-match", "*"), (WriteCondition('"old"'), "if-match", '"old"')],
)
def test_a_completion_names_every_part_the_whole_and_its_condition(condition, header, value):
    method, path, query, headers, body = asked_of(lambda store: complete(store, condition=condition), COMPLETED)
    assert (method, path, query) == ("POST", f"/bucket/{KEY}", {"uploadId": "upload-1"})
    assert headers["x-amz-checksum-crc64nvme"] == CHECKSUM
    assert headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert headers["x-amz-mp-object-size"] == "8"
    assert {name: headers[name] for name in ("if-none-match", "if-match") if name in headers} == {header: value}
    assert re.findall(r"<PartNumber>(.*?)</PartNumber>", body) == ["1", "2"]
    assert re.findall(r"<ETag>(.*?)</ETag>", body.replace("&quot;", '"')) == ['"one"', '"two"']


@pytest.mark.parametrize(("parts", "size"), [(PARTS, 7), (PARTS, 9), ([], 0), ([], 8)])
def test_parts_that_do_not_add_up_are_refused_without_a_call(parts, size):
    with scripted_server(COMPLETED) as server, pytest.raises(ContentRefusedError):
        complete(make_store(server.url), parts, size=size)
    assert server.asked == []


def test_a_multipart_upload_is_created_with_a_checksum_of_the_whole_and_what_belongs_to_the_object():
    new = NewObject(KEY, "operation-1", "DEEP_ARCHIVE", {"shoot": "day 1"})
    answer = xml("<InitiateMultipartUploadResult><UploadId>upload-7</UploadId></InitiateMultipartUploadResult>")
    ids = []
    method, path, query, headers, _ = asked_of(lambda store: ids.append(store.create_multipart_upload(new)), answer)
    assert (ids, method, path, query) == (["upload-7"], "POST", f"/bucket/{KEY}", {"uploads": ""})
    assert headers["x-amz-checksum-algorithm"] == "CRC64NVME"
    assert headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert headers["x-amz-meta-operation-id"] == "operation-1"
    assert headers["x-amz-storage-class"] == "DEEP_ARCHIVE"
    assert headers["x-amz-tagging"] == "shoot=day%201"


def test_an_object_is_read_with_its_checksum_its_operation_and_its_version():
    headers = {
        "ETag": '"e"',
        "x-amz-checksum-crc64nvme": CHECKSUM,
        "x-amz-meta-operation-id": "operation-1",
        "x-amz-version-id": "v7",
        "x-amz-storage-class": "GLACIER",
    }
    found = []
    answer = Answer(200, b"12345", headers)
    method, path, _, asked, _ = asked_of(lambda store: found.append(store.head_object(KEY)), answer)
    assert (method, path, asked["x-amz-checksum-mode"]) == ("HEAD", f"/bucket/{KEY}", "ENABLED")
    assert found == [StoredObject(KEY, 5, '"e"', CHECKSUM, "operation-1", "v7", "GLACIER")]


def test_an_object_of_somebody_else_is_read_without_what_it_lacks():
    found = []
    asked_of(lambda store: found.append(store.head_object(KEY)), Answer(200, b"12", {"ETag": '"e"'}))
    assert found == [StoredObject(KEY, 2, '"e"', None, None, None, None)]


@pytest.mark.parametrize("days", [3, None])
def test_a_restore_is_of_one_version_with_its_tier_and_its_days(days):
    method, path, query, _, body = asked_of(lambda store: store.restore_object(KEY, "v7", "Bulk", days), Answer(202))
    assert (method, path, query) == ("POST", f"/bucket/{KEY}", {"restore": "", "versionId": "v7"})
    assert "<Tier>Bulk</Tier>" in body
    assert ("<Days>3</Days>" in body) == (days is not None)


@pytest.mark.parametrize(("status", "code"), [(409, "RestoreAlreadyInProgress"), (403, "InvalidObjectState")])
def test_what_needs_no_restore_or_has_one_under_way_is_told_apart_from_other_refusals(status, code):
    with (
        scripted_server(Answer(status, f"<Error><Code>{code}</Code></Error>".encode())) as server,
        pytest.raises(NotArchivedError),
    ):
        make_store(server.url).restore_object(KEY, "v7", "Bulk", 3)


def test_parts_are_listed_of_one_upload_and_none_are_none():
    found = []
    method, path, query, *_ = asked_of(
        lambda store: found.append(store.list_parts(KEY, "upload-1")), xml("<ListPartsResult/>")
    )
    assert (found, method, path) == ([[]], "GET", f"/bucket/{KEY}")
    assert query["uploadId"] == "upload-1"


def test_an_upload_is_aborted_by_its_id():
    method, path, query, *_ = asked_of(lambda store: store.abort_multipart_upload(KEY, "upload-1"), Answer(204))
    assert (method, path, query) == ("DELETE", f"/bucket/{KEY}", {"uploadId": "upload-1"})
