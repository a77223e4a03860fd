"""Presigned URLs before an engine that verifies: each is good for its own request, for its life, and for nothing else.

Every kind of URL that the service gives out is tried with each part of its address and each of its headers changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import pytest
import urllib3

from mgmt_api.adapters.s3 import S3ObjectStore
from mgmt_api.ports import NewObject, ObjectStore, WriteCondition
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.uploads import Part
from mgmt_contract.names import index_key
from support.engine import connect, sign_in_the_past
from support.fakes import content_md5, crc64nvme

engine_only = pytest.mark.parametrize("storage", ["s3"], indirect=True)

ARCHIVE_KEY = "team/clip é+1.tar.gz"
OTHER_KEY = "team/others.tar.gz"
INDEX_KEY = index_key("", "01a2041b-befb-730e-9a3c-9ad5ec9c722f")
BODY, OTHER_BODY = b"footage, packed", b"somebody else's"
INDEX = b"the index"
LIFE_SECONDS = 60
REFUSED = (400, 403, 404, 405)
UNSIGNED_HEADERS = {
    "x-amz-copy-source": "bucket/{}",
    "x-amz-acl": "public-read",
    "x-amz-grant-read": 'uri="http://acs.amazonaws.com/groups/global/AllUsers"',
    "x-amz-tagging": "mgmt-expired=true",
    "x-amz-meta-other": "x",
    "x-amz-website-redirect-location": "https://evil.example",
    "x-amz-object-lock-mode": "COMPLIANCE",
    "x-amz-bypass-governance-retention": "true",
}
"""S3 refuses every such header that is not signed. Source: Amazon S3 API Reference, Signature calculations, 2026-11."""


@dataclass
class Given:
    """A request that the service has signed, and what it is about."""

    request: SignedRequest
    method: str
    key: str
    body: bytes
    multipart_upload_id: str = ""


Give = Callable[[ObjectStore], Given]


def _put(store: ObjectStore, key: str, body: bytes, condition: WriteCondition | None = None) -> SignedRequest:
    return store.presign_put(
        NewObject(key, "operation-1", storage_class="STANDARD_IA", tags={"shoot": "day 1"}),
        size=len(body),
        crc64nvme=crc64nvme(body),
        condition=condition or WriteCondition(),
        expires_in_seconds=LIFE_SECONDS,
        content_md5=content_md5(body),
    )


def _give_put(store: ObjectStore) -> Given:
    return Given(_put(store, ARCHIVE_KEY, BODY), "PUT", ARCHIVE_KEY, BODY)


def _give_index_put(store: ObjectStore) -> Given:
    return Given(_put(store, INDEX_KEY, INDEX), "PUT", INDEX_KEY, INDEX)


def _give_part(store: ObjectStore) -> Given:
    id_ = store.create_multipart_upload(NewObject(ARCHIVE_KEY, "operation-1"))
    part = Part(1, len(BODY), crc64nvme(BODY))
    request = store.presign_part(ARCHIVE_KEY, id_, part, expires_in_seconds=LIFE_SECONDS)
    return Given(request, "PUT", ARCHIVE_KEY, BODY, id_)


def _give_get(key: str, body: bytes) -> Give:
    def give(store: ObjectStore) -> Given:
        stored = store.head_object(key)
        assert stored is not None
        return Given(store.presign_get(key, stored.version_id, expires_in_seconds=LIFE_SECONDS), "GET", key, body)

    return give


GIVEN: dict[str, Give] = {
    "put": _give_put,
    "part": _give_part,
    "index-put": _give_index_put,
    "get": _give_get(ARCHIVE_KEY, BODY),
    "index-get": _give_get(INDEX_KEY, INDEX),
}


@pytest.fixture
def world(storage):
    """Somebody else's object is there already."""
    assert storage.put(_put(storage.store, OTHER_KEY, OTHER_BODY), OTHER_BODY) == 200
    return storage


def give(world, kind: str) -> Given:
    """Have the service sign one request."""
    if kind.endswith("get"):
        for key, body in ((ARCHIVE_KEY, BODY), (INDEX_KEY, INDEX)):
            if world.store.head_object(key) is None:
                assert world.put(_put(world.store, key, body), body) == 200
    return GIVEN[kind](world.store)


def ask(world, given: Given, request: SignedRequest, body: bytes | None = None) -> int:
    """Make a request as its method says, and return the status."""
    if given.method == "GET":
        return int(world.get(request)[0])
    return int(world.put(request, given.body if body is None else body))


def is_nothing_written(world, given: Given) -> bool:
    """Tell whether a PUT has left the bucket as it was."""
    if given.method == "GET":
        return True
    if given.multipart_upload_id and world.store.list_parts(given.key, given.multipart_upload_id):
        return False
    other = world.store.head_object(OTHER_KEY)
    return world.store.head_object(given.key) is None and (other.size, other.crc64nvme) == (
        len(OTHER_BODY),
        crc64nvme(OTHER_BODY),
    )


def change_query(url: str) -> Iterator[tuple[str, str]]:
    """Change each parameter of a URL, leave each out, name each twice, and add some."""
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)

    def with_pairs(changed: list[tuple[str, str]]) -> str:
        return urlunsplit(parts._replace(query=urlencode(changed, quote_via=quote)))

    assert pairs
    for index, (name, value) in enumerate(pairs):
        if name == "x-id":  # a label, which S3 signs as well
            continue
        other = value[:-1] + ("0" if value[-1:] != "0" else "1")
        yield f"{name} changed", with_pairs([*pairs[:index], (name, other), *pairs[index + 1 :]])
        yield f"{name} left out", with_pairs([*pairs[:index], *pairs[index + 1 :]])
        if name != "X-Amz-Signature":  # it signs all the others, and the first of two counts
            yield f"{name} twice", with_pairs([*pairs, (name, other)])
    for name in ("versionId", "uploadId", "partNumber", "tagging", "acl", "response-content-type"):
        if name not in dict(pairs):
            yield f"{name} added", with_pairs([*pairs, (name, "1")])


@engine_only
@pytest.mark.parametrize("kind", GIVEN)
class TestEachKind:
    def test_as_it_was_signed_it_is_good(self, world, kind: str):
        given = give(world, kind)
        assert ask(world, given, given.request) == 200

    def test_no_parameter_can_be_changed_left_out_doubled_or_added(self, world, kind: str):
        given = give(world, kind)
        for what, url in change_query(given.request.url):
            status = ask(world, given, replace(given.request, url=url))
            assert status in REFUSED, (what, status)
            assert is_nothing_written(world, given), what
        assert ask(world, given, given.request) == 200, "and it is still good"

    def test_it_is_for_no_other_key_or_bucket(self, world, kind: str):
        given = give(world, kind)
        parts = urlsplit(given.request.url)
        bucket = parts.path.split("/")[1]
        keys = (OTHER_KEY, "team/", f"{given.key}x", f"{given.key}/x")
        paths = [f"/{bucket}/{quote(key)}" for key in keys] + [f"/{bucket}", parts.path.replace(bucket, "other", 1)]
        for path in paths:
            status = ask(world, given, replace(given.request, url=urlunsplit(parts._replace(path=path))))
            assert status in REFUSED, (path, status)
            assert is_nothing_written(world, given), path

    def test_it_ends_with_its_life(self, world, kind: str, engine, bucket, monkeypatch: pytest.MonkeyPatch):
        give(world, kind)
        with sign_in_the_past(monkeypatch, LIFE_SECONDS):
            given = GIVEN[kind](S3ObjectStore(connect(engine), bucket))
        assert ask(world, given, given.request) == 403
        assert is_nothing_written(world, given)

    @pytest.mark.parametrize("method", ["DELETE", "POST", "HEAD", "GET", "PUT", "OPTIONS", "PATCH"])
    def test_it_is_for_no_other_method(self, world, kind: str, method: str):
        given = give(world, kind)
        if method == given.method:
            return
        before = world.store.head_object(given.key)
        body = given.body if method in ("PUT", "POST", "PATCH") else None
        headers = {name: value for name, value in given.request.headers.items() if name != "content-length" or body}
        with urllib3.PoolManager(retries=False, timeout=10) as pool:
            answer = pool.request(method, given.request.url, body=body, headers=headers)
        assert answer.status in (*REFUSED, 501) or (method == "OPTIONS" and not answer.data), answer.status
        assert given.body not in answer.data
        assert world.store.head_object(given.key) == before
        assert is_nothing_written(world, given)


@engine_only
@pytest.mark.parametrize("kind", ["put", "part", "index-put"])
class TestWriting:
    @pytest.mark.parametrize("name", UNSIGNED_HEADERS)
    def test_no_header_of_s3_can_be_added(self, world, kind: str, name: str):
        given = give(world, kind)
        headers = given.request.headers | {name: UNSIGNED_HEADERS[name].format(OTHER_KEY)}
        assert ask(world, given, replace(given.request, headers=headers)) in REFUSED
        assert is_nothing_written(world, given)

    def test_no_header_can_be_changed_or_left_out(self, world, kind: str):
        given = give(world, kind)
        for name, value in given.request.headers.items():
            if name == "content-length":  # of another body, below
                continue
            without = {each: text for each, text in given.request.headers.items() if each != name}
            for headers in (without, {**without, name: f"{value}0"}):
                assert ask(world, given, replace(given.request, headers=headers)) in REFUSED, (name, headers.get(name))
                assert is_nothing_written(world, given), name

    @pytest.mark.parametrize("other", [b"", BODY + b".", BODY[:-1], INDEX[::-1], BODY[::-1]], ids=repr)
    def test_no_other_bytes_arrive_even_with_the_headers_that_fit_them(self, world, kind: str, other: bytes):
        given = give(world, kind)
        length = {"content-length": str(len(other))}
        checksum = {**length, "x-amz-checksum-crc64nvme": crc64nvme(other)}
        for changes in (length, checksum, {**checksum, "content-md5": content_md5(other)}):
            known = {name: value for name, value in changes.items() if name in given.request.headers}
            status = ask(world, given, replace(given.request, headers=given.request.headers | known), other)
            assert status in REFUSED, (changes, status)
            assert is_nothing_written(world, given)

    def test_nothing_can_be_read_with_it(self, world, kind: str):
        given = give(world, kind)
        assert ask(world, given, given.request) == 200
        headers = {name: value for name, value in given.request.headers.items() if name != "content-length"}
        assert world.get(replace(given.request, headers=headers))[0] in REFUSED

    def test_twice_it_changes_nothing_more(self, world, kind: str):
        given = give(world, kind)
        assert ask(world, given, given.request) == 200
        before = world.store.head_object(given.key)
        again = ask(world, given, given.request)
        assert again == (200 if kind == "part" else 412), "the same part again is the same part"
        assert world.store.head_object(given.key) == before
        if kind == "part":
            assert len(world.store.list_parts(given.key, given.multipart_upload_id)) == 1


@engine_only
def test_a_part_goes_to_no_other_multipart_upload_and_under_no_other_number(world):
    """Neither to another one of the same key, which a take-over opens, nor to one of another key."""
    given = give(world, "part")
    same_key = world.store.create_multipart_upload(NewObject(ARCHIVE_KEY, "operation-2"))
    other_key = world.store.create_multipart_upload(NewObject(OTHER_KEY, "operation-3"))
    url = given.request.url
    for changed in (
        url.replace(given.multipart_upload_id, same_key),
        url.replace(given.multipart_upload_id, other_key),
        url.replace("partNumber=1", "partNumber=2"),
    ):
        assert changed != url
        assert world.put(replace(given.request, url=changed), BODY) in REFUSED
    for key, id_ in (
        (ARCHIVE_KEY, given.multipart_upload_id),
        (ARCHIVE_KEY, same_key),
        (OTHER_KEY, other_key),
    ):
        assert world.store.list_parts(key, id_) == []


@engine_only
@pytest.mark.parametrize("kind", ["get", "index-get"])
def test_no_url_to_read_writes_or_reads_a_later_version(world, kind: str):
    given = give(world, kind)
    before = world.store.head_object(given.key)
    assert world.put(given.request, b"instead") in REFUSED
    assert world.store.head_object(given.key) == before
    later = b"a later version"
    assert world.put(_put(world.store, given.key, later, WriteCondition(before.etag)), later) == 200
    after = world.store.head_object(given.key)
    assert world.get(given.request) == (200, given.body), "it goes on reading its own"
    changed = given.request.url.replace(str(before.version_id), str(after.version_id))
    assert changed != given.request.url
    assert world.get(replace(given.request, url=changed))[0] == 403


@engine_only
@pytest.mark.parametrize("kind", ["get", "index-get"])
@pytest.mark.parametrize(
    ("range_", "status"),
    [("bytes=0-3", 206), ("bytes=-2", 206), ("bytes=99-", 416), ("bytes=0-999999", 206), ("lines=1", 200)],
)
def test_a_range_is_of_that_version_and_nothing_beyond_it(world, kind: str, range_: str, status: int):
    given = give(world, kind)
    with urllib3.PoolManager(retries=False, timeout=10) as pool:
        answer = pool.request("GET", given.request.url, headers={**given.request.headers, "range": range_})
    assert answer.status == status
    assert status == 416 or answer.data in given.body
