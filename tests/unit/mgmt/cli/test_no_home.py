"""A user without a home folder, as containers have them: every command works or says what is missing."""

import json
import os
import subprocess
import sys

import pytest

from support.scripted_server import json_answer, scripted_server

NOBODY = """
import os, pwd, sys
def unknown(*_): raise KeyError("no such user")
pwd.getpwuid = pwd.getpwnam = unknown
sys.argv = ["mgmt", *sys.argv[1:]]
from mgmt.__main__ import run
run()
"""


def run_without_home(work, *arguments, **environment):
    kept = {
        name: value for name, value in os.environ.items() if name != "HOME" and not name.startswith(("MGMT_", "XDG_"))
    }
    return subprocess.run(
        [sys.executable, "-c", NOBODY, *arguments],
        cwd=work,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["upload", "clip"], 10),
        (["history"], 10),
        (["show", "clip"], 10),
        (["config", "list"], 0),
        (["config", "get", "MGMT_BUCKET"], 10),
        (["config", "path"], 9),
        (["config", "set", "MGMT_BUCKET", "footage"], 9),
        (["config"], 9),
        (["local", "status"], 9),
        (["--local", "history"], 9),
        (["upload", "--move-completed", "--completed-dir=~/done", "clip"], 2),
    ],
)
def test_no_command_fails_with_a_bug_without_a_home(tmp_path, arguments, exit_code):
    if "--move-completed" in arguments:
        environment = {"MGMT_API_URL": "http://127.0.0.1:1", "MGMT_TOKEN": "t", "MGMT_STATE_DIR": str(tmp_path / "s")}
    else:
        environment = {}
    done = run_without_home(tmp_path, *arguments, **environment)
    assert done.returncode == exit_code, done.stderr
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr
    assert "~" not in [each.name for each in tmp_path.iterdir()], (
        "a folder of that name would be made by who takes ~ for a path"
    )


def test_what_needs_a_folder_of_its_own_names_the_variable_for_it(tmp_path):
    (tmp_path / "clip").write_bytes(b"x")
    service = {"MGMT_API_URL": "http://127.0.0.1:1", "MGMT_TOKEN": "t"}
    done = run_without_home(tmp_path, "--json", "upload", "clip", **service)
    error = json.loads(done.stderr)
    assert (done.returncode, error["code"]) == (9, "no-home")
    assert "MGMT_STATE_DIR" in error["message"]
    assert "MGMT_LOCAL_STATE_DIR" in run_without_home(tmp_path, "local", "start").stderr
    assert "MGMT_CONFIG" in run_without_home(tmp_path, "config", "path").stderr


@pytest.mark.parametrize("arguments", [["config", "list"], ["history"]])
def test_a_home_that_is_none_holds_no_config_file(tmp_path, arguments):
    (tmp_path / "home").write_bytes(b"")
    with scripted_server(json_answer({"records": []})) as server:
        service = {"MGMT_API_URL": server.url, "MGMT_TOKEN": "t"}
        done = run_without_home(tmp_path, *arguments, HOME=str(tmp_path / "home"), **service)
    assert done.returncode == 0, done.stderr


def test_history_works_without_a_home_where_the_environment_says_it_all(tmp_path):
    with scripted_server(json_answer({"records": []})) as server:
        done = run_without_home(tmp_path, "--json", "history", MGMT_API_URL=server.url, MGMT_TOKEN="t")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["upload", "clip"], ["config", "set", "MGMT_BUCKET", "footage"]])
def test_a_home_that_cannot_be_written_is_a_sentence(tmp_path, arguments):
    """Held by a file in the home's place, which stops even root."""
    home = tmp_path / "home"
    home.write_bytes(b"")
    (tmp_path / "clip").write_bytes(b"x")
    service = {"MGMT_API_URL": "http://127.0.0.1:1", "MGMT_TOKEN": "t"}
    done = run_without_home(tmp_path, *arguments, HOME=str(home), **service)
    assert done.returncode == 9, done.stderr
    assert done.stderr.startswith("mgmt: ")
    assert str(home) in done.stderr
