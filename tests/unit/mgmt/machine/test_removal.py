"""What the client removes: a regular file that was opened and found to be what is meant, and nothing else."""

import errno
import os
import re
from pathlib import Path

import pytest

import mgmt
from mgmt.machine import files
from mgmt.machine.files import open_regular, remove_file, remove_same
from mgmt.machine.filling import remove_tree
from support.trees import deep_file

REMOVERS = re.compile(r"\.unlink\b|\.rmdir\(|os\.remove\(|rmtree\(|\.rename\(|\.replace\([\w.]+\)+$", re.MULTILINE)
ALLOWED = {
    "machine/files.py": 6,  # the one way; an empty folder; what this run has made to take the place of private files
    "machine/filling.py": 8,  # what a folder of ours, entered without following links, can do with its entries
    "archive/publishing.py": 1,  # a file takes the place of one that exists, where that was asked for
    "archive/unfinished.py": 3,  # a file or folder gets its name: on Windows too, and in place of a placeholder of ours
    "known_names.py": 2,  # a list of names in the state folder gets its name, or goes where it gets none
}


def test_only_one_module_removes_files():
    """Another place that removes or renames needs an entry in this list, with its reason."""
    root = Path(mgmt.__file__).parent
    found = {}
    for path in root.rglob("*.py"):
        if count := len(REMOVERS.findall(path.read_text("utf-8"))):
            found[path.relative_to(root).as_posix()] = count
    assert found == ALLOWED


def test_on_windows_a_file_that_another_program_has_open_for_a_moment_goes(tmp_path, monkeypatch):
    """Such as one that looks into each new file for viruses."""
    path, unlink, refusals = tmp_path / "a", Path.unlink, iter([True, True])
    path.write_bytes(b"ours")

    def refuse(self):
        if next(refusals, False):
            raise PermissionError(errno.EACCES, "The process cannot access the file because another one uses it")
        unlink(self)

    monkeypatch.setattr(files, "_TRIES", 3)
    monkeypatch.setattr(files, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(Path, "unlink", refuse)
    assert remove_same(path, path.stat())
    assert not path.exists()


def test_what_another_program_keeps_open_stays_and_that_is_said(tmp_path, monkeypatch):
    calls = []

    def refuse():
        calls.append(1)
        raise PermissionError(errno.EACCES, "The process cannot access the file because another one uses it")

    monkeypatch.setattr(files, "_TRIES", 3)
    monkeypatch.setattr(files, "_PAUSE_SECONDS", 0)
    with pytest.raises(PermissionError):
        files.insist(refuse)
    assert len(calls) == 3


def test_what_is_ours_goes_and_what_is_not_stays(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"ours")
    assert not remove_file(path, lambda descriptor: os.read(descriptor, 9) == b"theirs")
    assert path.exists()
    assert remove_file(path, lambda descriptor: os.read(descriptor, 9) == b"ours")
    assert not path.exists()
    assert remove_file(path, lambda _: True), "nothing lies there"


@pytest.mark.skipif(os.name == "nt", reason="links are privileged there")
@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "pipe"])
def test_only_a_regular_file_is_ever_removed(tmp_path, kind):
    (tmp_path / "original").write_bytes(b"footage")
    path = tmp_path / "a"
    if kind == "link":
        path.symlink_to("original")
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    assert not remove_file(path, lambda _: True)
    assert not remove_same(path, (tmp_path / "original").stat())
    assert os.path.lexists(path)
    assert (tmp_path / "original").read_bytes() == b"footage"


def test_a_file_that_takes_the_name_while_the_first_is_looked_at_stays(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"ours")
    (tmp_path / "b").write_bytes(b"theirs")

    def look(_):
        (tmp_path / "b").replace(path)
        return True

    assert not remove_file(path, look)
    assert path.read_bytes() == b"theirs"


def test_a_link_that_takes_the_name_before_it_is_opened_is_not_followed(tmp_path, monkeypatch):
    path, opening = tmp_path / "a", os.open
    path.write_bytes(b"ours")
    (tmp_path / "original").write_bytes(b"footage")

    def open_late(*arguments):
        path.unlink()
        path.symlink_to("original")
        return opening(*arguments)

    monkeypatch.setattr(os, "open", open_late)
    with pytest.raises(OSError) as caught, open_regular(path):  # noqa: PT011  its number is what counts
        pass
    assert caught.value.errno == errno.ELOOP


def test_a_name_goes_only_if_it_is_still_that_of_the_file_that_was_open(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"ours")
    known = path.stat()
    assert remove_same(path, known)
    assert remove_same(path, known), "nothing lies there"
    (tmp_path / "keeps the number taken").write_bytes(b"")
    path.write_bytes(b"theirs")
    assert not remove_same(path, (tmp_path / "keeps the number taken").stat())
    assert path.exists()


def test_a_tree_goes_whole_and_what_its_links_lead_to_stays(somebody):
    (somebody / "original").mkdir()
    (somebody / "original" / "clip").write_bytes(b"footage")
    tree = somebody / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "x").touch()
    (tree / "link").symlink_to("../original")
    (tree / "a" / "link").symlink_to("../../original/clip")
    os.link(somebody / "original" / "clip", tree / "twin")
    os.mkfifo(tree / "pipe")
    for mode, path in ((0o000, "a/b"), (0o500, "a"), (0o400, "")):
        (tree / path).chmod(mode)
    remove_tree(somebody, b"tree")
    assert [path.name for path in somebody.rglob("*")] == ["original", "clip"]
    assert (somebody / "original" / "clip").read_bytes() == b"footage"


def test_a_tree_deeper_than_the_system_takes_in_one_path_goes_too(tmp_path):
    (tmp_path / "tree").mkdir()
    deep_file(tmp_path / "tree", b"bottom")
    remove_tree(tmp_path, b"tree")
    remove_tree(tmp_path, b"tree")
    assert not list(tmp_path.iterdir())


def test_a_link_in_place_of_a_tree_goes_and_is_not_followed(tmp_path):
    (tmp_path / "original").mkdir()
    (tmp_path / "tree").symlink_to("original")
    remove_tree(tmp_path, b"tree")
    assert [path.name for path in tmp_path.iterdir()] == ["original"]
