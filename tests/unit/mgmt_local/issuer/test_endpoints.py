"""The embedded issuer: a code for a ticket, tokens for a code, the next tokens for a refresh token, once each."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from mgmt_local.gateway.authorizer import RefusedError, TokenAuthorizer
from mgmt_local.issuer.endpoints import CODE_LIFE_SECONDS, Issuer
from mgmt_local.issuer.logins import LOGIN_LIFE_SECONDS
from mgmt_local.issuer.people import Person
from mgmt_local.issuer.signing import CLIENT_ID, SCOPE
from mgmt_local.issuer.tickets import make_ticket
from mgmt_local.process.state import StateFolder, open_state_folder
from support.sign_in import make_signer

ANNA = Person("anna")
REDIRECT = "http://127.0.0.1:8976/callback/127.0.0.1/issuer"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


class Setting:
    def __init__(self, folder: StateFolder) -> None:
        self.folder = folder
        self.ahead_seconds = 0.0
        self.signer = make_signer(folder)
        self.issuer = Issuer(folder, self.signer, lambda: time.time() + self.ahead_seconds)

    def authorize(self, **changed: str | None) -> tuple[int, dict[str, str]]:
        """Ask for a code as the command does, but for what is given here; return what comes back to the command."""
        asked = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": REDIRECT,
            "scope": f"openid {SCOPE}",
            "state": "st",
            "nonce": "no",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        asked |= {"login_hint": make_ticket(self.folder, ANNA)} if "login_hint" not in changed else {}
        query = urlencode({name: value for name, value in (asked | changed).items() if value is not None})
        answer = self.issuer.answer("GET", f"/authorize?{query}", b"")
        location = dict(answer.headers).get("location")
        if location is None:
            return int(answer.status), json.loads(answer.body)
        assert location.startswith(f"{(asked | changed)['redirect_uri']}?")
        return int(answer.status), dict(parse_qsl(urlsplit(location).query))

    def post(self, path: str, **form: str) -> tuple[int, dict]:
        answer = self.issuer.answer("POST", path, urlencode({"client_id": CLIENT_ID} | form).encode())
        assert dict(answer.headers)["content-type"] == "application/json"
        return int(answer.status), json.loads(answer.body)

    def redeem(self, code: str, **changed: str) -> tuple[int, dict]:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, "code_verifier": VERIFIER}
        return self.post("/token", **(form | changed))

    def log_in(self) -> dict:
        status, tokens = self.redeem(self.authorize()[1]["code"])
        assert status == 200, tokens
        return tokens

    def refresh(self, refresh_token: str) -> tuple[int, dict]:
        return self.post("/token", grant_type="refresh_token", refresh_token=refresh_token)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(open_state_folder(tmp_path))


def test_a_login_gives_tokens_that_the_gateway_accepts(setting: Setting):
    status, answered = setting.authorize()
    assert (status, answered["state"], answered["iss"]) == (302, "st", setting.signer.issuer)
    status, tokens = setting.redeem(answered["code"])
    assert (status, tokens["token_type"], tokens["scope"]) == (200, "Bearer", f"openid {SCOPE}")
    granted = TokenAuthorizer(None, (CLIENT_ID,), (SCOPE,), setting.signer).authorize(tokens["access_token"])
    assert (granted.claims["username"], granted.claims["sub"]) == ("anna", ANNA.subject)
    assert granted.claims["cognito:groups"] == ["members"]
    keys = KeySet.import_key_set(json.loads(setting.issuer.answer("GET", "/keys", b"").body))
    claims = jwt.decode(tokens["id_token"], keys, algorithms=["RS256"]).claims
    assert (claims["iss"], claims["aud"], claims["nonce"]) == (setting.signer.issuer, CLIENT_ID, "no")
    with pytest.raises(RefusedError):
        TokenAuthorizer(None, (CLIENT_ID,), (SCOPE,), setting.signer).authorize(tokens["id_token"])


def test_the_published_key_is_no_private_one(setting: Setting):
    (key,) = json.loads(setting.issuer.answer("GET", "/keys", b"").body)["keys"]
    assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}


def test_describes_itself(setting: Setting):
    described = json.loads(setting.issuer.answer("GET", "/.well-known/openid-configuration", b"").body)
    assert described["issuer"] == setting.signer.issuer
    for name in ("authorization_endpoint", "token_endpoint", "revocation_endpoint", "jwks_uri"):
        assert described[name].startswith(setting.signer.issuer + "/")


@pytest.mark.parametrize("ticket", [None, "", "guessed", "../token", "\x00"])
def test_without_a_ticket_nobody_is_signed_in(setting: Setting, ticket: str | None):
    status, answered = setting.authorize(login_hint=ticket)
    assert (status, answered["error"], answered["state"]) == (302, "access_denied", "st")
    assert "code" not in answered


def test_a_ticket_is_for_one_login(setting: Setting):
    ticket = make_ticket(setting.folder, ANNA)
    assert "code" in setting.authorize(login_hint=ticket)[1]
    assert setting.authorize(login_hint=ticket)[1]["error"] == "access_denied"


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"client_id": "other"}, "invalid_client"),
        ({"client_id": None}, "invalid_client"),
        ({"redirect_uri": REDIRECT.replace("http:", "https:")}, "invalid_request"),
        ({"redirect_uri": "http://evil.example/"}, "invalid_request"),
        ({"redirect_uri": "http://127.0.0.1@evil.example:80/"}, "invalid_request"),
        ({"redirect_uri": "http://127.0.0.1:80\\@evil.example/"}, "invalid_request"),
        ({"redirect_uri": "http://127.0.0.1.evil.example:80/"}, "invalid_request"),
        ({"redirect_uri": "http://127.0.0.1:8976/\r\nSet-Cookie: a"}, "invalid_request"),
        ({"redirect_uri": "http://127.0.0.1:99999/"}, "invalid_request"),
        ({"redirect_uri": REDIRECT.replace(":8976", "")}, "invalid_request"),
        ({"redirect_uri": "http://127.0.0.1:8976/callback"}, "invalid_request"),
        ({"redirect_uri": "http://127.0.0.1:8976/callback/evil.example"}, "invalid_request"),
        ({"redirect_uri": f"{REDIRECT}/more"}, "invalid_request"),
        ({"redirect_uri": f"{REDIRECT}?more"}, "invalid_request"),
        ({"redirect_uri": ""}, "invalid_request"),
    ],
)
def test_nothing_is_sent_to_an_address_that_is_not_the_commands(setting: Setting, changed, error: str):
    status, answered = setting.authorize(**changed)
    assert (status, answered["error"]) == (400, error)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
    ],
)
def test_a_request_without_its_proof_key_gets_no_code(setting: Setting, changed, error: str):
    status, answered = setting.authorize(**changed)
    assert (status, answered["error"], "code" in answered) == (302, error, False)


@pytest.mark.parametrize(
    "changed",
    [
        {"code_verifier": "w" * 43},
        {"code_verifier": ""},
        {"redirect_uri": REDIRECT.replace("8976", "8977")},
    ],
)
def test_a_code_is_good_only_for_the_one_who_asked_for_it_and_spoiled_by_a_wrong_try(setting: Setting, changed):
    code = setting.authorize()[1]["code"]
    assert setting.redeem("guessed")[0] == 400
    status, answered = setting.redeem(code, **changed)
    assert (status, answered["error"]) == (400, "invalid_grant")
    assert setting.redeem(code)[0] == 400


def test_a_code_is_good_once_and_for_a_minute(setting: Setting):
    code = setting.authorize()[1]["code"]
    assert setting.redeem(code)[0] == 200
    assert setting.redeem(code)[0] == 400
    code = setting.authorize()[1]["code"]
    setting.ahead_seconds = CODE_LIFE_SECONDS + 1
    assert setting.redeem(code)[0] == 400


def test_each_refresh_token_is_good_once_and_a_second_use_ends_the_login(setting: Setting):
    first = setting.log_in()["refresh_token"]
    status, tokens = setting.refresh(first)
    assert status == 200
    assert tokens["refresh_token"] != first
    assert setting.refresh(first)[1]["error"] == "invalid_grant"
    assert setting.refresh(tokens["refresh_token"])[1]["error"] == "invalid_grant", "also for the one who came first"


def test_a_login_ends_after_a_month(setting: Setting):
    refresh_token = setting.log_in()["refresh_token"]
    setting.ahead_seconds = LOGIN_LIFE_SECONDS - 60
    refresh_token = setting.refresh(refresh_token)[1]["refresh_token"]
    setting.ahead_seconds += 120
    assert setting.refresh(refresh_token)[0] == 400


def test_a_revoked_login_gives_no_tokens_any_more(setting: Setting):
    refresh_token = setting.log_in()["refresh_token"]
    kept = setting.log_in()["refresh_token"]
    for _ in range(2):
        assert setting.post("/revoke", token=refresh_token)[0] == 200
    assert setting.refresh(refresh_token)[0] == 400
    assert setting.refresh(kept)[0] == 200


def test_logins_and_the_key_outlive_the_process(setting: Setting):
    tokens = setting.log_in()
    again = Setting(setting.folder)
    assert again.signer.find(setting.signer.publish()["keys"][0]["kid"]) is not None
    status, refreshed = again.refresh(tokens["refresh_token"])
    assert status == 200
    assert Setting(setting.folder).refresh(refreshed["refresh_token"])[0] == 200


def test_what_is_stored_opens_nothing(setting: Setting):
    tokens = setting.log_in()
    stored = "".join(path.read_text() for path in setting.folder.path.rglob("*.json") if "key" not in path.name)
    assert "anna" in stored
    secret = tokens["refresh_token"].partition(".")[2]
    assert all(part not in stored for part in (secret, tokens["access_token"], tokens["id_token"]))


@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    [
        ("GET", "/elsewhere", b"", 404),
        ("POST", "/authorize", b"", 404),
        ("GET", "/token", b"", 404),
        ("GET", "/../keys", b"", 404),
        ("POST", "/token", b"", 400),
        ("POST", "/token", b"\xff\xfe", 400),
        ("POST", "/token", b"client_id=mgmt-local&grant_type=password", 400),
        ("POST", "/token", b"client_id=mgmt-local&client_id=mgmt-local", 400),
        ("POST", "/token", b"client_id=mgmt-local&" + b"a=1&" * 100, 400),
        ("POST", "/token", b"client_id=mgmt-local&grant_type=refresh_token", 400),
        ("POST", "/token", b"client_id=mgmt-local&grant_type=refresh_token&refresh_token=%FF.x", 400),
        ("POST", "/token", b"client_id=mgmt-local&grant_type=authorization_code", 400),
        ("POST", "/revoke", b"token=x", 400),
        ("GET", "/authorize", b"", 400),
    ],
)
def test_odd_requests_are_refused(setting: Setting, method: str, target: str, body: bytes, status: int):
    assert setting.issuer.answer(method, target, body).status == status
