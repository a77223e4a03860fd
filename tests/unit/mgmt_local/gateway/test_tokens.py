from __future__ import annotations

import getpass
import json
import os
import stat
import threading
from pathlib import Path

import pytest

from mgmt_local.errors import LocalBackendError
from mgmt_local.gateway.tokens import ADMIN_GROUP, TokenFile, issue_token, own_token
from mgmt_local.process.state import StateFolder, open_state_folder


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return open_state_folder(tmp_path)


def test_a_token_is_found_and_another_is_not(folder: StateFolder):
    token = issue_token(folder, "kim")
    tokens = TokenFile(folder.tokens)
    found = tokens.find(token)
    assert found is not None
    assert (found.name, found.groups) == ("kim", ())
    for wrong in ("", token[:-1], token + "x", token.swapcase(), "\udcff"):
        assert tokens.find(wrong) is None


def test_no_file_means_nobody(folder: StateFolder):
    assert TokenFile(folder.tokens).find("anything") is None


def test_the_same_name_is_the_same_person(folder: StateFolder):
    first, second, other = (issue_token(folder, name, admin=name == "ada") for name in ("kim", "kim", "ada"))
    found = [TokenFile(folder.tokens).find(token) for token in (first, second, other)]
    assert found[0].subject == found[1].subject != found[2].subject
    assert found[2].groups == (ADMIN_GROUP,)


def test_what_is_stored_opens_nothing(folder: StateFolder):
    token = issue_token(folder, "kim")
    stored = folder.tokens.read_text("utf-8")
    assert token not in stored
    (entry,) = json.loads(stored)["tokens"]
    assert TokenFile(folder.tokens).find(entry["hash"]) is None


def test_one_issued_later_is_found_by_a_reader_that_is_open(folder: StateFolder):
    tokens = TokenFile(folder.tokens)
    assert tokens.find("before") is None
    for name in ("kim", "ada", "kim"):
        assert tokens.find(issue_token(folder, name)).name == name


def test_tokens_issued_at_once_are_all_kept(folder: StateFolder):
    issued: list[str] = []
    workers = [threading.Thread(target=lambda: issued.append(issue_token(folder, "kim"))) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    tokens = TokenFile(folder.tokens)
    assert len(issued) == 8
    assert all(tokens.find(token) for token in issued)
    assert len({tokens.find(token).subject for token in issued}) == 1


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_files_are_for_the_user_only(folder: StateFolder):
    own_token(folder)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.path.iterdir()} == {0o600}


@pytest.mark.parametrize("name", ["", " ", " kim", "kim\n", "a\x1b[0m", "k" * 129])
def test_what_cannot_be_a_name_is_refused(folder: StateFolder, name: str):
    with pytest.raises(LocalBackendError, match="cannot be a person's name"):
        issue_token(folder, name)
    assert not folder.tokens.exists()


def test_own_token_is_an_admins_and_stays(folder: StateFolder):
    token = own_token(folder)
    assert own_token(folder) == token
    found = TokenFile(folder.tokens).find(token)
    assert (found.name, found.groups) == (getpass.getuser(), (ADMIN_GROUP,))


@pytest.mark.parametrize("lost", ["tokens", "own_token"])
def test_own_token_is_made_again_when_either_file_is_lost(folder: StateFolder, lost: str):
    own_token(folder)
    getattr(folder, lost).unlink()
    assert TokenFile(folder.tokens).find(own_token(folder)) is not None


def test_a_user_without_a_name_is_called_local(folder: StateFolder, monkeypatch: pytest.MonkeyPatch):
    def refuse() -> str:
        raise OSError("no such user")

    monkeypatch.setattr(getpass, "getuser", refuse)
    assert TokenFile(folder.tokens).find(own_token(folder)).name == "local"
