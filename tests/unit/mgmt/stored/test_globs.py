"""Globs select members as `--exclude` leaves them out, and each tells whether it has matched anything."""

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgmt.layout import decode_path
from mgmt.stored import globs as globs_module
from mgmt.stored.globs import Globs

PATHS = [b"card", b"card/a", b"card/a/clip.mov", b"card/a/x.txt", b"card/b", b"card/b/clip.mov", b"card/caf\xe9.mov"]


def chosen(*globs):
    chosen_by = Globs(globs)
    return [path for path in PATHS if chosen_by.takes(path)]


@pytest.mark.parametrize(
    ("globs", "expected"),
    [
        ((), PATHS),
        (("card",), PATHS),
        (("*",), PATHS),
        (("a",), PATHS[1:4]),
        (("a/",), PATHS[1:4]),
        (("b/clip.mov",), PATHS[5:6]),
        (("card/b/*",), PATHS[5:6]),
        (("clip.*",), [PATHS[2], PATHS[5]]),
        (("*.mov",), [PATHS[2], PATHS[5], PATHS[6]]),
        (("*.MOV",), []),
        (("/card",), []),
        (("./a",), PATHS[1:4]),
        (("./card/b/clip.mov",), PATHS[5:6]),
        ((".//./clip.mov",), [PATHS[2], PATHS[5]]),
        ((".*",), []),
        (("../a",), []),
        (("a", "*.mov"), [*PATHS[1:4], PATHS[5], PATHS[6]]),
    ],
)
def test_a_name_a_path_or_a_folder_selects(globs, expected):
    assert chosen(*globs) == expected


@pytest.mark.parametrize("typed", ["Take [1].mov", "card/Take [1].mov", "./Take [1].mov", "b[2]", "b[2]/"])
def test_a_name_with_brackets_in_it_is_chosen_as_it_is_called(typed):
    chosen_by = Globs([typed])
    paths = [b"card/Take [1].mov", b"card/Take 1.mov", b"card/b[2]", b"card/b[2]/clip.mov", b"card/b"]
    expected = paths[:2] if "Take" in typed else paths[2:4]  # as a glob it means Take 1 as well
    assert [path for path in paths if chosen_by.takes(path)] == expected


def test_a_single_file_is_its_own_root():
    assert Globs(["*.mov"]).takes(b"clip.mov")
    assert not Globs(["*.txt"]).takes(b"clip.mov")


def test_a_glob_that_matches_nothing_is_named():
    chosen_by = Globs(["*.mov", "./nowhere/*", "a"])
    for path in PATHS:
        chosen_by.takes(path)
    assert chosen_by.unmatched == ["./nowhere/*"], "as it was typed"


def test_members_in_any_order_and_of_many_folders_get_the_same_answer():
    paths = [b"r/%d/%d" % (folder, name) for name in range(2) for folder in range(3_000)]
    chosen_by = Globs(["2999", "r/7/1"])
    assert [path for path in paths if chosen_by.takes(path)] == [b"r/2999/0", b"r/7/1", b"r/2999/1"]


def test_a_path_of_very_many_folders_is_no_bug():
    deep = b"/".join([b"d"] * 16_000)
    assert Globs(["*.mov"]).takes(deep) is False
    assert Globs(["root"]).takes(b"root/" + deep) is True


GLOBS = st.text("abB.*?[]!/\udcff\n", max_size=6).filter(lambda glob: not glob.startswith("./"))
ANY_PATHS = st.text("abB.[/\udcff\n", max_size=12).map(lambda path: path.encode("utf-8", "surrogateescape"))


def fits_itself(glob, path):
    """Compare one path, and no folder above it."""
    glob = glob.rstrip("/")
    texts = [decode_path(each) for each in (path, path.partition(b"/")[2], path.rpartition(b"/")[2]) if each]
    return any(text == glob or fnmatch.fnmatchcase(text, glob) for text in texts)


def fits(glob, path):
    """Compare a path and every folder above it, one by one."""
    ends = [place for place, byte in enumerate(path) if byte == ord("/")]
    return any(fits_itself(glob, path[:end]) for end in (*ends, None))


@given(st.lists(GLOBS, min_size=1, max_size=3), st.lists(ANY_PATHS, max_size=8))
def test_one_look_at_a_path_says_what_a_look_at_each_folder_above_it_would(globs, paths):
    chosen_by = Globs(globs)
    assert [chosen_by.takes(path) for path in paths] == [any(fits(glob, path) for glob in globs) for path in paths]
    assert chosen_by.unmatched == [glob for glob in globs if not any(fits(glob, path) for path in paths)]


def test_each_member_of_a_very_deep_tree_costs_a_few_looks_not_one_for_each_folder_above_it(monkeypatch):
    looks = []

    class Counted:
        def __init__(self, pattern):
            self._pattern = pattern

        def match(self, text):
            looks.append(text)
            return self._pattern.match(text)

    compiled = globs_module._compile
    monkeypatch.setattr(globs_module, "_compile", lambda glob: Counted(compiled(glob)))
    depth = 2_000
    folders = [b"/".join([b"x"] * count) for count in range(1, depth + 1)]
    paths = [*folders, *(folder + b"/y" for folder in reversed(folders))]
    chosen_by = Globs(["leaf"])
    assert not any(map(chosen_by.takes, paths))
    assert len(looks) <= 4 * len(paths)
