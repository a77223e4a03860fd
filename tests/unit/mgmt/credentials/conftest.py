"""An issuer, a laptop without a keyring, and what was told to its user."""

import os

import keyring.backends.fail
import keyring.core
import pytest

from mgmt.credentials.store import CredentialStore
from support.file_keyring import Keyring
from support.kept_sign_in import Clock
from support.rotating_issuer import rotating_issuer


@pytest.fixture
def issuer():
    with rotating_issuer() as running:
        yield running


@pytest.fixture
def events():
    return []


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def state_dir(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def store(state_dir, events):
    return CredentialStore(state_dir, events.append)


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch):
    """A machine without a keyring."""
    monkeypatch.setattr(keyring.core, "_keyring_backend", keyring.backends.fail.Keyring())


@pytest.fixture
def keyring_folder(tmp_path, monkeypatch, no_keyring):
    """A machine with a keyring; the test looks into its folder."""
    folder = tmp_path / "keyring"
    folder.mkdir()
    monkeypatch.setenv("TEST_KEYRING", os.fspath(folder))
    monkeypatch.setattr(keyring.core, "_keyring_backend", Keyring())
    return folder


@pytest.fixture
def short_pieces(monkeypatch):
    """A keyring that takes little at once, as Windows' does."""
    from mgmt.credentials import system_keyring

    monkeypatch.setattr(system_keyring, "_PIECE_MAX_CHARACTERS", 100)
