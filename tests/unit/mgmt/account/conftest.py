"""An issuer that can misbehave, a free port, and a browser."""

import socket

import keyring.backends.fail
import keyring.core
import pytest

from support.odd_issuer import odd_issuer


@pytest.fixture
def issuer():
    with odd_issuer() as running:
        yield running


@pytest.fixture
def port():
    """A port that is free just now."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch):
    """A machine without a keyring: not the one of who runs the tests."""
    monkeypatch.setattr(keyring.core, "_keyring_backend", keyring.backends.fail.Keyring())
