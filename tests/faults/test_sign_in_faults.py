"""Sign-ins that end, are revoked or cannot be renewed in the middle of an upload: it goes on, or the next run does."""

import base64
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path

import keyring.core
import pytest

from mgmt.credentials.store import CredentialStore
from mgmt_local.gateway.authorizer import Granted, RefusedError
from mgmt_local.issuer.signing import SCOPE
from support.engine import versioned_bucket
from support.file_keyring import Keyring
from support.kept_sign_in import make_credentials
from support.rotating_issuer import rotating_issuer
from support.team import Laptop, team_at_work


class SessionAuthorizer:
    """Lets the bearers of an issuer's access tokens through, as long as their sessions and tokens are good."""

    scopes = (SCOPE,)

    def __init__(self, issuer):
        self.issuer = issuer
        self.refused = set()
        """Tokens that are good everywhere else, such as those of another audience; all of them, if "*" is in it."""
        self.seen = []

    def authorize(self, token):
        self.seen.append(token)
        if not self.issuer.accepts(token) or self.refused & {token, "*"}:
            raise RefusedError(HTTPStatus.UNAUTHORIZED, "invalid_token", "not good here")
        claims = {"sub": token.split("-")[1], "scope": SCOPE}
        parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims))
        return Granted(claims, self.scopes, ".".join([*parts, ""]))


@pytest.fixture
def issuer():
    with rotating_issuer() as running:
        yield running


@pytest.fixture
def authorizer(issuer):
    return SessionAuthorizer(issuer)


@pytest.fixture
def team(tmp_path, engine, storage, authorizer):
    storage.reset()
    with (
        versioned_bucket(engine) as bucket,
        team_at_work(tmp_path / "service", engine, bucket, storage, authorizer=authorizer) as team,
    ):
        yield team


class Editor:
    """Somebody with a laptop who has logged in."""

    def __init__(self, laptop, issuer):
        self.laptop, self._issuer = laptop, issuer
        self.store = CredentialStore(Path(laptop.environment["MGMT_STATE_DIR"]), lambda _: None)

    def log_in(self, received_at=None):
        service_url = self.laptop.environment["MGMT_API_URL"]
        credentials = make_credentials(self._issuer, service_url=service_url, received_at=received_at)
        self.store.save(credentials)
        return credentials

    @property
    def tokens(self):
        return self.store.load(self.laptop.environment["MGMT_API_URL"]).tokens


@pytest.fixture
def editor(team, issuer, tmp_path):
    folder = tmp_path / "laptop"
    (folder / "work").mkdir(parents=True)
    places = {"MGMT_CONFIG": folder / "config", "MGMT_STATE_DIR": folder / "state"}
    environment = {"MGMT_API_URL": team.url, **{name: os.fspath(path) for name, path in places.items()}}
    editor = Editor(Laptop(folder, folder / "work", environment), issuer)
    editor.log_in()
    return editor


@pytest.fixture
def large(editor):
    """A file that goes in several parts."""
    (editor.laptop.work / "big.mov").write_bytes(os.urandom(26_000_000))
    return "big.mov"


def at_part(number, act):
    """Do something when a part is first sent, and let it pass."""

    def fault(put):
        if put.part_number == number and put.attempt == 0:
            act()
        return "none"

    return fault


def assert_stored(team, run):
    assert run.exit_code == 0, run.stderr
    assert list(team.objects()) == ["big.mov.tar.gz"]
    assert team.multipart_uploads() == 0


def test_a_token_that_is_revoked_during_an_upload_is_replaced_unseen(team, editor, authorizer, issuer, large):
    team.storage.fault = at_part(2, lambda: authorizer.refused.add(editor.tokens.access_token))
    run = editor.laptop.run("upload", large, "--jobs", "1")
    assert_stored(team, run)
    assert sum(issuer.uses.values()) == 1
    assert "sign" not in run.stderr
    assert editor.laptop.run("--json", "history").records[0]["actor"] == "anna"


def test_a_session_that_is_ended_during_an_upload_costs_a_login_and_no_byte(team, editor, issuer, large):
    team.storage.fault = at_part(2, lambda: issuer.ended_sessions.add("anna"))
    run = editor.laptop.run("upload", large, "--jobs", "1")
    assert run.exit_code == 5
    assert "sign-in of Anna cannot be used any more" in run.stderr
    assert "is resumed" in run.stderr
    sent = {put.part_number for put in team.storage.puts}
    team.storage.reset()
    editor.log_in()
    assert_stored(team, editor.laptop.run("upload", large, "--jobs", "1"))
    assert not sent & {put.part_number for put in team.storage.puts}, "what had arrived is not sent again"


def test_a_login_in_another_terminal_is_taken_up_by_a_running_upload(team, editor, authorizer, issuer, large):
    """The session ends on the way; before the next call there is another one."""
    again = []

    def end_and_log_in():
        issuer.ended_sessions.add("anna")
        again.append(editor.log_in())

    team.storage.fault = at_part(2, end_and_log_in)
    assert_stored(team, editor.laptop.run("upload", large, "--jobs", "1"))
    assert authorizer.seen[-1] == again[0].tokens.access_token
    assert not issuer.uses


def test_a_service_that_takes_no_token_ends_the_run_with_one_sentence(editor, authorizer, issuer, large):
    """Such as one whose issuer makes tokens for another audience."""
    authorizer.refused.add("*")
    run = editor.laptop.run("upload", large)
    assert run.exit_code == 5
    assert run.stderr.count("\n") == 1
    assert "does not accept the sign-in" in run.stderr
    assert len(issuer.uses) == 1


def test_an_issuer_that_is_gone_does_not_stop_an_upload_whose_token_is_valid(team, editor, issuer, large):
    editor.log_in(received_at=datetime.now(UTC) - timedelta(minutes=56))
    issuer.scripted = [(503, b"", {})] * 99
    assert_stored(team, editor.laptop.run("upload", large))
    assert len(issuer.scripted) == 98, "it was asked once"


@pytest.fixture
def keyring_folder(tmp_path, monkeypatch):
    """A laptop with a keyring; the test looks into its folder."""
    folder = tmp_path / "keyring"
    folder.mkdir()
    monkeypatch.setenv("TEST_KEYRING", os.fspath(folder))
    monkeypatch.setattr(keyring.core, "_keyring_backend", Keyring())
    return folder


def test_a_sign_in_in_the_keyring_is_renewed_there(team, keyring_folder, editor, authorizer, issuer, large):
    authorizer.refused.add(editor.log_in().tokens.access_token)
    run = editor.laptop.run(
        "upload",
        large,
        PYTHON_KEYRING_BACKEND="support.file_keyring.Keyring",
        PYTHONPATH=os.pathsep.join(sys.path),
    )
    assert_stored(team, run)
    assert issuer.accepts(editor.tokens.access_token)
    assert len(list(keyring_folder.iterdir())) == 1
    [path] = editor.laptop.folder.rglob("sign-in.json")
    assert not [secret for secret in editor.tokens.secrets if secret in path.read_text()]


def test_neither_token_is_in_any_output_or_in_a_file_that_others_can_read(team, editor, authorizer, issuer, large):
    team.storage.fault = at_part(2, lambda: authorizer.refused.add(editor.tokens.access_token))
    run = editor.laptop.run("-v", "upload", large, "--jobs", "1")
    assert_stored(team, run)
    secrets = (
        {secret for token in authorizer.seen for secret in [token]} | set(issuer.uses) | set(editor.tokens.secrets)
    )
    assert len(secrets) > 3
    readable = run.stdout + run.stderr + editor.laptop.run("--json", "history").stdout
    for path in editor.laptop.folder.rglob("*"):
        if path.is_file() and path.name not in ("big.mov", "sign-in.json"):
            readable += path.read_bytes().decode("latin-1")
    assert not [secret for secret in secrets if secret in readable]
