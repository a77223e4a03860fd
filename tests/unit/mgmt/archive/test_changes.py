"""A source that does not stay as it is while it is packed fails by name, and nothing is left."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path
from types import SimpleNamespace

import pytest

from mgmt.archive import pack
from mgmt.archive.stream import _refuse_changed as refuse_changed
from mgmt.errors import SourceError
from mgmt.layout import Member
from mgmt.source import Source, look
from mgmt_contract.parts import MIB
from support.trees import noise

SIZE_BYTES = 24 * MIB


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Hold three files, of which the middle one takes long enough to be caught while it is read."""
    folder = tmp_path / "P"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"first")
    (folder / "clip.mov").write_bytes(noise(SIZE_BYTES))
    (folder / "sub" / "z.txt").write_bytes(b"last")
    return folder


def failure(project: Path, change: Callable[[Path], object]) -> SourceError:
    """Pack, and change the source at the first sign of progress, which is amid the large file."""
    done = []

    def change_once(done_bytes: int) -> None:
        if not done:
            assert 0 < done_bytes < SIZE_BYTES
            change(project)
        done.append(done_bytes)

    with pytest.raises(SourceError) as caught:
        pack(look(project), project.parent / "P.tar.gz", workers=1, on_progress=change_once)
    assert done
    assert list(project.parent.glob("*.tar.gz*")) == []
    assert caught.value.exit_code == 4
    return caught.value


def append(project: Path) -> None:
    with (project / "clip.mov").open("ab") as file:
        file.write(b"more")


def overwrite_in_place(project: Path) -> None:
    """Write other bytes of the same size and set the old time again."""
    before = (project / "clip.mov").stat()
    with (project / "clip.mov").open("r+b") as file:
        file.write(b"other")
    os.utime(project / "clip.mov", ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(project: Path) -> None:
    (project / "new").write_bytes(noise(SIZE_BYTES, seed=2))
    before = (project / "clip.mov").stat()
    os.utime(project / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (project / "new").replace(project / "clip.mov")


@pytest.mark.parametrize(
    "change",
    [
        append,
        lambda project: os.truncate(project / "clip.mov", 100),
        lambda project: os.truncate(project / "clip.mov", SIZE_BYTES - 1),
        overwrite_in_place,
        replace,
        lambda project: (project / "clip.mov").unlink(),
        lambda project: os.utime(project / "clip.mov"),
    ],
    ids=["grows", "is cut", "shrinks", "is overwritten", "is replaced", "vanishes", "is touched"],
)
def test_a_file_that_changes_while_it_is_read_is_named(project, change):
    error = failure(project, change)
    assert error.code == "source-changed"
    assert "'P/clip.mov'" in error.message


def test_a_file_that_vanishes_before_its_turn_is_noticed(project):
    error = failure(project, lambda project: (project / "sub" / "z.txt").unlink())
    assert error.code == "source-changed"


def test_a_file_that_grows_before_its_turn_is_named_as_the_youngest(project):
    error = failure(project, lambda project: (project / "sub" / "z.txt").write_bytes(b"longer than before"))
    assert error.code == "source-changed"
    assert "P/sub/z.txt" in error.message


def test_a_file_that_appears_before_its_folders_turn_is_noticed(project):
    error = failure(project, lambda project: (project / "sub" / "new.txt").touch())
    assert error.code == "source-changed"


def test_a_folder_whose_right_is_taken_away_before_its_turn_is_named(somebody):
    project = somebody / "P"
    (project / "sub").mkdir(parents=True)
    (project / "clip.mov").write_bytes(noise(SIZE_BYTES))
    error = failure(project, lambda project: (project / "sub").chmod(0))
    (project / "sub").chmod(0o700)
    assert error.code == "source-unreadable"
    assert "P/sub" in error.message


def test_a_source_that_changed_since_it_was_looked_at_is_refused(project):
    source = look(project)
    (project / "a.txt").write_bytes(b"second")
    with pytest.raises(SourceError) as caught:
        pack(source, project.parent / "P.tar.gz")
    assert caught.value.code == "source-changed"
    assert "P/a.txt" in caught.value.message


def test_a_source_that_outgrew_its_bound_is_given_up_before_the_bound_is_passed(project):
    """The upload of the parts was promised that there would not be more."""
    source = look(project)
    with (project / "clip.mov").open("ab") as file:
        file.truncate(4 * SIZE_BYTES)
    written_bytes = []
    with pytest.raises(SourceError):
        pack(
            source,
            project.parent / "P.tar.gz",
            plan="store",
            part_size_bytes=MIB,
            on_part=lambda part: written_bytes.append(part.length),
        )
    assert sum(written_bytes) <= source.upper_bound_bytes + 2 * MIB


def test_a_source_that_vanished_since_it_was_looked_at_is_named(project):
    source = look(project / "a.txt")
    (project / "a.txt").unlink()
    with pytest.raises(SourceError) as caught:
        pack(source, project.parent / "a.tar.gz")
    assert caught.value.code == "source-changed"
    assert "a.txt" in caught.value.message


@pytest.mark.parametrize("fact", ["st_ino", "st_size", "st_mtime_ns", "st_ctime_ns"])
def test_each_fact_about_a_file_counts_by_itself(project, fact):
    """On one disk or another the others may stay the same: coarse clocks, numbers that are given anew."""
    found = next(look(project / "a.txt").members())
    facts = {name: getattr(found.status, name) for name in ("st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")}
    descriptor = os.open(project / "a.txt", os.O_RDONLY)
    try:
        refuse_changed(descriptor, found._replace(status=SimpleNamespace(**facts)))
        with pytest.raises(SourceError):
            refuse_changed(descriptor, found._replace(status=SimpleNamespace(**facts | {fact: facts[fact] - 1})))
    finally:
        os.close(descriptor)


class Swapping:
    """A source of which one file is changed between being found and being opened."""

    def __init__(self, source: Source, change: Callable[[], object]) -> None:
        self._source = source
        self._change = change

    def __getattr__(self, name: str) -> object:
        return getattr(self._source, name)

    def members(self) -> Generator[Member]:
        for member in self._source.members():
            if member.path == b"P/a.txt":
                self._change()
            yield member


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        os.mkfifo,
        lambda path: path.mkdir(),
        lambda path: path.symlink_to("clip.mov"),
        lambda path: path.write_bytes(b"first"),
    ],
    ids=["nothing", "pipe", "folder", "link", "file of the same size"],
)
def test_a_file_swapped_before_it_is_opened_is_named_and_never_waited_for(project, make):
    path = project / "a.txt"
    keeper = path.open("rb")

    def swap() -> None:
        path.unlink()
        make(path)

    # Kept open, so that the file that takes its place gets another inode number.
    with keeper, pytest.raises(SourceError) as caught:
        pack(Swapping(look(project), swap), project.parent / "P.tar.gz")
    assert caught.value.code == "source-changed"
    assert "'P/a.txt'" in caught.value.message
