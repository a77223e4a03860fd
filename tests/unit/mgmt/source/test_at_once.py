"""Pieces of several files are read with one call, and whatever the system does not do so is left to be read alone."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mgmt.machine.memory import ALIGNMENT_BYTES, make_blocks
from mgmt.source import at_once
from mgmt.source.at_once import AtOnce, Piece
from support.trees import noise

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="calls Linux")
MOST = 8


@pytest.fixture
def reader() -> Iterator[AtOnce]:
    try:
        made = AtOnce(MOST)
    except OSError as error:
        pytest.skip(f"this machine forbids it: {error}")
    with closing(made):
        yield made


@pytest.fixture
def pieces(tmp_path: Path) -> Iterator[list[Piece]]:
    made: list[Piece] = []
    for number, view in enumerate(make_blocks(MOST, 4 * ALIGNMENT_BYTES)):
        path = tmp_path / str(number)
        path.write_bytes(noise(1_000 + 3_000 * number, seed=number))
        made.append(Piece(os.open(path, os.O_RDONLY), view, ALIGNMENT_BYTES * (number % 2)))
    yield made
    for piece in made:
        os.close(piece.descriptor)


def expected(number: int) -> bytes:
    start = ALIGNMENT_BYTES * (number % 2)
    return noise(1_000 + 3_000 * number, seed=number)[start : start + 4 * ALIGNMENT_BYTES]


def assert_read(pieces: list[Piece], results: list[int | None]) -> None:
    for number, (piece, result) in enumerate(zip(pieces, results, strict=True)):
        assert result is not None
        assert bytes(piece.view[:result]) == expected(number)


def test_all_pieces_are_read_again_and_again_each_from_its_place(reader, pieces):
    for few in (pieces, pieces[:3], pieces):
        for piece in few:
            piece.view[:] = bytes(len(piece.view))
        assert_read(few, reader.read(few))


def test_a_piece_that_is_not_taken_and_those_after_it_are_left_to_be_read_alone(reader, pieces):
    odd = [*pieces[:2], Piece(-1, *pieces[2][1:]), *pieces[3:]]
    results = reader.read(odd)
    assert results[2:] == [None] * (MOST - 2)
    assert_read(pieces[:2], results[:2])


def test_an_error_of_one_piece_is_told_and_the_others_are_read(reader, pieces, tmp_path):
    """A pipe has nothing to read."""
    os.mkfifo(tmp_path / "pipe")
    pipe = os.open(tmp_path / "pipe", os.O_RDWR | os.O_NONBLOCK)
    try:
        results = reader.read([pieces[0], Piece(pipe, *pieces[1][1:]), pieces[2]])
    finally:
        os.close(pipe)
    assert results[1] == -errno.EAGAIN
    assert_read(pieces[:1], results[:1])
    assert bytes(pieces[2].view[: results[2]]) == expected(2)


def test_a_closed_reader_reads_nothing_and_says_so(reader, pieces):
    reader.close()
    assert reader.read(pieces) == [None] * MOST


def interrupted(reader: AtOnce, number: int, times: int) -> object:
    """Make the calls of a reader, with one of them failing so many times."""
    call, left = reader._call, iter(range(times))

    def act(which, *arguments):
        if which.value == reader._calls.get_events and next(left, None) is not None:
            ctypes.set_errno(number)
            return -1
        return call(which, *arguments)

    return act


def test_an_interrupt_while_it_waits_changes_nothing(reader, pieces, monkeypatch):
    monkeypatch.setattr(reader, "_call", interrupted(reader, errno.EINTR, 3))
    assert_read(pieces, reader.read(pieces))


def test_where_the_system_does_not_tell_what_came_all_is_to_be_read_alone(reader, pieces, monkeypatch):
    monkeypatch.setattr(reader, "_call", interrupted(reader, errno.EFAULT, 1))
    assert reader.read(pieces) == [None] * MOST
    assert reader.read(pieces) == [None] * MOST, "nothing is asked of it any more"


def test_of_a_processor_whose_calls_are_not_known_nothing_is_asked(monkeypatch):
    monkeypatch.setattr(at_once, "_CALLS", {})
    with pytest.raises(OSError, match="not implemented"):
        AtOnce(MOST)


def test_what_the_system_refuses_to_set_up_is_an_error():
    with pytest.raises(OSError, match=r"\[Errno"):
        AtOnce(2**30 // 64)
