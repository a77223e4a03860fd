from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgmt.archive import unfinished
from mgmt.archive.unfinished import UnfinishedArchive, _without
from mgmt.errors import LocalStateError


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the steps that a power cut could fall between."""
    noted: list[str] = []

    def note(name: str, words: str) -> None:
        real = getattr(os, name)

        def noting(*arguments: object, **options: object) -> object:
            target = arguments[0]
            is_folder = isinstance(target, int) and os.path.isdir(f"/dev/fd/{target}")  # noqa: PTH112  descriptor
            noted.append(f"{words} folder" if is_folder else words)
            return real(*arguments, **options)

        monkeypatch.setattr(os, name, noting)

    note("writev", "write")
    note("fsync", "sync")
    note("link", "name")
    return noted


def test_content_is_synced_before_the_name_and_the_name_after(tmp_path, calls):
    with UnfinishedArchive(tmp_path / "x.tar.gz", 100) as archive:
        archive.write([b"content"])
        archive.publish()
    assert calls == ["write", "sync", "name", "sync folder"]
    assert (tmp_path / "x.tar.gz").read_bytes() == b"content"
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar.gz"]


def test_without_publishing_nothing_is_left(tmp_path):
    with UnfinishedArchive(tmp_path / "x.tar.gz", 100) as archive:
        archive.write([b"content"])
        assert archive.path.read_bytes() == b"content"
    assert list(tmp_path.iterdir()) == []


def write_and_publish(path: Path, before_publishing) -> None:
    with UnfinishedArchive(path, 100) as archive:
        archive.write([b"content"])
        before_publishing()
        archive.publish()


@pytest.mark.parametrize("refused", [("link", "open"), ("fsync",)], ids=" ".join)
@pytest.mark.parametrize("error", [errno.EROFS, errno.EIO])
def test_a_disk_that_takes_nothing_any_more_is_what_is_told(tmp_path, monkeypatch, refused, error):
    """Also where what was begun cannot be removed: the first error says why."""

    def refuse(*_, **__):
        raise OSError(error, os.strerror(error))

    def refuse_to_remove(*_, **__):
        raise PermissionError

    def break_disk():
        for name in refused:
            monkeypatch.setattr(os, name, refuse)
        monkeypatch.setattr(Path, "unlink", refuse_to_remove)

    with pytest.raises(LocalStateError) as caught:
        write_and_publish(tmp_path / "x.tar.gz", break_disk)
    assert (caught.value.code, caught.value.exit_code) == ("archive-unwritable", 9)
    assert os.strerror(error) in caught.value.message


@pytest.mark.parametrize("first", [None, KeyboardInterrupt])
def test_a_file_whose_closing_fails_is_closed_once_and_what_came_first_is_told(tmp_path, monkeypatch, first):
    """Its descriptor may be another file's by then."""
    closed, close = [], os.close

    def close_and_fail(descriptor):
        closed.append(descriptor)
        close(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def break_disk():
        monkeypatch.setattr(os, "close", close_and_fail)
        if first is not None:
            raise first

    with pytest.raises(first or LocalStateError):
        write_and_publish(tmp_path / "x.tar.gz", break_disk)
    assert len(closed) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_stays_one_where_the_name_cannot_be_taken_back(tmp_path, monkeypatch):
    def interrupt(_):
        def refuse(_):
            raise PermissionError

        monkeypatch.setattr(Path, "unlink", refuse)
        raise KeyboardInterrupt

    monkeypatch.setattr(unfinished, "sync_folder", interrupt)
    with pytest.raises(KeyboardInterrupt), UnfinishedArchive(tmp_path / "x.tar.gz", 100) as archive:
        archive.publish()


def test_many_pieces_and_short_writes_lose_nothing(tmp_path, monkeypatch):
    """A disk that is nearly full, or a signal, lets the system write less than it was given."""
    real = os.writev
    monkeypatch.setattr(os, "writev", lambda descriptor, pieces: real(descriptor, [memoryview(pieces[0])[:3]]))
    pieces = [b"%d" % number for number in range(2_000)]
    with UnfinishedArchive(tmp_path / "x.tar.gz", 100) as archive:
        archive.write(pieces)
        assert archive.path.read_bytes() == b"".join(pieces)


def test_systems_without_vectors_write_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "writev")
    with UnfinishedArchive(tmp_path / "x.tar.gz", 100) as archive:
        archive.write([b"ab", memoryview(b"cd"), b""])
        assert archive.path.read_bytes() == b"abcd"


@given(st.lists(st.binary(max_size=8), max_size=8), st.integers(0, 80))
def test_what_was_written_is_dropped_from_the_front(pieces, written_bytes):
    rest = b"".join(_without(list(pieces), written_bytes))
    assert rest == b"".join(pieces)[written_bytes:]


def test_two_at_once_do_not_meet(tmp_path):
    with UnfinishedArchive(tmp_path / "x.tar.gz", 9) as one, UnfinishedArchive(tmp_path / "x.tar.gz", 9) as other:
        assert one.path != other.path


def test_windows_way_to_rename_is_taken_there(tmp_path, monkeypatch):
    """Its rename never replaces; links are not asked for."""
    monkeypatch.setattr(unfinished.os, "name", "nt")
    monkeypatch.delattr(os, "link")
    source = tmp_path / "source"
    source.write_bytes(b"x")
    monkeypatch.setattr(Path, "rename", Path.replace)
    unfinished.rename_without_replacing(source, tmp_path / "target", b"")
    unfinished.sync_folder(tmp_path)
    assert (tmp_path / "target").read_bytes() == b"x"
