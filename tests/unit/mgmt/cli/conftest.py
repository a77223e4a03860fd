"""Services to ask and to sign in to, and a laptop on which nothing is set up."""

import pytest

from support.guarded import guarded_service, make_laptop
from support.odd_issuer import odd_issuer
from support.scripted_server import json_answer, scripted_server


@pytest.fixture
def service(monkeypatch):
    """A service without any upload, which the settings name."""
    with scripted_server(json_answer({"records": []})) as server:
        monkeypatch.setenv("MGMT_API_URL", server.url)
        monkeypatch.setenv("MGMT_TOKEN", "sesame")
        yield server


@pytest.fixture(scope="module")
def parties():
    """An issuer and the address of a service that trusts it."""
    with odd_issuer() as issuer, guarded_service(issuer) as url:
        yield issuer, url


@pytest.fixture
def url(parties):
    return parties[1]


@pytest.fixture
def laptop(tmp_path):
    return make_laptop(tmp_path / "laptop")
