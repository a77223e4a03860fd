"""An issuer that can misbehave, a free port, and a browser."""

import socket

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
