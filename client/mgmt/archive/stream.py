"""The tar stream on its way: members are read into blocks, which are encoded, digested and delivered in order.

The calling thread fills blocks and does nothing else, because it is the one that waits for the disk and walks
through many files; several threads encode, another one delivers. There is a fixed number of blocks, so memory stays
the same however large the source is: when all are on their way, the oldest must arrive before another is filled.
"""

from __future__ import annotations

import io
import mmap
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Final, NamedTuple, ParamSpec, Self, TypeVar

from mgmt.archive.checksums import Digested, Placed
from mgmt.archive.codec import Piece
from mgmt.archive.headers import header
from mgmt.errors import source_changed, source_failure
from mgmt.layout import BLOCK_SIZE_BYTES, TAR_END_BYTES, TAR_RECORD_BYTES, Member, has_changed

P = ParamSpec("P")
T = TypeVar("T")

_ZEROS: Final = bytes(TAR_END_BYTES)
_BLOCKS_BESIDE: Final = 2
"""One is being filled and one written while every worker has its own."""


class Block:
    """One block of the tar stream in memory, used again and again: fresh memory would cost more than the work."""

    __slots__ = ("buffer", "digested", "end", "view")

    def __init__(self) -> None:
        self.buffer = mmap.mmap(-1, BLOCK_SIZE_BYTES)  # unlike a bytearray, it costs nothing before it is used
        self.view = memoryview(self.buffer)
        """The buffer, sliced without copying."""
        self.end = 0
        """Where the next byte goes."""
        self.digested: list[Digested] = []
        """The content digest's input from this block: members, each followed by views of its content."""

    def begin(self) -> None:
        """Empty the block."""
        self.end = 0
        self.digested = []

    @property
    def content(self) -> memoryview:
        """The bytes of the stream."""
        return self.view[: self.end]


class _Moving(NamedTuple):
    block: Block
    delivered: Future[None]
    digested: Future[None]


class _CallingThread(Executor):
    """Runs everything at once in the thread that submits it."""

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001  an executor's way: raised where the result is asked for
            future.set_exception(error)
        else:
            future.set_result(result)
        return future


class Pipeline:
    """Encodes, digests and delivers blocks beside the calling thread; the last two in the stream's order.

    Errors of other threads are raised in the calling thread, by `take` or `finish`. Without workers there are
    no other threads at all: for a block or two, starting them takes longer than the work.
    """

    def __init__(
        self,
        *,
        encode: Callable[[memoryview], Sequence[Piece]],
        digest: Callable[[Sequence[Digested]], None],
        deliver: Callable[[memoryview, Sequence[Piece]], None],
        workers: int,
    ) -> None:
        self._encode = encode
        self._digest = digest
        self._deliver = deliver
        self._encoders = _executor(workers, "mgmt-encode")
        self._digester = _executor(min(workers, 1), "mgmt-digest")
        self._deliverer = _executor(min(workers, 1), "mgmt-deliver")
        self._moving: deque[_Moving] = deque()
        self._unmade = workers + _BLOCKS_BESIDE
        self._is_broken = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for executor in (self._encoders, self._digester, self._deliverer):
            executor.shutdown(cancel_futures=True)

    def take(self) -> Block:
        """Return an empty block to fill, when there is one again."""
        if self._unmade:
            self._unmade -= 1
            block = Block()
        else:
            block = self._arrived()
        block.begin()
        return block

    def push(self, block: Block) -> None:
        """Submit a block. All but the last must be full."""
        encoded = self._encoders.submit(self._encode, block.content)
        delivered = self._deliverer.submit(self._deliver_encoded, block.content, encoded)
        digested = self._digester.submit(self._digest, block.digested)
        self._moving.append(_Moving(block, delivered, digested))

    def finish(self) -> None:
        """Wait until all blocks have arrived."""
        while self._moving:
            self._arrived()

    def _deliver_encoded(self, content: memoryview, encoded: Future[Sequence[Piece]]) -> None:
        if self._is_broken:  # bytes after a gap must not be taken for the stream
            return
        try:
            self._deliver(content, encoded.result())
        except BaseException:
            self._is_broken = True
            raise

    def _arrived(self) -> Block:
        block, delivered, digested = self._moving.popleft()
        delivered.result()
        digested.result()
        return block


def _executor(workers: int, name: str) -> Executor:
    return ThreadPoolExecutor(workers, name) if workers else _CallingThread()


class TarStream:
    """Writes members into blocks and submits each block as soon as it is full."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._block = pipeline.take()
        self._pushed_bytes = 0
        self.content_bytes = 0
        """Bytes of files read so far."""

    def add(self, member: Member, framed: bytes) -> None:
        """Append a member with its content; `framed` is its frame, for the digest.

        Raises:
            SourceError: If a file cannot be read, or is not the one that was found, or did not stay as it was.
        """
        self._put(header(member))
        block = self._block
        block.digested.append(Placed(member, framed, self._pushed_bytes + block.end))
        if member.kind == "file":
            self._add_content(member)

    def close(self) -> None:
        """End the tar stream and submit its last block."""
        self._put(_ZEROS)
        self._pipeline.push(self._block)

    def _put(self, data: bytes) -> None:
        block = self._block
        stop = block.end + len(data)
        if stop > BLOCK_SIZE_BYTES:
            room_bytes = BLOCK_SIZE_BYTES - block.end
            self._put(data[:room_bytes])
            self._turn()
            self._put(data[room_bytes:])
        else:
            block.buffer[block.end : stop] = data
            block.end = stop

    def _turn(self) -> None:
        self._pushed_bytes += self._block.end
        self._pipeline.push(self._block)
        self._block = self._pipeline.take()

    def _add_content(self, member: Member) -> None:
        descriptor = _open(member)
        try:
            self._read(descriptor, member)
            _refuse_changed(descriptor, member)
        finally:
            os.close(descriptor)
        self._put(_ZEROS[: -member.size_bytes % TAR_RECORD_BYTES])

    def _read(self, descriptor: int, member: Member) -> None:
        missing = member.size_bytes
        while missing:
            block = self._block
            start = block.end
            stop = min(start + missing, BLOCK_SIZE_BYTES)
            if start == stop:
                self._turn()
                continue
            wanted = block.view[start:stop]
            got = _read_into(descriptor, wanted, member)
            if not got:
                raise source_changed(member.path)
            block.end += got
            block.digested.append(wanted[:got])
            missing -= got
            self.content_bytes += got


def _open(member: Member) -> int:
    try:
        return member.open()
    except OSError as error:
        raise source_failure(member.path, error) from error


def _read_into(descriptor: int, view: memoryview, member: Member) -> int:
    try:
        if hasattr(os, "readv"):
            got_bytes: int = os.readv(descriptor, [view])
            return got_bytes
        with io.FileIO(descriptor, closefd=False) as file:
            return file.readinto(view) or 0
    except OSError as error:
        raise source_failure(member.path, error) from error


def _refuse_changed(descriptor: int, member: Member) -> None:
    # Only after the last byte: any change since the file was found shows now.
    try:
        after = os.fstat(descriptor)
    except OSError as error:
        raise source_failure(member.path, error) from error
    if has_changed(member.status, after):
        raise source_changed(member.path)
