import inspect
import json
import os
import re
import signal
import socket
import subprocess
import sys
from importlib import import_module
from urllib.parse import quote

import click
import pytest
from click.testing import CliRunner

from mgmt.cli.main import COMMANDS, main, mgmt
from mgmt.errors import EXIT_NO, MgmtError
from mgmt.team.history import read_name
from mgmt.text import with_local_option
from mgmt_contract.texts import is_short
from support.generated_docs import GENERATED, PROJECT, SCRIPTS_PAGE, filled_in
from support.interrupts import INTERRUPTS
from support.scripted_server import Answer, json_answer, scripted_server

pytestmark = pytest.mark.usefixtures("machine_without_settings")


def every_command():
    for name, entry in COMMANDS.items():
        command = getattr(import_module(entry.module), name)
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {sub}", each) for sub, each in command.commands.items())


ALL = dict(every_command())


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_help_with_an_example_and_its_exit_codes(name):
    result = CliRunner().invoke(mgmt, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"mgmt {name.split()[0]}" in result.output.partition("Example")[2] or "mgmt --json" in result.output
    assert "Exit codes: 0" in result.output
    said = result.output.partition("Exit codes:")[2].partition("Options:")[0]
    codes = {int(code) for code in re.findall(r"\b(\d+) [a-z]", said)}
    assert codes <= {0, 2, 3, EXIT_NO, *(kind.exit_code for kind in MgmtError.__subclasses__())}


@pytest.mark.parametrize("name", ALL)
def test_on_80_columns_what_is_laid_out_by_hand_stands_as_it_is_written(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    page = CliRunner().invoke(mgmt, [*name.split(), "--help"]).output
    blocks = re.findall(r"\x08\n(.*?)(?:\n\n|\Z)", inspect.cleandoc(ALL[name].help), re.DOTALL)
    assert blocks
    for line in "\n".join(blocks).splitlines():
        assert f"\n  {line.rstrip()}\n" in page


@pytest.mark.parametrize("name", [name for name in ALL if isinstance(ALL[name], click.Group)])
def test_a_group_says_whole_what_its_commands_do(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert "..." not in CliRunner().invoke(mgmt, [name, "--help"]).output.partition("Commands:")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_the_command_says(name):
    first = (ALL[name].help or "").split("\n\n")[0]
    assert " ".join(first.split()).startswith(COMMANDS[name].summary.rstrip(".").split(";")[0].split(",")[0])


@pytest.mark.parametrize("document", GENERATED, ids=lambda document: document.name)
def test_documents_are_as_generated(document):
    assert document.read_text(encoding="utf-8") == filled_in(document)


def test_the_page_for_scripts_names_every_type_of_json_line():
    written = {
        name
        for module in (PROJECT / "client" / "mgmt").rglob("*.py")
        for name in re.findall(r'"type": "(\w+)"', module.read_text(encoding="utf-8"))
    }
    section = SCRIPTS_PAGE.read_text(encoding="utf-8").partition("## JSON lines")[2].partition("##")[0]
    assert written == set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))


def test_csv_and_json_are_not_written_at_once(capsys):
    for command in (["history"], ["contents", "a"]):
        assert main([*command, "--csv", "--json"]) == 2
        assert json.loads(capsys.readouterr().err)["code"] == "csv-or-json"


def test_a_bad_option_is_a_sentence_with_2(capsys):
    assert main(["upload", "--no-such-option", "x"]) == 2
    assert "no-such-option" in capsys.readouterr().err
    assert main(["--json", "nothing"]) == 2
    assert json.loads(capsys.readouterr().err)["exit_code"] == 2


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["upload", ""], 2),
        (["upload", "--as", "x", "a", "b"], 2),
        (["upload", "--as", "x", "all"], 2),
        (["-v", "-q", "history"], 2),
        (["upload", "a"], 10),
        (["history"], 10),
        (["show", "a"], 10),
        (["contents", "a"], 10),
        (["contents", ""], 2),
        (["contents", "a", "--replace"], 2),
        (["contents", "a", "--gzidx", "x", "--csv"], 2),
        (["contents", "a", "--gzidx", ""], 2),
        (["contents", "a", "*", "--gzidx", "x"], 2),
        (["contents", "a", "--gzidx", "nowhere/x"], 2),
        (["download", "a", "--no-limits"], 2),
        (["download", "a", "--no-limits", "--extract"], 10),
        (["download", "a", "--no-limits", "--only", "*"], 10),
        (["config", "get", "MGMT_BUCKET"], 10),
        (["config", "get", "MGMT_TOKEN"], 2),
        (["config", "set", "PATH", "x"], 2),
        (["local", "token", ""], 2),
        (["local", "token", "a\x1b[0m"], 2),
        (["config", "set", "MGMT_API_URL", "nonsense"], 2),
    ],
)
def test_what_makes_no_sense_or_is_not_configured_says_so(arguments, exit_code, capsys):
    assert main(arguments) == exit_code
    said = capsys.readouterr().err
    assert said.startswith("mgmt: ")
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["--limit-rate", "fast"],
        ["--limit-rate", "0"],
        ["--limit-rate", "9" * 320],
        ["--limit-rate", "9" * 5000 + "k"],
        ["--tag", "novalue"],
        ["--tag", "=x"],
    ],
)
def test_bad_values_of_options_are_usage_errors(arguments, monkeypatch):
    monkeypatch.setenv("MGMT_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("MGMT_TOKEN", "sesame")
    assert main(["upload", "a", *arguments]) == 2


def test_config_is_set_read_listed_and_removed(capsys, tmp_path):
    assert main(["config", "set", "MGMT_API_URL", "https://s.example"]) == 0
    assert main(["config", "set", "MGMT_OBJECT_PREFIX", "shoots"]) == 0
    assert main(["config", "get", "MGMT_API_URL"]) == 0
    assert capsys.readouterr().out == "https://s.example\n"
    assert main(["--json", "config", "list"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {
        "type": "setting",
        "name": "MGMT_OBJECT_PREFIX",
        "value": "shoots",
        "origin": str(tmp_path / "config"),
    } in listed
    assert main(["config", "set", "MGMT_OBJECT_PREFIX", ""]) == 0
    assert main(["config", "get", "MGMT_OBJECT_PREFIX"]) == 10
    assert main(["config", "path"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "config")


def test_a_token_is_not_listed(capsys, monkeypatch):
    monkeypatch.setenv("MGMT_TOKEN", "sesame")
    assert main(["config", "list"]) == 0
    out = capsys.readouterr().out
    assert "sesame" not in out
    assert "MGMT_TOKEN=(set)" in out


def test_a_bug_is_a_sentence_and_not_a_traceback(capsys, monkeypatch):
    monkeypatch.setattr("mgmt.settings.resolve_settings", lambda *_: 1 / 0)
    assert main(["history"]) == 1
    said = capsys.readouterr().err
    assert "This is a bug in mgmt" in said
    assert "Traceback" not in said


def test_a_captive_portal_ends_with_7_and_leaves_nothing(capsys, monkeypatch, tmp_path):
    (tmp_path / "work" / "clip").write_text("x")
    portal = Answer(200, b"<html>Welcome to the airport", {"content-type": "text/html"})
    with scripted_server(portal) as server:
        monkeypatch.setenv("MGMT_API_URL", server.url)
        monkeypatch.setenv("MGMT_TOKEN", "sesame")
        assert main(["upload", "clip"]) == 7
    assert "sign-in page" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["clip"]


def test_a_bad_time_says_what_is_expected(capsys, monkeypatch):
    assert main(["history", "--since", "yesterday"]) == 2
    assert "Can't read 'yesterday' as a time; try 7d, 12h, 2026-11-01" in capsys.readouterr().err


def test_relative_and_absolute_times_reach_the_service(monkeypatch, capsys):
    with scripted_server(json_answer({"records": []})) as server:
        monkeypatch.setenv("MGMT_API_URL", server.url)
        monkeypatch.setenv("MGMT_TOKEN", "sesame")
        assert main(["history", "--since", "7d", "--until", "2999-11-01T12:00Z"]) == 0
        assert "until=2999-11-01T12%3A00%3A00.000Z" in server.asked[0].path
        assert "since=20" in server.asked[0].path
    assert capsys.readouterr().err == "Nothing found.\n"


def test_output_piped_into_head_is_no_error(monkeypatch):
    """A reader that has read enough closes the pipe; that is its right, and no traceback is due."""
    record = {
        "operation_id": "x", "operation_type": "upload", "target_path": "t", "started_at": "2026-01-01T00:00:00Z",
        "status": "success", "result_path": None, "error_message": None, "compression_type": "gzip",
        "compressed_file_path": "", "s3_bucket": "b", "s3_object_key": "k" * 5000, "source_file_record": None,
        "compressed_file_record": None, "s3_file_record": None,
    }  # fmt: skip
    with scripted_server(json_answer({"records": [record] * 100})) as server:
        environment = {**os.environ, "MGMT_API_URL": server.url, "MGMT_TOKEN": "sesame"}
        command = f"{sys.executable} -m mgmt --json history | head -n 1"
        done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True, check=False)  # noqa: S602  the pipe is the test
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("how", INTERRUPTS)
def test_an_interrupt_while_waiting_for_the_service_is_130(tmp_path, how):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        environment = {**os.environ, "MGMT_API_URL": f"http://127.0.0.1:{deaf.getsockname()[1]}", "MGMT_TOKEN": "t"}
        process = subprocess.Popen(
            [sys.executable, "-m", "mgmt", "history"], env=environment, stderr=subprocess.PIPE, text=True
        )
        connection, _ = deaf.accept()
        process.send_signal(how)
        _, stderr = process.communicate(timeout=20)
        connection.close()
    assert process.returncode == 130
    assert "Traceback" not in stderr


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there are no terminals that hang up")
def test_under_nohup_a_command_goes_on_when_its_terminal_is_closed():
    with socket.create_server(("127.0.0.1", 0)) as service:
        address = f"127.0.0.1:{service.getsockname()[1]}"
        process = subprocess.Popen(
            ["nohup", sys.executable, "-m", "mgmt", "--json", "history"],
            env={**os.environ, "MGMT_API_URL": f"http://{address}", "MGMT_TOKEN": "t"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        connection, _ = service.accept()
        process.send_signal(signal.SIGHUP)
        connection.recv(65536)
        body = json.dumps({"records": []})
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.sendall(f"{head}{body}".encode())
        _, stderr = process.communicate(timeout=20)
        connection.close()
    assert (process.returncode, stderr) == (0, "")


@pytest.mark.parametrize(
    ("typed", "asked"),
    [("DCIM/", "DCIM"), ("./clip.mp4", "clip.mp4"), ("s3://footage/day1/clip.mp4.tar.gz", "day1/clip.mp4.tar.gz")],
)
@pytest.mark.parametrize("command", ["history", "show"])
def test_a_name_as_shells_complete_it_and_as_an_upload_prints_it_is_understood(
    command, typed, asked, monkeypatch, capsys
):
    with scripted_server(json_answer({"records": []})) as server:
        monkeypatch.setenv("MGMT_API_URL", server.url)
        monkeypatch.setenv("MGMT_TOKEN", "t")
        assert main([command, typed]) == (4 if command == "show" else 0)
    assert f"name={quote(asked, safe='')}&" in f"{server.asked[0].path}&"


@pytest.mark.parametrize("command", ["history", "show"])
def test_an_empty_name_is_no_name_instead_of_every_name(command, monkeypatch, capsys):
    """As from a script whose variable is not set."""
    with scripted_server(json_answer({"records": []})) as server:
        monkeypatch.setenv("MGMT_API_URL", server.url)
        monkeypatch.setenv("MGMT_TOKEN", "t")
        assert main([command, ""]) == 2
    assert "'' is no name" in capsys.readouterr().err
    assert server.asked == []


@pytest.mark.parametrize("command", ["history", "show"])
@pytest.mark.parametrize("typed", ["new\nline", "day1/\x1b[31mred"], ids=["line", "color"])
def test_a_name_that_no_upload_can_have_is_said_to_be_none(command, typed, monkeypatch, capsys):
    """As of a folder that was uploaded with --as, because its own name cannot be stored."""
    with scripted_server(json_answer({"records": []})) as server:
        monkeypatch.setenv("MGMT_API_URL", server.url)
        monkeypatch.setenv("MGMT_TOKEN", "t")
        assert main([command, typed]) == 4
    said = " ".join(capsys.readouterr().err.split())
    assert "no upload has such a name: it was given another one with --as" in said
    assert not any(ord(each) < 32 for each in said)


TAKING_A_NAME = ["history", "show", "contents", "download", "cancel --yes", "resume", "safe . --against"]


@pytest.mark.usefixtures("machine_without_settings")
@pytest.mark.parametrize("command", TAKING_A_NAME)
@pytest.mark.parametrize("typed", ["n" * 1018, "ü" * 509, "s3://footage/" + "/".join(["n" * 100] * 11), "n" * 10_000])
def test_a_name_longer_than_any_key_is_said_to_be_none_with_the_limit(command, typed, monkeypatch, capsys):
    """The service would refuse the request, in words for a program."""
    with scripted_server(json_answer({"records": []})) as server:
        monkeypatch.setenv("MGMT_API_URL", server.url)
        monkeypatch.setenv("MGMT_TOKEN", "t")
        assert main([*command.split(), typed]) == 4
    said = " ".join(capsys.readouterr().err.split())
    size = len(typed.removeprefix("s3://footage/").encode()) + len(".tar.gz")
    assert f"is too long: no upload has such a name. With .tar.gz at its end it has {size:,} bytes" in said
    assert "a key in S3 has 1,024 at most" in said
    assert len(said) < 400


@pytest.mark.parametrize(
    "typed",
    [
        "n" * 1017,
        "n" * 1017 + ".tar.gz",
        "u\u0308" * 508,
        "\u03b1\u0313\u0300\u0345" * 339,
        '"' * 1016 + "/",
        "/" + '"' * 1017,
    ],
)
def test_a_name_as_long_as_a_key_is_looked_for(typed, monkeypatch):
    with scripted_server(json_answer({"records": []})) as server:
        monkeypatch.setenv("MGMT_API_URL", server.url)
        monkeypatch.setenv("MGMT_TOKEN", "t")
        assert main(["history", typed]) == 0
        assert server.asked
    assert is_short(read_name(typed).text)


@pytest.mark.parametrize("person", ["n" * 2049, "a\nb"])
def test_a_person_whom_no_record_can_name_is_refused_in_plain_words(person, capsys, monkeypatch):
    monkeypatch.setenv("MGMT_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("MGMT_TOKEN", "t")
    assert main(["history", "--by", person]) == 2
    assert "nobody has so long a name, or one with a control character" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("group", [[], ["local"]])
def test_who_names_no_command_reads_the_help_and_a_program_one_line(group, capsys):
    assert main(group) == 2
    assert "\nCommands:\n" in capsys.readouterr().err
    assert main(["--json", *group]) == 2
    assert json.loads(capsys.readouterr().err)["message"].startswith("Missing command. See `mgmt")


def test_sentences_name_every_command_of_a_service_with_local_where_that_is_the_service():
    without_a_service = {"login", "logout", "whoami", "config", "local", "completion"}
    told = {name for name in COMMANDS if "--local" in with_local_option(f"Run `mgmt {name}` again.")}
    assert told == set(COMMANDS) - without_a_service
