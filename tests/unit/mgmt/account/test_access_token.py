"""Which access tokens are sent to the service at all."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mgmt.account.access_token import check_access_token
from mgmt.credentials.tokens import TokenSet
from mgmt.errors import LoginRequiredError
from mgmt_contract.messages.service import Service
from support.events import make_token

SERVICE = Service(
    1, 1, "9", "b", "eu-west-1", "", 1, 1, 1, 1, 1, client_id="mgmt-cli", audience="https://uploads.example.com"
)


def check(access_token, service=SERVICE, id_token="a.b.c"):  # noqa: S107  made up
    tokens = TokenSet(access_token, datetime.now(UTC), id_token=id_token)
    check_access_token(tokens, service, "login.example.com")


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://uploads.example.com"},
        {"aud": ["https://other.example.com", "https://uploads.example.com"]},
        {},
    ],
)
def test_a_token_for_the_service_is_sent(claims):
    check(make_token(claims))


@pytest.mark.parametrize("claims", [{"aud": "mgmt-cli"}, {"client_id": "mgmt-cli"}])
def test_where_the_service_names_no_audience_the_client_is_it(claims):
    """As API Gateway finds it: `aud`, or else `client_id`."""
    check(make_token(claims), replace(SERVICE, audience=None))
    with pytest.raises(LoginRequiredError):
        check(make_token(claims))


def test_a_token_that_cannot_be_read_is_for_the_service_to_judge():
    check("opaque")


def test_where_the_service_names_neither_its_gateway_decides():
    check(make_token({"aud": "anything"}), replace(SERVICE, audience=None, client_id=None))


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://other.example.com"},
        {"aud": ["https://other.example.com", "https://third.example.com"], "client_id": "mgmt-cli"},
        {"client_id": "another-client"},
        {"aud": "https://uploads.example.com.evil.example"},
    ],
)
def test_a_token_for_another_service_is_not_sent(claims):
    with pytest.raises(LoginRequiredError, match=r"another service .*expected one for https://uploads\.example\.com"):
        check(make_token(claims))


@pytest.mark.parametrize("claims", [{"token_use": "id", "aud": "mgmt-cli"}, {"nonce": "n", "aud": "mgmt-cli"}])
def test_an_id_token_in_an_access_tokens_place_is_not_sent(claims):
    with pytest.raises(LoginRequiredError, match="gave an ID token as access token"):
        check(make_token(claims))


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "n", "aud": "https://uploads.example.com"},
        {"nonce": "n", "aud": ["https://uploads.example.com", "mgmt-cli"], "scope": "openid mgmt/use"},
        {"nonce": "n", "aud": ["https://uploads.example.com", "mgmt-cli"], "scp": "mgmt/use"},
    ],
)
def test_an_access_token_with_a_nonce_is_one(claims):
    """Keycloak before version 25 copies the nonce into it."""
    check(make_token(claims))


def test_the_very_id_token_is_not_sent():
    with pytest.raises(LoginRequiredError, match="gave an ID token as access token"):
        check("opaque", id_token="opaque")
