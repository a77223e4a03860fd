from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgmt.archive import unfinished
from mgmt.archive.unfinished import UnfinishedArchive, _without


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
    unfinished.rename_without_replacing(source, tmp_path / "target")
    unfinished.sync_folder(tmp_path)
    assert (tmp_path / "target").read_bytes() == b"x"
