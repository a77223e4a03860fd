"""The calls to an issuer: nothing is sent to an address that was not checked, and every answer means something."""

import base64
import doctest
import json
import threading
from datetime import UTC, datetime, timedelta

import pytest

from mgmt.account.id_token import check_id_token
from mgmt.credentials import claims as claims_module
from mgmt.credentials import place
from mgmt.credentials.claims import read_claims
from mgmt.credentials.issuer import IssuerApi, TokenRefusedError, authorize_client
from mgmt.errors import LoginRequiredError, NotConfiguredError, UnavailableError
from mgmt.events import Notice
from mgmt.network import Connections, retry
from mgmt.network.retry import Patience
from support.rotating_issuer import CLIENT_ID, ROBOT
from support.scripted_server import Answer, json_answer, scripted_server

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
TOKENS = {"access_token": "access", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "refresh"}


@pytest.fixture
def api(events):
    """The calls, with half a second of patience."""
    connections = Connections()
    patience = Patience(threading.Event(), start_budget_seconds=0.5, budget_seconds=0.5)
    yield IssuerApi(connections, patience, events.append, clock=lambda: NOON)
    connections.close()


def test_an_issuer_describes_itself(api, issuer):
    metadata = api.discover(issuer.url)
    assert metadata.token_endpoint == issuer.token_endpoint
    assert metadata.authorization_endpoint == f"{issuer.url}/authorize"
    assert metadata.code_challenge_methods_supported == ("S256",)
    assert not metadata.authorization_response_iss_parameter_supported


def test_an_issuer_that_only_speaks_oauth_is_found_where_rfc_8414_says(api):
    with scripted_server(Answer(404), json_answer({})) as server:
        document = {"issuer": f"{server.url}/team", "token_endpoint": f"{server.url}/t"}
        server.script(Answer(404), json_answer(document))
        assert api.discover(f"{server.url}/team").token_endpoint == f"{server.url}/t"
        assert [asked.path for asked in server.asked] == [
            "/team/.well-known/openid-configuration",
            "/.well-known/oauth-authorization-server/team",
        ]


@pytest.mark.parametrize("name", ["https://issuer.example", "http://127.0.0.1:1/", ""])
def test_a_description_of_another_issuer_is_refused(api, issuer, name):
    issuer.metadata = {"issuer": name}
    with pytest.raises(UnavailableError, match="describes another one"):
        api.discover(issuer.url)


@pytest.mark.parametrize(
    "name", ["token_endpoint", "authorization_endpoint", "revocation_endpoint", "device_authorization_endpoint"]
)
@pytest.mark.parametrize(
    "address",
    ["http://issuer.example/x", "ftp://127.0.0.1/x", "https://anna:word@issuer.example/", "/token", "https://a b/", ""],
)
def test_an_issuer_cannot_send_secrets_where_others_read_them(api, issuer, name, address):
    issuer.metadata = {name: address}
    with pytest.raises(UnavailableError, match=f"names a {name} that is no address with TLS"):
        api.discover(issuer.url)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://issuer.example", "without TLS"),
        ("issuer.example", "expected an address"),
        ("https://issuer.example/?a=b", "expected an address"),
        ("https://issuer.example/a?", "expected an address"),
        ("https://issuer.example/../other.example", "expected an address"),
        ("https://issuer.example/a/%2E%2e/b", "expected an address"),
        ("https://issuer.example/a\\..\\b", "expected an address"),
        ("https://anna:word@issuer.example", "expected an address"),
        ("file:///etc/passwd", "expected an address"),
    ],
)
def test_an_issuer_without_tls_is_never_asked(api, events, address, said):
    with pytest.raises(NotConfiguredError, match=said):
        api.discover(address)
    assert not events


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"<html>Welcome to the hotel</html>", {"content-type": "text/html"}),
        Answer(302, b"", {"location": "https://elsewhere.example"}),
        Answer(200, b'{"issuer": "x"}', {"content-type": "application/json"}),
        Answer(200, b"[" * 100_000, {"content-type": "application/json"}),
        Answer(200, b'{"a":"' + b"x" * 300_000 + b'"}', {"content-type": "application/json"}),
    ],
)
def test_what_is_no_description_is_told_as_such(api, answer):
    with scripted_server(answer) as server, pytest.raises(UnavailableError) as caught:
        api.discover(server.url)
    assert caught.value.code == "no-issuer"


def test_tokens_count_their_life_from_now_on(api, issuer):
    old = issuer.sign_in("anna")["refresh_token"]
    form = {"grant_type": "refresh_token", "refresh_token": old, "client_id": CLIENT_ID}
    tokens = api.request_tokens(issuer.token_endpoint, form)
    assert issuer.accepts(tokens.access_token)
    assert tokens.refresh_token != old
    assert tokens.received_at == NOON
    assert tokens.expires_at == NOON + timedelta(hours=1)
    assert tokens.access_token not in repr(tokens)
    assert tokens.refresh_token not in repr(tokens)


@pytest.mark.parametrize(
    ("life", "seconds"), [("900", 900), (0, 0), (None, None), (-5, None), (True, None), ({}, None)]
)
def test_a_life_may_be_a_text_and_may_be_missing(api, life, seconds):
    with scripted_server(json_answer({**TOKENS, "expires_in": life})) as server:
        tokens = api.request_tokens(server.url, {})
    assert tokens.expires_at == (None if seconds is None else NOON + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    "change",
    [
        {"access_token": None},
        {"access_token": "with a space"},
        {"access_token": "x\r\nhost: elsewhere"},
        {"access_token": "x" * 16_001},
        {"token_type": "DPoP"},
        {"refresh_token": 5},
        {"id_token": "é"},
    ],
)
def test_what_is_no_token_is_not_taken_for_one_nor_shown(api, change):
    with scripted_server(json_answer({**TOKENS, **change})) as server, pytest.raises(UnavailableError) as caught:
        api.request_tokens(server.url, {})
    assert caught.value.code == "no-issuer"
    assert "elsewhere" not in caught.value.message


@pytest.mark.parametrize("refusal", ["invalid_grant", "invalid_client", "authorization_pending", "slow_down"])
def test_a_refusal_is_told_by_its_name_and_never_repeated(api, refusal):
    said = {"error": refusal, "error_description": "So it is."}
    with scripted_server(json_answer(said, 400)) as server, pytest.raises(TokenRefusedError) as caught:
        api.request_tokens(server.url, {})
    assert caught.value.refusal == refusal
    assert caught.value.exit_code == LoginRequiredError.exit_code
    assert f"gives no token ({refusal}: So it is.)." in caught.value.message
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "passing",
    [
        Answer(503, b"<html>busy</html>", {"content-type": "text/html"}),
        Answer(429, b"{}", {"content-type": "application/json"}),
        json_answer({"error": "temporarily_unavailable"}, 400),
        Answer(breaks=True),
    ],
)
def test_what_may_pass_is_asked_again(api, passing):
    with scripted_server(passing, json_answer(TOKENS)) as server:
        assert api.request_tokens(server.url, {"a": "b & c"}).access_token == "access"
        assert [asked.body for asked in server.asked] == [b"a=b+%26+c"] * 2


def test_an_issuer_that_does_not_answer_ends_patience_and_not_the_sign_in(api):
    with pytest.raises(UnavailableError, match=r"No progress .* refuses the connection"):
        api.request_tokens("http://127.0.0.1:1/token", {})


def test_a_redirect_is_never_followed_with_a_secret(api):
    with scripted_server(json_answer(TOKENS)) as other:
        moved = Answer(307, b"", {"location": other.url})
        with scripted_server(moved) as server, pytest.raises(UnavailableError, match="answers 307"):
            api.request_tokens(server.url, {"refresh_token": "secret"})
        assert not other.asked


@pytest.mark.parametrize("methods", [None, ["client_secret_post"], ["private_key_jwt", "client_secret_basic"]])
def test_a_client_with_a_secret_proves_itself_as_the_issuer_wants(api, issuer, methods):
    issuer.metadata = {"token_endpoint_auth_methods_supported": methods}
    fields, headers = authorize_client(api.discover(issuer.url), *ROBOT)
    form = {"grant_type": "client_credentials", **fields}
    assert issuer.accepts(api.request_tokens(issuer.token_endpoint, form, headers).access_token)
    assert ("client_secret" in issuer.forms[-1]) == (methods == ["client_secret_post"])


def test_a_revoked_session_gives_no_more_tokens(api, issuer):
    token = issuer.sign_in("anna")["refresh_token"]
    api.revoke(f"{issuer.url}/revoke", token, CLIENT_ID)
    assert issuer.ended_sessions == {"anna"}
    with scripted_server(Answer(400)) as server, pytest.raises(UnavailableError, match="answers 400 when asked to end"):
        api.revoke(server.url, token, CLIENT_ID)


@pytest.mark.parametrize(
    ("date", "said"),
    [
        ("Fri, 02 Jan 2026 10:00:00 GMT", "This machine's clock is 2 h 0 min ahead of that of 127.0.0.1"),
        ("Sat, 03 Jan 2026 12:00:00 GMT", "This machine's clock is 24 h 0 min behind that of 127.0.0.1"),
        ("Fri, 02 Jan 2026 12:04:00 GMT", None),
        ("yesterday", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None),
    ],
)
def test_a_wrong_clock_is_named_once(api, issuer, events, date, said):
    issuer.headers = {"date": date}
    api.discover(issuer.url)
    api.discover(issuer.url)
    notices = [event.message for event in events if isinstance(event, Notice)]
    assert len(notices) == (said is not None)
    assert all(said in each for each in notices)


def make_token(**claims):
    parts = ({"alg": "RS256"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=").decode() for each in parts) + ".x"


GOOD = {"iss": "https://issuer.example", "aud": "mgmt-cli", "nonce": "n", "sub": "anna", "exp": 1, "name": "Anna ü"}
ASKED = {"issuer": "https://issuer.example", "client_id": "mgmt-cli", "nonce": "n"}


@pytest.mark.parametrize("change", [{}, {"aud": ["other", "mgmt-cli"], "azp": "mgmt-cli"}])
def test_an_id_token_for_this_login_is_accepted_whatever_this_machines_clock_says(change):
    assert check_id_token(make_token(**{**GOOD, **change}), **ASKED)["name"] == "Anna ü"


@pytest.mark.parametrize(
    ("wrong", "change"),
    [
        ("iss", {"iss": "https://issuer.example/"}),
        ("aud", {"aud": "other"}),
        ("aud", {"aud": None}),
        ("azp", {"aud": ["mgmt-cli", "other"], "azp": "other"}),
        ("nonce", {"nonce": "m"}),
        ("nonce", {"nonce": None}),
        ("sub", {"sub": 5}),
    ],
)
def test_an_id_token_for_anything_else_is_refused(wrong, change):
    with pytest.raises(LoginRequiredError, match=rf"\({wrong} of the ID token\)"):
        check_id_token(make_token(**{**GOOD, **change}), **ASKED)


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "a..c", "a.W10.c", "é.é.é", "a.!!!.c"])
def test_what_is_no_token_claims_nothing(text):
    assert read_claims(text) == {}


@pytest.mark.parametrize("module", [claims_module, place, retry])
def test_the_examples_hold(module):
    assert doctest.testmod(module).failed == 0
