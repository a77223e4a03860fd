"""Who is signed in, as the file of the last sign-in says."""

import json
from datetime import UTC, datetime, timedelta

import keyring.core
import pytest

from mgmt.account.person import find_person
from mgmt.credentials.place import file_of
from mgmt.credentials.store import CredentialStore
from mgmt.credentials.tokens import Credentials, TokenSet
from support.file_keyring import Keyring

SERVICE_URL = "https://uploads.example.com"
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def keep(state_dir, **tokens):
    given = {"expires_at": NOW + timedelta(hours=1), "refresh_token": "r", **tokens}
    credentials = Credentials(
        SERVICE_URL,
        "https://login.example.com",
        "mgmt-cli",
        "https://login.example.com/token",
        TokenSet("secret", NOW, **given),
        subject="sub-anna",
        name="anna",
        groups=("editors",),
        role="member",
    )
    CredentialStore(state_dir, lambda _: None).save(credentials)


@pytest.mark.parametrize("spelling", [SERVICE_URL, f"{SERVICE_URL}/", "HTTPS://Uploads.Example.com:443"])
def test_everything_that_the_sign_in_has_found_out_is_told(tmp_path, spelling):
    keep(tmp_path)
    person = find_person(tmp_path, spelling, NOW)
    assert person[:5] == (SERVICE_URL, "sub-anna", "anna", "member", ("editors",))
    assert person[5:] == ("https://login.example.com", NOW + timedelta(hours=1), True)


def test_a_sign_in_in_the_keyring_is_told_as_well(tmp_path, monkeypatch):
    (tmp_path / "keyring").mkdir()
    monkeypatch.setenv("TEST_KEYRING", str(tmp_path / "keyring"))
    monkeypatch.setattr(keyring.core, "_keyring_backend", Keyring())
    keep(tmp_path)
    assert "secret" not in file_of(tmp_path, SERVICE_URL).read_text()
    assert find_person(tmp_path, SERVICE_URL, NOW).name == "anna"


def test_a_token_without_an_end_is_good(tmp_path):
    keep(tmp_path, expires_at=None)
    assert find_person(tmp_path, SERVICE_URL, NOW).expires_at is None


def test_a_sign_in_that_has_ended_is_nobodys(tmp_path):
    keep(tmp_path)
    assert find_person(tmp_path, SERVICE_URL, NOW + timedelta(hours=1)) is None


def test_nobody_is_signed_in_at_first_or_elsewhere(tmp_path):
    assert find_person(tmp_path, SERVICE_URL, NOW) is None
    keep(tmp_path)
    assert find_person(tmp_path, f"{SERVICE_URL}/other", NOW) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        "\ud800",
        json.dumps({"service_url": SERVICE_URL}),
        json.dumps({"service_url": SERVICE_URL, "credentials": []}),
        json.dumps({"service_url": SERVICE_URL, "credentials": {"tokens": {}}}),
        json.dumps({"service_url": SERVICE_URL, "keyring_entry": "gone", "keyring_pieces": 1}),
        json.dumps({"service_url": "https://other.example.com", "credentials": {}}),
    ],
)
def test_a_damaged_file_is_nobodys(tmp_path, content):
    path = file_of(tmp_path, SERVICE_URL)
    path.parent.mkdir(parents=True)
    path.write_bytes(content.encode(errors="surrogatepass"))
    assert find_person(tmp_path, SERVICE_URL, NOW) is None
