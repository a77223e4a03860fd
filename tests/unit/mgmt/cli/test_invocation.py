"""One run: what it makes on first use stays with it, and each token it is given is asked for and kept out of sight."""

from pathlib import Path

import pytest

from mgmt.cli.invocation import Invocation
from mgmt.cli.main import main
from mgmt.credentials.store import CredentialStore
from mgmt.errors import LoginRequiredError, UsageError
from mgmt_contract.messages.service import Service
from mgmt_contract.wire import to_plain
from support.kept_sign_in import make_credentials
from support.rotating_issuer import ROBOT, rotating_issuer
from support.scripted_server import json_answer, scripted_server

NO_RECORDS = json_answer({"results": []})


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """A user of a service that must not be called."""
    named = {
        "MGMT_API_URL": "http://127.0.0.1:1",
        "MGMT_TOKEN": "sesame",
        "MGMT_STATE_DIR": str(tmp_path / "state"),
        "MGMT_CONFIG": str(tmp_path / "config"),
    }
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return named


@pytest.fixture
def laptop(environment, tmp_path):
    """A service, and what keeps the sign-ins for it; the first run of a test begins with one of Anna's."""
    with rotating_issuer() as issuer, scripted_server(NO_RECORDS) as server:
        yield Laptop(environment | {"MGMT_API_URL": server.url, "MGMT_TOKEN": ""}, server, issuer)


class Laptop:
    def __init__(self, environment, server, issuer):
        self.environment, self.server, self.issuer = environment, server, issuer

    def log_in(self):
        credentials = make_credentials(self.issuer, service_url=self.server.url)
        CredentialStore(Path(self.environment["MGMT_STATE_DIR"]), lambda _: None).save(credentials)
        return credentials.tokens

    @property
    def sent(self):
        return [asked.headers.get("authorization", "").removeprefix("Bearer ") for asked in self.server.asked]


@pytest.mark.parametrize("opening", ["contact", "session"])
def test_each_call_has_the_token_of_the_moment_and_none_is_shown(laptop, opening):
    first = laptop.log_in()
    run = Invocation(laptop.environment)
    with getattr(run, opening)(lambda _: None) as opened:
        opened.api.look_up([])
        second = laptop.log_in()
        opened.api.look_up([])
    assert laptop.sent == [first.access_token, second.access_token]
    for secret in (*first.secrets, *second.secrets):
        assert run.redactor(f"({secret})") == "(…)"


def test_a_token_in_the_environment_wins_over_everything(laptop):
    laptop.log_in()
    environment = laptop.environment | {
        "MGMT_TOKEN": "own-token",
        "MGMT_CLIENT_ID": "x",
        "MGMT_CLIENT_SECRET": "y-secret",
    }
    run = Invocation(environment)
    with run.contact(lambda _: None) as contact:
        contact.api.look_up([])
    assert laptop.sent == ["own-token"]
    assert run.redactor("own-token") == "…"


def test_a_client_with_a_secret_signs_in_where_the_service_says_and_leaves_nothing_on_the_disk(laptop, tmp_path):
    service = Service(
        1, 1, "0", "b", "r", "", 1, 1, 1, 1, 1, issuer=laptop.issuer.url, scopes=("openid", "mgmt/upload")
    )
    laptop.server.script(json_answer(to_plain(service)), NO_RECORDS)
    run = Invocation(laptop.environment | dict(zip(("MGMT_CLIENT_ID", "MGMT_CLIENT_SECRET"), ROBOT, strict=True)))
    with run.contact(lambda _: None) as contact:
        contact.api.look_up([])
    assert laptop.sent[0] == "", "the description needs no token"
    assert laptop.issuer.accepts(laptop.sent[1])
    assert run.redactor(f"{laptop.sent[1]} {ROBOT[1]}") == "… …"
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert laptop.sent[1].encode() not in kept
    assert ROBOT[1].encode() not in kept


@pytest.mark.parametrize("only", ["MGMT_CLIENT_ID", "MGMT_CLIENT_SECRET"])
def test_half_of_a_client_is_a_mistake(laptop, only):
    with (
        pytest.raises(UsageError, match="belong together"),
        Invocation(laptop.environment | {only: "x"}).contact(lambda _: None),
    ):
        pytest.fail("no half a client")


def test_without_any_sign_in_nobody_is_asked(laptop):
    with pytest.raises(LoginRequiredError), Invocation(laptop.environment).contact(lambda _: None):
        pytest.fail("no sign-in")
    assert laptop.sent == []


def test_an_option_after_the_commands_name_changes_how_things_are_shown_and_nothing_else(environment):
    run = Invocation(environment)
    before = run.log, run.redactor, run.run_id
    assert not run.output.style.as_json
    run.turn_on("as_json")
    assert run.output.style.as_json
    assert (run.log, run.redactor, run.run_id) == before


def test_the_log_of_a_run_with_a_wrong_option_says_how_it_ended(capsys, tmp_path, environment):
    (tmp_path / "clip").write_text("x")
    command = ("--json", "upload", "clip", "--move-completed", "--completed-dir=~nobody-of-this-name/done")
    assert main(command) == 2
    assert "no such home folder" in capsys.readouterr().err
    [log] = (tmp_path / "state" / "log").iterdir()
    assert "bad-path" in log.read_text()
    assert log.read_text().rstrip().endswith("end: exit code 2")
