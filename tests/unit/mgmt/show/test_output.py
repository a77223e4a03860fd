"""What is written, and what becomes of a stream that takes no more."""

import errno
import io
import json

import pytest

from mgmt.show import Output, Style


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
