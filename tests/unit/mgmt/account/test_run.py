"""Signing out, and which sign-ins a new one is compared with."""

import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mgmt.account import run as run_module
from mgmt.account.run import Run, log_out
from mgmt.credentials.store import CredentialStore
from mgmt.credentials.tokens import Credentials, TokenSet
from mgmt.errors import CancelledError
from support.odd_issuer import CLIENT_ID

SERVICE_URL = "https://uploads.example.com"


@pytest.fixture
def run(tmp_path):
    return Run(
        SERVICE_URL, SERVICE_URL, None, tmp_path / "state", "run", lambda _: None, threading.Event(), lambda *_: None
    )


@pytest.fixture
def store(run, issuer):
    store = CredentialStore(run.state_dir, run.emit)
    tokens = TokenSet("access", datetime.now(UTC), refresh_token="refresh")
    store.save(
        Credentials(
            SERVICE_URL,
            issuer.url,
            CLIENT_ID,
            f"{issuer.url}/token",
            tokens,
            revocation_endpoint=f"{issuer.url}/revoke",
        )
    )
    return store


def test_the_refresh_token_is_ended_and_all_is_forgotten(run, store, issuer):
    done = log_out(run)
    assert (done.was_signed_in, done.is_revoked, done.why_not) == (True, True, None)
    assert issuer.forms == [
        ("/revoke", {"token": "refresh", "token_type_hint": "refresh_token", "client_id": CLIENT_ID})
    ]
    assert store.load(SERVICE_URL) is None


def test_an_issuer_out_of_reach_is_waited_for_a_moment_and_then_told(run, store, issuer, monkeypatch):
    monkeypatch.setattr(run_module, "_FAREWELL_SECONDS", 0.0)
    issuer.is_out_of_reach.add("/revoke")
    done = log_out(run)
    assert not done.is_revoked
    assert "answers 503" in done.why_not
    assert store.load(SERVICE_URL) is None


def test_ctrl_c_meanwhile_forgets_it_all_the_same(run, store):
    run.stop.set()
    with pytest.raises(CancelledError):
        log_out(run)
    assert store.load(SERVICE_URL) is None


def test_a_sign_in_that_cannot_be_read_is_forgotten(run, store):
    next(run.state_dir.rglob("sign-in.json")).write_text("{")
    done = log_out(run)
    assert done.was_signed_in
    assert "damaged" in done.why_not
    assert store.version(SERVICE_URL) is None


def test_a_renewal_that_goes_on_meanwhile_is_waited_for_so_that_its_token_is_the_one_that_is_ended(run, store, issuer):
    """Else the renewed refresh token would live on, and nobody would know it any more."""
    signing_out = threading.Thread(target=log_out, args=[run])
    with store.locked(SERVICE_URL):
        signing_out.start()
        signing_out.join(0.2)
        assert issuer.forms == []
        former = store.load(SERVICE_URL)
        store.update(replace(former, tokens=replace(former.tokens, refresh_token="renewed")))
    signing_out.join()
    assert [form["token"] for _, form in issuer.forms] == ["renewed"]
    assert store.load(SERVICE_URL) is None


def test_nobody_can_be_signed_out_twice(run, store):
    log_out(run)
    assert not log_out(run).was_signed_in
