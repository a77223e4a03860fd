"""What this system or its disk cannot have is named, and nothing is left."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import sys

import pytest

from mgmt.archive.extraction import Extraction
from mgmt.archive.rules import Rules
from mgmt.archive.unpacking import unpack
from mgmt.errors import LocalStateError
from mgmt.machine import filling
from support.extracting import TOKEN, extract
from support.hostile_archives import archive_of, file, folder, hardlink, symlink
from support.trees import (
    noise,
    small_disk,
)


class FoldingFilling(filling._DescriptorFilling):
    """A disk that keeps names apart by nothing but their letters: what a Mac's or Windows' does."""

    def _entries(self) -> list[str]:
        with os.scandir(self._descriptor) as entries:
            return [entry.name for entry in entries]

    def _known(self, name: bytes) -> bytes:
        return next((found for found in self._entries() if found.lower() == os.fsdecode(name).lower()), name)

    def _fold(self, name: bytes) -> bytes:
        return os.fsencode(self._known(name))

    def make_folder(self, name: bytes) -> None:
        super().make_folder(self._fold(name))

    def create_file(self, name: bytes) -> int:
        return super().create_file(self._fold(name))

    def make_symlink(self, name: bytes, target: bytes, mtime_ns: int) -> None:
        super().make_symlink(self._fold(name), target, mtime_ns)

    def status(self, name: bytes) -> os.stat_result:
        return super().status(self._fold(name))

    def step_in(self, name: bytes, *, is_ours: bool = True) -> filling.Look:
        return super().step_in(self._fold(name), is_ours=is_ours)


@pytest.fixture
def folding_disk(monkeypatch):
    monkeypatch.setattr(filling, "_DescriptorFilling", FoldingFilling)


@pytest.mark.usefixtures("folding_disk")
@pytest.mark.parametrize(
    "entries",
    [
        [file("P/A"), file("P/a")],
        [folder("P/A"), file("P/a")],
        [file("P/A"), folder("P/a")],
        [folder("P/A"), file("P/A/x"), folder("P/a"), file("P/a/y")],
        [file("P/A/x"), file("P/a/y")],
        [file("P/A/x"), file("P/b"), file("P/a/y")],
        [symlink("P/A", "b"), symlink("P/a", "c")],
        [file("P/x"), hardlink("P/A", "P/x"), file("P/a")],
    ],
)
def test_names_that_this_disk_does_not_keep_apart_are_named(to, entries):
    with pytest.raises(LocalStateError, match=r"'P/a'.*capital letters") as refused:
        extract(archive_of(folder("P"), *entries), to / "P")
    assert refused.value.code == "not-possible-here"
    assert not list(to.iterdir())


@pytest.mark.usefixtures("folding_disk")
def test_a_disk_that_folds_names_takes_members_in_any_order(to):
    entries = [folder("P"), file("P/A/x"), file("P/B"), file("P/A/y"), folder("P/A"), file("P/A/z")]
    extract(archive_of(*entries), to / "P")
    assert {path.name for path in (to / "P" / "A").iterdir()} == {"x", "y", "z"}


def test_a_name_too_long_for_the_disk_is_named(to):
    with pytest.raises(LocalStateError, match="longer than the disk takes"):
        extract(archive_of(folder("P"), file("P/" + "n" * 256)), to / "P")
    assert not list(to.iterdir())


def test_without_room_nothing_is_begun(to, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    with pytest.raises(LocalStateError, match=r"1\.00 kB are missing") as refused:
        Extraction(to / "P", token=TOKEN, rules=Rules(recorded_bytes=10**6 + 1_000))
    assert refused.value.code == "disk-full"
    assert not list(to.iterdir())


def test_a_disk_that_fills_up_is_named_and_nothing_stays(tmp_path):
    with small_disk(tmp_path / "disk", 2) as disk:
        if disk is None:
            pytest.skip("mounting needs rights")
        with pytest.raises(LocalStateError, match=r"disk is full.*'P/big'") as refused:
            extract(archive_of(folder("P"), file("P/big", noise(4 * 2**20))), disk / "P")
        assert refused.value.code == "disk-full"
        assert not list(disk.iterdir())


class WindowsError(OSError):
    """An error as Windows' Python makes it: its own number, and the nearest one of C, which is mostly EINVAL."""

    def __init__(self, number: int, said: str) -> None:
        super().__init__(errno.EINVAL, said)
        self.winerror = number


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EPERM, "Operation not permitted"),
        OSError(errno.EMLINK, "Too many links"),
        OSError(errno.ENOTSUP, "Not supported"),
        WindowsError(1, "Incorrect function"),  # FAT and exFAT
        WindowsError(1142, "Too many links"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("either_way")
def test_where_there_are_no_hard_links_files_are_copied(to, monkeypatch, error):
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(os, "link", refuse)
    content = noise(3 * 2**20 + 7)
    entries = [folder("P"), folder("P/a"), file("P/a/x", content, mode=0o640, mtime=5), hardlink("P/b", "P/a/x")]
    extract(archive_of(*entries), to / "P")
    twin = to / "P" / "b"
    assert twin.read_bytes() == content
    assert (stat.S_IMODE(twin.stat().st_mode), twin.stat().st_mtime) == (0o640, 5)


@pytest.mark.parametrize("number", [1314, 1], ids=["no right", "exFAT"])
def test_links_that_windows_does_not_let_us_make_are_left_out(to, monkeypatch, number):
    def refuse(*_: object, **__: object) -> None:
        raise WindowsError(number, "A required privilege is not held by the client")

    monkeypatch.setattr(os, "symlink", refuse)
    with Extraction(to / "P", token=TOKEN) as extraction:
        unpack(io.BytesIO(archive_of(folder("P"), file("P/x"), symlink("P/l", "x"))), extraction)
        extraction.publish()
    assert extraction.left_out.kept == [("P/l", "x")]


@pytest.mark.parametrize(
    ("number", "message"), [(123, "the disk takes no such name"), (87, "The parameter is incorrect")]
)
def test_an_error_of_windows_is_named_as_what_it_is(to, monkeypatch, number, message):
    def refuse(*_: object, **__: object) -> None:
        raise WindowsError(number, "The parameter is incorrect")

    monkeypatch.setattr(os, "symlink", refuse)
    with pytest.raises(LocalStateError, match=f"'P/l'.*{message}"):
        extract(archive_of(folder("P"), symlink("P/l", "x")), to / "P")


@pytest.fixture
def as_on_windows(monkeypatch):
    """No folders that are open, no modes; backslashes in links."""
    monkeypatch.setattr(filling, "HAS_DESCRIPTORS", False)
    monkeypatch.setattr(filling, "_SEPARATOR", b"\\")
    monkeypatch.setattr(sys, "platform", "win32")


@pytest.mark.usefixtures("as_on_windows")
def test_on_windows_no_file_gets_the_mark_that_keeps_it_from_being_removed(to):
    """From Python 3.13 on a mode without a right to write would set it, and what was begun could not be cleared."""
    extract(archive_of(folder("P"), file("P/x", b"x", mode=0o444)), to / "P")
    assert (to / "P" / "x").stat().st_mode & stat.S_IWUSR


@pytest.mark.usefixtures("as_on_windows")
def test_on_windows_links_have_backslashes(to, monkeypatch):
    """It follows no others; and it must be told which lead to folders."""
    made, make = [], os.symlink

    def note(target, path, **options):
        made.append((target, options["target_is_directory"]))
        make(target, path, **options)

    monkeypatch.setattr(os, "symlink", note)
    links = symlink("P/a/f", "../b/./x"), symlink("P/a/g", "../b"), symlink("P/a/h", "../nowhere/y")
    extract(archive_of(folder("P"), folder("P/a"), folder("P/b"), file("P/b/x"), *links), to / "P")
    assert made == [(rb"..\b\.\x", False), (rb"..\b", True), (rb"..\nowhere\y", False)]


@pytest.mark.usefixtures("as_on_windows")
def test_on_windows_a_link_reads_as_it_is_in_the_archive(to):
    """By that a later run knows the one that an earlier run has made."""
    with contextlib.closing(filling.open_filling(to)) as folder:
        folder.make_symlink(b"l", b"../a/b", 0)
        assert folder.link_target(b"l") == b"../a/b"
    assert os.fspath((to / "l").readlink()) == r"..\a\b"
