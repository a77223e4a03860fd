"""The log of a run, through the command: what is in it, and above all what is not."""

import base64
import os
import re
import stat
import subprocess
import sys
from urllib.parse import parse_qs, urlsplit

import pytest

from mgmt_local.engine.seaweedfs import REGION
from support.certificates import make_authority
from support.company_network import company_network, hand_out_under

HOST = "uploads.company.test"
STORAGE_HOST = f"s3.{REGION}.amazonaws.com"
PASSWORD = "s@fe-word"


def logs(laptop):
    return sorted((laptop.folder / "state" / "log").glob("*.log"))


def secrets_of(team, laptop):
    """Every secret that this run has really used."""
    token = laptop.environment["MGMT_TOKEN"]
    found = {token, token[:20]}
    for put in team.storage.puts:
        query = parse_qs(urlsplit(put.path).query)
        found |= {query[name][0] for name in ("X-Amz-Signature", "X-Amz-Credential") if name in query}
    return found


def test_an_upload_is_told_in_full_and_without_a_secret(team, anna):
    (anna.work / "card").mkdir()
    (anna.work / "card" / "clip").write_bytes(os.urandom(20_000_000))
    team.storage.fault = lambda put: "refuse" if put.attempt == 0 else "none"
    run = anna.run("--verbose", "upload", "card")
    assert run.exit_code == 0, run.stderr
    [log] = logs(anna)
    said = log.read_text("utf-8")
    assert str(log) in run.stderr, "--verbose says where it lies"
    for words in ("upload card", "start: 200", "sign: 200", "stored in", "trying again", "success", "exit code 0"):
        assert words in said, words
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    secrets = secrets_of(team, anna)
    assert len(secrets) > 4, "several signatures were used"
    assert not [secret for secret in secrets if secret in said + run.stderr + run.stdout]


def test_the_record_and_the_log_name_the_same_run_and_the_next_run_another(team, anna):
    """So that an admin finds what a person asks about."""
    (anna.work / "clip").write_bytes(b"footage")
    [record] = anna.run("--json", "upload", "clip").records
    [log] = logs(anna)
    assert re.fullmatch(r"[0-9a-f]{16}", record["run_id"])
    assert f"The service knows this run as {record['run_id']}\n" in log.read_text("utf-8")
    [shown] = anna.run("--json", "show", record["operation_id"]).records
    assert record["run_id"] in anna.run("show", record["operation_id"]).stdout
    assert shown["run_id"] == record["run_id"], "the run that began it, not the one that asks"
    assert f"knows this run as {record['run_id']}" not in logs(anna)[-1].read_text("utf-8")


def test_an_error_is_in_the_log_as_it_is_told(team, anna):
    assert anna.run("upload", "nothing").exit_code == 4
    [log] = logs(anna)
    assert re.search(r"Z error.*: 4 .*nothing", log.read_text("utf-8"))
    assert log.read_text("utf-8").endswith("end: exit code 4\n")


@pytest.mark.parametrize("command", [["history"], ["show", "nothing"]])
def test_commands_that_only_ask_show_their_calls_and_log_them(team, anna, command):
    run = anna.run("-v", *command)
    assert "GET /v1/history: 200 in" in run.stderr
    [log] = logs(anna)
    assert "GET /v1/history: 200 in" in log.read_text("utf-8")


def test_commands_that_ask_nobody_write_none(team, anna):
    assert anna.run("config", "list").exit_code == 0
    assert anna.run("upload", "--help").exit_code == 0
    assert not logs(anna)


def test_a_bug_leaves_its_traceback_in_the_log_and_names_the_file(team, anna):
    breaking = "import mgmt.service, sys; mgmt.service.ServiceApi.history = lambda *_: 1 / 0; "
    breaking += "from mgmt.cli.main import main; sys.exit(main(['history']))"
    done = subprocess.run(
        [sys.executable, "-c", breaking],
        env={**os.environ, **anna.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    [log] = logs(anna)
    assert str(log) in done.stderr
    assert "Traceback" not in done.stderr
    assert "ZeroDivisionError" in log.read_text("utf-8")


def test_a_state_folder_that_takes_no_log_stops_nothing(team, anna):
    state = anna.folder / "state"
    state.mkdir()
    (state / "log").write_text("in the way")
    run = anna.run("-v", "history")
    assert run.exit_code == 0
    assert "This run has no log" in run.stderr


@pytest.fixture
def company(team, tmp_path, monkeypatch):
    """The team's service and storage behind a company's own certificate and a proxy with a password."""
    (tmp_path / "company").mkdir()
    authority = make_authority(tmp_path / "company")
    with company_network() as network:
        port = network.serve(team.url, authority.issue(HOST, tmp_path / "certificate"))
        storage_port = network.serve(team.storage.url, authority.issue(STORAGE_HOST, tmp_path / "storage"))
        proxy = network.proxy({HOST: port, STORAGE_HOST: storage_port}, ("anna", PASSWORD))
        hand_out_under(STORAGE_HOST, team, monkeypatch)
        environment = {
            "MGMT_API_URL": f"https://{HOST}",
            "HTTPS_PROXY": proxy.url("anna", PASSWORD),
            "MGMT_CA_BUNDLE": str(authority.bundle_path),
        }
        yield proxy, environment


def test_behind_a_companys_proxy_everything_works_and_no_password_is_shown(anna, company):
    proxy, environment = company
    (anna.work / "clip").write_bytes(b"footage")
    run = anna.run("-v", "upload", "clip", **environment)
    assert run.exit_code == 0, run.stderr
    assert set(proxy.asked) == {f"{HOST}:443", f"{STORAGE_HOST}:443"}
    assert proxy.relayed_bytes > 1000
    said = run.stdout + run.stderr + logs(anna)[0].read_text("utf-8")
    header = base64.b64encode(f"anna:{PASSWORD}".encode()).decode()
    assert not [secret for secret in (PASSWORD, "s%40fe-word", header) if secret in said]


def test_a_wrong_proxy_password_ends_with_7_at_once_and_is_not_shown(anna, company):
    proxy, environment = company
    wrong = {**environment, "HTTPS_PROXY": proxy.url("anna", "quite-wrong")}
    run = anna.run("-v", "history", **wrong)
    assert run.exit_code == 7
    assert "does not accept the user and password" in run.stderr
    assert "quite-wrong" not in run.stderr + logs(anna)[0].read_text("utf-8")
    assert len(proxy.asked) == 1


def test_an_untrusted_service_ends_with_7_and_names_the_setting(anna, company):
    _, environment = company
    run = anna.run("history", **{**environment, "MGMT_CA_BUNDLE": ""})
    assert run.exit_code == 7
    assert "MGMT_CA_BUNDLE" in run.stderr
