"""A verdict as a person reads it: short lists, escaped names, and one last line that counts."""

import io
import json

import pytest

from mgmt.archive.member_digests import Digests
from mgmt.events import Finished
from mgmt.safe import Summary, Verdict
from mgmt.safe.reading import Read
from mgmt.safe.spool import Spool
from mgmt.show import Output, Style
from mgmt.show.safe import SafeView

READ = Read(Digests("blake3:1", 3, 30, 2, 0), 1, None)


@pytest.fixture
def stdout():
    return io.StringIO()


def view_of(stdout, **style):
    return SafeView(Output(Style(**style), stdout, io.StringIO()))


def unsafe(spool, count, name=b"clip-%04d"):
    for number in range(count):
        spool.note_problem(name % number if b"%" in name else name, "unreadable", "input/output error")
    spool.decide({})
    return Verdict("safe-1", "CARD", "unsafe", read=READ, spool=spool)


def test_of_many_findings_twenty_are_listed_and_the_others_are_counted(stdout):
    with Spool() as spool:
        view_of(stdout).show(Finished(unsafe(spool, 25)), None, is_alone=True)
    lines = stdout.getvalue().splitlines()
    assert lines[0] == "✗ CARD: NOT SAFE; 0 files, 0 B read again, 25 entries are not safe"
    assert lines[1] == "  CARD/clip-0000: cannot be read: input/output error"
    assert lines[21] == "  and 5 more that are not safe; --json lists all"


def test_a_program_gets_them_all(stdout):
    with Spool() as spool:
        view = view_of(stdout, as_json=True)
        view.json(Finished(unsafe(spool, 25)))
    assert [json.loads(line)["code"] for line in stdout.getvalue().splitlines()] == ["unreadable"] * 25


def test_names_that_would_move_the_cursor_are_written_out(stdout):
    with Spool() as spool:
        view_of(stdout).show(Finished(unsafe(spool, 1, b"\x1b[2J\n\xff")), None, is_alone=True)
    assert "\x1b" not in stdout.getvalue()
    assert r"CARD/\x1b[2J\n\xff: cannot be read" in stdout.getvalue()


def test_a_cache_that_may_have_answered_and_system_files_are_told(stdout):
    with Spool() as spool:
        view_of(stdout).show(Finished(unsafe(spool, 1)), None, is_alone=True)
    said = " ".join(stdout.getvalue().split())
    assert "For 2 files the system's cache may have answered instead of the medium, as on network mounts." in said
    assert "1 system file left out" in said


@pytest.mark.parametrize(
    ("summary", "last"),
    [
        (Summary(safe=["A", "B"]), "SAFE TO ERASE: A, B"),
        (Summary(safe=["A"], unsafe=["B"]), "NOT SAFE TO ERASE: B"),
        (Summary(safe=["A"], unchecked=["C"]), "NOT SAFE TO ERASE: C"),
        (Summary(unsafe=["B"], unchecked=["C"]), "NOT SAFE TO ERASE: B, C"),
        (Summary(), "NOT SAFE TO ERASE"),
    ],
)
def test_the_last_line_says_safe_only_where_everything_is(stdout, summary, last):
    view_of(stdout).conclude(summary)
    assert stdout.getvalue() == f"{last}\n"


@pytest.mark.parametrize("style", [{"as_json": True}, {"verbosity": -1}])
def test_a_program_and_a_quiet_run_get_no_last_line(stdout, style):
    view_of(stdout, **style).conclude(Summary(safe=["A"]))
    assert stdout.getvalue() == ""


def test_a_single_card_that_is_not_safe_ends_with_what_to_do(stdout):
    stderr = io.StringIO()
    view = SafeView(Output(Style(), stdout, stderr))
    with Spool() as spool:
        view.show(Finished(unsafe(spool, 1)), None, is_alone=True)
    view.conclude(Summary(unsafe=["CARD"]))
    assert stderr.getvalue() == "Upload what is missing, then run the same command again.\n"
    assert stdout.getvalue().splitlines()[-1] == "NOT SAFE TO ERASE: CARD"


class Narrow(Output):
    """The output of a terminal with 40 columns."""

    width = 40


def test_on_a_narrow_terminal_every_line_fits_and_is_broken_between_words(stdout):
    view = SafeView(Narrow(Style(), stdout, io.StringIO()))
    with Spool() as spool:
        spool.note_problem(b"100CANON/clip-0001.mov", "unreadable", "input/output error")
        spool.note_problem(b"100CANON/clip-0002.mov", "unreadable", "input/output error")
        spool.decide({})
        view.show(Finished(Verdict("safe-1", "CARD", "unsafe", read=READ, spool=spool)), None, is_alone=True)
    view.conclude(Summary(unsafe=["CARD_A_OF_DAY_1", "CARD_B_OF_DAY_1"]))
    assert max(map(len, stdout.getvalue().splitlines())) <= 40
    lines = stdout.getvalue().splitlines()
    assert lines[2:6] == [
        "  ✗ CARD/100CANON  0 files, 0 B; 2",
        "    entries not safe",
        "  CARD/100CANON/clip-0001.mov: cannot be",
        "    read: input/output error",
    ]
    assert lines[-2:] == ["NOT SAFE TO ERASE: CARD_A_OF_DAY_1,", "  CARD_B_OF_DAY_1"]
