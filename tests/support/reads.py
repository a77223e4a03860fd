"""Lets things happen to the reads of `mgmt safe`, whether the system is asked for one piece or for several at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from mgmt.machine.memory import ALIGNMENT_BYTES
from mgmt.source import rereading
from mgmt.source.at_once import AtOnce, Piece
from mgmt.source.medium import read_at

AfterRead = Callable[[int, memoryview, int], int]
"""Gets the descriptor, what was read, and how many bytes that is; returns how many it is to be, or raises an error."""


def after_each_read(monkeypatch: pytest.MonkeyPatch, act: AfterRead) -> None:
    """Let something happen after each read of a piece, alone or with others."""
    read_at_once = AtOnce.read

    def read(descriptor: int, view: memoryview, offset: int) -> int:
        return act(descriptor, view, read_at(descriptor, view, offset))

    def read_pieces(reader: AtOnce, pieces: Sequence[Piece]) -> list[int | None]:
        results = read_at_once(reader, pieces)
        return [_told(act, piece, result) for piece, result in zip(pieces, results, strict=True)]

    monkeypatch.setattr(rereading, "read_at", read)
    monkeypatch.setattr(AtOnce, "read", read_pieces)


def _told(act: AfterRead, piece: Piece, result: int | None) -> int | None:
    if result is None or result < 0:
        return result
    try:
        told = act(piece.descriptor, piece.view, result)
    except OSError as error:
        return -(error.errno or 1)
    # After whole sectors the rest is asked for: that would be no fault.
    return told if told == result or told % ALIGNMENT_BYTES else 0
