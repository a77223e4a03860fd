"""The command where it meets the shell, the machine and the embedded backend: whatever is wrong is a sentence."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.shell_completion import ShellComplete

from mgmt.cli.invocation import Invocation
from mgmt.cli.main import COMMANDS, explain_interrupt, main, mgmt
from mgmt.errors import INTERRUPTED, UnavailableError, is_interrupt
from mgmt.team.short_ids import short_id
from mgmt_contract.records import UploadRecord
from mgmt_contract.wire import from_plain
from mgmt_local.control import Endpoint
from mgmt_local.errors import LocalBackendError
from support.paper_service import RECORD
from support.scripted_server import json_answer

pytestmark = pytest.mark.usefixtures("machine_without_settings")


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


@pytest.mark.parametrize(
    "command",
    [("upload", "all"), ("safe", "DCIM"), ("contents", "--gzidx", "points", "DCIM"), ("download", "DCIM")],
    ids=lambda command: command[0],
)
def test_a_current_directory_that_is_gone_is_said(capsys, monkeypatch, tmp_path, service, command):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["--json", *command]) == 9
    assert error_of(capsys)["code"] == "no-directory"
    assert service.asked == []


@pytest.mark.parametrize("option", ["--since", "--until"])
def test_a_time_before_all_time_is_a_usage_error(capsys, service, option):
    assert main(["--json", "history", option, "99999999999w"]) == 2
    assert error_of(capsys)["code"] == "bad-time"
    assert service.asked == []


# --- history and show -----------------------------------------------------------------------------------


def test_show_prefers_the_upload_that_succeeded_and_knows_uploads_only(capsys, service):
    """What is stored under a name is what the last success put there, whatever was tried or verified after it."""
    verified = {name: RECORD[name] for name in list(RECORD)[:7]} | {"operation_type": "verify"}
    failed = {**RECORD, "operation_id": "later", "status": "failed", "started_at": "2026-01-02T00:00:00Z"}
    service._answers = [json_answer({"records": [verified, failed, RECORD]})]
    assert main(["--json", "show", "clip"]) == 0
    shown = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (shown["operation_id"], shown["status"]) == (RECORD["operation_id"], "success")


def test_two_operations_of_one_short_id_are_told_apart_by_their_whole_ids(capsys, service):
    twin = {**RECORD, "operation_id": "01a2041b-0000-7000-8000-00000000722f", "s3_object_key": "twin.tar.gz"}
    service._answers = [json_answer({"records": [twin, RECORD]})]
    assert main(["show", short_id(from_plain(UploadRecord, RECORD))]) == 2
    said = capsys.readouterr().err
    assert RECORD["operation_id"] in said
    assert twin["operation_id"] in said
    assert len(service.asked) == 1
    assert "since=2026-01-01T00%3A00%3A00.000Z&until=2026-01-01T00%3A00%3A01.000Z" in service.asked[0].path


def test_a_time_in_what_an_upload_failed_with_is_local(capsys, service, monkeypatch):
    why = "anna stored it on 2026-01-01T20:30:00.000Z."
    failed = {**RECORD, "status": "failed", "phase": "failed", "error_message": why}
    service._answers = [json_answer({"records": [failed]})]
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert main(["show", "clip"]) == 0
    finally:
        monkeypatch.undo()
        time.tzset()
    assert "anna stored it on 2026-01-02 05:30." in capsys.readouterr().out


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
    """The history needs no journal: it works where that is damaged, and does not wait for it."""
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
    assert "mgmt.team.history" in loaded.split()
    for name in (
        "sqlite3",
        "filelock",
        "rich",
        "tarfile",
        "mgmt.journal",
        "mgmt.storage",
        "mgmt.show.underway",
    ):
        assert name not in loaded.split(), name


def run_with_module(tmp_path, module, code, *arguments):
    """Run mgmt with other code in a module's place."""
    (tmp_path / "sitecustomize.py").write_text(f"""
import importlib.abc, importlib.util, sys

class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_loader(name, self) if name == {module!r} else None

    def exec_module(self, module):
        exec({code!r}, {{}})

sys.meta_path.insert(0, Finder())
""")
    environment = {**os.environ, "PYTHONPATH": os.fspath(tmp_path)}
    command = [sys.executable, "-m", "mgmt", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_ctrl_c_while_modules_are_loaded_is_a_sentence_too(tmp_path):
    done = run_with_module(tmp_path, "click", "raise KeyboardInterrupt", "history")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "mgmt: Interrupted before anything began.\n")


def test_ctrl_c_while_modules_are_loaded_is_a_line_of_json_for_a_program(tmp_path):
    done = run_with_module(tmp_path, "click", "raise KeyboardInterrupt", "--json", "history")
    [line] = done.stderr.splitlines()
    said = json.loads(line)
    assert (done.returncode, said.pop("message")) == (130, "Interrupted before anything began.")
    assert said == {"type": "error", "exit_code": 130, "code": "interrupted", "operation_id": None}


WRAPPED = [
    "class Name:\n def __set_name__(self, *_): raise KeyboardInterrupt\nclass Owner: name = Name()",
    "try: raise KeyboardInterrupt\nfinally: None()",
]
"""How an interrupt comes out of a module that it hits while a class of it is made."""


@pytest.mark.parametrize("module", ["click", "mgmt_contract.version", "mgmt.cli.history"])
@pytest.mark.parametrize("code", WRAPPED, ids=["as cause", "as context"])
def test_a_wrapped_ctrl_c_is_still_an_interrupt(tmp_path, module, code):
    done = run_with_module(tmp_path, module, code, "history")
    assert done.returncode == 130
    assert "nterrupted" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_in_a_command_is_nothing_but_json_for_a_program(tmp_path):
    done = run_with_module(tmp_path, "mgmt.cli.history", "raise KeyboardInterrupt", "--json", "history")
    [line] = done.stderr.splitlines()
    assert (done.returncode, json.loads(line)["code"]) == (130, "interrupted")


@pytest.mark.parametrize("module", ["mgmt.cli.history", "mgmt.show.waiting"])
def test_ctrl_c_in_a_commands_first_moments_is_one_line_for_a_person(tmp_path, module):
    """Before a run takes interrupts for its own, click would write an empty line first."""
    done = run_with_module(tmp_path, module, "raise KeyboardInterrupt", "history")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", f"mgmt: {explain_interrupt('history')}\n")


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_an_interrupt_promises_to_resume_only_where_there_is_something_to_resume(command):
    goes_on = command in ("upload", "resume", "cancel", "download", "delete", "undelete")
    changes = goes_on or command in ("login", "logout", "config", "local")
    said = explain_interrupt(command)
    assert ("to resume" in said, "Nothing was changed" in said) == (goes_on, not changes)
    assert "run the same command" in said.lower()


def test_an_interrupted_upload_is_still_said_to_be_resumed(tmp_path):
    done = run_with_module(tmp_path, "mgmt.upload", "raise KeyboardInterrupt", "upload", "x")
    assert (done.returncode, done.stderr) == (130, f"mgmt: {INTERRUPTED}\n")


def test_a_cause_of_itself_is_no_interrupt():
    error = ValueError()
    error.__cause__ = error
    assert not is_interrupt(error)


# --- streams that cannot be written -------------------------------------------------------------------------

needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full disk to lend")


def run_in_shell(arguments):
    """Run mgmt with the shell's redirections."""
    command = f"{sys.executable} -m mgmt {arguments}"
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=False, timeout=60)  # noqa: S602  the redirection is the test


@needs_dev_full
@pytest.mark.parametrize("options", ["", "--csv"])
def test_a_full_disk_under_stdout_is_said_with_9(service, options):
    service._answers = [json_answer({"records": [RECORD]})]
    done = run_in_shell(f"history {options} > /dev/full")
    assert done.returncode == 9
    assert done.stderr.startswith("mgmt: Results could not be written to stdout (No space left on device)")
    assert "run the same command again" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@needs_dev_full
def test_a_full_disk_under_stdout_is_a_line_of_json_for_a_program(service):
    service._answers = [json_answer({"records": [RECORD]})]
    done = run_in_shell("--json history > /dev/full")
    said = json.loads(done.stderr)
    assert (done.returncode, said["exit_code"], said["code"]) == (9, 9, "output-not-written")


@needs_dev_full
@pytest.mark.parametrize("arguments", ["--help", "--version", "upload --help"])
def test_a_help_text_that_finds_no_room_is_said_with_9(arguments):
    done = run_in_shell(f"{arguments} > /dev/full")
    assert (done.returncode, len(done.stderr.splitlines())) == (9, 1)
    assert "could not be written to stdout" in done.stderr


@needs_dev_full
@pytest.mark.parametrize(("arguments", "exit_code"), [("history", 9), ("--help", 9), ("", 2), ("upload", 2)])
def test_the_exit_code_stays_where_nothing_can_be_said_at_all(service, arguments, exit_code):
    service._answers = [json_answer({"records": [RECORD]})]
    assert run_in_shell(f"{arguments} > /dev/full 2> /dev/full").returncode == exit_code


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["upload", "--help"], ["completion", "bash"]])
def test_a_reader_that_has_read_enough_is_no_failure(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "mgmt", *arguments],
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX closes streams")
@pytest.mark.parametrize(("arguments", "exit_code"), [("history", 0), ("--help", 0), ("", 2), ("upload", 2)])
@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-"])
def test_closed_streams_are_as_good_as_dev_null(service, arguments, exit_code, closed):
    service._answers = [json_answer({"records": [RECORD]})]
    done = run_in_shell(f"{arguments} {closed}")
    assert done.returncode == exit_code
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr


@needs_dev_full
def test_uploads_go_on_where_their_results_cannot_be_written(capsys, tmp_path):
    """What is missing on stdout is missing there alone; the same command with more room tells of it."""
    for name in ("one", "two"):
        (tmp_path / "work" / name).write_text(name)
    try:
        done = run_in_shell("--local upload one two > /dev/full")
        assert done.returncode == 9
        assert "2 uploaded" in done.stderr
        assert "downloads that have finished are safe." in done.stderr
        assert main(["--local", "upload", "one", "two"]) == 0
        assert capsys.readouterr().out.count("is already there") == 2
    finally:
        assert main(["local", "stop"]) == 0


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
    assert 'pip install ".[local]"' in error["message"], "it is on no index"


def test_an_embedded_backend_that_was_stopped_is_waited_for_a_minute_and_a_half_only(monkeypatch):
    """It comes back at another port, so that nothing waited for at this one ever answers."""
    control = SimpleNamespace(
        LocalBackendError=LocalBackendError,
        start=lambda: Endpoint("http://127.0.0.1:9", "t"),
        hold=lambda *_: contextlib.nullcontext(),
    )
    monkeypatch.setattr("mgmt.cli.backend.import_local_control", lambda: control)
    with Invocation(os.environ, use_local=True).session(lambda _: None) as session:
        session.patience.check_silence(session.patience.now() - 61, "its engine may be looking at its disk")
        with pytest.raises(UnavailableError):
            session.patience.check_silence(session.patience.now() - 91, "it is gone")
