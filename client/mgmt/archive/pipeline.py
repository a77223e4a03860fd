"""Blocks on their way: filled by one thread, encoded by several, handed on in order, and used again.

The thread that fills the blocks also hands them on; the workers and the digest run beside it. There is a
fixed number of blocks, so memory stays the same however large the source is: when all are on their way, the
oldest must arrive before another is filled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple, Self

from mgmt.archive.codec import DICTIONARY_BYTES, Piece
from mgmt.layout import BLOCK_SIZE_BYTES

_BLOCKS_PER_WORKER: Final = 2
_BLOCKS_BESIDE: Final = 4
"""Being filled, written, digested, and one to spare."""


class Block:
    """One block of the tar stream in memory that is used again and again.

    Fresh memory would cost more than the work done on it. Before the block lies room for the end of the block
    before, which deflate takes as dictionary.
    """

    __slots__ = ("buffer", "digested", "end", "view")

    START: Final = DICTIONARY_BYTES
    STOP: Final = DICTIONARY_BYTES + BLOCK_SIZE_BYTES

    def __init__(self) -> None:
        self.buffer = bytearray(self.STOP)
        self.view = memoryview(self.buffer)
        """The buffer, sliced without copying."""
        self.end = self.START
        """Where the next byte goes."""
        self.digested: list[Piece] = []
        """What the content digest sees of this block: views of it, and frames between them."""

    def begin(self, previous: Block | None) -> None:
        """Empty the block; `previous` is the full one before it in the stream."""
        if previous is not None:
            self.buffer[: self.START] = previous.buffer[BLOCK_SIZE_BYTES:]
        self.end = self.START
        self.digested = []

    @property
    def content(self) -> memoryview:
        """The bytes of the stream."""
        return self.view[self.START : self.end]

    @property
    def dictionary(self) -> memoryview:
        """The bytes of the stream before it; only good for blocks after the first."""
        return self.view[: self.START]


class _Moving(NamedTuple):
    block: Block
    encoded: Future[Sequence[Piece]]
    digested: Future[None]


class Pipeline:
    """Encodes and digests blocks beside the calling thread and delivers them in order, in that thread."""

    def __init__(
        self,
        *,
        encode: Callable[[memoryview, memoryview], Sequence[Piece]],
        digest: Callable[[Sequence[Piece]], None],
        deliver: Callable[[memoryview, Sequence[Piece]], None],
        workers: int,
    ) -> None:
        self._encode = encode
        self._digest = digest
        self._deliver = deliver
        self._encoders = ThreadPoolExecutor(workers, "mgmt-encode")
        self._digester = ThreadPoolExecutor(1, "mgmt-digest")
        self._moving: deque[_Moving] = deque()
        self._delivered: deque[tuple[Block, Future[None]]] = deque()
        self._unmade = workers * _BLOCKS_PER_WORKER + _BLOCKS_BESIDE
        self._previous: Block | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for executor in (self._encoders, self._digester):
            executor.shutdown(cancel_futures=True)

    def take(self) -> Block:
        """Return an empty block to fill, when there is one again."""
        block = self._free_block()
        block.begin(self._previous)
        return block

    def push(self, block: Block) -> None:
        """Send a block on its way, and deliver those that have arrived. All but the last must be full."""
        dictionary = block.dictionary if self._previous is not None else block.dictionary[:0]
        encoded = self._encoders.submit(self._encode, block.content, dictionary)
        digested = self._digester.submit(self._digest, block.digested)
        self._moving.append(_Moving(block, encoded, digested))
        self._previous = block
        while self._moving and self._moving[0].encoded.done():
            self._deliver_oldest()

    def finish(self) -> None:
        """Wait for all blocks and deliver them."""
        while self._moving:
            self._deliver_oldest()
        while self._delivered:
            self._reusable()

    def _free_block(self) -> Block:
        if self._unmade:
            self._unmade -= 1
            return Block()
        if not self._delivered:
            self._deliver_oldest()
        return self._reusable()

    def _deliver_oldest(self) -> None:
        oldest = self._moving.popleft()
        self._deliver(oldest.block.content, oldest.encoded.result())
        self._delivered.append((oldest.block, oldest.digested))

    def _reusable(self) -> Block:
        block, digested = self._delivered.popleft()
        digested.result()
        return block
