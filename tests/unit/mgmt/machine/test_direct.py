"""Writing past the system's cache."""

import os
import sys

import pytest

from mgmt.machine import direct
from mgmt.machine.direct import DirectWriter
from mgmt.machine.memory import ALIGNMENT_BYTES, make_blocks
from mgmt.source.medium import count_pages
from support.trees import noise

SIZE = 16 * ALIGNMENT_BYTES


@pytest.fixture
def block():
    [block] = make_blocks(1, SIZE)
    block[:] = noise(SIZE)
    return block


@pytest.fixture
def opened(tmp_path):
    path = tmp_path / "archive"
    with path.open("w+b") as file:
        yield path, file


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux writes past its cache")
def test_whole_pages_are_written_and_none_of_them_is_in_the_cache(opened, block):
    path, file = opened
    writer = DirectWriter(path, file.fileno())
    if not writer.write(ALIGNMENT_BYTES, block):
        pytest.skip("this file system does not")
    writer.close()
    assert count_pages(file.fileno(), ALIGNMENT_BYTES + SIZE) == 0
    assert path.read_bytes() == bytes(ALIGNMENT_BYTES) + bytes(block)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux writes past its cache")
def test_room_is_reserved_for_all_of_a_file_and_what_is_in_it_stays(opened, block):
    path, file = opened
    file.write(b"written before")
    file.flush()
    writer = DirectWriter(path, file.fileno())
    if not writer.reserve(4 * SIZE):
        pytest.skip("this file system does not")
    writer.close()
    assert path.read_bytes() == b"written before".ljust(4 * SIZE, b"\0")
    assert path.stat().st_blocks * 512 >= 4 * SIZE


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux writes past its cache")
def test_where_there_is_no_room_for_all_none_is_reserved_and_nothing_fails(opened):
    path, file = opened
    writer = DirectWriter(path, file.fileno())
    assert not writer.reserve(2**62)
    writer.close()
    assert not writer.reserve(SIZE)
    assert path.read_bytes() == b""


def test_what_does_not_suit_the_disk_is_left(opened, block):
    path, file = opened
    writer = DirectWriter(path, file.fileno())
    assert writer.write(1, block) == 0
    assert writer.write(0, block[: ALIGNMENT_BYTES - 1]) == 0
    assert writer.write(0, block[: ALIGNMENT_BYTES + 1]) in (0, ALIGNMENT_BYTES)
    assert writer.write(0, block[1:]) == 0, "memory that is not aligned"
    writer.close()
    assert writer.write(0, block) == 0


def test_a_system_that_cannot_leaves_all(opened, block, monkeypatch):
    path, file = opened

    def refuse(*_):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "open", refuse)
    writer = DirectWriter(path, file.fileno())
    monkeypatch.undo()
    assert writer.write(0, block) == 0
    writer.close()
    assert path.read_bytes() == b""


def test_a_file_that_took_the_place_is_not_written(opened, block):
    path, file = opened
    path.unlink()
    path.write_bytes(b"theirs")
    writer = DirectWriter(path, file.fileno())
    assert writer.write(0, block) == 0
    writer.close()
    assert path.read_bytes() == b"theirs"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux writes past its cache")
def test_on_a_network_mount_all_is_left(opened, block, monkeypatch):
    path, file = opened
    nfs = 0x6969
    monkeypatch.setattr(direct, "file_system_of", lambda _: nfs)
    writer = DirectWriter(path, file.fileno())
    assert writer.write(0, block) == 0
    writer.close()
