"""Terminals narrow and plain, pipes that close, and no terminal at all."""

import os
import re
import subprocess

import pytest

from support.inputs import finish
from support.team import Run
from support.terminal import run_in_terminal
from support.trees import noise

COLOR = re.compile(r"\x1b\[[0-9;]*m")
MB = 1_000_000


def lines(run):
    """Return the lines of a terminal without its codes."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", run.stdout).replace("\r", "\n").splitlines()


def unwrapped(run):
    """Return what a terminal was told as if it were endlessly wide."""
    return Run(run.exit_code, " ".join(" ".join(lines(run)).split()), run.stderr)


@pytest.fixture
def clip(desk):
    path = desk.work / "clip.mov"
    path.write_bytes(noise(18 * MB))
    return path


@pytest.mark.entry("terminal 20 columns wide")
def test_a_narrow_terminal_gets_every_word(desk, clip):
    run = run_in_terminal(desk, "upload", "clip.mov", columns=20)
    desk.check(unwrapped(run), 0, ["✓ clip.mov"], stores={"clip.mov.tar.gz": "clip.mov"})
    assert f"{desk.team.bucket}/{desk.prefix}/clip.mov.tar.gz" in unwrapped(run).stdout.replace(" ", "")
    assert max(map(len, lines(run))) <= 20


@pytest.mark.entry("terminal 20 columns wide", "an error")
def test_a_narrow_terminal_gets_every_word_of_an_error(desk):
    run = run_in_terminal(desk, "upload", "clip.mov", columns=20)
    desk.check(unwrapped(run), 4, ["'clip.mov' not found in /"])


@pytest.mark.entry("NO_COLOR")
def test_no_colours_where_none_are_wanted(desk, clip):
    """A terminal still has bars; only colours go."""
    coloured = run_in_terminal(desk, "upload", "missing", columns=80)
    assert COLOR.search(coloured.stdout), "without NO_COLOR there are colours, or this test shows nothing"
    run = run_in_terminal(desk, "upload", "clip.mov", "missing", columns=80, environment={"NO_COLOR": "1"})
    assert not COLOR.search(run.stdout)
    desk.check(unwrapped(run), 3, ["'missing' not found in /"], stores={"clip.mov.tar.gz": "clip.mov"})


@pytest.mark.entry("output piped into head", "a pipe that is closed already")
def test_a_closed_pipe_silences_the_output_and_not_the_work(desk):
    for name in "abc":
        (desk.work / name).write_text(name)
    reading, writing = os.pipe()
    os.close(reading)
    process = desk.begin("upload", "all", stdout=writing)
    os.close(writing)
    stored = {f"{name}.tar.gz": name for name in "abc"}
    desk.check(finish(process), 0, stores=stored, does="uploads all of them")


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["--json", "upload", "all"], marks=pytest.mark.entry("output piped into head", "upload")),
        pytest.param(["history", "--all"], marks=pytest.mark.entry("output piped into head", "history")),
        pytest.param(["--help"], marks=pytest.mark.entry("output piped into head", "help")),
    ],
)
def test_output_that_goes_into_head(desk, command):
    for number in range(3):
        (desk.work / f"{number}").write_bytes(b"x")
    process = desk.begin(*command)
    with subprocess.Popen(["head", "-n", "1"], stdin=process.stdout, stdout=subprocess.PIPE, text=True) as head:
        process.stdout.close()
        process.stdout = None
        said = head.communicate(timeout=60)[0]
    run = finish(process)
    stores = {f"{number}.tar.gz": f"{number}" for number in range(3)} if "upload" in command else {}
    desk.check(Run(run.exit_code, said, run.stderr), 0, stores=stores, does="shows the first line, and ends well")
    assert said.count("\n") == 1


@pytest.mark.entry("stdin not a terminal", "closed")
def test_a_closed_stdin(desk):
    (desk.work / "clip").write_bytes(b"x")
    process = desk.begin("upload", "clip", stdin=None, preexec_fn=lambda: os.close(0))
    desk.check(finish(process), 0, ["✓ clip"], stores={"clip.tar.gz": "clip"})


@pytest.mark.entry("stdin not a terminal", "`mgmt config`, which asks")
def test_nobody_to_answer_questions(desk):
    """It must neither wait for ever nor write half a configuration."""
    run = desk.run("config")
    desk.check(run, 2, ["could not ask", "mgmt config set"], does="asks and writes nothing, says what sets a value")
    assert not (desk.laptop.folder / "config").exists()


@pytest.mark.entry("stdin not a terminal", "stdout neither: no codes, no bars")
def test_words_that_go_into_files(desk, clip):
    run = desk.run("upload", "clip.mov", "missing", environment={"TERM": "xterm-256color", "FORCE_COLOR": None})
    desk.check(run, 3, ["✓ clip.mov", "'missing' not found in /"], stores={"clip.mov.tar.gz": "clip.mov"})
