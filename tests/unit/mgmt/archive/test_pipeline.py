from __future__ import annotations

import threading

import pytest

from mgmt.archive.stream import Block, Pipeline
from mgmt.layout import BLOCK_SIZE_BYTES


class Recorder:
    """Stands at the pipeline's three ends."""

    def __init__(self) -> None:
        self.digested: list[bytes] = []
        self.delivered: list[bytes] = []
        self.delivering_threads: set[int] = set()

    def encode(self, block: memoryview) -> list[bytes]:
        return [bytes(block[:1]), b"%d" % len(block)]

    def deliver(self, block: memoryview, pieces: list[bytes]) -> None:
        assert bytes(block[:1]) == pieces[0]
        self.delivered.append(pieces[0])
        self.delivering_threads.add(threading.get_ident())

    def pipeline(self, workers: int) -> Pipeline:
        return Pipeline(encode=self.encode, digest=self.digested.extend, deliver=self.deliver, workers=workers)


def fill(block: Block, byte: bytes, size_bytes: int = BLOCK_SIZE_BYTES) -> None:
    block.view[block.end : block.end + size_bytes] = byte * size_bytes
    block.end += size_bytes
    block.digested.append(byte)


LETTERS = [b"%c" % letter for letter in range(65, 91)]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_blocks_are_delivered_and_digested_in_order_by_one_thread_that_is_not_the_callers(workers):
    recorder = Recorder()
    with recorder.pipeline(workers) as pipeline:
        for letter in LETTERS:
            block = pipeline.take()
            fill(block, letter)
            pipeline.push(block)
        pipeline.finish()
    assert recorder.delivered == LETTERS
    assert len(recorder.delivering_threads) == 1
    assert threading.get_ident() not in recorder.delivering_threads
    assert recorder.digested == LETTERS


def test_a_fixed_number_of_blocks_is_used_again_and_again():
    recorder = Recorder()
    seen = set()
    with recorder.pipeline(2) as pipeline:
        for _ in range(50):
            block = pipeline.take()
            seen.add(id(block))
            fill(block, b"x")
            pipeline.push(block)
        pipeline.finish()
    assert len(seen) == 4


def test_a_block_is_not_used_again_before_it_is_digested():
    """However far the digest lags behind, it sees what was there."""
    gate = threading.Event()
    digested = []

    def digest(pieces: list[memoryview]) -> None:
        gate.wait(timeout=30)
        digested.extend(bytes(piece) for piece in pieces)

    with Pipeline(encode=lambda *_: [], digest=digest, deliver=lambda *_: None, workers=1) as pipeline:
        for index, letter in enumerate(LETTERS):
            if index == 3:  # all blocks are on their way now
                threading.Timer(0.05, gate.set).start()
            block = pipeline.take()
            fill(block, letter)
            block.digested = [block.view[:1]]
            pipeline.push(block)
        pipeline.finish()
    assert digested == LETTERS


def test_without_workers_all_happens_in_the_callers_thread():
    recorder = Recorder()
    with recorder.pipeline(0) as pipeline:
        for letter in LETTERS:
            block = pipeline.take()
            fill(block, letter)
            pipeline.push(block)
        pipeline.finish()
    assert (recorder.delivered, recorder.digested) == (LETTERS, LETTERS)
    assert recorder.delivering_threads == {threading.get_ident()}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("where", ["encode", "digest", "deliver"])
def test_an_error_beside_arrives_in_the_callers_thread(where, workers):
    pushed = threading.Event()
    if not workers:
        pushed.set()

    def fail(*_: object) -> list[bytes]:
        pushed.wait(timeout=30)
        raise ZeroDivisionError

    ends = {"encode": lambda *_: [], "digest": lambda *_: None, "deliver": lambda *_: None, where: fail}
    with Pipeline(**ends, workers=workers) as pipeline:
        block = pipeline.take()
        fill(block, b"x")
        pipeline.push(block)
        pushed.set()
        with pytest.raises(ZeroDivisionError):
            pipeline.finish()


def test_nothing_is_delivered_after_a_block_that_failed():
    """A part with a block behind a gap would look good, and be sent."""
    delivered = []

    def deliver(block: memoryview, _: object) -> None:
        if bytes(block[:1]) == b"C":
            raise ZeroDivisionError
        delivered.append(bytes(block[:1]))

    with Pipeline(encode=lambda *_: [], digest=lambda *_: None, deliver=deliver, workers=2) as pipeline:
        for letter in LETTERS[:6]:
            block = pipeline.take()
            fill(block, letter)
            pipeline.push(block)
        with pytest.raises(ZeroDivisionError):
            pipeline.finish()
    assert delivered == [b"A", b"B"]
