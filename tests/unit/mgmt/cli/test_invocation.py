"""One run: what it makes on first use stays with it, and each token it is given is asked for and kept out of sight."""

import pytest

from mgmt.cli.invocation import Invocation
from mgmt.cli.main import main
from mgmt.settings import Settings
from support.scripted_server import json_answer, scripted_server

NO_RECORDS = json_answer({"results": []})


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """A user of a service that nobody must call."""
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


@pytest.mark.parametrize("opening", ["contact", "session"])
def test_each_call_has_a_token_of_its_own_and_none_is_shown(monkeypatch, environment, opening):
    tokens = iter(["at-the-start", "of-the-first-call", "of-the-second-call"])
    monkeypatch.setattr(Settings, "require_token", lambda _: next(tokens))
    with scripted_server(NO_RECORDS, NO_RECORDS) as server:
        run = Invocation(environment | {"MGMT_API_URL": server.url})
        with getattr(run, opening)(lambda _: None) as opened:
            opened.api.look_up([])
            opened.api.look_up([])
        sent = [asked.headers.get("authorization") for asked in server.asked]
    assert sent == ["Bearer of-the-first-call", "Bearer of-the-second-call"]
    assert run.redactor("at-the-start of-the-first-call of-the-second-call") == "… … …"


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
