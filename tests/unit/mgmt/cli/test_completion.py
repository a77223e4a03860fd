"""What Tab completes, in the shells themselves."""

import errno
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from mgmt.cli.completion import SCRIPTS
from mgmt.cli.main import main
from mgmt.known_names import KEPT_MAX, KnownNames

SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
PREPARED = {"bash": "", "zsh": "autoload -U compinit; compinit -u -D\n", "fish": ""}
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


@pytest.fixture
def desk(tmp_path, machine_without_settings, monkeypatch):
    """A folder with footage, a state folder that knows names, and an mgmt that says what it is given."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "mgmt"
    program.write_text(
        f'#!/bin/sh\nif [ -n "$_MGMT_COMPLETE" ]; then exec {sys.executable} -m mgmt "$@"; fi\n'
        "printf 'GIVEN'; for each in \"$@\"; do printf '<%s>' \"$each\"; done; echo\n"
    )
    program.chmod(0o755)
    work = machine_without_settings
    (work / "cards").mkdir()
    for name in ("A001_C001.mov", "my clip.mov"):
        (work / name).write_bytes(b"")
    names = KnownNames(tmp_path / "state")
    for key in ("shoots/day1/interview.mov.tar.gz", "DCIM.tar.gz", "cuts/rough cut.mov.tar.gz"):
        names.add(key)
    names.save()
    return tmp_path


def complete_in_bash(desk, *words):
    """What the script puts into COMPREPLY; nothing is what bash completes files for."""
    quoted = " ".join(f"'{word}'" for word in words)
    script = f"""{SCRIPTS["bash"]}
COMP_WORDS=(mgmt {quoted}); COMP_CWORD={len(words)}; _mgmt_completion mgmt
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


@needs_bash
def test_commands_options_choices_and_names_are_completed(desk):
    assert complete_in_bash(desk, "up") == ["upload"]
    assert set(complete_in_bash(desk, "")) > {"upload", "history", "show", "completion"}
    assert complete_in_bash(desk, "upload", "--rep") == ["--replace"]
    assert complete_in_bash(desk, "download", "--no") == ["--no-limits"]
    assert complete_in_bash(desk, "upload", "--compression", "b") == ["best"]
    assert complete_in_bash(desk, "config", "li") == ["list"]
    assert complete_in_bash(desk, "completion", "f") == ["fish"]
    assert complete_in_bash(desk, "show", "") == ["DCIM", "interview.mov", "rough\\ cut.mov"]
    assert complete_in_bash(desk, "history", "shoots/") == ["shoots/day1/interview.mov"]
    assert complete_in_bash(desk, "--json", "show", "DC") == ["DCIM"]


@needs_bash
def test_files_are_left_to_the_shell(desk):
    for words in (["upload", ""], ["upload", "A0"], ["upload", "--archive-dir", ""], ["show", "A0"]):
        assert complete_in_bash(desk, *words) == []


@needs_bash
def test_whatever_is_wrong_is_no_error_at_the_prompt(desk, monkeypatch):
    (desk / "state" / "known-names").write_bytes(b"\xff\xfe\x00")
    assert complete_in_bash(desk, "show", "") == []
    monkeypatch.setenv("MGMT_API_URL", "nonsense")
    assert complete_in_bash(desk, "sho") == ["show"]
    (desk / "bin" / "mgmt").write_text("#!/bin/sh\necho broken >&2; exit 1\n")
    assert complete_in_bash(desk, "sho") == []


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("typed", "given"),
    [
        ("mgmt upl\t A001\t", "GIVEN<upload><A001_C001.mov>"),
        ("mgmt upload my\t", "GIVEN<upload><my clip.mov>"),
        ("mgmt show inter\t", "GIVEN<show><interview.mov>"),
        ("mgmt show rough\t", "GIVEN<show><rough cut.mov>"),
        ("mgmt upload --archive-dir car\t", "GIVEN<upload><--archive-dir><cards"),
    ],
)
def test_tab_completes_at_a_real_prompt(desk, shell, typed, given):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    assert given in type_into(shell, desk, typed, given)


def type_into(shell, desk, typed, expected):
    """Type a line at a shell's prompt, with the script loaded; return what the terminal has shown."""
    script = desk / f"script.{shell}"
    script.write_text(SCRIPTS[shell])
    process_id, terminal = pty.fork()
    if process_id == 0:
        os.environ.update(TERM="xterm", PS1="READY> ", LC_ALL="C.UTF-8")
        os.execvp(shell, SHELLS[shell])  # noqa: S606  it is one
    try:
        said = converse(terminal, f"{PREPARED[shell]}source {script}; echo LOA''DED\n", "LOADED")
        return said + converse(terminal, f"{typed}\n", expected)
    finally:
        os.kill(process_id, 9)
        os.waitpid(process_id, 0)
        os.close(terminal)


def converse(terminal, line, expected, seconds=30):
    """Type a line and read until the expected text is there, or for long enough."""
    os.write(terminal, line.encode())
    said, end = "", time.monotonic() + seconds
    while expected not in said and time.monotonic() < end:
        readable, _, _ = select.select([terminal], [], [], 0.2)
        with suppress(OSError):
            said += os.read(terminal, 65_536).decode("utf-8", "replace") if readable else ""
    return said


# --- names that are known ------------------------------------------------------------------------------


def test_known_names_are_newest_first_bounded_and_each_once(tmp_path):
    for first in (0, 300):
        names = KnownNames(tmp_path)
        for number in range(first, first + 400):
            names.add(f"day/{number:04}.tar.gz")
        names.save()
    kept = (tmp_path / "known-names").read_text().splitlines()
    assert len(kept) == len(set(kept)) == KEPT_MAX
    assert kept[0] == "day/0300.tar.gz"
    assert (tmp_path / "known-names").stat().st_mode & 0o77 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["known-names"]


def test_names_that_cannot_be_kept_are_no_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    names = KnownNames(tmp_path / "file")
    names.add("clip.tar.gz")
    names.add("a\nb.tar.gz")
    names.save()
    assert names.complete("") == []


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_script_is_printed_for_each_shell_and_no_other(capsys, shell):
    assert main(["completion", shell]) == 0
    assert capsys.readouterr().out.strip() == SCRIPTS[shell].strip()
    assert main(["completion", "cmd.exe"]) == 2


def test_a_disk_that_takes_no_names_is_left_as_it_was(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", refuse)
    names = KnownNames(tmp_path)
    names.add("DCIM.tar.gz")
    names.save()
    assert list(tmp_path.iterdir()) == []
