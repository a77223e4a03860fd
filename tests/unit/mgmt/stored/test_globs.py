"""Globs select members as `--exclude` leaves them out, and each tells whether it has matched anything."""

import pytest

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
