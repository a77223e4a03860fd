"""The text of presigned URLs, region by region: what S3 will hold the client to must stand in them."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from mgmt_api.adapters.clients import make_s3_client
from mgmt_api.adapters.s3 import S3ObjectStore
from mgmt_api.ports import NewObject, WriteCondition
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.uploads import Part

BUCKET = "team-footage"
KEY = "shoots/day 1/clip é+&=.tar.gz"
NEW = NewObject(KEY, "0197c0de-0000-7000-8000-000000000001")
CHECKSUM = "rosUhgoHmIg="
CREATE_ONLY = WriteCondition()
ALWAYS = {"content-length": "16777216", "x-amz-checksum-crc64nvme": CHECKSUM}
OF_AN_OBJECT = {"x-amz-meta-operation-id": NEW.operation_id}

pytestmark = pytest.mark.parametrize("region", ["us-east-1", "us-east-2", "eu-west-1", "ap-southeast-2"])


def make_store(region: str, *, session_token: str | None = None) -> S3ObjectStore:
    client = make_s3_client(region, access_key="AKIDEXAMPLE", secret_key="made up", session_token=session_token)
    return S3ObjectStore(client, BUCKET)


def sign(store: S3ObjectStore, condition: WriteCondition = CREATE_ONLY, new_object: NewObject = NEW) -> SignedRequest:
    return store.presign_put(new_object, size=16777216, crc64nvme=CHECKSUM, condition=condition, expires_in_seconds=900)


def query_of(request: SignedRequest) -> dict[str, str]:
    return {name: value for name, [value] in parse_qs(urlsplit(request.url).query).items()}


def assert_signs(request: SignedRequest, headers: dict[str, str]) -> None:
    """The signed headers are these and host; and these, with these values, are what the client is told."""
    assert set(query_of(request)["X-Amz-SignedHeaders"].split(";")) == {"host", *headers}
    assert request.headers == headers


def test_a_new_object_is_create_only(region: str):
    assert_signs(sign(make_store(region)), ALWAYS | OF_AN_OBJECT | {"if-none-match": "*"})


def test_a_replacement_replaces_one_object_only(region: str):
    request = sign(make_store(region), WriteCondition('"0123456789abcdef"'))
    assert_signs(request, ALWAYS | OF_AN_OBJECT | {"if-match": '"0123456789abcdef"'})


def test_storage_class_and_tags_are_signed_where_they_are_given(region: str):
    rich = NewObject(KEY, NEW.operation_id, "DEEP_ARCHIVE", {"shoot": "day 1", "k&=": "é/"})
    expected = {
        "if-none-match": "*",
        "x-amz-storage-class": "DEEP_ARCHIVE",
        "x-amz-tagging": "shoot=day%201&k%26%3D=%C3%A9%2F",
    }
    assert_signs(sign(make_store(region), new_object=rich), ALWAYS | OF_AN_OBJECT | expected)


@pytest.mark.parametrize(("storage_class", "tags"), [("STANDARD", None), (None, {}), (None, {"a": "b"})])
def test_one_may_be_given_without_the_other(region: str, storage_class: str | None, tags: dict[str, str] | None):
    new_object = NewObject(KEY, NEW.operation_id, storage_class, tags)
    expected = {"if-none-match": "*"}
    expected |= {"x-amz-storage-class": storage_class} if storage_class else {}
    expected |= {"x-amz-tagging": "a=b"} if tags else {}
    assert_signs(sign(make_store(region), new_object=new_object), ALWAYS | OF_AN_OBJECT | expected)


def test_a_part_signs_its_length_and_checksum(region: str):
    part = Part(17, 16777216, CHECKSUM)
    request = make_store(region).presign_part(KEY, "upload/id+1", part, expires_in_seconds=60)
    assert_signs(request, ALWAYS)
    query = query_of(request)
    assert (query["partNumber"], query["uploadId"]) == ("17", "upload/id+1")
    assert (query["X-Amz-Expires"], request.expires_in_seconds) == ("60", 60)


def test_the_signature_is_version_4_for_the_region_on_the_buckets_own_host(region: str):
    part = make_store(region).presign_part(KEY, "upload-1", Part(1, 1, CHECKSUM), expires_in_seconds=900)
    for request in (sign(make_store(region)), part):
        url, query = urlsplit(request.url), query_of(request)
        assert (url.scheme, url.netloc) == ("https", f"{BUCKET}.s3.{region}.amazonaws.com")
        assert url.path == "/shoots/day%201/clip%20%C3%A9%2B%26%3D.tar.gz"
        assert query["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
        assert query["X-Amz-Credential"].split("/")[2:] == [region, "s3", "aws4_request"]
        assert query["X-Amz-Expires"] == "900"
        assert len(query["X-Amz-Signature"]) == 64
        # Version 2 has these; S3 would take them without length, checksum and condition.
        assert not {"AWSAccessKeyId", "Signature", "Expires"} & query.keys()


def test_nothing_that_is_to_be_a_header_hides_in_the_query(region: str):
    rich = NewObject(KEY, NEW.operation_id, "STANDARD_IA", {"a": "b"})
    assert query_of(sign(make_store(region), new_object=rich)).keys() <= {
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-Signature",
        "X-Amz-SignedHeaders",
    }


def test_a_session_token_travels_in_the_url(region: str):
    request = sign(make_store(region, session_token="token/with+signs=="))
    assert query_of(request)["X-Amz-Security-Token"] == "token/with+signs=="
    assert_signs(request, ALWAYS | OF_AN_OBJECT | {"if-none-match": "*"})


def test_no_url_shows_in_a_representation(region: str):
    assert "Signature" not in repr(sign(make_store(region)))


def test_an_engine_on_its_own_address_is_addressed_by_path(region: str):
    client = make_s3_client(
        region, endpoint_url="http://127.0.0.1:8333", access_key="AKIDEXAMPLE", secret_key="made up"
    )
    url = urlsplit(sign(S3ObjectStore(client, BUCKET)).url)
    assert (url.netloc, url.path.split("/")[1]) == ("127.0.0.1:8333", BUCKET)
