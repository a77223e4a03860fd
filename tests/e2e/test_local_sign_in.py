"""Playing a team on one machine: a login at the embedded backend's own issuer, by the same code as with a team's."""

from __future__ import annotations

import json
import os

import pytest

from mgmt_local import control
from support.local_backend import gateway_process, kill_backend
from support.sign_in import ask_for_tokens
from support.team import Laptop


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    """One backend for all tests that do not end it."""
    folder = tmp_path_factory.mktemp("backend")
    yield folder
    kill_backend(folder)


@pytest.fixture
def laptop(tmp_path, backend):
    (tmp_path / "work").mkdir()
    places = {"MGMT_CONFIG": tmp_path / "config", "MGMT_STATE_DIR": tmp_path / "state", "MGMT_LOCAL_STATE_DIR": backend}
    return Laptop(tmp_path, tmp_path / "work", {name: os.fspath(path) for name, path in places.items()})


def whoami(laptop, **environment):
    done = laptop.run("--local", "--json", "whoami", **environment)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def kept(laptop):
    (file,) = (laptop.folder / "state").rglob("sign-in.json")
    return json.loads(file.read_text("utf-8"))["credentials"]


def test_two_people_upload_in_turn_and_both_are_in_the_history(laptop):
    owner = whoami(laptop)
    for name, more in (("anna", ()), ("bert", ("--admin",))):
        done = laptop.run("login", "--local", name, *more)
        assert (done.exit_code, name in done.stdout) == (0, True), done.stderr
        who = whoami(laptop)
        assert (who["name"], who["role"]) == (name, "admin" if more else "member")
        (laptop.work / f"{name}.mov").write_bytes(name.encode())
        done = laptop.run("--local", "upload", f"{name}.mov")
        assert done.exit_code == 0, done.stderr
    records = laptop.run("--local", "--json", "history").records
    assert [record["actor"] for record in records[:2]] == ["bert", "anna"]
    done = laptop.run("logout", "--local")
    assert (done.exit_code, "the embedded backend" in done.stdout) == (0, True), done.stderr
    assert whoami(laptop) == owner, "without a login, it is this machine's user"


def test_a_login_outlives_a_crash_and_another_port(laptop, backend):
    assert laptop.run("login", "--local", "anna").exit_code == 0
    before = kept(laptop)
    gateway = gateway_process(backend)
    gateway.kill()
    gateway.wait(30)
    records = laptop.run("--local", "--json", "history")
    assert records.exit_code == 0, records.stderr
    after = kept(laptop)
    address = control.status(backend).url
    assert after["token_endpoint"].startswith(f"{address}/")
    assert after["tokens"] == before["tokens"]
    assert whoami(laptop)["name"] == "anna"


def test_a_login_is_renewed_and_its_end_is_the_end(laptop, backend):
    """A token that has ended, by what this machine knows, is renewed with the refresh token, which serves once."""
    assert laptop.run("login", "--local", "anna").exit_code == 0
    (file,) = (laptop.folder / "state").rglob("sign-in.json")
    stored = json.loads(file.read_text("utf-8"))
    former = stored["credentials"]["tokens"]
    former["expires_at"] = former["received_at"]
    file.write_text(json.dumps(stored), "utf-8")
    assert laptop.run("--local", "history").exit_code == 0
    renewed = kept(laptop)["tokens"]
    assert renewed["refresh_token"] != former["refresh_token"]

    assert laptop.run("--local", "logout").exit_code == 0
    url = control.status(backend).url
    status, refused = ask_for_tokens(url, grant_type="refresh_token", refresh_token=renewed["refresh_token"])
    assert (status, refused["error"]) == (400, "invalid_grant")


def test_mgmt_token_goes_before_a_login(laptop):
    assert laptop.run("login", "--local", "anna").exit_code == 0
    token = laptop.run("local", "token", "bert").stdout.strip()
    assert whoami(laptop, MGMT_TOKEN=token)["name"] == "bert"


def test_the_address_alone_signs_nobody_in(laptop, backend):
    """As another user of the machine would try: the issuer wants a ticket from the private folder."""
    laptop.run("local", "start")
    url = control.status(backend).url
    process = laptop.begin("login", url, BROWSER="curl -sL -o /dev/null %s")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 5
    assert "mgmt login --local" in stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["login", "--local"],
        ["login", "--local", "a\x1b[0m"],
        ["login", "--local", " "],
        ["login", "--local", "anna", "--device"],
        ["login", "--local", "anna", "--port", "8976"],
        ["login", "--admin", "http://127.0.0.1:1"],
    ],
)
def test_what_makes_no_sense_is_a_usage_error(laptop, arguments):
    done = laptop.run(*arguments)
    assert done.exit_code == 2, done.stderr
    assert not (laptop.folder / "state" / "sign-ins").exists()


def test_neither_the_ticket_nor_a_token_is_shown_or_logged(laptop, backend):
    done = laptop.run("-v", "login", "--local", "anna")
    tokens = kept(laptop)["tokens"]
    logs = "".join(path.read_text("utf-8", "replace") for path in (laptop.folder / "state").rglob("*.log"))
    logs += (backend / "backend.log").read_text("utf-8")
    assert logs
    shown = done.stdout + done.stderr + logs
    assert "login_hint" not in shown
    assert not [name for name in ("access_token", "refresh_token") if tokens[name] in shown]
    assert tokens["id_token"] is None
