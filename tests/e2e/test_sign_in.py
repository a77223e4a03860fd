"""Signing in at a certified OpenID provider."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mgmt_local.engine.seaweedfs import StorageEngine
from support.engine import versioned_bucket
from support.faulty_storage import FaultyStorage
from support.local_backend import request
from support.oidc_provider import (
    ROBOT_ID,
    ROBOT_SECRET,
    SCOPE,
    Account,
    Browser,
    Provider,
    make_browser,
    run_provider,
)
from support.team import Laptop, Team, team_at_work

PICTURES = Path(__file__).parents[2] / "build" / "pictures" / "sign-in"
"""Kept after the run: what the browser showed, page by page."""


class Studio:
    """A team whose members sign in at the provider."""

    def __init__(self, team: Team, provider: Provider, folder: Path, pictures: Path) -> None:
        self.team = team
        self.provider = provider
        self._folder = folder
        self._pictures = pictures

    def laptop(self, name: str) -> Laptop:
        """Give a laptop on which nothing is set up."""
        folder = self._folder / name
        (folder / "work").mkdir(parents=True)
        places = {"MGMT_CONFIG": folder / "config", "MGMT_STATE_DIR": folder / "state", "HOME": folder}
        return Laptop(folder, folder / "work", {key: os.fspath(path) for key, path in places.items()})

    def browser(self, account: Account) -> Browser:
        """Seat a person at a browser."""
        return make_browser(account, self._folder, self._pictures / account.login)

    def log_in(self, account: Account) -> Laptop:
        """Give a person a laptop and log in there."""
        laptop = self.laptop(account.login)
        done = laptop.run("login", self.team.url, **self.browser(account).environment)
        assert done.exit_code == 0, done.stderr
        return laptop


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with run_provider() as running:
        yield running


@pytest.fixture
def open_studio(
    request: pytest.FixtureRequest, tmp_path: Path, engine: StorageEngine, storage: FaultyStorage
) -> Callable[[Provider], contextmanager]:
    """Give what opens a studio for a provider."""

    @contextmanager
    def open_for(provider: Provider) -> Iterator[Studio]:
        storage.reset()
        made = {"authorizer": provider.authorizer(), **provider.deployed}
        with (
            versioned_bucket(engine) as bucket,
            team_at_work(tmp_path / "service", engine, bucket, storage, **made) as team,
        ):
            yield Studio(team, provider, tmp_path, PICTURES / request.node.name)

    return open_for


@pytest.fixture
def studio(open_studio, provider: Provider) -> Iterator[Studio]:
    with open_studio(provider) as opened:
        yield opened


def test_a_client_with_a_secret_needs_no_person(studio: Studio):
    laptop = studio.laptop("ci")
    laptop.environment |= {"MGMT_CLIENT_ID": ROBOT_ID, "MGMT_CLIENT_SECRET": ROBOT_SECRET}
    laptop.environment["MGMT_API_URL"] = studio.team.url
    (laptop.work / "clip.mov").write_bytes(b"x")
    done = laptop.run("upload", "clip.mov")
    assert done.exit_code == 0, done.stderr
    assert laptop.run("--json", "history").records[0]["actor"] == ROBOT_ID
    refused = laptop.run("history", MGMT_CLIENT_SECRET="wrong")
    assert refused.exit_code == 5
    assert "wrong" not in refused.stderr + refused.stdout


def test_the_gateway_takes_only_access_tokens_for_it(studio: Studio):
    """Of the same provider: one for nothing in particular is opaque, and one without the scope is refused."""
    for scope, status in ((SCOPE, 200), ("", 403)):
        form = {"grant_type": "client_credentials", "client_id": ROBOT_ID, "client_secret": ROBOT_SECRET}
        given, tokens = studio.provider.ask_for_tokens(**form, **({"scope": scope} if scope else {}))
        assert given == 200, tokens
        assert request(studio.team.url, "GET", "/v1/history", token=tokens["access_token"])[0] == status
