"""A newcomer's command lines: options in any place, slips, and words of other tools."""

import json
import re
from itertools import dropwhile
from pathlib import Path

import click
import pytest

from mgmt.cli.main import COMMANDS, main, mgmt
from mgmt.cli.pointers import POINTERS
from mgmt.errors import NotConfiguredError

pytestmark = pytest.mark.usefixtures("machine_without_settings")


# --- options of every command --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [["--json", "config", "list"], ["config", "--json", "list"], ["config", "list", "--json"]]
)
def test_json_is_taken_before_a_command_and_after_it(arguments, capsys):
    assert main(arguments) == 0
    assert {json.loads(line)["type"] for line in capsys.readouterr().out.splitlines()} == {"setting"}


@pytest.mark.parametrize("arguments", [["-q", "history"], ["history", "-q"], ["history", "--quiet", "clip"]])
def test_quiet_is_taken_before_a_command_and_after_it(arguments, capsys, service):
    assert main(arguments) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("arguments", [["-v", "history"], ["history", "-v"]])
def test_verbose_is_taken_before_a_command_and_after_it(arguments, capsys, service):
    assert main(arguments) == 0
    assert "GET /v1/history: 200" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--local", "show", "x"], ["show", "--local", "x"], ["show", "x", "--local"]])
def test_local_is_taken_before_a_command_and_after_it(arguments, capsys, monkeypatch, service):
    def refuse(*_):
        raise SystemExit(77)

    monkeypatch.setattr("mgmt.cli.backend.reach_backend", refuse)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 77
    assert service.asked == []


def test_what_excludes_another_option_does_so_in_every_place(capsys):
    for arguments in (["-q", "-v", "history"], ["-q", "history", "-v"], ["history", "-q", "-v"]):
        assert main(arguments) == 2
        assert "--verbose and --quiet cannot be used together" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["history", "--bogus", "--json"], ["show", "--json"], ["uplaod", "--json"], ["local", "--json"]]
)
def test_a_usage_error_is_json_wherever_json_was_asked_for(arguments, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert (said.out, json.loads(said.err)["exit_code"]) == ("", 2)


def test_the_value_of_an_option_and_what_follows_two_hyphens_is_not_taken_for_a_global_option(capsys):
    assert main(["upload", "--as", "--json", "clip"]) == 10
    assert capsys.readouterr().err.startswith("mgmt: ")
    assert main(["upload", "--", "--json"]) == 10
    assert capsys.readouterr().err.startswith("mgmt: ")


# --- words that are no command -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["uplaod", "clip"], "Did you mean `mgmt upload`?"),
        (["histroy"], "Did you mean `mgmt history`?"),
        (["Upload"], "Did you mean `mgmt upload`?"),
        (["local", "stauts"], "Did you mean `mgmt local status`?"),
        (["config", "lst"], "Did you mean `mgmt config list`?"),
        (["ls"], "`mgmt history`"),
        (["files", "clip"], "`mgmt contents NAME`"),
        (["put", "clip"], "`mgmt upload FILE`"),
        (["push"], "`mgmt upload FILE`"),
        (["help"], "`mgmt --help`"),
        (["local", "help"], "`mgmt local --help`"),
        (["auth"], "`mgmt login`"),
        (
            ["xyzzy"],
            "upload, resume, cancel, download, safe, history, show, contents, delete, undelete, login, logout, ",
        ),
    ],
)
def test_a_word_that_is_no_command_leads_to_what_there_is(typed, said, capsys):
    assert main(typed) == 2
    told = capsys.readouterr().err
    assert f"no command '{typed[-1] if typed[0] in ('local', 'config') else typed[0]}'" in told
    assert said in told


def test_a_file_named_in_a_commands_place_can_be_uploaded(capsys, tmp_path):
    (tmp_path / "work" / "day 1").mkdir()
    assert main(["day 1"]) == 2
    assert "`mgmt upload 'day 1'`" in capsys.readouterr().err


def test_a_pointer_stands_for_no_command_and_leads_to_commands_that_exist():
    assert not POINTERS.keys() & COMMANDS.keys()
    for sentence in POINTERS.values():
        named = [each.partition("`")[0].split() for each in sentence.split("`mgmt ")[1:]]
        assert all(words[0] in COMMANDS or words[0].startswith("--") for words in named), sentence


# --- what messages name --------------------------------------------------------------------------------

PROJECT = Path(__file__).parents[4]
SPEAKING = [
    *(path for folder in ("client", "lambda") for path in (PROJECT / folder).rglob("*.py")),
    PROJECT / "README.md",
    # from-the-document.md names what is planned
    *(path for path in (PROJECT / "docs").glob("*.md") if path.name != "from-the-document.md"),
]


def commands_named():
    """Every command line that a sentence of ours holds, as its words."""
    for path in SPEAKING:
        for said in re.findall(r"`mgmt ([^`{]+)", path.read_text(encoding="utf-8")):
            yield path.name, said.split()


def find_command(words):
    """Look for the command that a line would run; what is left of the line."""
    command = mgmt
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, *words = words
        command = command.get_command(click.Context(command), name)
    return command, words


def test_no_sentence_names_a_command_or_an_option_that_does_not_exist():
    named = list(commands_named())
    assert len(named) > 30, "they were found"
    everywhere = {text for parameter in mgmt.params for text in parameter.opts} | {"--help"}
    for path, words in named:
        command, rest = find_command([*dropwhile(lambda word: word in everywhere, words)])
        if words[-1] == "COMMAND":
            continue
        assert command is not None, (path, words)
        known = everywhere | {text for parameter in command.params for text in parameter.opts}
        assert {each.partition("=")[0].strip("[]") for each in rest if each.startswith("--")} <= known, (path, words)


def test_a_hint_keeps_the_backend_that_the_command_was_given(capsys, monkeypatch):
    def refuse(*_):
        raise NotConfiguredError("Nothing. `mgmt history` lists it; `mgmt config` and `mgmt --local` are as they are.")

    monkeypatch.setattr("mgmt.cli.backend.reach_backend", refuse)
    assert main(["-q", "show", "x", "--local"]) == 10
    said = " ".join(capsys.readouterr().err.split())
    assert "`mgmt --local history` lists it; `mgmt config` and `mgmt --local` are as they are." in said


def test_no_sentence_sends_to_a_package_that_no_index_has():
    for path in SPEAKING:
        assert "media-mgmt" not in path.read_text(encoding="utf-8"), path
