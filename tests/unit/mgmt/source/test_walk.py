from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from mgmt.errors import SourceError
from mgmt.machine import folders
from mgmt.source import look, walk
from support.trees import awkward_tree, copy_tree, deep_file, many_files, open_descriptors


@pytest.fixture(params=[True, False], ids=["by descriptor", "by path"])
def either_folder(request, monkeypatch):
    """Run the test with both ways to see the disk."""
    monkeypatch.setattr(folders, "HAS_DESCRIPTORS", request.param)


def facts(root: Path) -> list[tuple[object, ...]]:
    return [
        (m.path, m.kind, m.mode, m.size_bytes, m.target, m.kind == "directory" or m.mtime_ns)
        for m in look(root).members()
    ]


@pytest.mark.usefixtures("either_folder")
def test_members_come_in_the_order_of_their_names_bytes_with_folders_first(tmp_path):
    tree = awkward_tree(tmp_path / "P")
    found = [member.path.split(b"/") for member in look(tree).members()]
    assert found == sorted(found)
    expected = {os.fsencode(path.relative_to(tmp_path)) for path in [tree, *tree.rglob("*")]}
    assert {b"/".join(names) for names in found} == expected
    assert len(found) == len(expected)


def test_both_ways_to_see_the_disk_find_the_same(tmp_path, monkeypatch):
    tree = awkward_tree(tmp_path / "P")
    by_descriptor = facts(tree)
    monkeypatch.setattr(folders, "HAS_DESCRIPTORS", False)
    assert facts(tree) == by_descriptor


@pytest.mark.usefixtures("either_folder")
def test_files_are_opened_where_they_were_found(tmp_path):
    (tmp_path / "P" / "sub").mkdir(parents=True)
    (tmp_path / "P" / "sub" / "a").write_bytes(b"inner")
    for member in look(tmp_path / "P").members():
        if member.kind == "file":
            descriptor = member.open()
            assert os.read(descriptor, 10) == b"inner"
            os.close(descriptor)


def test_a_path_longer_than_the_system_takes_is_found_and_read(tmp_path):
    (tmp_path / "P").mkdir()
    path = deep_file(tmp_path / "P", b"bottom")
    assert len(path) > 4_000
    with closing(look(tmp_path / "P").members()) as members:
        for member in members:
            if member.kind == "file":
                assert member.path == b"P/" + path
                descriptor = member.open()
                assert os.read(descriptor, 10) == b"bottom"
                os.close(descriptor)


def test_depth_costs_no_descriptors(tmp_path):
    """A tree may be deeper than the number of files that a process may have open."""
    folder = tmp_path / "P"
    folder.joinpath(*["d"] * 300).mkdir(parents=True)
    with closing(look(folder).members()) as members:
        before = open_descriptors()
        most_new = max(len(open_descriptors() - before) for _ in members)
    assert most_new <= 1


def test_depth_costs_the_memory_of_one_path_not_of_one_for_each_folder(tmp_path):
    """The paths of all these folders together would take 10 MB."""
    folder = tmp_path / "P"
    folder.mkdir()
    assert len(deep_file(folder, b"", "n" * 250, 75_000)) > 75_000
    assert peak_bytes(folder) < 2_000_000


def test_a_walk_given_up_leaves_nothing_open(tmp_path):
    (tmp_path / "P" / "sub").mkdir(parents=True)
    before = open_descriptors()
    members = look(tmp_path / "P").members()
    next(members), next(members)
    members.close()
    assert open_descriptors() <= before


def failure(root: Path, path: bytes, change: Callable[[], object]) -> SourceError:
    """Walk, and change the disk when `path` has come by; nothing outside may come by then."""

    def walk() -> None:
        with closing(look(root).members()) as members:
            for member in members:
                assert b"outside" not in member.path
                if member.path == path:
                    change()

    with pytest.raises(SourceError) as caught:
        walk()
    return caught.value


@pytest.mark.skipif(not folders.HAS_DESCRIPTORS, reason="goes by paths here, and cannot be led astray")
def test_a_folder_moved_away_leads_the_walk_nowhere_else(tmp_path):
    """From the moved folder "..", leads to its new place, where files of the expected names may lie."""
    for name in ("P/sub/x", "P/z", "elsewhere/z"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def move() -> None:
        (tmp_path / "P" / "sub").rename(tmp_path / "elsewhere" / "sub")

    assert failure(tmp_path / "P", b"P/sub/x", move).code == "source-changed"


@pytest.mark.usefixtures("either_folder")
def test_a_folder_swapped_for_a_link_is_not_followed(tmp_path):
    (tmp_path / "P" / "sub").mkdir(parents=True)
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "outside").touch()

    def swap() -> None:
        (tmp_path / "P" / "sub").rmdir()
        (tmp_path / "P" / "sub").symlink_to(tmp_path / "target")

    error = failure(tmp_path / "P", b"P/sub", swap)
    assert error.code == "source-changed"
    assert "'P/sub'" in error.message


def test_an_entry_that_vanishes_after_it_was_listed_is_named(tmp_path):
    root = many_files(tmp_path / "P", 3)
    error = failure(root, b"P/00000/0000000.txt", (root / "00000" / "0000002.txt").unlink)
    assert error.code == "source-changed"
    assert "'P/00000/0000002.txt'" in error.message


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "new").touch(),
        lambda root: (root / "a").unlink(),
        lambda root: (root / "a").rename(root / "b"),
        lambda root: (root / "a").write_bytes(b"longer than before"),
        lambda root: (root / "a").chmod(0o600),
        lambda root: os.utime(root / "a", ns=(0, 1)),
        lambda root: ((root / "link").unlink(), (root / "link").symlink_to("there")),
        lambda root: ((root / "a").unlink(), (root / "a").mkdir()),
        lambda root: (root / "sub").chmod(0o700),
    ],
    ids=["added", "removed", "renamed", "grown", "mode", "time", "link", "kind", "folder mode"],
)
def test_every_change_shows_in_the_fingerprint(tmp_path, change):
    root = tmp_path / "P"
    (root / "sub").mkdir(parents=True)
    (root / "a").write_bytes(b"content")
    (root / "link").symlink_to("here")
    before = look(root)
    assert look(root) == before
    change(root)
    assert look(root).fingerprint != before.fingerprint


def test_what_comes_from_windows_is_not_everybodys_to_write_to(tmp_path, monkeypatch):
    """It knows no modes; unpacked elsewhere, each file could be changed by every user of the machine."""
    monkeypatch.setattr(walk, "_MODE_MASK", 0o755)
    (tmp_path / "P").mkdir()
    (tmp_path / "P" / "clip").touch()
    (tmp_path / "P" / "clip").chmod(0o666)
    (tmp_path / "P").chmod(0o777)
    assert [member.mode for member in look(tmp_path / "P").members()] == [0o755, 0o644]


def test_what_is_not_packed_does_not_show_in_the_fingerprint(tmp_path):
    """A file browser that drops a system file into a folder changes the folder's time, nothing else."""
    (tmp_path / "P").mkdir()
    before = look(tmp_path / "P").fingerprint
    (tmp_path / "P" / ".DS_Store").write_bytes(b"x")
    assert look(tmp_path / "P").fingerprint == before


def test_a_copy_with_its_times_has_the_same_fingerprint(tmp_path):
    """So does a camera card that was taken out and put in again: inode numbers do not count."""
    tree = awkward_tree(tmp_path / "here" / "P")
    (tmp_path / "there").mkdir()
    copy = copy_tree(tree, tmp_path / "there" / "P")
    assert look(copy).fingerprint == look(tree).fingerprint


def peak_bytes(root: Path) -> int:
    look(root)
    tracemalloc.start()
    try:
        look(root)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(os.name == "nt", reason="POSIX' folders")
def test_two_files_to_which_a_disk_gives_one_number_are_no_hard_links(tmp_path, monkeypatch):
    """Some network mounts cut the numbers of their files short."""
    for name in "abc":
        (tmp_path / name).write_bytes(b"x" * ord(name))
        os.utime(tmp_path / name, (1e9, 1e9))
    os.link(tmp_path / "c", tmp_path / "d")
    status = folders.DescriptorFolder.status

    def status_with_one_number(self: folders.DescriptorFolder, name: bytes) -> SimpleNamespace:
        found = status(self, name)
        plain = {each: getattr(found, each) for each in dir(found) if each.startswith("st_")}
        return SimpleNamespace(**plain | {"st_ino": 7, "st_nlink": 2})

    monkeypatch.setattr(folders.DescriptorFolder, "status", status_with_one_number)
    kinds = [(member.path.rpartition(b"/")[2], member.kind) for member in look(tmp_path).members()]
    assert kinds[1:] == [(b"a", "file"), (b"b", "file"), (b"c", "file"), (b"d", "hardlink")]


def test_memory_holds_the_names_of_one_branch_and_no_more(tmp_path):
    """6,000 names would take some 500 kB."""
    assert peak_bytes(many_files(tmp_path / "P", 6_000)) < 64 * 1024


def test_hard_links_that_were_all_seen_are_forgotten(tmp_path):
    """3,000 paths and keys would take more than 600 kB."""
    root = many_files(tmp_path / "P", 3_000)
    for path in list(root.rglob("*.txt")):
        os.link(path, f"{path}.twin")
    assert peak_bytes(root) < 96 * 1024


@pytest.mark.usefixtures("either_folder")
def test_a_path_longer_than_an_archive_takes_is_refused_before_anything_is_packed(tmp_path, monkeypatch):
    """Its header could not be read, so nothing of it could be listed or brought back one by one."""
    monkeypatch.setattr("mgmt.source.walk.MEMBER_PATHS_MAX_BYTES", 18)
    (tmp_path / "P" / "folder").mkdir(parents=True)
    (tmp_path / "P" / "folder" / "twelve.mov").write_bytes(b"")
    with pytest.raises(
        SourceError, match=r"'P/folder/twelve.mov…' is too long: it has 19 bytes, .* takes 18"
    ) as refused:
        look(tmp_path / "P")
    assert refused.value.code == "path-too-long"
    assert "--exclude" in refused.value.message
    assert look(tmp_path / "P", excludes=["twelve.mov"]).member_count == 2
    (tmp_path / "P" / "folder" / "twelve.mov").rename(tmp_path / "P" / "folder" / "eleven.mo")
    assert look(tmp_path / "P").member_count == 3
    os.link(tmp_path / "P" / "folder" / "eleven.mo", tmp_path / "P" / "x")
    with pytest.raises(SourceError, match=r"'P/x…'|'P/folder/eleven.mo…'"):
        look(tmp_path / "P")
