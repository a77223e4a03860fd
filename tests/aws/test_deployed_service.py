"""A smoke test for a deployed stack in a real account: `MGMT_API_URL=… MGMT_TOKEN=… pytest -m aws`.

It stores some 60 MB below a prefix of its own, gets them back, asks whether they are safe, deletes and brings back, and
looks at the team's history. It restores nothing, and costs a few cents.
"""

import os
import secrets

import pytest

from support import smoke
from support.team import Laptop

pytestmark = pytest.mark.aws


@pytest.fixture
def laptop(tmp_path):
    (tmp_path / "work").mkdir()
    environment = {name: os.environ[name] for name in ("MGMT_API_URL", "MGMT_TOKEN")}
    environment["MGMT_CONFIG"] = os.fspath(tmp_path / "config")
    environment["MGMT_STATE_DIR"] = os.fspath(tmp_path / "state")
    return Laptop(tmp_path, tmp_path / "work", environment)


@pytest.fixture
def prefix():
    return f"smoke-test/{secrets.token_hex(8)}"


def test_small_and_large_uploads_arrive_and_are_recorded(laptop, prefix):
    smoke.store(laptop, prefix)


def test_what_was_stored_comes_back_whole_and_in_single_files(laptop, prefix):
    smoke.get_back(laptop, prefix)


def test_a_card_is_safe_once_it_is_stored(laptop, prefix):
    smoke.ask_whether_it_is_safe(laptop, prefix, f"CARD_{secrets.token_hex(4)}")


def test_what_was_deleted_comes_back(laptop, prefix):
    smoke.delete_and_bring_back(laptop, prefix)


def test_an_archived_class_is_safe_and_wants_a_restore(laptop, prefix):
    smoke.meet_an_archived_class(laptop, prefix)
