"""Events look as API Gateway's documentation shows them."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest

from mgmt_api.domain.access import read_actor
from mgmt_api.domain.settings import Settings
from mgmt_local.gateway.authorizer import Granted
from mgmt_local.gateway.event import Request, build_event, flatten_claims
from support.events import make_claims, make_token

NOW = datetime(2026, 3, 12, 19, 3, 58, 390_000, tzinfo=UTC)


def granted(*groups: str) -> Granted:
    claims = make_claims("6b0c", "kim", groups)
    return Granted(claims, ("mgmt/use",), make_token(claims))


KIM = granted("admins", "editors")

DOCUMENTED = {
    "version": "2.0",
    "routeKey": "$default",
    "rawPath": "/my/path",
    "rawQueryString": "parameter1=value1&parameter1=value2&parameter2=value",
    "cookies": ["cookie1", "cookie2"],
    "headers": {"header1": "value1", "header2": "value1,value2"},
    "queryStringParameters": {"parameter1": "value1,value2", "parameter2": "value"},
    "requestContext": {
        "accountId": "123456789012",
        "apiId": "api-id",
        "authorizer": {"jwt": {"claims": {"claim1": "value1"}, "scopes": ["scope1"]}},
        "domainName": "id.execute-api.us-east-1.amazonaws.com",
        "domainPrefix": "id",
        "http": {
            "method": "POST",
            "path": "/my/path",
            "protocol": "HTTP/1.1",
            "sourceIp": "192.0.2.1",
            "userAgent": "agent",
        },
        "requestId": "id",
        "routeKey": "$default",
        "stage": "$default",
        "time": "12/Mar/2020:19:03:58 +0000",
        "timeEpoch": 1583348638390,
    },
    "body": "Hello from Lambda",
    "isBase64Encoded": False,
}
"""The documentation's example of payload 2.0, without what mutual TLS, path parameters and stage variables add."""


def request(target: str = "/my/path", *headers: tuple[str, str], body: bytes = b"") -> Request:
    return Request("POST", target, headers, body, "HTTP/1.1", "127.0.0.1", 8000)


def event_of(
    target: str = "/my/path", *headers: tuple[str, str], body: bytes = b"", caller: Granted | None = KIM
) -> dict:
    return build_event(request(target, *headers, body=body), caller, now=NOW)


def shape(value):
    """Reduce a document to its keys and types; the keys of free-form maps do not matter."""
    if isinstance(value, dict):
        free = all(isinstance(part, str) for part in value.values()) and "method" not in value
        return {"*": str} if free else {key: shape(part) for key, part in value.items()}
    return [shape(part) for part in value] if isinstance(value, list) else type(value)


def test_has_the_keys_and_types_of_the_documented_example():
    built = event_of(
        f"/my/path?{DOCUMENTED['rawQueryString']}",
        ("Header1", "value1"),
        ("Header2", "value1"),
        ("header2", "value2"),
        ("Content-Type", "text/plain"),
        ("Cookie", "cookie1; cookie2"),
        ("User-Agent", "agent"),
        ("Host", "127.0.0.1:8000"),
        body=b"Hello from Lambda",
    )
    assert shape(built) == shape(DOCUMENTED)
    same = ("version", "routeKey", "rawPath", "rawQueryString", "cookies", "queryStringParameters", "body")
    assert {key: built[key] for key in same} == {key: DOCUMENTED[key] for key in same}
    assert built["headers"] | {"header1": "value1", "header2": "value1,value2"} == built["headers"]
    assert "cookie" not in built["headers"]
    context = built["requestContext"]
    assert (context["time"], context["timeEpoch"]) == ("12/Mar/2026:19:03:58 +0000", 1773342238390)
    assert (context["domainName"], context["http"]["userAgent"]) == ("127.0.0.1", "agent")
    json.dumps(built)


def test_absent_things_are_absent():
    """The documentation leaves out what a request has not; null would be another shape."""
    built = event_of(caller=None)
    assert not {"cookies", "queryStringParameters", "body"} & set(built)
    assert "authorizer" not in built["requestContext"]
    assert built["rawQueryString"] == ""
    assert built["routeKey"] == "POST /my/path"


def test_path_is_decoded_and_query_is_not():
    built = event_of("/v1/caf%C3%A9%2Fa?name=a%20b%26c&flag=&name=d")
    assert built["rawPath"] == built["requestContext"]["http"]["path"] == "/v1/café/a"
    assert built["rawQueryString"] == "name=a%20b%26c&flag=&name=d"
    assert built["queryStringParameters"] == {"name": "a b&c,d", "flag": ""}


@pytest.mark.parametrize(
    ("headers", "body", "is_text"),
    [
        ([("content-type", "application/json; charset=utf-8")], b"{}", True),
        ([("content-type", "application/problem+json")], b"{}", True),
        ([("content-type", "text/plain")], "grün".encode(), True),
        ([("content-type", "application/octet-stream")], b"abc", False),
        ([("content-type", "application/json")], b"\xff\xfe", False),
        ([("content-type", "application/json"), ("content-encoding", "gzip")], b"abc", False),
        ([], b"abc", False),
    ],
)
def test_what_is_no_text_arrives_as_base64(headers, body: bytes, is_text: bool):
    built = event_of("/", *headers, body=body)
    assert built["isBase64Encoded"] is not is_text
    assert (built["body"].encode() if is_text else base64.b64decode(built["body"])) == body


def test_claims_are_handed_on_as_strings_and_groups_stand_in_brackets():
    claims = event_of()["requestContext"]["authorizer"]["jwt"]["claims"]
    assert {type(value) for value in claims.values()} == {str}
    assert claims["cognito:groups"] == "[admins editors]"
    assert claims["exp"] == "1793880000"
    assert flatten_claims({"a": True, "b": [1, False, "c d"]}) == {"a": "true", "b": "[1 false c d]"}


def test_the_handler_finds_the_token_whose_claims_these_are():
    event = event_of("/", ("Authorization", "bearer s3cret"))
    scheme, token = event["headers"]["authorization"].split(" ")
    payload = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert scheme == "Bearer"
    assert payload["cognito:groups"] == ["admins", "editors"]
    assert flatten_claims(payload) == event["requestContext"]["authorizer"]["jwt"]["claims"]
    assert "s3cret" not in json.dumps(event)


@pytest.mark.parametrize(
    ("groups", "is_admin"),
    [(("admins",), True), (("editors", "admins"), True), (("Studio admins",), False), ((), False)],
)
def test_service_reads_the_actor_from_the_event(groups, is_admin):
    actor = read_actor(event_of(caller=granted(*groups)), Settings("b", "t", "us-east-1", scopes=("mgmt/use",)))
    assert (actor.id, actor.name, actor.is_admin) == ("6b0c", "kim", is_admin)
