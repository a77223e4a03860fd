"""The connections: whose keys, which region, which address, and how long they wait."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from mgmt_api.adapters.clients import error_code, error_status, make_dynamodb_client, make_s3_client
from mgmt_contract.version import __version__
from support.scripted_server import Answer, scripted_server

MAKERS = {"dynamodb": make_dynamodb_client, "s3": make_s3_client}
KEYS = {"access_key": "AKIDEXAMPLE", "secret_key": "made up", "session_token": "a token"}
EMPTY = {
    "dynamodb": Answer(200, b"{}", {"content-type": "application/x-amz-json-1.0"}),
    "s3": Answer(200, b"<ListAllMyBucketsResult/>", {"content-type": "application/xml"}),
}
CALLS = {"dynamodb": lambda client: client.list_tables(), "s3": lambda client: client.list_buckets()}


@pytest.fixture(autouse=True)
def _without_keys_of_the_machine(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "of the environment")


@pytest.mark.parametrize("kind", MAKERS)
def test_the_given_keys_region_and_address_are_used(kind):
    with scripted_server(EMPTY[kind]) as server:
        CALLS[kind](MAKERS[kind]("eu-west-1", endpoint_url=server.url, **KEYS))
    [asked] = server.asked
    assert (
        f"Credential=AKIDEXAMPLE/{asked.headers['x-amz-date'][:8]}/eu-west-1/{kind}/" in asked.headers["authorization"]
    )
    assert asked.headers["x-amz-security-token"] == "a token"
    assert asked.headers["user-agent"].startswith(f"mgmt/{__version__} Boto3/")


@pytest.mark.parametrize("kind", MAKERS)
def test_without_given_keys_the_environments_are_used(kind):
    with scripted_server(EMPTY[kind]) as server:
        CALLS[kind](MAKERS[kind]("eu-west-1", endpoint_url=server.url))
    assert "Credential=of the environment/" in server.asked[0].headers["authorization"]


@pytest.mark.parametrize(("kind", "waits", "tries"), [("dynamodb", (2, 4), 3), ("s3", (3, 8), 2)])
def test_a_call_waits_and_tries_again_for_seconds_only(kind, waits, tries):
    config = MAKERS[kind]("eu-west-1", **KEYS).meta.config
    assert (config.connect_timeout, config.read_timeout) == waits
    assert (config.retries["mode"], config.retries["total_max_attempts"]) == ("standard", tries)
    assert config.max_pool_connections == 32


def test_s3_is_asked_on_the_buckets_own_host_unless_it_has_an_address_of_its_own():
    ours = make_s3_client("us-east-1", **KEYS).meta.config
    engines = make_s3_client("us-east-1", endpoint_url="http://127.0.0.1:1", **KEYS).meta.config
    assert (ours.s3["addressing_style"], engines.s3["addressing_style"]) == ("virtual", "path")
    assert (ours.proxies, engines.proxies) == (None, {})
    assert ours.signature_version == engines.signature_version == "s3v4"
    assert make_s3_client("us-east-1", **KEYS).meta.endpoint_url == "https://s3.us-east-1.amazonaws.com"


def test_an_error_is_read_even_where_its_answer_had_no_body():
    full = {"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}
    assert (error_code(ClientError(full, "x")), error_status(ClientError(full, "x"))) == ("SlowDown", 503)
    for bare in ({}, {"Error": {}, "ResponseMetadata": {}}):
        assert (error_code(ClientError(bare, "x")), error_status(ClientError(bare, "x"))) == ("", 0)
