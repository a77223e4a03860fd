"""Reads the files of a target again from their medium, several blocks ahead, and goes on past what cannot be read."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from mgmt.errors import INTERRUPTED, CancelledError, is_gone
from mgmt.layout import NANOSECONDS, FileEnd, Finding, Member, Reread, has_changed
from mgmt.machine.folders import MovedError
from mgmt.machine.memory import ALIGNMENT_BYTES, make_blocks
from mgmt.source.at_once import AtOnce, Piece
from mgmt.source.medium import Kinds, bypass_cache, read_at, read_through_cache
from mgmt.source.walk import Walk
from mgmt_contract.parts import MIB

_BLOCK_SIZE_BYTES: Final = 2 * MIB
_BLOCKS_AHEAD: Final = 8
_THREADS: Final = 3 if hasattr(os, "preadv") else 1
"""Reading past the cache, the system reads nothing ahead; several reads at once keep a disk as busy."""
_BATCH_MAX: Final = 32
"""Small files that one thread reads into one block: handing over each alone would take longer than reading it."""
_WAITING_MAX: Final = 256
"""Members, pieces and ends that may wait to be taken."""
_OPEN_MAX: Final = 96
_CHANGED: Final = "it changed while it was read"
_FAT_STEP_NS: Final = 2 * NANOSECONDS
"""FAT keeps every other second."""


def reread(walk: Walk, *, stop: threading.Event | None = None) -> Generator[Reread]:
    """Read a target's files again from their medium; memory stays the same whatever there is to read.

    A hard link is not read once more: it is another name of the same bytes on the medium.

    Args:
        walk: Finds the members; afterwards it knows what it skipped.
        stop: Ends the reading soon after it was set.

    Raises:
        SourceError: If the target itself cannot be read, or a folder that the walk has to go back to.
        CancelledError: If `stop` was set.
    """
    rereading = _Rereading(stop)
    try:
        yield from rereading.read(walk)
    finally:
        rereading.close()


class _File:
    """A file that is being read."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.descriptor = -1
        self.is_from_medium = True
        self.failure: OSError | None = None
        """Set by any thread; the first one that is seen counts."""

    def open(self, kinds: Kinds) -> None:
        """Open it, and have it read past the cache."""
        try:
            self.descriptor = self.member.open()
        except OSError as error:
            self.failure = error
            return
        if self.member.size_bytes:
            self.is_from_medium = bypass_cache(self.descriptor, self.member.status, kinds)

    def read(self, view: memoryview, offset: int, wanted_bytes: int, result: int | None) -> memoryview:
        """Read a piece of it, or go on from the result of having read it; what comes after a failure is nothing."""
        if self.failure is not None:
            return view[:0]
        try:
            got_bytes = self._read_at(view, offset, result)
        except OSError as error:
            self.failure = error
            return view[:0]
        if got_bytes != wanted_bytes:  # shorter than it was found, or longer
            self.failure = MovedError()
        return view[: min(got_bytes, wanted_bytes)]

    def _read_at(self, view: memoryview, offset: int, result: int | None) -> int:
        try:
            if result is None:
                return read_at(self.descriptor, view, offset)
            return _go_on(self.descriptor, view, offset, result)
        except OSError as error:
            if error.errno != errno.EINVAL or not read_through_cache(self.descriptor):
                raise
        self.is_from_medium = False
        return read_at(self.descriptor, view, offset)

    def end(self) -> FileEnd:
        """Close it, and say what became of it."""
        if self.failure is None:
            try:
                # Some file systems say 0 of a file and give bytes for all that.
                has_more = not self.member.size_bytes and os.read(self.descriptor, 1)
                status = os.fstat(self.descriptor)
                if has_more or has_changed(self.member.status, status) or _is_written_just_now(status):
                    self.failure = MovedError()
            except OSError as error:
                self.failure = error
        self.close()
        finding = None if self.failure is None else _finding(self.member.path, self.failure)
        return FileEnd(finding, self.is_from_medium)

    def close(self) -> None:
        """Let go of it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class _Batch:
    """Pieces of files that one thread reads into one block: one of a large file, or several small files."""

    def __init__(self, block: memoryview) -> None:
        self.block = block
        self.reading: Future[list[memoryview]] | None = None
        self._pieces: list[tuple[_File, memoryview, int, int]] = []
        self._used_bytes = 0
        self._taken_count = 0

    def has_room(self, size_bytes: int) -> bool:
        """Tell whether one more piece may be added."""
        return len(self._pieces) < _BATCH_MAX and self._used_bytes + _aligned(size_bytes) <= _BLOCK_SIZE_BYTES

    def add(self, file: _File, offset: int, size_bytes: int) -> None:
        """Add a piece."""
        stop = self._used_bytes + _aligned(size_bytes)
        self._pieces.append((file, self.block[self._used_bytes : stop], offset, size_bytes))
        self._used_bytes = stop

    def read(self, readers: list[AtOnce]) -> list[memoryview]:
        """Read all pieces, with one of the readers where there is one."""
        results: list[int | None] = [None] * len(self._pieces)
        if len(results) > 1 and readers:
            reader = readers.pop()
            results = reader.read([Piece(file.descriptor, view, offset) for file, view, offset, _ in self._pieces])
            readers.append(reader)
        return [
            file.read(view, offset, size_bytes, result)
            for (file, view, offset, size_bytes), result in zip(self._pieces, results, strict=True)
        ]

    def take(self) -> memoryview:
        """Take the next piece that was read, when it is."""
        assert self.reading is not None  # noqa: S101  it was submitted
        self._taken_count += 1
        return self.reading.result()[self._taken_count - 1]

    @property
    def is_taken(self) -> bool:
        """Tell whether its block is free again."""
        return self._taken_count == len(self._pieces)


class _Rereading:
    """One reading while it lasts: the calling thread finds and opens, a few others read, and all is taken in order."""

    def __init__(self, stop: threading.Event | None) -> None:
        self._stop = stop
        self._pool = ThreadPoolExecutor(_THREADS, "mgmt-reread")
        self._readers: list[AtOnce] = []
        with suppress(OSError):  # each piece is then read alone; one for each thread, or none
            self._readers = [AtOnce(_BATCH_MAX) for _ in range(_THREADS)]
        self._free = make_blocks(_BLOCKS_AHEAD, _BLOCK_SIZE_BYTES)
        self._waiting: deque[Member | Finding | _File | _Batch] = deque()
        self._filling: _Batch | None = None
        self._open: set[_File] = set()
        self._kinds: Kinds = {}

    def read(self, walk: Walk) -> Generator[Reread]:
        for member in walk.members(on_failure=self._note):
            self._waiting.append(member)
            if member.kind == "file":
                yield from self._read_file(member)
            while len(self._waiting) >= _WAITING_MAX or len(self._open) >= _OPEN_MAX:
                yield from self._take()
        while self._waiting:
            yield from self._take()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        for reader in self._readers:  # each takes 30 ms, in which nothing has to wait for it
            threading.Thread(target=reader.close, name="mgmt-reread-end").start()
        for file in self._open:
            file.close()

    def _note(self, path: bytes, error: OSError) -> None:
        self._waiting.append(_finding(path, error))

    def _read_file(self, member: Member) -> Generator[Reread]:
        file = _File(member)
        self._open.add(file)
        file.open(self._kinds)
        for offset in range(0, member.size_bytes, _BLOCK_SIZE_BYTES):
            if file.failure is not None:
                break
            size_bytes = min(_BLOCK_SIZE_BYTES, member.size_bytes - offset)
            if self._filling is None or not self._filling.has_room(size_bytes):
                self._submit()
                while not self._free:
                    yield from self._take()
                self._filling = _Batch(self._free.pop())
            self._filling.add(file, offset, size_bytes)
            self._waiting.append(self._filling)
        self._waiting.append(file)

    def _submit(self) -> None:
        if self._filling is not None:
            self._filling.reading = self._pool.submit(self._filling.read, self._readers)
            self._filling = None

    def _take(self) -> Generator[Reread]:
        if self._stop is not None and self._stop.is_set():
            raise CancelledError(INTERRUPTED)
        taken = self._waiting.popleft()
        if isinstance(taken, (Member, Finding)):
            yield taken
        elif isinstance(taken, _File):
            self._open.discard(taken)
            yield taken.end()
        else:
            if taken is self._filling:
                self._submit()
            content = taken.take()
            if content:
                yield content
            if taken.is_taken:
                self._free.append(taken.block)


def _go_on(descriptor: int, view: memoryview, offset: int, result: int) -> int:
    """Go on where a piece was read with others at once: only the end of the file makes it less than was asked for."""
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    if not result or result % ALIGNMENT_BYTES:
        return result
    return result + read_at(descriptor, view[result:], offset + result)


def _is_written_just_now(status: os.stat_result) -> bool:
    """Tell whether a file on FAT could change once more without any of its times changing."""
    times_ns = status.st_mtime_ns, status.st_ctime_ns
    is_coarse = not any(time_ns % _FAT_STEP_NS for time_ns in times_ns)
    return is_coarse and abs(time.time_ns() - max(times_ns)) < 2 * _FAT_STEP_NS


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def _finding(path: bytes, error: OSError) -> Finding:
    if isinstance(error, MovedError) or is_gone(error):
        return Finding(path, "source-changed", _CHANGED)
    return Finding(path, "source-unreadable", error.strerror or str(error))
