"""Reads an archive of this format block by block, as it was packed: what is in each block, and how long it is."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from mgmt.archive.codec import LAST_BLOCK, QUICKEST, RAW, checksum_crc32
from mgmt.archive.headers import GZIP_HEADER, gzip_trailer
from mgmt.errors import IntegrityError
from mgmt.layout import BLOCK_SIZE_BYTES, STORED_HEADER_BYTES
from mgmt_contract.parts import MIB

_READ_SIZE_BYTES: Final = MIB
_FLUSHED: Final = b"\x00\x00\xff\xff"
"""What a deflated block ends with: the length of an empty stored block and its complement. It may stand elsewhere in a
block too."""
_STORED_HEADER: Final = struct.Struct("<BHH")
_END: Final = len(LAST_BLOCK) + len(gzip_trailer(0, 0))


class Readable(Protocol):
    """What an archive is read from, once, from its beginning on."""

    def read(self, most_bytes: int, /) -> bytes:
        """Return the next bytes, none at the end."""


class ReadBlock(NamedTuple):
    """One block of the tar stream."""

    content: bytes
    length: int
    """Bytes that it takes in the archive."""


class Place(NamedTuple):
    """Where a block begins, and the gzip checksum up to there."""

    archive_offset: int = len(GZIP_HEADER)
    tar_offset: int = 0
    crc32: int = 0

    def after(self, block: ReadBlock) -> Place:
        """Return where the next block begins."""
        crc32 = checksum_crc32(block.content, self.crc32)
        return Place(self.archive_offset + block.length, self.tar_offset + len(block.content), crc32)


def inflate_block(encoded: bytes) -> bytes:
    """Inflate one block alone.

    Raises:
        IntegrityError: archive-damaged.
    """
    try:
        inflating = QUICKEST.library.decompressobj(RAW)
        content = bytes(inflating.decompress(encoded, BLOCK_SIZE_BYTES + 1))
    except QUICKEST.library.error as error:
        raise damaged(str(error)) from error
    if len(content) > BLOCK_SIZE_BYTES:
        raise damaged("one of its blocks is too long")
    return content


def read_blocks(file: Readable) -> Iterator[ReadBlock]:
    """Read the blocks of a whole archive of this format, and check its gzip trailer.

    Every block is inflated without the ones before it, which proves that it can be read alone.

    Raises:
        IntegrityError: archive-damaged, or other-format where it is another format's, or not mgmt's.
    """
    return (block for _, block in read_placed_blocks(file))


def read_placed_blocks(file: Readable, start: Place | None = None) -> Iterator[tuple[Place, ReadBlock]]:
    """Read the blocks as `read_blocks` does, each with its place.

    Args:
        file: The archive, from its beginning on, or from `start` on.
        start: The place of the first block, where an earlier reading has ended.
    """
    window = _Window(file)
    if start is None:
        if window.take(len(GZIP_HEADER)) != GZIP_HEADER:
            raise IntegrityError("The archive does not have this mgmt's format.", code="other-format")
        start = Place()
    place = start
    while not window.is_at_end():
        block = _read_stored(window) or _read_deflated(window)
        yield place, block
        place = place.after(block)
        if len(block.content) < BLOCK_SIZE_BYTES:
            break
    if window.take(_END + 1) != LAST_BLOCK + gzip_trailer(place.crc32, place.tar_offset):
        raise damaged("it does not end as it should, or its bytes were changed")


class _Window:
    """What lies next in an archive that is read on and on."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._buffer = bytearray()

    def peek(self, size_bytes: int, offset: int = 0) -> bytes:
        """Look at the next bytes; fewer at the end."""
        self._fill(offset + size_bytes)
        return bytes(self._buffer[offset : offset + size_bytes])

    def take(self, size_bytes: int) -> bytes:
        """Take the next bytes; fewer at the end."""
        taken = self.peek(size_bytes)
        del self._buffer[: len(taken)]
        return taken

    def is_at_end(self) -> bool:
        """Tell whether all blocks were taken."""
        return len(self.peek(_END + 1)) <= _END

    def find_flush(self, offset: int) -> int | None:
        """Find the end of the next mark of a flush from `offset` on."""
        while True:
            found = self._buffer.find(_FLUSHED, offset)
            if found >= 0:
                return found + len(_FLUSHED)
            known_bytes = len(self._buffer)
            self._fill(known_bytes + _READ_SIZE_BYTES)
            if len(self._buffer) == known_bytes:
                return None
            offset = max(offset, known_bytes - len(_FLUSHED) + 1)

    def _fill(self, size_bytes: int) -> None:
        while len(self._buffer) < size_bytes:
            more = self._file.read(_READ_SIZE_BYTES)
            if not more:
                return
            self._buffer += more


def _read_stored(window: _Window) -> ReadBlock | None:
    """Read a block that is stored as `codec.store` writes it; None if the next one is not."""
    length = size_bytes = 0
    pieces = []
    while size_bytes < BLOCK_SIZE_BYTES:
        header = window.peek(STORED_HEADER_BYTES, length)
        if len(header) < STORED_HEADER_BYTES or header == LAST_BLOCK:
            break
        mark, piece_bytes, complement = _STORED_HEADER.unpack(header)
        if mark or not piece_bytes or piece_bytes ^ complement != 0xFFFF:
            return None
        pieces.append((length + STORED_HEADER_BYTES, piece_bytes))
        length += STORED_HEADER_BYTES + piece_bytes
        size_bytes += piece_bytes
    if not pieces or size_bytes > BLOCK_SIZE_BYTES:
        return None
    taken = memoryview(window.take(length))
    if len(taken) < length:
        raise damaged("it is cut off")
    return ReadBlock(b"".join(taken[start : start + piece_bytes] for start, piece_bytes in pieces), length)


def _read_deflated(window: _Window) -> ReadBlock:
    """Read a deflated block: it ends at the mark of a flush by which a whole block has come out."""
    inflating = zlib.decompressobj(RAW)
    content = bytearray()
    length = 0
    while True:
        following = window.find_flush(length)
        if following is None:
            raise damaged("it is cut off")
        try:
            content += inflating.decompress(window.peek(following - length, length), BLOCK_SIZE_BYTES + 1)
        except zlib.error as error:
            raise damaged(str(error)) from error
        length = following
        if len(content) > BLOCK_SIZE_BYTES or inflating.unconsumed_tail or inflating.eof:
            raise damaged("one of its blocks is too long")
        is_last = len(window.peek(_END + 1, length)) == _END
        if len(content) == BLOCK_SIZE_BYTES or is_last:
            window.take(length)
            return ReadBlock(bytes(content), length)


def damaged(why: str) -> IntegrityError:
    """Say that an archive's bytes are not what was packed."""
    return IntegrityError(f"The archive is damaged: {why}.", code="archive-damaged")
