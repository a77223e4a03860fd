"""What Windows cannot have, and where a link leads, is decided from the bytes alone, on every system."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgmt.archive.names_here import leads_out, reason_not_on_windows, refuse_for_system
from mgmt.errors import LocalStateError


@pytest.mark.parametrize(
    "name",
    [
        b"CON", b"con", b"Aux.txt", b"nul.tar.gz", b"PRN ", b"com1", b"COM9.mov", b"lpt0", "COM\u00b9".encode(),
        b"CONIN$", b"conout$.x", b"nul .txt", b"a:b", b"clip.mov:stream", b"a\\b", b"a?", b"a*", b'"', b"<", b">", b"|",
        b"a\tb", b"a\nb", b"a.", b"a ", b"...", b" ", b"\xff.mov",
    ],
)  # fmt: skip
def test_a_name_that_windows_gives_another_meaning_is_refused_there_and_nowhere_else(name):
    assert reason_not_on_windows(name)
    with pytest.raises(LocalStateError, match="on Windows"):
        refuse_for_system(b"P/" + name, [name], is_windows=True)
    refuse_for_system(b"P/" + name, [name], is_windows=False)


@pytest.mark.parametrize(
    "name", ["clip.mov", "console", "COM10", "auxiliary.txt", ".nul", "a.b c", "é", "🎬", "~1", "-rf"]
)
def test_other_names_are_taken(name):
    assert reason_not_on_windows(name.encode()) is None


@pytest.mark.parametrize(
    ("target", "depth", "expected"),
    [
        (b"a", 1, False), (b"a/b", 1, False), (b"./a", 1, False), (b".", 1, False), (b"a/./b", 1, False),
        (b"..a", 1, False),
        (b"..", 2, False), (b"../a", 2, False), (b"../../a/b", 3, False), (b"./../a", 2, False),
        (b"..", 1, True), (b"../P/a", 1, True), (b"../..", 2, True), (b"/", 3, True), (b"/P/a", 3, True),
        (b"//a", 1, True),
        (b"a/..", 1, True), (b"a/../b", 3, True), (b"../a/../../b", 3, True), (b".//..", 1, True),
    ],
)  # fmt: skip
def test_a_link_stays_inside_only_where_it_goes_up_through_real_folders(target, depth, expected):
    assert leads_out(target, depth, is_windows=False) is expected


@pytest.mark.parametrize("target", [b"..\\a", b"\\a", b"C:\\a", b"C:a", b"\\\\server\\share", b"a\\..\\..\\b", b"a:b"])
def test_backslashes_and_drives_lead_out_on_windows_alone(target):
    assert leads_out(target, 1, is_windows=True)
    assert not leads_out(target, 1, is_windows=False)


@given(st.lists(st.sampled_from([b"..", b".", b"", b"a", b"b"]), min_size=1, max_size=8), st.integers(1, 5))
def test_what_is_said_to_stay_inside_does_so_by_its_text_too(parts, depth):
    target = b"/".join(parts)
    where = b"/root" + b"/x" * (depth - 1)
    reached = os.path.normpath(target if target.startswith(b"/") else where + b"/" + target)
    if not leads_out(target, depth, is_windows=False):
        assert reached == b"/root" or reached.startswith(b"/root/")
