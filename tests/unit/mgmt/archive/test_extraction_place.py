"""An extraction takes no name that is in use, and with replace only what it was asked for."""

from __future__ import annotations

import io
import os
import stat

import pytest

from mgmt.archive.extraction import Extraction
from mgmt.archive.rules import Rules
from mgmt.archive.unpacking import unpack
from mgmt.errors import LocalStateError
from support.extracting import TOKEN, extract
from support.hostile_archives import archive_of, file, folder, symlink
from support.trees import (
    describe,
)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling link"])
def test_what_exists_is_never_replaced(tree, to, kind):
    place = to / "P"
    if kind == "file":
        place.write_bytes(b"mine")
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to(tree if kind == "link" else "nowhere")
    before = describe(to)
    with pytest.raises(LocalStateError) as refused:
        extract(archive_of(folder("P"), file("P/x")), place)
    assert refused.value.code == "target-exists"
    assert describe(to) == before


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("root", [folder("P"), file("P")], ids=["folder", "file"])
@pytest.mark.parametrize("taken_by", ["file", "folder"])
def test_what_comes_to_exist_meanwhile_is_not_replaced_either(to, root, taken_by):
    with Extraction(to / "P", token=TOKEN) as extraction:
        unpack(io.BytesIO(archive_of(root)), extraction)
        if taken_by == "file":
            (to / "P").write_bytes(b"mine")
        else:
            (to / "P" / "x").mkdir(parents=True)
        with pytest.raises(LocalStateError) as refused:
            extraction.publish()
    assert refused.value.code == "target-exists"
    assert [path.name for path in to.iterdir()] == ["P"]


@pytest.mark.usefixtures("either_way")
def test_with_replace_each_file_takes_the_place_of_its_namesake_and_others_stay(to):
    mine = to / "P"
    (mine / "both" / "deep").mkdir(parents=True)
    for path in ("mine", "both/mine", "both/shared", "both/deep/shared"):
        (mine / path).write_bytes(b"old")
    (mine / "link").symlink_to("mine")
    (mine / "both").chmod(0o711)
    new = [folder("P"), file("P/link", b"new"), folder("P/both"), file("P/both/shared", b"new"), folder("P/both/deep")]
    new += [
        file("P/both/deep/shared", b"new"),
        folder("P/only", mode=0o500, mtime=5),
        file("P/only/x", b"new"),
        symlink("P/z", "mine"),
    ]
    extract(archive_of(*new), mine, Rules(replaces=True))
    found = {os.fspath(path.relative_to(mine)): path.read_bytes() for path in mine.rglob("*") if path.is_file()}
    assert found == {
        "mine": b"old", "both/mine": b"old", "both/shared": b"new", "both/deep/shared": b"new", "link": b"new",
        "only/x": b"new", "z": b"old",
    }  # fmt: skip
    assert not (mine / "link").is_symlink()
    assert stat.S_IMODE((mine / "both").stat().st_mode) == 0o711, "a folder that exists keeps its mode"
    assert (stat.S_IMODE((mine / "only").stat().st_mode), (mine / "only").stat().st_mtime) == (0o500, 5)
    assert [path.name for path in to.iterdir()] == ["P"]


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(("mine", "new"), [("folder", "file"), ("file", "folder"), ("link to a folder", "folder")])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_file_never_replaces_a_folder_nor_a_folder_anything_and_all_stays(to, mine, new, depth):
    path = "P" if depth == 1 else "P/x"
    (to / path).parent.mkdir(exist_ok=True)
    (to / "elsewhere").mkdir()
    if mine == "folder":
        (to / path).mkdir()
    elif mine == "file":
        (to / path).write_bytes(b"mine")
    else:
        (to / path).symlink_to(to / "elsewhere")
    entries = [folder("P"), file("P/a", b"new")] if depth == 2 else []
    entries += [file(path)] if new == "file" else [folder(path), file(f"{path}/y")]
    before = describe(to)
    with pytest.raises(LocalStateError) as refused:
        extract(archive_of(*entries), to / "P", Rules(replaces=True))
    assert refused.value.code == "target-exists"
    before.pop(b"")
    after = describe(to)
    after.pop(b"")
    assert after == before


def test_with_replace_an_ordinary_user_merges_folders_that_are_read_only_in_the_archive(somebody):
    (somebody / "P").mkdir()
    entries = [
        folder("P", mode=0o555),
        folder("P/a", mode=0o555),
        folder("P/a/b", mode=0o500),
        file("P/a/b/x", mode=0o400),
    ]
    for _ in range(2):
        extract(archive_of(*entries), somebody / "P", Rules(replaces=True))
        assert (somebody / "P" / "a" / "b" / "x").read_bytes() == b"evil"
        (somebody / "P" / "a").chmod(0o755)
        (somebody / "P" / "a" / "b").chmod(0o755)
