from __future__ import annotations

import os
import socket
from dataclasses import asdict
from pathlib import Path

import pytest

from mgmt.errors import MgmtError, SourceError, UsageError
from mgmt.source import Source, count_bytes, look
from support.trees import LONG_NAME, litter, noise


def paths(source: Source) -> list[str]:
    return [os.fsdecode(member.path) for member in source.members()]


def refusal(target: str | Path, **options: object) -> MgmtError:
    with pytest.raises(MgmtError) as caught:
        look(target, **options)
    return caught.value


def test_a_file_is_recorded_as_the_document_says(tmp_path, monkeypatch):
    (tmp_path / "clip.mp4").write_bytes(noise(1_000))
    monkeypatch.chdir(tmp_path)
    source = look(Path("clip.mp4"))
    assert asdict(source.file_record) == {
        "name": "clip.mp4",
        "path": "clip.mp4",
        "location": "local",
        "size": 1_000,
        "is_directory": False,
        "status": "pending",
    }
    assert (source.path, source.name) == (tmp_path / "clip.mp4", "clip.mp4")
    assert (source.uncompressed_size, source.member_count, source.is_directory) == (1_000, 1, False)


def test_a_folder_has_size_0_in_its_record_and_the_sum_beside_it(tmp_path):
    folder = tmp_path / "Project"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_bytes(b"12345")
    (folder / "sub" / "b").write_bytes(b"678")
    source = look(folder, shown_as="Project")
    assert (source.file_record.path, source.file_record.size, source.file_record.is_directory) == ("Project", 0, True)
    assert (source.uncompressed_size, source.member_count) == (8, 4)


def test_hard_links_are_counted_once(tmp_path):
    (tmp_path / "P").mkdir()
    (tmp_path / "P" / "a").write_bytes(b"12345")
    os.link(tmp_path / "P" / "a", tmp_path / "P" / "b")
    os.link(tmp_path / "P" / "a", tmp_path / "outside")
    source = look(tmp_path / "P")
    assert source.uncompressed_size == 5
    assert [(m.path, m.kind, m.target) for m in source.members()] == [
        (b"P", "directory", b""),
        (b"P/a", "file", b""),
        (b"P/b", "hardlink", b"P/a"),
    ]


def test_a_chosen_name_becomes_the_root_members(tmp_path):
    (tmp_path / "DCIM").mkdir()
    (tmp_path / "DCIM" / "1.mov").write_bytes(b"x")
    source = look(tmp_path / "DCIM", name="card-A")
    assert paths(source) == ["card-A", "card-A/1.mov"]
    assert (source.name, source.file_record.name) == ("card-A", "DCIM")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b"])
def test_a_name_that_is_none_is_a_usage_error(tmp_path, name):
    assert isinstance(refusal(tmp_path, name=name), UsageError)


def test_an_empty_target_is_a_usage_error():
    assert isinstance(refusal(""), UsageError)


def test_the_current_folder_is_called_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert look(".").name == tmp_path.name


def test_the_root_of_the_disk_has_no_name():
    error = refusal("/")
    assert (error.code, error.exit_code) == ("source-nameless", 4)


def test_a_named_link_is_followed_and_links_inside_are_not(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "inner").symlink_to("/etc")
    (tmp_path / "latest").symlink_to("real")
    source = look(tmp_path / "latest")
    assert [(m.path, m.kind) for m in source.members()] == [
        (b"latest", "directory"),
        (b"latest/inner", "symlink"),
    ]
    assert source.is_directory


def test_a_named_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "clip.mov").write_bytes(b"12345")
    (tmp_path / "latest.mov").symlink_to("clip.mov")
    source = look(tmp_path / "latest.mov")
    assert [(m.path, m.kind, m.size_bytes) for m in source.members()] == [(b"latest.mov", "file", 5)]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "' not found."),
        (lambda path: path.symlink_to("nowhere"), "does not exist"),
        (lambda path: path.symlink_to(path.name), "leads back to itself"),
    ],
    ids=["missing", "dangling", "loop"],
)
def test_what_is_not_there_is_named(tmp_path, make, words):
    make(tmp_path / "clip.mov")
    error = refusal(tmp_path / "clip.mov")
    assert isinstance(error, SourceError)
    assert (error.code, error.exit_code) == ("source-missing", 4)
    assert words in error.message
    assert "clip.mov" in error.message


@pytest.mark.parametrize("target", ["file.txt/below", "x" * 300, "nul\0inside"])
def test_what_can_be_no_file_is_missing(tmp_path, monkeypatch, target):
    (tmp_path / "file.txt").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert refusal(target).code == "source-missing"


def test_specials_named_as_target_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "named pipe" in refusal(tmp_path / "pipe").message
    assert refusal(tmp_path / "pipe").code == "source-special"
    assert refusal("/dev/null").code == "source-special"


def test_specials_inside_are_skipped_and_listed(tmp_path, monkeypatch):
    folder = tmp_path / "P"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("sock")
        source = look(folder)
    assert paths(source) == ["P"]
    assert source.skipped == (("P/pipe", "a named pipe"), ("P/sock", "a socket"))
    assert source.missed_count == 2


@pytest.mark.parametrize("name", [".DS_Store", "._clip.mov", "Thumbs.db", "desktop.ini", "$RECYCLE.BIN"])
def test_a_system_file_named_as_target_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    assert refusal(tmp_path / name).code == "source-is-system-file"


def test_litter_is_skipped_and_listed(tmp_path):
    folder = tmp_path / "P"
    folder.mkdir()
    (folder / "clip.mov").write_bytes(b"x")
    names = litter(folder)
    source = look(folder)
    assert paths(source) == ["P", "P/clip.mov"]
    assert {skipped.path for skipped in source.skipped} == {f"P/{name}" for name in names}


def test_a_folder_that_has_a_system_files_name_is_skipped_and_may_be_missed(tmp_path):
    folder = tmp_path / "P"
    for name in ("._clips", "Thumbs.db", ".Trashes"):
        (folder / name).mkdir(parents=True)
    source = look(folder)
    assert {skipped.path: skipped.reason for skipped in source.skipped} == {
        "P/._clips": "a folder with a system file's name",
        "P/Thumbs.db": "a folder with a system file's name",
        "P/.Trashes": "a system file",
    }
    assert source.missed_count == 2


def test_what_was_skipped_is_counted_but_only_the_first_thousand_are_kept(tmp_path):
    folder = tmp_path / "P"
    folder.mkdir()
    (folder / ".DS_Store").touch()
    for index in range(1_050):
        os.mkfifo(folder / f"{index}")
    source = look(folder)
    assert (source.missed_count, len(source.skipped)) == (1_050, 1_000)


def test_excluded_entries_are_neither_members_nor_reported(tmp_path):
    folder = tmp_path / "P"
    for name in ("keep.mov", "drop.tmp", "cache/x", "sub/cache/y", "sub/notes.txt", "sub/keep.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    source = look(folder, excludes=["*.tmp", "cache/", "sub/notes*"])
    assert paths(source) == ["P", "P/keep.mov", "P/sub", "P/sub/keep.txt"]
    assert source.skipped == ()


def test_what_is_excluded_may_be_named_from_the_folders_own_name_on_whatever_the_archive_calls_it(tmp_path):
    folder = tmp_path / "DCIM"
    for name in ("keep.mov", "private/x", "Take [1].mov"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    source = look(folder, name="cam-a", excludes=["DCIM/private", "./DCIM/Take [1].mov"])
    assert paths(source) == ["cam-a", "cam-a/keep.mov"] == [os.fsdecode(member.path) for member in source.members()]
    assert count_bytes(folder, ["DCIM/*"], lambda: False) == 0


def test_globs_do_not_concern_the_target_itself(tmp_path):
    (tmp_path / "P.tmp").mkdir()
    assert paths(look(tmp_path / "P.tmp", excludes=["*.tmp"])) == ["P.tmp"]


def test_an_unreadable_file_inside_is_named_before_anything_is_packed(somebody):
    (somebody / "P" / "sub").mkdir(parents=True)
    (somebody / "P" / "sub" / "locked.mov").touch(mode=0)
    error = refusal(somebody / "P")
    assert (error.code, error.exit_code) == ("source-unreadable", 4)
    assert "P/sub/locked.mov" in error.message


@pytest.mark.parametrize("name", ["locked.mov", "locked"])
def test_an_unreadable_target_is_named(somebody, name):
    if name == "locked":
        (somebody / name).mkdir(mode=0)
    else:
        (somebody / name).touch(mode=0)
    error = refusal(somebody / name)
    assert error.code == "source-unreadable"
    assert name in error.message


def test_a_locked_folder_inside_and_one_above_are_told(somebody):
    (somebody / "P" / "locked" / "below").mkdir(parents=True)
    (somebody / "P" / "locked").chmod(0)
    try:
        assert refusal(somebody / "P").code == "source-unreadable"
        assert refusal(somebody / "P" / "locked" / "below").code == "source-unreadable"
    finally:
        (somebody / "P" / "locked").chmod(0o700)


def test_names_that_are_no_text_can_be_said(tmp_path):
    target = tmp_path / os.fsdecode(b"caf\xe9.mov")
    assert "caf\\xe9.mov" in refusal(target).message
    target.touch()
    assert [member.path for member in look(target).members()] == [b"caf\xe9.mov"]


def test_a_name_of_255_bytes_works(tmp_path):
    (tmp_path / LONG_NAME).touch()
    assert look(tmp_path / LONG_NAME).name == LONG_NAME
