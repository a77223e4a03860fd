"""The command where it meets the shell, the machine and the embedded backend: whatever is wrong is a sentence."""

import contextlib
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from click.shell_completion import ShellComplete

from mgmt.cli.invocation import Invocation
from mgmt.cli.main import main, mgmt
from mgmt.errors import UnavailableError
from mgmt_local.control import Endpoint
from mgmt_local.errors import LocalBackendError
from support.scripted_server import json_answer, scripted_server

RECORD = {
    "operation_id": "01a2041b-befb-730e-9a3c-9ad5ec9c722f", "operation_type": "upload", "target_path": "clip",
    "started_at": "2026-01-01T00:00:00Z", "status": "success", "result_path": "clip.tar.gz", "error_message": None,
    "compression_type": "gzip", "compressed_file_path": "clip.tar.gz", "s3_bucket": "b",
    "s3_object_key": "clip.tar.gz", "source_file_record": None, "compressed_file_record": None,
    "s3_file_record": None,
}  # fmt: skip


@pytest.fixture(autouse=True)
def a_machine_without_settings(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("MGMT_")]:
        monkeypatch.delenv(name)
    for name, place in (("MGMT_CONFIG", "config"), ("MGMT_STATE_DIR", "state"), ("MGMT_LOCAL_STATE_DIR", "backend")):
        monkeypatch.setenv(name, str(tmp_path / place))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def service(monkeypatch):
    with scripted_server(json_answer({"records": []})) as server:
        monkeypatch.setenv("MGMT_API_URL", server.url)
        monkeypatch.setenv("MGMT_TOKEN", "sesame")
        yield server


def error_of(capsys):
    return json.loads(capsys.readouterr().err.splitlines()[-1])


def test_the_shell_completes_commands():
    completion = ShellComplete(mgmt, {}, "mgmt", "_MGMT_COMPLETE")
    assert [item.value for item in completion.get_completions([], "up")] == ["upload"]
    assert "--replace" in [item.value for item in completion.get_completions(["upload"], "--re")]


def test_who_asks_for_the_traceback_of_a_bug_gets_it(capsys, monkeypatch):
    monkeypatch.setattr("mgmt.settings.resolve_settings", lambda *_: 1 / 0)
    monkeypatch.setenv("MGMT_TRACEBACK", "1")
    assert main(["history"]) == 1
    said = capsys.readouterr().err
    assert "ZeroDivisionError" in said
    assert "Traceback" in said


def test_a_current_directory_that_is_gone_is_said(capsys, monkeypatch, tmp_path, service):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["--json", "upload", "all"]) == 9
    assert error_of(capsys)["code"] == "no-directory"


@pytest.mark.parametrize("option", ["--since", "--until"])
def test_a_time_before_all_time_is_a_usage_error(capsys, service, option):
    assert main(["--json", "history", option, "99999999999w"]) == 2
    assert error_of(capsys)["code"] == "bad-time"
    assert service.asked == []


# --- history and show -----------------------------------------------------------------------------------


def test_show_prefers_the_upload_that_succeeded_and_knows_uploads_only(capsys, service):
    """What is stored under a name is what the last success put there, whatever was tried or deleted after it."""
    deleted = {name: RECORD[name] for name in list(RECORD)[:7]} | {"operation_type": "delete"}
    failed = {**RECORD, "operation_id": "later", "status": "failed", "started_at": "2026-01-02T00:00:00Z"}
    service._answers = [json_answer({"records": [deleted, failed, RECORD]})]
    assert main(["--json", "show", "clip"]) == 0
    shown = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (shown["operation_id"], shown["status"]) == (RECORD["operation_id"], "success")


def test_show_of_what_the_service_refuses_says_why(capsys, service):
    problem = {"type": "urn:x", "title": "No", "status": 403, "code": "not-allowed", "detail": "Ask an admin."}
    answer = {"results": [{"operation_id": RECORD["operation_id"], "outcome": "problem", "problem": problem}]}
    service._answers = [json_answer(answer)]
    assert main(["--json", "show", RECORD["operation_id"]]) == 6
    error = error_of(capsys)
    assert error["code"] == "not-allowed"
    assert "Ask an admin." in error["message"]


def test_a_list_longer_than_a_page_is_read_page_by_page_up_to_the_limit(capsys, service):
    def page(first, count, cursor):
        return json_answer({"records": [{**RECORD, "operation_id": str(first + n)} for n in range(count)],
                            "cursor": cursor})  # fmt: skip

    service._answers = [page(0, 50, "c1"), page(50, 25, "c2"), page(75, 50, "c3")]
    assert main(["--json", "history", "--limit", "75"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["operation_id"] for line in lines if line["type"] == "record"] == [str(n) for n in range(75)]
    assert len(service.asked) == 2
    assert "cursor=c1" in service.asked[1].path


def test_who_only_asks_needs_no_journal(capsys, service, tmp_path):
    """What has happened can be looked at where the journal is damaged, and nobody waits until it is opened."""
    (tmp_path / "state").mkdir(exist_ok=True)
    (tmp_path / "state" / "journal.sqlite").write_bytes(b"no database, but long enough to be taken for one" * 99)
    service._answers = [json_answer({"records": [RECORD]})]
    assert main(["--json", "history"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["operation_id"] == RECORD["operation_id"]


def test_history_loads_nothing_that_only_an_upload_needs(service):
    """Most of what a short command takes is the loading of code."""
    service._answers = [json_answer({"records": [RECORD]})]
    code = "import sys; from mgmt.cli.main import main; main(['-q', 'history']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert service.asked
    assert "mgmt.history" in loaded.split()
    for name in ("sqlite3", "filelock", "rich", "tarfile", "mgmt.journal", "mgmt.transfer", "mgmt.underway"):
        assert name not in loaded.split(), name


def test_ctrl_c_while_modules_are_loaded_is_a_sentence_too(tmp_path):
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [sys.executable, "-m", "mgmt", "history"],
        env={**os.environ, "PYTHONPATH": os.fspath(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "mgmt: Interrupted before anything began.\n")


# --- the embedded backend -------------------------------------------------------------------------------


def test_the_embedded_backend_is_asked_started_and_stopped(capsys):
    """Each answer is a line of JSON for a program, and a sentence for a person."""
    assert main(["local", "status"]) == 0
    assert capsys.readouterr().out == "Not running.\n"
    try:
        assert main(["--json", "local", "start"]) == 0
        started = json.loads(capsys.readouterr().out)
        assert started["running"] is True
        assert main(["local", "start"]) == 0
        assert started["url"] in capsys.readouterr().out
        assert main(["--json", "local", "status"]) == 0
        assert json.loads(capsys.readouterr().out)["url"] == started["url"]
    finally:
        assert main(["--json", "local", "stop"]) == 0
    assert json.loads(capsys.readouterr().out)["running"] is False
    assert main(["local", "stop"]) == 0
    assert capsys.readouterr().out == "It was not running.\n"


def test_a_token_for_a_program_and_one_for_a_person(capsys):
    assert main(["local", "token", "anna"]) == 0
    plain = capsys.readouterr().out.strip()
    assert main(["--json", "local", "token", "anna", "--admin"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert (line["type"], line["name"]) == ("token", "anna")
    assert plain
    assert line["token"] != plain


@pytest.mark.parametrize("arguments", [["local", "start"], ["local", "status"], ["--local", "history"]])
def test_a_backend_that_cannot_keep_its_things_is_said_with_9(capsys, tmp_path, arguments):
    (tmp_path / "backend").write_text("a file in the folder's place")
    assert main(["--json", *arguments]) == 9
    error = error_of(capsys)
    assert error["code"] == "local-backend"
    assert str(tmp_path / "backend") in error["message"]


@pytest.mark.parametrize("arguments", [["local", "start"], ["--local", "history"]])
def test_without_the_extra_it_says_what_to_install(capsys, monkeypatch, arguments):
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert main(["--json", *arguments]) == 10
    error = error_of(capsys)
    assert error["code"] == "local-not-installed"
    assert "media-mgmt[local]" in error["message"]


def test_an_embedded_backend_that_was_stopped_is_waited_for_a_minute_only(monkeypatch):
    """It comes back at another port, so that nothing waited for at this one ever answers."""
    control = SimpleNamespace(
        LocalBackendError=LocalBackendError,
        start=lambda: Endpoint("http://127.0.0.1:9", "t"),
        hold=lambda _: contextlib.nullcontext(),
    )
    monkeypatch.setattr("mgmt.cli.invocation.import_local_control", lambda: control)
    with Invocation(os.environ, use_local=True).session(lambda _: None) as session:
        session.patience.check_silence(session.patience.now() - 30, "it is gone")
        with pytest.raises(UnavailableError):
            session.patience.check_silence(session.patience.now() - 61, "it is gone")
