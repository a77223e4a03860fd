"""Merging a folder into one that exists: what comes to lie there meanwhile is not replaced unasked."""

import errno
import os
import stat
from pathlib import Path

import pytest

from mgmt.archive.merging import merge
from mgmt.errors import LocalStateError, TargetExistsError
from mgmt.machine.filling import _DescriptorFilling

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows' own renaming never replaces")


@pytest.fixture
def folders(tmp_path):
    """The folder that is ours, and the user's own."""
    new, old = tmp_path / "new", tmp_path / "old"
    (new / "sub").mkdir(parents=True)
    (new / "sub" / "clip").write_bytes(b"ours")
    (new / "sub" / "link").symlink_to("clip")
    (old / "sub").mkdir(parents=True)
    (old / "sub" / "mine").write_bytes(b"mine")
    return new, old


def merge_into(new, old, **options):
    merge(new.parent, os.fsencode(new.name), os.fsencode(old.name), **options)


def refuse_links(*_, **__):
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize("replaces", [True, False])
@pytest.mark.parametrize("links", [True, False], ids=["hard links", "none"])
def test_all_of_a_folder_comes_into_the_other_one(folders, monkeypatch, replaces, links):
    if not links:
        monkeypatch.setattr(os, "link", refuse_links)
    new, old = folders
    merge_into(new, old, replaces=replaces)
    assert not new.exists()
    assert sorted(path.name for path in (old / "sub").iterdir()) == ["clip", "link", "mine"]
    assert ((old / "sub" / "clip").read_bytes(), (old / "sub" / "link").readlink()) == (b"ours", Path("clip"))
    assert (old / "sub" / "clip").stat().st_nlink == 1


@pytest.mark.parametrize("name", ["clip", "link"])
def test_what_takes_a_name_after_it_was_looked_at_is_not_replaced(folders, monkeypatch, name):
    new, old = folders
    move = _DescriptorFilling.move_to_free

    def be_overtaken(self, moved, target, new_name):
        if moved == name.encode():
            (old / "sub" / name).write_bytes(b"theirs")
        move(self, moved, target, new_name)

    monkeypatch.setattr(_DescriptorFilling, "move_to_free", be_overtaken)
    with pytest.raises(LocalStateError, match=f"old/sub/{name}' exists already"):
        merge_into(new, old, replaces=False)
    assert (old / "sub" / name).read_bytes() == b"theirs"
    assert os.path.lexists(new / "sub" / name)


@pytest.mark.parametrize("replaces", [True, False])
def test_a_file_that_has_both_names_since_a_kill_keeps_the_new_one(folders, replaces):
    new, old = folders
    os.link(new / "sub" / "clip", old / "sub" / "clip")
    merge_into(new, old, replaces=replaces)
    assert not new.exists()
    assert (old / "sub" / "clip").read_bytes() == b"ours"


def test_a_symlink_where_a_folder_is_to_be_is_called_one(folders):
    """It looks like a folder: a message that calls it a file would not be believed."""
    new, old = folders
    (old / "sub").rename(old / "elsewhere")
    (old / "sub").symlink_to("elsewhere")
    with pytest.raises(LocalStateError, match="old/sub' exists already as a symlink"):
        merge_into(new, old)
    assert (new / "sub" / "clip").exists()


@pytest.mark.parametrize("replaces", [True, False])
def test_nothing_is_moved_where_a_file_would_have_to_replace_a_folder(folders, replaces):
    new, old = folders
    (old / "sub" / "link").mkdir()
    with pytest.raises(LocalStateError, match="exists already as a folder"):
        merge_into(new, old, replaces=replaces)
    assert (new / "sub" / "clip").exists()
    assert not (old / "sub" / "clip").exists()


@pytest.mark.parametrize("replaces", [True, False])
def test_nothing_is_moved_where_another_disk_is_mounted_in_the_folder(folders, monkeypatch, replaces):
    """Renaming into it would fail in the middle of the merge, and each time again."""
    new, old = folders
    (new / "clip").write_bytes(b"ours")
    elsewhere = list((old / "sub").lstat())
    elsewhere[2] += 1  # st_dev
    look = _DescriptorFilling.status

    def look_at_a_mount(self, name):
        found = look(self, name)
        return os.stat_result(elsewhere) if os.path.samestat(found, (old / "sub").lstat()) else found

    monkeypatch.setattr(_DescriptorFilling, "status", look_at_a_mount)
    with pytest.raises(LocalStateError, match="old/sub' exists already, and is on another disk"):
        merge_into(new, old, replaces=replaces)
    assert (new / "clip").exists()
    assert not (old / "clip").exists()


@pytest.mark.parametrize("replaces", [True, False])
@pytest.mark.parametrize("mode", [0o555, 0o000], ids=oct)
def test_a_folder_that_takes_nothing_is_named_before_anything_is_moved(somebody, mode, replaces):
    new, old = somebody / "new", somebody / "old"
    for path in (new / "sub" / "clip", new / "clip", old / "sub" / "mine"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"ours")
    (new / "sub").chmod(0o555)
    (old / "sub").chmod(mode)
    with pytest.raises(LocalStateError) as refused:
        merge_into(new, old, replaces=replaces)
    assert refused.value.code == "not-writable"
    assert f"Nothing can be put into the folder '{old}/sub': Permission denied. Make that" in refused.value.message
    assert [path.name for path in old.iterdir()] == ["sub"]
    assert stat.S_IMODE((new / "sub").stat().st_mode) == 0o555, "the next run moves it as it was packed"
    (old / "sub").chmod(0o700)
    merge_into(new, old, replaces=replaces)
    assert sorted(path.name for path in (old / "sub").iterdir()) == ["clip", "mine"]


def test_a_folder_that_takes_nothing_is_named_also_where_the_disk_said_otherwise(somebody, monkeypatch):
    new, old = somebody / "new", somebody / "old"
    for folder in (new, old):
        (folder / "sub").mkdir(parents=True)
    (new / "sub" / "clip").write_bytes(b"ours")
    (old / "sub").chmod(0o555)
    monkeypatch.setattr(_DescriptorFilling, "takes_names", lambda _: True)
    with pytest.raises(LocalStateError, match=f"into the folder '{old}/sub'"):
        merge_into(new, old)
    assert (new / "sub" / "clip").exists()


def test_a_read_only_folder_into_which_nothing_has_to_come_refuses_nothing(somebody):
    new, old = somebody / "new", somebody / "old"
    for folder in (new, old):
        (folder / "sub").mkdir(parents=True)
    (new / "sub" / "clip").write_bytes(b"ours")
    old.chmod(0o555)
    merge_into(new, old)
    assert (old / "sub" / "clip").exists()


@pytest.mark.parametrize("name", ["clip", "link"])
def test_what_is_newer_than_the_command_that_is_resumed_is_not_replaced_and_nothing_is_moved(folders, name):
    new, old = folders
    (old / "sub" / name).write_bytes(b"work")
    before_ns = (old / "sub" / name).stat().st_ctime_ns
    with pytest.raises(TargetExistsError, match=f"sub/{name}' came, or was changed, after"):
        merge_into(new, old, replaces_before_ns=before_ns - 1)
    assert sorted(path.name for path in (new / "sub").iterdir()) == ["clip", "link"]
    assert (old / "sub" / name).read_bytes() == b"work"
    merge_into(new, old, replaces_before_ns=before_ns)
    assert (old / "sub" / name).read_bytes() == b"ours"


def test_what_a_killed_run_has_moved_is_newer_than_its_command_and_in_nobodys_way(folders):
    new, old = folders
    (old / "sub" / "clip").write_bytes(b"ours")
    (old / "sub" / "link").symlink_to("clip")
    merge_into(new, old, replaces_before_ns=0)
    assert not new.exists()
    (new / "sub").mkdir(parents=True)
    (new / "sub" / "clip").write_bytes(b"ourS")
    with pytest.raises(TargetExistsError):
        merge_into(new, old, replaces_before_ns=0)
