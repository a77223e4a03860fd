"""What a person sees in a real terminal: nothing wraps, nothing is left behind, the cursor comes back."""

import os
import random
import re
import sys
import threading

import pytest

from mgmt.text import display_width
from support.local_backend import wait_until
from support.screen import screen_of

MB = 1_000_000
SIZES = [(20, 40), (80, 24)]


@pytest.fixture
def surroundings(anna):
    """What a command sees of its terminal's shell."""
    return {**anna.environment, "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


def mgmt(*arguments):
    return [sys.executable, "-m", "mgmt", *arguments]


def noise(path, size):
    path.write_bytes(random.Random(path.name).randbytes(size))  # noqa: S311  noise stands for footage


@pytest.mark.parametrize("size", SIZES)
def test_an_upload_fits_the_terminal_from_its_first_bar_to_its_last_word(team, anna, surroundings, size):
    are_bars_seen = threading.Event()

    def wait_for_the_look(_):
        are_bars_seen.wait(60)
        return "none"

    team.storage.fault = wait_for_the_look
    noise(anna.work / "A001_C003_0826BQ_interview.mov", 3 * MB)
    noise(anna.work / "映画 テイク.mov", 2 * MB)
    command = mgmt("upload", "--limit-rate", "2500k", "all", "nothing-of-this-name")
    with screen_of(command, size, anna.work, surroundings) as screen:
        screen.wait_until(lambda text: "of 3" in text)
        during = screen.unwrapped()
        are_bars_seen.set()
        assert screen.wait_for_end() == 3
        after = screen.unwrapped()
        assert screen.shows_cursor()
    for line in during + after:
        assert display_width(line) <= size[0], line
    said = " ".join(" ".join(after).split())
    assert "2 uploaded, 1 failed" in said
    assert "of 3" not in said, "the bars are gone"
    assert "Traceback" not in said


def test_the_line_over_all_says_what_the_large_one_comes_to_while_tiny_ones_wait(anna, surroundings):
    """Four tiny folders and a card: when most of the card is sent, most of all is, and little time is left."""
    for name in ("a1", "a2", "z1", "z2"):
        (anna.work / name).mkdir()
        noise(anna.work / name / "note.txt", 3000)
    (anna.work / "card").mkdir()
    noise(anna.work / "card" / "clip.mov", 24 * MB)
    with screen_of(mgmt("upload", "--limit-rate", "6M", "all"), (80, 24), anna.work, surroundings) as screen:
        text = screen.wait_until(lambda text: re.search(r"^all .* [789]\d % .*\d:\d\d$", text, re.MULTILINE))
        assert screen.wait_for_end() == 0
    percent, left = {}, {}
    for line in text.splitlines():
        if found := re.search(r"^(uploading|all) .* (\d+) %.* (\d):(\d\d)$", line):
            percent[found[1]] = int(found[2])
            left[found[1]] = 60 * int(found[3]) + int(found[4])
    assert "all        0 of 5 done" in text
    assert abs(percent["all"] - percent["uploading"]) <= 2, text
    assert abs(left["all"] - left["uploading"]) <= 2, text


def test_a_window_that_is_closed_interrupts_as_ctrl_c_does(anna, surroundings):
    noise(anna.work / "clip.mov", 4 * MB)
    with screen_of(mgmt("upload", "--limit-rate", "200k", "clip.mov"), (80, 24), anna.work, surroundings) as screen:
        screen.wait_until(lambda text: "uploading" in text)
    [log] = (anna.folder / "state" / "log").iterdir()
    wait_until(lambda: "end: exit code" in log.read_text())
    assert "error: 130 interrupted" in log.read_text()
    assert anna.left_overs() == ["clip.mov.tar.gz"]
    assert anna.run("upload", "clip.mov").exit_code == 0
    assert anna.left_overs() == []


@pytest.mark.parametrize("size", SIZES)
def test_an_interrupt_brings_the_cursor_back_and_leaves_no_bar(anna, surroundings, size):
    noise(anna.work / "clip.mov", 4 * MB)
    with screen_of(mgmt("upload", "--limit-rate", "200k", "clip.mov"), size, anna.work, surroundings) as screen:
        screen.wait_until(lambda text: "uploading" in text)
        assert not screen.shows_cursor()
        screen.press("C-c")
        assert screen.wait_for_end() == 130
        assert screen.shows_cursor()
        lines = screen.unwrapped()
    assert lines[0].startswith("note:")
    assert "/clip.mov.tar.gz.Runthesamecommandtoresume." in "".join("".join(lines).split()), (
        "however its lines are broken"
    )
    assert any(line.startswith("mgmt: Interrupted.") for line in lines)
    assert max(map(len, lines)) <= size[0]
    assert "uploading" not in " ".join(lines)


def test_a_single_upload_tells_its_whole_key_on_a_narrow_terminal(anna, surroundings):
    noise(anna.work / "clip.mov", 1000)
    command = mgmt("upload", "--prefix", "a/rather/long/prefix", "clip.mov")
    with screen_of(command, (30, 20), anna.work, surroundings) as screen:
        assert screen.wait_for_end() == 0
        said = screen.text()
    assert "a/rather/long/prefix/clip.mov.tar.gz" in "".join(said.split())


@pytest.mark.parametrize(("options", "environment"), [(["--no-color"], {}), ([], {"TERM": "dumb"})])
def test_colours_can_be_turned_off(anna, surroundings, options, environment):
    noise(anna.work / "clip.mov", 1000)
    command = [
        "env",
        *(f"{name}={value}" for name, value in environment.items()),
        *mgmt(*options, "upload", "clip.mov"),
    ]
    with screen_of(command, (80, 24), anna.work, surroundings) as screen:
        assert screen.wait_for_end() == 0
        assert "\x1b[" not in screen.colored()
        assert "clip.mov" in screen.text()


def test_history_and_show_fit_a_narrow_terminal(anna, surroundings):
    noise(anna.work / "映画 テイク 2 long name of a clip.mov", 1000)
    assert anna.run("upload", "all").exit_code == 0
    for command in (["history"], ["show", "映画 テイク 2 long name of a clip.mov"]):
        with screen_of(mgmt(*command), (20, 80), anna.work, surroundings) as screen:
            assert screen.wait_for_end() == 0
            assert max(map(display_width, screen.unwrapped())) <= 20
            assert "success" in screen.text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["upload", "--help"],
        ["history", "--help"],
        ["upload", "--dry-run", "clip.mov", "missing"],
        ["upload", "missing"],
        ["show", "clip.mov"],
        ["uplaod"],
        ["history", "--since", "soon"],
    ],
)
def test_no_word_is_torn_by_a_narrow_terminal(anna, surroundings, arguments):
    """Every line fits, so that the terminal breaks none; a path may be broken after a sign."""
    noise(anna.work / "clip.mov", 1000)
    with screen_of(mgmt(*arguments), (40, 200), anna.work, surroundings) as screen:
        screen.wait_for_end()
        lines = screen.unwrapped()
    assert max(map(display_width, lines)) <= 40
    assert any(lines)
