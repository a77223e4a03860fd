"""What mgmt keeps for itself is known by what real parts write, and stays out of archives."""

from __future__ import annotations

import os
from contextlib import closing

import pytest

from mgmt.errors import SourceError
from mgmt.journal import Journal
from mgmt.machine import folders
from mgmt.source import look
from mgmt.source.walk import own_data_at
from mgmt.upload.looking import everything_in
from mgmt_local.control import issue_token
from mgmt_local.gateway.owner import own_secret
from mgmt_local.process.state import open_state_folder

BACKEND = "the embedded backend's own data, with its token"
JOURNAL = "mgmt's own journal and logs"


@pytest.fixture
def home(tmp_path):
    """A folder with footage, a backend's folder and a journal in it."""
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    (home / "clip.mov").write_bytes(b"clip")
    backend = open_state_folder(home / "data" / "local")
    own_secret(backend)
    issue_token("anna", state_dir=backend.path)
    with closing(Journal(home / "state")):
        pass
    return home


@pytest.mark.parametrize("by_descriptor", [True, False])
def test_a_folder_around_it_is_packed_without_it_and_says_so(home, by_descriptor, monkeypatch):
    monkeypatch.setattr(folders, "HAS_DESCRIPTORS", by_descriptor)
    source = look(home)
    assert [member.path for member in source.members()] == [b"home", b"home/clip.mov", b"home/data"]
    assert source.skipped == (("home/data/local", BACKEND), ("home/state", JOURNAL))
    assert source.missed_count == 2


@pytest.mark.parametrize(("name", "kind"), [("data/local", BACKEND), ("state", JOURNAL)])
def test_it_is_refused_by_name(home, name, kind):
    with pytest.raises(SourceError, match=kind) as caught:
        look(home / name)
    assert caught.value.code == "source-is-own-data"


def test_all_passes_over_it_with_a_note(home):
    notices = []
    assert list(everything_in(home, (), notices.append)) == ["clip.mov", "data"]
    assert [notice.message for notice in notices] == [f"state is skipped: {JOURNAL}."]


def test_anybody_elses_folder_with_some_of_the_names_is_packed(tmp_path):
    for name in ("token.json", "token.lock", "journal.sqlite"):
        (tmp_path / name).write_text("")
        assert own_data_at(os.fspath(tmp_path)) is None
