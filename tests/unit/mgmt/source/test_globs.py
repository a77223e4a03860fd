"""What is left out with the folder it lies in is told as a walk would have left it out, at little cost."""

import fnmatch
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgmt.source.globs import ExcludedTrees, FolderNames
from mgmt.source.walk import Excludes
from mgmt.stored.globs import Globs

NAMES = st.text("abB.[]?\udcff\né\u0301e", min_size=1, max_size=3)
GLOBS = st.builds(
    "".join,
    st.tuples(st.sampled_from(["", "./", "own/", "root/", "o*"]), st.text("abB.*?[]!/\udcff\né\u0301e", max_size=6)),
)
PATHS = st.lists(NAMES, max_size=5).map(lambda names: "/".join(names).encode("utf-8", "surrogateescape"))


def left_out_by_a_walk(globs, path):
    """Ask for each folder on the way, as a walk does that comes down to the path."""
    excludes = Excludes(globs, "own")
    names = path.split(b"/")
    return any(
        excludes.leave_out(name, b"root/" + b"/".join(names[:count]) if path else b"root")
        for count, name in enumerate(names, 1)
    )


@given(st.lists(GLOBS, max_size=3), st.lists(PATHS, max_size=8))
def test_excluded_trees_have_what_a_walk_leaves_out(globs, paths):
    trees = ExcludedTrees(globs, ["own", "root"])
    assert [trees.have(path) for path in paths] == [left_out_by_a_walk(globs, path) for path in paths]


@pytest.mark.parametrize(
    ("glob", "left_out"),
    [
        ("b", ["b", "sub/b", "sub/DCIM/b"]),
        ("DCIM/b", ["b"]),
        ("./DCIM/b/", ["b"]),
        ("./b", ["b", "sub/b", "sub/DCIM/b"]),
        ("DCIM/*", ["b", "Take [1].mov", "Take 1.mov", "sub", "sub/b", "sub/DCIM/b"]),
        ("Take [1].mov", ["Take [1].mov", "Take 1.mov"]),
        ("DCIM/Take [1].mov", ["Take [1].mov", "Take 1.mov"]),
        ("sub/b", ["sub/b"]),
        ("cam-a/b", ["b"]),
        ("./cam-a/s*/b", ["sub/b", "sub/DCIM/b"]),
        ("DCIM", []),
        ("/b", []),
    ],
)
def test_what_is_to_stay_out_may_be_named_as_messages_and_shells_name_it(glob, left_out):
    """Brackets, `./` and the folder's own name went unnoticed, and with them what was to stay out was uploaded."""
    entries = ["b", "Take [1].mov", "Take 1.mov", "sub", "sub/b", "sub/DCIM/b"]
    excludes, trees = Excludes([glob], "DCIM"), ExcludedTrees([glob], ["DCIM", "cam-a"])
    by_walk = [
        each for each in entries if excludes.leave_out(each.rpartition("/")[2].encode(), b"cam-a/" + each.encode())
    ]
    assert by_walk == left_out
    assert set(by_walk) <= {each for each in entries if trees.have(each.encode())}


@pytest.mark.parametrize("typed", ["NFC", "NFD"])
@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
def test_letters_with_accents_fit_however_keyboard_and_disk_spell_them(typed, on_disk):
    glob, path = normalize(typed, "Privé/*.MOV"), normalize(on_disk, "Privé/Été.MOV").encode()
    assert Excludes([glob]).leave_out(path.rpartition(b"/")[2], b"DCIM/" + path)
    assert ExcludedTrees([glob], ["DCIM"]).have(path)
    chosen = Globs([glob])
    assert chosen.takes(b"DCIM/" + path)
    assert not chosen.unmatched
    assert not Excludes(["[é].MOV"]).leave_out(b"e.MOV", b"DCIM/e.MOV")


def test_a_name_is_looked_at_once_on_the_way_down_not_once_for_each_path_below_it():
    looked_at = []
    names = FolderNames(lambda name: looked_at.append(name) or fnmatch.fnmatchcase(name, "d700"))
    folders = ["/".join(f"d{number}" for number in range(depth)) for depth in range(1, 1_001)]
    assert [names.has_fitting(folder) for folder in folders] == [depth > 700 for depth in range(1, 1_001)]
    assert len(looked_at) == 1_000


def test_folders_in_any_order_get_the_same_answer():
    names = FolderNames("x".__eq__)
    assert [names.has_fitting(folder) for folder in ("a/x/b", "a/x/b", "a", "a/xb", "a/x", "a/x/c", "", "ax/b")] == [
        *(True, True, False, False, True, True, False, False)
    ]
