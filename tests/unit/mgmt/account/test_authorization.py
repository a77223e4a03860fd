"""What a browser carries to the issuer, and which answers are believed."""

import doctest
from dataclasses import replace
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from mgmt.account import authorization
from mgmt.account.authorization import (
    Attempt,
    UnrelatedAnswerError,
    begin_attempt,
    challenge_of,
    make_address,
    read_answer,
    read_pasted,
)
from mgmt.credentials.issuer import Metadata
from mgmt.errors import LoginRequiredError
from mgmt_contract.messages.service import Service

ISSUER = "https://login.example.com"
METADATA = Metadata(
    ISSUER,
    f"{ISSUER}/token",
    f"{ISSUER}/authorize",
    code_challenge_methods_supported=("S256",),
    authorization_response_iss_parameter_supported=True,
)
SERVICE = Service(
    1, 1, "9", "b", "eu-west-1", "", 1, 1, 1, 1, 1,
    issuer=ISSUER, client_id="mgmt cli", audience="https://uploads.example.com", scopes=("mgmt/use",),
)  # fmt: skip
ATTEMPT = Attempt("verifier", "state", "nonce")
BACK = "http://127.0.0.1:8976/callback/login.example.com"
GOOD = {"code": "c0de", "state": "state", "iss": ISSUER}


def asked_of(metadata=METADATA, service=SERVICE, attempt=ATTEMPT):
    return parse_qs(urlsplit(make_address(metadata, service, attempt, BACK)).query, strict_parsing=True)


def test_a_code_with_pkce_is_asked_for_and_the_verifier_stays_here():
    attempt = begin_attempt()
    asked = asked_of(attempt=attempt)
    assert asked == {
        "response_type": ["code"],
        "client_id": ["mgmt cli"],
        "redirect_uri": [BACK],
        "scope": ["openid mgmt/use"],
        "state": [attempt.state],
        "nonce": [attempt.nonce],
        "code_challenge": [challenge_of(attempt.verifier)],
        "code_challenge_method": ["S256"],
        "audience": ["https://uploads.example.com"],
        "resource": ["https://uploads.example.com"],
    }
    assert attempt.verifier not in str(asked)


def test_two_attempts_have_no_secret_in_common_and_show_none():
    first, second = begin_attempt(), begin_attempt()
    secrets = {first.verifier, first.state, first.nonce, second.verifier, second.state, second.nonce}
    assert len(secrets) == 6
    assert min(map(len, secrets)) >= 32
    assert 43 <= len(first.verifier) <= 128
    assert not any(secret in repr(first) for secret in secrets)


def test_the_example_of_the_standard_holds():
    assert doctest.testmod(authorization).failed == 0


@pytest.mark.parametrize(
    ("audience", "named"), [(None, []), ("api://mgmt", ["audience"]), ("https://a.example", ["audience", "resource"])]
)
def test_the_audience_is_named_in_the_ways_that_issuers_know(audience, named):
    """`resource` has to be an address; Entra refuses it, and its audiences are none."""
    asked = asked_of(service=replace(SERVICE, audience=audience))
    assert [name for name in ("audience", "resource") if name in asked] == named


@pytest.mark.parametrize(
    ("named", "asked"),
    [
        ((), "openid"),
        (("mgmt/use",), "openid mgmt/use"),
        (("openid", "offline_access", "mgmt/use"), "openid offline_access mgmt/use"),
    ],
)
def test_nothing_is_asked_for_but_what_the_service_names(named, asked):
    """A sign-in that outlasts the browser's is the admin's decision, also where the issuer offers one."""
    assert asked_of(service=replace(SERVICE, scopes=named))["scope"] == [asked]


def test_a_query_that_the_issuers_address_has_already_stays():
    metadata = replace(METADATA, authorization_endpoint=f"{ISSUER}/authorize?policy=x")
    assert asked_of(metadata)["policy"] == ["x"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"authorization_endpoint": None}, "no sign-in by browser"),
        ({"code_challenge_methods_supported": ("plain",)}, "PKCE"),
    ],
)
def test_an_issuer_that_cannot_do_it_safely_is_refused(change, said):
    with pytest.raises(LoginRequiredError, match=said):
        asked_of(replace(METADATA, **change))


def test_an_issuer_that_says_nothing_about_pkce_is_asked_with_it():
    """Cognito does not announce what it knows."""
    assert "code_challenge" in asked_of(replace(METADATA, code_challenge_methods_supported=()))


# --- the answer ----------------------------------------------------------------------------------------


def test_a_state_that_is_no_text_changes_nothing():
    with pytest.raises(UnrelatedAnswerError):
        read_answer("code=c0de&state=\udcff", ATTEMPT, METADATA)


def read(fields, metadata=METADATA):
    return read_answer(urlencode(fields), ATTEMPT, metadata)


def test_the_right_answer_gives_its_code():
    assert read(GOOD) == "c0de"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "code=c0de",
        "code=c0de&state=",
        "code=c0de&state=other",
        "code=c0de&state=STATE",
        "code=c0de&state=state%00",
        "code=c0de&state=st%E9te",
        "code=c0de&state=other&state=state",
        "code=a&code=b&state=state",
        "error=access_denied&state=other",
        "error=access_denied",
        "&".join(f"a{number}=1" for number in range(50)),
        "x" * 100_000,
    ],
)
def test_an_answer_without_this_attempts_state_changes_nothing(query):
    """Any page can send a browser to the loopback address; only the issuer's answer knows the state."""
    with pytest.raises(UnrelatedAnswerError):
        read_answer(query, ATTEMPT, METADATA)


@pytest.mark.parametrize("named", ["https://other.example.com", f"{ISSUER}/", "", None])
def test_an_answer_of_another_issuer_ends_the_sign_in(named):
    fields = {name: value for name, value in {**GOOD, "iss": named}.items() if value is not None}
    with pytest.raises(LoginRequiredError, match=r"does not come from https://login\.example\.com"):
        read(fields)


def test_where_the_issuer_does_not_announce_it_only_a_wrong_one_is_refused():
    silent = replace(METADATA, authorization_response_iss_parameter_supported=False)
    assert read({"code": "c0de", "state": "state"}, silent) == "c0de"
    assert read(GOOD, silent) == "c0de"
    with pytest.raises(LoginRequiredError):
        read({**GOOD, "iss": "https://other.example.com"}, silent)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"error": "access_denied"}, r"was declined\. Run `mgmt login`"),
        ({"error": "access_denied", "error_description": "Not you"}, r"was declined: Not you\."),
        ({"error": "invalid_scope"}, r"does not sign you in \(invalid_scope\)"),
        ({"error": "server_error", "error_description": "x" * 5000}, r"x{180,190}\)"),
        ({}, "without a code"),
    ],
)
def test_a_refusal_is_told_in_the_issuers_words(fields, said):
    with pytest.raises(LoginRequiredError, match=said) as refused:
        read({"state": "state", "iss": ISSUER, **fields})
    assert len(refused.value.message) < 500


# --- a pasted answer -----------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapping", ["{}", "  {} \n", '"{}"', "<{}>"])
@pytest.mark.parametrize("start", [BACK, "http://localhost:8976/callback/login.example.com"])
def test_a_pasted_address_is_taken_as_a_browsers_answer(wrapping, start):
    assert read_pasted(wrapping.format(f"{start}?{urlencode(GOOD)}"), ATTEMPT, METADATA) == "c0de"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c0de",
        BACK,
        f"https://login.example.com/callback/login.example.com?{urlencode(GOOD)}",
        f"http://127.0.0.1:8976/other?{urlencode(GOOD)}",
        f"http://127.0.0.1:8976/callback?{urlencode(GOOD)}",
        f"http://127.0.0.1:8976/callback/other.example.com?{urlencode(GOOD)}",
        f"{BACK}/?{urlencode(GOOD)}",
        f"{BACK}?code=c0de&state=other&iss={ISSUER}",
        "http://[::1/callback?code=c0de",
        f"{BACK}?code=c0de&state=st\udcffte",
        f"{BACK}?{urlencode(GOOD)}&more=\udcff",
    ],
)
def test_a_pasted_address_that_is_no_answer_of_this_attempt_is_asked_for_again(text):
    with pytest.raises(UnrelatedAnswerError):
        read_pasted(text, ATTEMPT, METADATA)


def test_a_pasted_answer_of_another_issuer_ends_the_sign_in():
    with pytest.raises(LoginRequiredError, match="does not come from"):
        read_pasted(f"{BACK}?{urlencode({**GOOD, 'iss': 'https://other.example.com'})}", ATTEMPT, METADATA)
