"""This machine's user is known by a secret in the private folder, and is the same person as in a login of that name."""

from __future__ import annotations

import base64
import getpass
import json
import os
import stat
import threading
from pathlib import Path

import pytest

from mgmt_local.gateway.authorizer import Granted, RefusedError, refuse
from mgmt_local.gateway.event import flatten_claims
from mgmt_local.gateway.owner import OwnerAuthorizer, own_secret
from mgmt_local.issuer.people import Person
from mgmt_local.process.state import StateFolder, open_state_folder
from support.sign_in import make_authorizer, make_token


class Nobody:
    scopes = ("use",)

    def authorize(self, token: str) -> Granted:
        raise refuse(f"asked about {len(token)} characters")


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return open_state_folder(tmp_path)


def test_the_owner_is_an_admin_and_the_secret_stays(folder: StateFolder):
    secret = own_secret(folder)
    assert own_secret(folder) == secret
    granted = OwnerAuthorizer(folder, Nobody()).authorize(secret)
    assert granted.is_owner
    assert granted.claims["username"] == getpass.getuser()
    assert "admins" in granted.claims["cognito:groups"]
    assert granted.claims["sub"] == Person(getpass.getuser()).subject


def test_everybody_else_is_asked_about_elsewhere(folder: StateFolder):
    secret = own_secret(folder)
    authorizer = OwnerAuthorizer(folder, Nobody())
    for wrong in ("", secret[:-1], secret + "x", secret.swapcase(), "\udcff"):
        with pytest.raises(RefusedError, match=f"asked about {len(wrong)} "):
            authorizer.authorize(wrong)
    assert not make_authorizer(folder).authorize(make_token(folder, "kim", admin=True)).is_owner


def test_no_file_means_no_owner(folder: StateFolder):
    for token in ("", "anything"):
        with pytest.raises(RefusedError):
            OwnerAuthorizer(folder, Nobody()).authorize(token)


def test_a_secret_that_is_made_later_is_known_to_an_open_authorizer(folder: StateFolder):
    authorizer = OwnerAuthorizer(folder, Nobody())
    with pytest.raises(RefusedError):
        authorizer.authorize("before")
    for _ in range(2):
        assert authorizer.authorize(own_secret(folder)).is_owner
        folder.own_token.unlink()


def test_secrets_asked_for_at_once_are_one(folder: StateFolder):
    given: list[str] = []
    workers = [threading.Thread(target=lambda: given.append(own_secret(folder))) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(given) == 8
    assert set(given) == {own_secret(folder)}


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_files_are_for_the_user_only(folder: StateFolder):
    own_secret(folder)
    make_token(folder, "kim")
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.path.iterdir()} == {0o600}


def test_the_handler_finds_a_token_with_the_same_claims_in_the_place_of_the_secret(folder: StateFolder):
    secret = own_secret(folder)
    granted = OwnerAuthorizer(folder, Nobody()).authorize(secret)
    payload = json.loads(base64.urlsafe_b64decode(granted.token.split(".")[1] + "=="))
    assert payload == granted.claims
    assert "admins" in payload["cognito:groups"]
    assert secret not in json.dumps([granted.token, flatten_claims(payload)])


def test_a_user_without_a_name_is_called_local(folder: StateFolder, monkeypatch: pytest.MonkeyPatch):
    def refuse_to_say() -> str:
        raise OSError("no such user")

    monkeypatch.setattr(getpass, "getuser", refuse_to_say)
    assert OwnerAuthorizer(folder, Nobody()).authorize(own_secret(folder)).claims["username"] == "local"
