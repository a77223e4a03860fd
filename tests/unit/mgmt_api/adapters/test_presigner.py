"""The quick way to a presigned URL gives what botocore's `generate_presigned_url` gives, part by part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import botocore.auth
import botocore.crt.auth
import pytest
from botocore.credentials import RefreshableCredentials
from botocore.hooks import EventAliaser
from botocore.session import Session
from botocore.signers import RequestSigner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mgmt_api.adapters import presigner as presigner_module
from mgmt_api.adapters.clients import make_s3_client
from mgmt_api.adapters.presigner import Presigner, list_headers

KEYS = {"access_key": "AKIDEXAMPLE", "secret_key": "made up"}
CHECKSUM = "rosUhgoHmIg="
CLIENTS = {
    "us-east-1": {"region": "us-east-1", **KEYS},
    "eu-west-1, role": {"region": "eu-west-1", **KEYS, "session_token": "token/with+signs=="},
    "china": {"region": "cn-north-1", **KEYS},
    "engine": {"region": "us-east-1", "endpoint_url": "http://127.0.0.1:8333", **KEYS},
    "engine, role": {"region": "us-east-1", "endpoint_url": "http://[::1]:80", **KEYS, "session_token": "a b"},
}
MOMENT = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
SIGNERS = {"Python": botocore.auth.S3SigV4QueryAuth, "awscrt": botocore.crt.auth.CrtS3SigV4QueryAuth}


@pytest.fixture(params=SIGNERS, autouse=True)
def _signer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda's botocore signs in Python; where awscrt is installed, that does. The time stands still for both."""
    monkeypatch.setitem(botocore.auth.AUTH_TYPE_MAPS, "s3v4-query", SIGNERS[request.param])
    without_zone = MOMENT.replace(tzinfo=None)  # as botocore's own clock gives it
    for module in (botocore.auth, botocore.crt.auth):
        monkeypatch.setattr(module, "get_current_datetime", lambda *_, **__: without_zone)


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Any:
    return make_s3_client(**CLIENTS[request.param])


def open_presigner(client: Any, bucket: str, on_fall_back: Callable[[], object] = lambda: None) -> Presigner:
    return Presigner(client, bucket, lambda: MOMENT, on_fall_back)


def part(key: str = "clip.tar.gz", upload_id: str = "upload", number: int = 1) -> tuple[str, dict[str, Any]]:
    parameters = {"Key": key, "UploadId": upload_id, "PartNumber": number, "ContentLength": 5}
    return "UploadPart", {**parameters, "ChecksumCRC64NVME": CHECKSUM}


def get(key: str = "clip.tar.gz", version_id: str | None = None) -> tuple[str, dict[str, Any]]:
    return "GetObject", {"Key": key} | ({} if version_id is None else {"VersionId": version_id})


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
"""Everything that UTF-8 can write: spaces, slashes, `%`, `+`, `~`, dots, letters of every script."""
GETS = st.tuples(st.just("GetObject"), st.fixed_dictionaries({"Key": TEXTS}, optional={"VersionId": TEXTS}))
ODD = "/%2F/ +~%é\u0301&=?#..//../ü.tar.gz"
VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)
SPACED = st.lists(VISIBLE, min_size=1, max_size=3).map("  ".join)
"""A header's value is signed with one space where there are more."""
PARTS = st.builds(part, TEXTS, TEXTS, st.integers(1, 10_000))
PUTS = st.tuples(
    st.just("PutObject"),
    st.fixed_dictionaries(
        {
            "Key": TEXTS,
            "ContentLength": st.integers(0, 5_000_000_000),
            "ChecksumCRC64NVME": VISIBLE,
            "Metadata": st.fixed_dictionaries({"operation-id": SPACED}, optional={"a": VISIBLE, "z": SPACED}),
        },
        optional={
            "ContentMD5": VISIBLE,
            "StorageClass": st.sampled_from(["STANDARD_IA", "DEEP_ARCHIVE"]),
            "Tagging": VISIBLE,
            "IfNoneMatch": st.just("*"),
            "IfMatch": VISIBLE,
        },
    ),
)


def sign_by_botocore(client: Any, bucket: str, operation: str, parameters: dict[str, Any], life: int) -> str:
    method = {"PutObject": "put_object", "UploadPart": "upload_part", "GetObject": "get_object"}[operation]
    url: str = client.generate_presigned_url(method, Params={"Bucket": bucket, **parameters}, ExpiresIn=life)
    return url


def parts(url: str) -> tuple[str, list[str]]:
    """Take a URL apart; the query's order, in which awscrt has its own taste, says nothing."""
    address, _, query = url.partition("?")
    return address, sorted(query.split("&"))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bucket=st.sampled_from(["team-footage", "team.footage", "a1b"]),
    requests=st.lists(PARTS | PUTS | GETS, min_size=2, max_size=4),
    life=st.integers(1, 604_800),
)
@example(bucket="team-footage", requests=[get(ODD, ODD), get(ODD), get("plain", "v7")], life=900)
@example(bucket="team-footage", requests=[part(ODD, ODD), part(ODD, ODD), part("plain")], life=900)
@example(bucket="team.footage", requests=[part("/"), part("//"), part("."), part("/a/../b")], life=900)
def test_every_url_is_botocores_own(client, bucket, requests, life):
    presigner = open_presigner(client, bucket)
    for operation, parameters in requests:
        expected = sign_by_botocore(client, bucket, operation, parameters, life)
        assert parts(presigner.sign(operation, parameters, life)) == parts(expected)
        [signed] = parse_qs(urlsplit(expected).query)["X-Amz-SignedHeaders"]
        assert set(signed.split(";")) == {"host", *list_headers(parameters)}


@pytest.fixture
def whole_ways(client) -> Counter[str]:
    """Count how often a URL went botocore's whole way."""
    counted: Counter[str] = Counter()
    client.meta.events.register("provide-client-params.s3", lambda model, **_: counted.update([model.name]))
    return counted


def test_only_the_first_url_of_each_operation_goes_the_whole_way(client, whole_ways):
    """What holds for parts says nothing of whole objects: a botocore to come may add to one of them alone."""
    presigner = open_presigner(client, "team-footage")
    for number in range(1, 11):
        presigner.sign(*part(number=number), 900)
        presigner.sign("PutObject", {"Key": "clip.tar.gz", "ContentLength": number}, 900)
        presigner.sign(*get(version_id=f"v{number}"), 900)
    assert whole_ways == {"UploadPart": 1, "PutObject": 1, "GetObject": 1}


def test_each_bucket_has_its_own_address_on_one_client(client):
    presigners = {bucket: open_presigner(client, bucket) for bucket in ("one-bucket", "another.one")}
    for _ in range(3):
        for bucket, presigner in presigners.items():
            expected = sign_by_botocore(client, bucket, *part(), 900)
            assert parts(presigner.sign(*part(), 900)) == parts(expected)


def test_an_access_point_signs_for_its_own_region():
    client, bucket = make_s3_client("us-east-1", **KEYS), "arn:aws:s3:eu-west-1:123456789012:accesspoint/team"
    presigner = open_presigner(client, bucket)
    for _ in range(3):
        url = presigner.sign(*part(), 900)
        assert "%2Feu-west-1%2Fs3%2F" in url
        assert parts(url) == parts(sign_by_botocore(client, bucket, *part(), 900))


@pytest.mark.parametrize(
    ("first", "found", "instead"), [("the presigner", "://", "://moved."), ("the other", "clip", "moved-clip")]
)
def test_nothing_is_kept_of_a_url_that_somebody_else_changes(client, whole_ways, first, found, instead):
    """Every URL is left to botocore, whether the presigner sees it before it is changed or after."""

    def move(request, **_):
        request.url = request.url.replace(found, instead, 1)

    if first == "the presigner":
        presigner = open_presigner(client, "team-footage")
    client.meta.events.register_first("before-sign.s3", move)
    if first == "the other":
        presigner = open_presigner(client, "team-footage")
    for _ in range(3):
        assert presigner.sign(*part(), 900) == sign_by_botocore(client, "team-footage", *part(), 900)
    assert whole_ways == {"UploadPart": 6}


class AgeingKeys(RefreshableCredentials):
    """Keys that end when the test says so."""

    are_old = False

    def refresh_needed(self, refresh_in: float | None = None) -> bool:
        return self.are_old


class RenewedKeys:
    """Gives other keys each time the last ones are old."""

    def __init__(self) -> None:
        self.count = 0
        self.credentials = AgeingKeys.create_from_metadata(self.renew(), self.renew, "test")

    def load_credentials(self) -> RefreshableCredentials:
        return self.credentials

    def renew(self) -> dict[str, str]:
        self.count += 1
        AgeingKeys.are_old = False
        ends = datetime.now(UTC) + timedelta(hours=1)
        keys = {"access_key": f"AKID{self.count}", "secret_key": f"secret {self.count}", "token": f"token {self.count}"}
        return {**keys, "expiry_time": ends.isoformat()}


@pytest.fixture
def renewed_keys(monkeypatch: pytest.MonkeyPatch) -> RenewedKeys:
    keys, session = RenewedKeys(), Session()
    session.register_component("credential_provider", keys)
    monkeypatch.setattr(AgeingKeys, "are_old", False)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", boto3.Session(botocore_session=session))
    return keys


def test_renewed_keys_sign_from_the_next_url_on(renewed_keys, monkeypatch):
    client = make_s3_client("eu-west-1")
    presigner = open_presigner(client, "team-footage")
    for count in (1, 1, 2, 2, 3):
        monkeypatch.setattr(AgeingKeys, "are_old", count > renewed_keys.count)
        url = presigner.sign(*part(), 900)
        query = parse_qs(urlsplit(url).query)
        assert query["X-Amz-Credential"][0].startswith(f"AKID{count}/")
        assert query["X-Amz-Security-Token"] == [f"token {count}"]
        assert parts(url) == parts(sign_by_botocore(client, "team-footage", *part(), 900))


def test_where_botocore_signs_otherwise_it_signs_every_url(client, whole_ways):
    """Such as with one more part of the query, which nothing here knows of."""

    def add(request, **_):
        request.params["x-id"] = "new"

    presigner = open_presigner(client, "team-footage")
    client.meta.events.register("before-sign.s3", add)
    for _ in range(3):
        assert "x-id=new" in presigner.sign(*part(), 900)
    assert whole_ways == {"UploadPart": 3}


# --- another botocore than this one ----------------------------------------------------------------------------------


def refuse(*_: object, **__: object) -> Any:
    raise AttributeError("moved, in this botocore")


INSIDES = {
    "events": (EventAliaser, "register_first", refuse),
    "signer": (RequestSigner, "region_name", property(refuse)),
}
"""What the presigner uses of botocore beside its public calls."""


@pytest.mark.parametrize("inside", INSIDES)
def test_a_botocore_with_other_insides_makes_every_url_itself_and_each_is_counted(client, monkeypatch, inside):
    fall_backs: list[int] = []
    expected = [sign_by_botocore(client, "team-footage", *part(number=number), 900) for number in (1, 2, 3)]
    monkeypatch.setattr(*INSIDES[inside], refuse)
    presigner = open_presigner(client, "team-footage", lambda: fall_backs.append(1))
    assert [presigner.sign(*part(number=number), 900) for number in (1, 2, 3)] == expected
    assert len(fall_backs) == 3


def test_a_quick_way_that_breaks_later_gives_way_to_botocores_own(client, monkeypatch, whole_ways):
    """And is learned anew once it works again."""
    fall_backs: list[int] = []
    presigner = open_presigner(client, "team-footage", lambda: fall_backs.append(1))
    expected = sign_by_botocore(client, "team-footage", *part(), 900)
    presigner.sign(*part(), 900)
    assert fall_backs == []
    with monkeypatch.context() as patch:
        patch.setattr(presigner_module, "presign", refuse)
        assert presigner.sign(*part(), 900) == expected
    assert len(fall_backs) == 1
    for _ in range(3):
        assert parts(presigner.sign(*part(), 900)) == parts(expected)
    assert len(fall_backs) == 1


def test_that_urls_fall_back_is_told_once(client, monkeypatch, caplog):
    presigner = open_presigner(client, "team-footage")
    monkeypatch.setattr(presigner_module, "presign", refuse)
    for _ in range(3):
        presigner.sign(*part(), 900)
    [line] = caplog.records
    assert (line.levelname, line.reason) == ("WARNING", "AttributeError('moved, in this botocore')")
