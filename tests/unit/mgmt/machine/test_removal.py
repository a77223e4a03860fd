"""What the client removes: a regular file that was opened and found to be what is meant, and nothing else."""

import errno
import os
import re
from pathlib import Path

import pytest

import mgmt
from mgmt.machine.files import open_regular, remove_file, remove_same

REMOVERS = re.compile(r"\.unlink\(|\.rmdir\(|os\.remove\(|rmtree\(|\.rename\(|\.replace\([\w.]+\)$", re.MULTILINE)
ALLOWED = {
    "machine/files.py": 6,  # the one way; settings and sign-ins, and what this run has made to take their place
    "upload/originals.py": 1,  # a folder of originals gets its new name
    "archive/unfinished.py": 2,  # a file gets its name: on Windows, and in place of a placeholder of our own
    "journal/__init__.py": 2,  # the machine's id, likewise
    "known_names.py": 1,  # a list of names in the state folder, likewise
}


def test_only_one_module_removes_files():
    """Another place that removes or renames needs an entry in this list, with its reason."""
    root = Path(mgmt.__file__).parent
    found = {}
    for path in root.rglob("*.py"):
        if count := len(REMOVERS.findall(path.read_text("utf-8"))):
            found[path.relative_to(root).as_posix()] = count
    assert found == ALLOWED


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
