import base64

import pytest

from mgmt.logs import TOLD_MAX_CHARACTERS, Redactor
from support.hostile_texts import HOSTILE_UNITS, LONGEST_MAX_SECONDS, repeat_up_to, take_seconds

SIGNED = (
    "PUT https://bucket.example/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAEXAMPLE%2F20261122%2Feu"
    "&X-Amz-Security-Token=FQoGZXIvY%2Fsession&X-Amz-Signature=00ff11ee&partNumber=3"
)


@pytest.fixture(autouse=True)
def a_proxy_with_a_password(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://anna:s%40fe-word@proxy.test:3128")


@pytest.mark.parametrize(
    ("text", "secrets", "kept"),
    [
        (SIGNED, ["AKIAEXAMPLE", "FQoGZX", "00ff11ee"], ["bucket.example", "partNumber=3"]),
        ("{'x-amz-security-token': 'FQoGZX'}", ["FQoGZX"], ["x-amz-security-token"]),
        ("x-amz-signature%3D00ff11ee", ["00ff11ee"], []),
        ("authorization: Bearer abc.def-ghi", ["abc.def"], ["authorization"]),
        ("{'Proxy-Authorization': 'Basic YW5uYTpzQGZl'}", ["YW5uYTpz"], []),
        ("grant_type=refresh_token&refresh_token=r3fr3sh&client_id=x", ["r3fr3sh"], ["client_id=x"]),
        ('{"access_token": "op4que", "id_token":"1d"}', ["op4que", '"1d"'], ["access_token", "id_token"]),
        ("client_secret=s3cret%20x code_verifier%3Dv3rifier", ["s3cret", "v3rifier"], []),
        ("sent Bearer 0123456789abcdef", ["0123456789abcdef"], ["sent"]),
        ("http://bert:hidden@elsewhere.test", ["hidden"], ["bert", "elsewhere.test"]),
        ("token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln here", ["eyJhbG", "c2ln"], ["token", "here"]),
        ("it said s@fe-word or s%40fe-word", ["s@fe-word", "s%40fe-word"], ["it said"]),
        (base64.b64encode(b"anna:s@fe-word").decode(), [base64.b64encode(b"anna:s@fe-word").decode()], []),
        ("open sesame-of-anna now", ["sesame-of-anna"], ["open", "now"]),
    ],
)
def test_what_is_secret_goes_and_the_rest_stays(text, secrets, kept):
    redact = Redactor()
    redact.learn("sesame-of-anna")
    said = redact(text)
    assert not [secret for secret in secrets if secret in said], said
    assert all(word in said for word in kept), said


def test_ordinary_words_stay_as_they_are():
    said = "POST /v1/uploads/start: 200 in 0.003 s; the basic idea: no refresh_token is there; 12:30 at https://x.example:8443/a@b"
    assert Redactor()(said) == said


def test_a_short_secret_does_not_shred_every_sentence():
    redact = Redactor()
    redact.learn("a", "")
    assert redact("a sentence") == "a sentence"


def test_the_password_of_what_is_no_proxys_address_goes_as_well(monkeypatch):
    """What is wrong with the address is for somebody else to say; here it must not end the run."""
    monkeypatch.setenv("HTTPS_PROXY", "http://anna:hidden-word@[::1")
    assert "hidden-word" not in Redactor()("it said hidden-word")


@pytest.mark.parametrize("size_bytes", [TOLD_MAX_CHARACTERS, 1_000_000], ids=["the longest told", "a megabyte"])
@pytest.mark.parametrize("unit", HOSTILE_UNITS, ids=ascii)
def test_a_hostile_text_takes_no_time(unit, size_bytes):
    redact, text = Redactor(), repeat_up_to(unit, size_bytes)
    assert take_seconds(lambda: redact(text)) < LONGEST_MAX_SECONDS


@pytest.mark.parametrize("secret", ["sesame-of-anna", "eyJhbGciOiJSUzI1.sesame-of.c2ln", "http://anna:sesame-of@h/"])
@pytest.mark.parametrize("length", range(TOLD_MAX_CHARACTERS - 30, TOLD_MAX_CHARACTERS + 10, 7))
def test_a_secret_where_a_long_text_is_cut_does_not_survive_by_half(secret, length):
    redact = Redactor()
    redact.learn("sesame-of-anna")
    said = redact("words ".ljust(length, "x") + f" {secret} more words")
    assert "ses" not in said
    assert said.startswith("words ")
    assert len(said) <= TOLD_MAX_CHARACTERS + 1
