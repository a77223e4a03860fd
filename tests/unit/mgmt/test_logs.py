import logging
import os
import re
import stat
import threading
from datetime import UTC, datetime

import pytest

from mgmt import logs as runlog
from mgmt.cli.invocation import Invocation
from mgmt.errors import SourceError
from mgmt.events import Notice, Progress, Renewed
from mgmt.logs import Redactor, RunLog

CALLS = logging.getLogger("mgmt.service")
"""As any module of the client has one."""
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [a-z ]+( \[[^]]+\])?: .*")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state" / "log"


def begin(folder, *arguments, secret=""):
    redactor = Redactor()
    redactor.learn(secret)
    log = RunLog(folder, arguments, redactor)
    log.begin()
    return log


def test_a_run_is_told_from_its_command_line_to_its_exit_code(folder):
    log = begin(folder, "upload", "a clip.mp4")
    CALLS.info("%s: %d in %.1f s", "POST /v1/uploads/start", 200, 0.1)
    for done in range(3):
        log.note(Progress("id", "a clip.mp4", "packing", done, 3))
    log.note(Renewed("id", "id-2"))
    log.note(Progress("id-2", "a clip.mp4", "packing", 0, 3))
    log.note(Notice("careful", "code", "id-2"))
    log.note_error(SourceError("no such file"))
    log.end(4)
    said = log.path.read_text("utf-8").splitlines()
    assert all(LINE.fullmatch(line) for line in said)
    words = [line.partition("Z ")[2] for line in said]
    assert re.fullmatch(r"begin: mgmt [\d.]+: mgmt upload 'a clip.mp4'", words[0])
    assert words[1:] == [
        "trace: POST /v1/uploads/start: 200 in 0.1 s",
        "packing [id]: a clip.mp4",
        "begun anew [id-2]: in place of id",
        "packing [id-2]: a clip.mp4",
        "notice [id-2]: careful",
        "error: 4 source: no such file",
        "end: exit code 4",
    ]


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_files_and_folders_are_for_the_user_only(folder):
    log = begin(folder)
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    assert {stat.S_IMODE(each.stat().st_mode) for each in (folder, folder.parent)} == {0o700}
    log.end(0)


def test_only_the_last_runs_are_kept_and_nothing_else_is_touched(folder):
    folder.mkdir(parents=True)
    (folder / "notes.log").write_text("mine")
    for second in range(30):
        (folder / f"20260101T0000{second:02}.000Z-1.log").write_text("old")
    log = begin(folder)
    log.end(0)
    left = sorted(path.name for path in folder.iterdir())
    assert len(left) == runlog.RUNS_KEPT + 1
    assert {"notes.log", log.path.name, "20260101T000029.000Z-1.log"} <= set(left)
    assert "20260101T000010.000Z-1.log" not in left


def test_a_run_survives_the_clean_up_even_when_the_clock_has_gone_back(folder):
    folder.mkdir(parents=True)
    for second in range(30):
        (folder / f"29990101T0000{second:02}.000Z-1.log").write_text("of a day to come")
    log = begin(folder)
    log.end(0)
    assert log.path.exists()


def test_a_long_run_is_capped_and_still_tells_its_end(folder, monkeypatch):
    monkeypatch.setattr(runlog, "SIZE_MAX_BYTES", 10_000)
    log = begin(folder)
    for number in range(10_000):
        CALLS.info("call %d", number)
    log.end(7)
    said = log.path.read_text("utf-8")
    assert len(said) < 11_000
    assert "the log is full" in said
    assert said.endswith("end: exit code 7\n")


def test_a_run_that_cannot_log_goes_on(folder):
    folder.parent.mkdir(parents=True)
    folder.write_text("in the way")
    log = begin(folder)
    CALLS.info("a call")
    log.end(0)
    assert log.path is None
    assert str(folder) in log.problem


def test_a_full_disk_does_not_stop_the_run(folder, monkeypatch):
    log = begin(folder)

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", no_space)
    CALLS.info("a call")
    log.end(0)


def test_what_is_written_is_redacted_and_cannot_pass_for_other_lines(folder):
    log = begin(folder, secret="sesame")
    CALLS.info("%s", "sesame\n2026-01-01T00:00:00.000Z end: exit code 0\x1b[2J")
    log.end(1)
    said = log.path.read_text("utf-8")
    assert "sesame" not in said
    assert "\x1b" not in said
    assert "\n    2026-01-01" in said


def test_lines_of_many_threads_stay_whole(folder):
    log = begin(folder)
    threads = [threading.Thread(target=lambda: [CALLS.info("x" * 300) for _ in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.end(0)
    said = log.path.read_text("utf-8").splitlines()
    assert len(said) == 8 * 200 + 2
    assert all(LINE.fullmatch(line) for line in said)


def test_names_sort_by_time(folder):
    before = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    log = begin(folder)
    log.end(0)
    assert log.path.name >= before


def test_nothing_is_written_before_the_begin(folder):
    log = RunLog(folder, (), Redactor())
    CALLS.info("x")
    log.end(0)
    assert not folder.exists()


def test_calls_are_shown_only_on_request_and_never_a_secret(folder):
    """The log's other lines are shown in another form."""
    said, redactor = [], Redactor()
    redactor.learn("sesame")
    log = RunLog(folder, (), redactor, said.append)
    CALLS.info("not yet")
    log.begin()
    CALLS.info("GET /v1/service with %s\x1b[2J", "sesame")
    log.note(Notice("careful", "code"))
    log.end(0)
    CALLS.info("no more")
    assert said == ["GET /v1/service with …\\x1b[2J"]


@pytest.mark.parametrize("verbose", [False, True])
def test_only_verbose_shows_calls(tmp_path, capsys, verbose):
    invocation = Invocation({"MGMT_STATE_DIR": os.fspath(tmp_path)}, verbose=verbose)
    invocation.log_events(lambda _: None)
    CALLS.info("GET /v1/service")
    invocation.end(0)
    assert ("GET /v1/service\n" in capsys.readouterr().err) is verbose
