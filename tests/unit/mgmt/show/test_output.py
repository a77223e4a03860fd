"""What is written, and what becomes of a stream that takes no more."""

import ctypes
import errno
import io
import json
import sys
from types import SimpleNamespace

import pytest

from mgmt.show import Output, Style, obeys_colors


class NearlyFull(io.TextIOWrapper):
    """A stream whose disk is full at the very end: when the line end is set back, which writes out what is left."""

    def reconfigure(self, **settings):
        if settings == {"newline": None}:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().reconfigure(**settings)


def test_a_disk_that_is_full_after_the_last_line_is_told_as_one_that_was_full_before():
    stream = NearlyFull(io.BytesIO(), encoding="utf-8")
    output = Output(Style(), stdout=stream)
    with output.lines_end_with("\r\n"):
        output.line("a,b")
    assert output.failure is not None
    assert output.failure.errno == errno.ENOSPC
    assert stream.buffer.getvalue() == b"a,b\r\n"


@pytest.mark.parametrize(
    "sign", ["\x1b", "\x7f", "\x85", "\x9b", "\u200e", "\u2028", "\u2029", "\u202e", "\u2066"], ids=ascii
)
def test_a_json_line_is_one_line_that_no_terminal_obeys_and_says_the_same(sign):
    """Also where somebody looks at it: a name may have been chosen to move the cursor, or to look like another."""
    out, err = io.StringIO(), io.StringIO()
    output = Output(Style(as_json=True), stdout=out, stderr=err)
    value = {"name": f"a{sign}2Jb"}
    output.json(value)
    assert json.loads(out.getvalue()) == value
    assert out.getvalue() == f'{{"name":"a\\u{ord(sign):04x}2Jb"}}\n'
    assert len(out.getvalue().splitlines()) == 1


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp932"])
def test_json_for_a_stream_that_is_not_in_unicode_loses_no_name(encoding):
    """As to a file or pipe on Windows: each reader of JSON understands it, whatever encoding it takes it for."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    value = {"name": "Käse ✓ 日本 \U0001f3ac … \x85 \udce9"}
    Output(Style(as_json=True), stdout=stream).json(value)
    assert json.loads(stream.buffer.getvalue().decode("ascii")) == {"name": "Käse ✓ 日本 \U0001f3ac … \x85 \\xe9"}


@pytest.mark.parametrize("columns", [None, 20, 40, 200])
def test_a_question_breaks_between_words_and_leaves_room_for_the_answer(columns, monkeypatch):
    monkeypatch.setattr("mgmt.show._width_of", lambda _: columns)
    question = "Delete 1 upload? For 30 days `mgmt undelete` brings back what is deleted."
    lines = Output(Style()).question(question).split("\n")
    assert " ".join(" ".join(lines).split()) == question
    if columns is None or columns == 200:
        assert lines == [question]
    else:
        assert max(len(f"{line} [y/N]: y") for line in lines) <= columns


class Console:
    """Windows' console, as far as it is asked: which modes were set, and whether it knows the new one."""

    def __init__(self, *, is_new):
        self.is_new = is_new
        self.modes = []

    def GetConsoleMode(self, handle, mode):  # noqa: N802  Windows' name
        mode._obj.value = 0x3
        return int(handle.value != NUL.fileno() * 10)

    def SetConsoleMode(self, handle, mode):  # noqa: N802  Windows' name
        self.modes.append((handle.value, mode))
        return int(self.is_new)


class Terminal(io.StringIO):
    def __init__(self, descriptor):
        super().__init__()
        self.descriptor = descriptor

    def isatty(self):
        return True

    def fileno(self):
        return self.descriptor


NUL = Terminal(9)
"""Python says of it that it is a terminal."""


@pytest.mark.parametrize(
    ("stream", "is_new", "has_colors", "modes"),
    [
        (Terminal(7), True, True, [(70, 0x7)]),
        (Terminal(7), False, False, [(70, 0x7)]),
        (NUL, False, True, []),
        (io.StringIO(), False, True, []),
    ],
    ids=["asked", "too old", "NUL", "a file"],
)
def test_a_console_of_windows_is_asked_to_obey_colors(monkeypatch, stream, is_new, has_colors, modes):
    """It shows their codes as signs until then, and one of before 2016 always."""
    console = Console(is_new=is_new)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=console), raising=False)
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(get_osfhandle=lambda descriptor: descriptor * 10))
    assert obeys_colors([stream]) is has_colors
    assert console.modes == modes
