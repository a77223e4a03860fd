"""Signing in at a certified OpenID provider: by a real browser, by a code, with a client's secret; and out again."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mgmt_local.engine.seaweedfs import StorageEngine
from support.engine import versioned_bucket
from support.faulty_storage import FaultyStorage
from support.oidc_provider import (
    ANNA,
    BERT,
    CLIENT_ID,
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
SHORT_LIFE_SECONDS = 3
UPLOAD_BYTES = 24_000_000


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


def kept_refresh_token(laptop: Laptop) -> str:
    """Return the refresh token in the file of a laptop's sign-in."""
    (kept,) = (laptop.folder / "state").rglob("sign-in.json")
    return json.loads(kept.read_text("utf-8"))["credentials"]["tokens"]["refresh_token"]


def test_one_command_is_all_the_setup_of_an_editor(studio: Studio):
    """A real browser types name and password; the history tells people by the names that the provider gives."""
    people = {account: studio.laptop(account.login) for account in (ANNA, BERT)}
    for account, laptop in people.items():
        browser = studio.browser(account)
        done = laptop.run("login", studio.team.url, **browser.environment)
        assert (done.exit_code, account.name in done.stdout) == (0, True), done.stderr
        assert studio.provider.issuer in done.stderr, "the address is always printed"
        signing_in, ended = browser.seen()
        assert signing_in["address"].startswith(f"{studio.provider.issuer}/interaction/")
        assert re.match(r"http://127\.0\.0\.1:89\d\d/", ended["address"])
        assert "close" in ended["text"]
        assert len(list(browser.pictures.glob("*.png"))) == 2

        who = json.loads(laptop.run("--json", "whoami").stdout)
        assert (who["name"], who["id"], who["groups"]) == (account.name, account.subject, sorted(account.groups))
        (laptop.work / f"{account.login}.mov").write_bytes(os.urandom(1000))
        uploaded = laptop.run("upload", f"{account.login}.mov")
        assert uploaded.exit_code == 0, uploaded.stderr
    shown = people[ANNA].run("--json", "history").records
    assert {record["actor"] for record in shown} == {ANNA.name, BERT.name}
    assert json.loads(people[BERT].run("--json", "whoami").stdout)["role"] == "admin"


def test_tokens_are_renewed_while_an_upload_goes_on(open_studio):
    """An upload takes longer than a token lives. The provider ends the sign-in if a refresh token is used twice."""
    with run_provider(access_token_seconds=SHORT_LIFE_SECONDS) as provider, open_studio(provider) as studio:
        laptop = studio.log_in(ANNA)
        (laptop.work / "clip.mov").write_bytes(os.urandom(UPLOAD_BYTES))
        done = laptop.run("upload", "--limit-rate", f"{UPLOAD_BYTES // (2 * SHORT_LIFE_SECONDS)}", "clip.mov")
        assert done.exit_code == 0, done.stderr
        assert provider.granted().count("refresh_token") >= 1
        for _ in range(2):
            assert laptop.run("--json", "history").records[0]["status"] == "success"
        assert "revoked" not in provider.granted()


def test_a_code_signs_in_a_machine_without_a_browser(studio: Studio):
    laptop = studio.laptop("server")
    process = laptop.begin("--json", "login", "--device", studio.team.url)
    try:
        assert process.stdout
        shown = json.loads(process.stdout.readline())
        browser = studio.browser(ANNA)
        browser.open(f"{shown['url']}?user_code={shown['user_code']}")
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, stderr
    assert json.loads(stdout.splitlines()[-1])["name"] == ANNA.name
    assert len(browser.seen()) >= 3


def test_a_client_with_a_secret_needs_no_person(studio: Studio):
    laptop = studio.laptop("ci")
    laptop.environment |= {"MGMT_CLIENT_ID": ROBOT_ID, "MGMT_CLIENT_SECRET": ROBOT_SECRET}
    laptop.environment["MGMT_CLIENT_SCOPE"] = SCOPE  # this issuer gives none unasked
    laptop.environment["MGMT_API_URL"] = studio.team.url
    (laptop.work / "clip.mov").write_bytes(b"x")
    done = laptop.run("upload", "clip.mov")
    assert done.exit_code == 0, done.stderr
    assert laptop.run("--json", "history").records[0]["actor"] == ROBOT_ID
    refused = laptop.run("history", MGMT_CLIENT_SECRET="wrong")
    assert refused.exit_code == 5
    assert "wrong" not in refused.stderr + refused.stdout


def test_who_has_signed_out_is_out(studio: Studio):
    laptop = studio.log_in(ANNA)
    refresh_token = kept_refresh_token(laptop)
    done = laptop.run("logout")
    assert done.exit_code == 0, done.stderr
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": CLIENT_ID}
    assert studio.provider.ask_for_tokens(**form)[0] == 400
    assert laptop.run("whoami").exit_code == 5
    assert laptop.run("history").exit_code == 5
