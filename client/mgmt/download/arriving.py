"""An archive that is read while it arrives: out of memory where it has just come, and else from its file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Self

from mgmt.download.unfinished import Span, Unfinished
from mgmt.errors import INTERRUPTED, CancelledError
from mgmt.machine.memory import make_blocks
from mgmt_contract.parts import MIB

_BLOCK_SIZE_BYTES: Final = MIB
"""Large enough that a disk is busy with one at a time."""
_SMALL_BLOCK_SIZE_BYTES: Final = MIB // 4
"""For very many jobs."""
_MEMORY_BYTES: Final = 16 * MIB
"""For all blocks: with it a download takes less than 64 MB."""
_PATIENCE_SECONDS: Final = 0.005
"""How long threads wait for one whose turn it is: mostly enough for the system to come back to it, and so short that
no connection stands still."""


class _Block:
    """Memory that bytes of the archive come into, one behind the other; free again when they were written and read."""

    def __init__(self, memory: memoryview) -> None:
        self.memory = memory
        self.empty()

    def empty(self) -> None:
        """Begin anew."""
        self.filled_bytes = 0
        self.is_written = self.is_read = False


class Arriving:
    """An archive on its way from several threads that bring it to one that reads it from its beginning on.

    Args:
        unfinished: Its file.
        jobs: How many threads bring it.
        on_bytes: Gets the number of bytes of each piece that has come.
    """

    def __init__(self, unfinished: Unfinished, jobs: int, on_bytes: Callable[[int], object]) -> None:
        size_bytes = _BLOCK_SIZE_BYTES if 2 * jobs * _BLOCK_SIZE_BYTES <= _MEMORY_BYTES else _SMALL_BLOCK_SIZE_BYTES
        count = max(jobs + 1, _MEMORY_BYTES // size_bytes)
        self._free = [_Block(memory) for memory in make_blocks(count, size_bytes)]
        self._unfinished = unfinished
        self._on_bytes = on_bytes
        self._has_changed = threading.Condition()
        self._fresh: dict[int, _Block] = {}
        """By their offsets: full, and not read yet."""
        self._awaited: int | None = None
        """The offset that the reader waits at."""
        self._is_closed = False
        self._offset = 0
        self._reading: _Block | None = None
        self._view = memoryview(b"")
        self._block_size_bytes = size_bytes

    def bring(self) -> Bringing:
        """Return what one of the threads brings it with; to be called for each before any of them begins."""
        return Bringing(self, self._unfinished, self._free.pop(), self._on_bytes)

    def read(self, most_bytes: int, /) -> memoryview:
        """Return the next bytes, none at the end, as a view that is good until the next; they are waited for.

        Raises:
            CancelledError: If it was closed meanwhile.
        """
        if not self._view and self._offset < self._unfinished.size:
            self._view = self._take_next()
        data, self._view = self._view[:most_bytes], self._view[most_bytes:]
        self._offset += len(data)
        return data

    def close(self) -> None:
        """Send everybody away who waits."""
        with self._has_changed:
            self._is_closed = True
            self._has_changed.notify_all()

    def show(self, offset: int, block: _Block) -> None:
        """Let the reader have a block that is full, while it is written to the file."""
        with self._has_changed:
            self._fresh[offset] = block
            if offset == self._awaited:
                self._has_changed.notify_all()

    def exchange(self, block: _Block) -> _Block:
        """Give back a block that was written to the file, and return one to go on with.

        A thread that is far ahead of the reader waits here until a block was read. But none waits long while the reader
        has nothing to read, such as behind a slow connection: then what it needs last is left to the file.

        Raises:
            CancelledError: If it was closed meanwhile.
        """
        with self._has_changed:
            block.is_written = True
            if block.is_read:
                self._free.append(block)
            while not self._has_changed.wait_for(lambda: self._free or self._is_closed, _PATIENCE_SECONDS):
                if self._is_starved():
                    break
            if self._is_closed:
                raise CancelledError(INTERRUPTED)
            following = self._free.pop() if self._free else self._fresh.pop(self._last_written())
            following.empty()
            return following

    def note_whole(self, span: Span) -> None:
        """Note that all of a range is in the file."""
        self._unfinished.note_whole(span.number)
        with self._has_changed:
            self._has_changed.notify_all()

    def _is_starved(self) -> bool:
        return self._awaited is not None and not self._is_there(self._awaited)

    def _last_written(self) -> int:
        """Find the block that the reader needs last of those in the file: there is one, as no thread has two."""
        return max(offset for offset, block in self._fresh.items() if block.is_written)

    def _is_there(self, offset: int) -> bool:
        return offset in self._fresh or self._unfinished.is_written(offset)

    def _take_next(self) -> memoryview:
        with self._has_changed:
            if self._reading is not None:
                self._reading.is_read = True
                if self._reading.is_written:
                    self._free.append(self._reading)
            self._awaited = offset = self._offset
            self._has_changed.notify_all()
            self._has_changed.wait_for(lambda: self._is_closed or self._is_there(offset))
            if self._is_closed:
                raise CancelledError(INTERRUPTED)
            self._awaited = None
            self._reading = self._fresh.pop(offset, None)
        if self._reading is not None:
            return self._reading.memory[: self._reading.filled_bytes]
        buffer = memoryview(bytearray(self._block_size_bytes - offset % self._block_size_bytes))
        return self._unfinished.read(offset, buffer)


class Bringing:
    """The way of ranges through one thread: into a block, and from there to the reader and into the file."""

    def __init__(
        self, arriving: Arriving, unfinished: Unfinished, block: _Block, on_bytes: Callable[[int], object]
    ) -> None:
        self._arriving = arriving
        self._unfinished = unfinished
        self._block = block
        self._on_bytes = on_bytes
        self._offset = self._stop = 0

    def begin(self, span: Span) -> Self:
        """Begin with a range."""
        self._offset, self._stop = span.offset, span.offset + span.length
        return self

    def room(self) -> memoryview:
        """Return memory for the next bytes."""
        return self._block.memory[self._block.filled_bytes : self._stop - self._offset]

    def note(self, size_bytes: int) -> None:
        """Take note of bytes that have come there."""
        self._on_bytes(size_bytes)
        block = self._block
        block.filled_bytes += size_bytes
        if not self.room():
            self._arriving.show(self._offset, block)
            self._unfinished.write(self._offset, block.memory[: block.filled_bytes])
            self._offset += block.filled_bytes
            self._block = self._arriving.exchange(block)
