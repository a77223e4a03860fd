"""Reads an archive of this format block by block, as it was packed: what is in each block, and how long it is."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from mgmt.archive.codec import LAST_BLOCK, QUICKEST, RAW, checksum_crc32
from mgmt.archive.headers import GZIP_HEADER, gzip_trailer
from mgmt.errors import IntegrityError
from mgmt.layout import BLOCK_SIZE_BYTES, STORED_HEADER_BYTES
from mgmt_contract.parts import MIB

_READ_SIZE_BYTES: Final = MIB
_PIECE_SIZE_BYTES: Final = 64 * 1024
"""Of what is inflated, or looked through for a mark, at a time."""
_FLUSHED: Final = b"\x00\x00\xff\xff"
"""What a deflated block ends with: the length of an empty stored block and its complement. It may stand elsewhere in a
block too."""
_STORED_HEADER: Final = struct.Struct("<BHH")
_END: Final = len(LAST_BLOCK) + len(gzip_trailer(0, 0))
_CRC32: Final = slice(len(LAST_BLOCK), len(LAST_BLOCK) + 4)
"""Where in the end gzip's checksum stands."""


class Readable(Protocol):
    """What an archive is read from, once, from its beginning on."""

    def read(self, most_bytes: int, /) -> bytes | memoryview:
        """Return the next bytes, none at the end; a view is good until the next call."""


class ReadBlock(NamedTuple):
    """One block of the tar stream."""

    content: memoryview
    """Good until the next block is asked for."""
    length: int
    """Bytes that it takes in the archive."""


class Place(NamedTuple):
    """Where a block begins, and the gzip checksum up to there."""

    archive_offset: int = len(GZIP_HEADER)
    tar_offset: int = 0
    crc32: int = 0

    def after(self, block: ReadBlock, *, counts_crc32: bool = True) -> Place:
        """Return where the next block begins."""
        crc32 = checksum_crc32(block.content, self.crc32) if counts_crc32 else 0
        return Place(self.archive_offset + block.length, self.tar_offset + len(block.content), crc32)


class _Inflating:
    """The inflating of one block, into memory of its owner's.

    Args:
        room: Memory for a block's content; filled from its beginning on.
    """

    def __init__(self, room: memoryview) -> None:
        self._inflating = QUICKEST.library.decompressobj(RAW)
        self._room = room
        self._filled_bytes = 0

    def take(self, encoded: memoryview | bytes) -> None:
        """Inflate the next bytes of the block.

        In small pieces: what one call returns would else be as long as the block, and is copied.

        Raises:
            IntegrityError: archive-damaged.
        """
        try:
            for start in range(0, len(encoded), _PIECE_SIZE_BYTES):
                self._put(encoded[start : start + _PIECE_SIZE_BYTES])
        except QUICKEST.library.error as error:
            raise damaged(str(error)) from error

    def content(self) -> memoryview:
        """Return what has come out so far."""
        return self._room[: self._filled_bytes]

    def _put(self, encoded: memoryview | bytes) -> None:
        left_bytes = len(self._room) - self._filled_bytes
        content = self._inflating.decompress(encoded, left_bytes + 1)
        if len(content) > left_bytes or self._inflating.unconsumed_tail or self._inflating.eof:
            raise damaged("one of its blocks is too long")
        self._room[self._filled_bytes : self._filled_bytes + len(content)] = content
        self._filled_bytes += len(content)


def read_blocks(file: Readable, *, counts_crc32: bool = True) -> Iterator[ReadBlock]:
    """Read the blocks of a whole archive of this format, and check its gzip trailer.

    Every block is inflated without the ones before it, which proves that it can be read alone.

    Args:
        file: The archive, from its beginning on.
        counts_crc32: Whether gzip's own checksum is compared too; it need not be where better ones are.

    Raises:
        IntegrityError: archive-damaged, or other-format where it is another format's, or not mgmt's.
    """
    return (block for _, block in read_placed_blocks(file, counts_crc32=counts_crc32))


def read_placed_blocks(
    file: Readable, start: Place | None = None, *, counts_crc32: bool = True
) -> Iterator[tuple[Place, ReadBlock]]:
    """Read the blocks as `read_blocks` does, each with its place.

    Args:
        file: The archive, from its beginning on, or from `start` on.
        start: The place of the first block, where an earlier reading has ended.
        counts_crc32: As above.
    """
    window = _Window(file)
    if start is None:
        if window.take(len(GZIP_HEADER)) != GZIP_HEADER:
            raise IntegrityError("The archive does not have this mgmt's format.", code="other-format")
        start = Place()
    place, room = start, memoryview(bytearray(BLOCK_SIZE_BYTES))
    while not window.is_at_end():
        block = _read_stored(window, room) or _read_deflated(window, room)
        yield place, block
        place = place.after(block, counts_crc32=counts_crc32)
        if len(block.content) < BLOCK_SIZE_BYTES:
            break
    end = bytearray(window.take(_END + 1))
    expected = LAST_BLOCK + gzip_trailer(place.crc32, place.tar_offset)
    if not counts_crc32:
        end[_CRC32] = expected[_CRC32]
    if end != expected:
        raise damaged("it does not end as it should, or its bytes were changed")


class KnownBlocks:
    """Blocks whose lengths are known, one after the other as they arrive; into the same memory each.

    Args:
        file: The archive, from the first of them on.
    """

    def __init__(self, file: Readable) -> None:
        self._window = _Window(file)
        self._room = memoryview(bytearray(BLOCK_SIZE_BYTES))

    def read(self, length: int) -> memoryview:
        """Return the content of the next block, good until the next call.

        Args:
            length: Bytes that it takes in the archive.

        Raises:
            IntegrityError: archive-damaged.
        """
        block = _read_stored(self._window, self._room)
        if block is None:
            inflating = _Inflating(self._room)
            inflating.take(self._window.take(length))
            return inflating.content()
        if block.length != length:
            raise damaged("one of its blocks is not as long as the index says")
        return block.content


class _Window:
    """What lies next in an archive that is read on and on.

    Most of it is only copied once, from where the archive was read to into the block that it belongs to.
    """

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._held = bytearray()
        """What was looked at ahead; it lies before the view."""
        self._view = memoryview(b"")
        """What was read last; good until more is read."""

    def peek(self, size_bytes: int, offset: int = 0) -> bytes:
        """Look at the next bytes; fewer at the end."""
        if not self._held and offset + size_bytes <= len(self._view):
            return bytes(self._view[offset : offset + size_bytes])
        self._hold(offset + size_bytes)
        return bytes(self._held[offset : offset + size_bytes])

    def take(self, size_bytes: int) -> bytes:
        """Take the next bytes; fewer at the end."""
        taken = self.peek(size_bytes)
        self._skip(len(taken))
        return taken

    def take_into(self, place: memoryview) -> None:
        """Take as many bytes as a place has.

        Raises:
            IntegrityError: archive-damaged, if there are fewer.
        """
        while place:
            if not self._held and not self._view and not self._read():
                raise damaged("it is cut off")
            count = min(len(place), len(self._held or self._view))
            place[:count] = self._held[:count] if self._held else self._view[:count]
            self._skip(count)
            place = place[count:]

    def take_stored(self, place: memoryview) -> list[int]:
        """Take the stored pieces that lie whole in what was read last, as many as a place has room for.

        Thirty times for each block of footage: only copying may cost time here.

        Returns:
            The length of each.
        """
        view, at, filled_bytes, taken = self._view, 0, 0, []
        while not self._held and len(view) - at > STORED_HEADER_BYTES:
            mark, piece_bytes, complement = _STORED_HEADER.unpack_from(view, at)
            start = at + STORED_HEADER_BYTES
            at = start + piece_bytes
            is_stored = not mark and piece_bytes and piece_bytes ^ complement == 0xFFFF
            if not is_stored or at > len(view) or filled_bytes + piece_bytes > len(place):
                break
            place[filled_bytes : filled_bytes + piece_bytes] = view[start:at]
            filled_bytes += piece_bytes
            taken.append(piece_bytes)
        self._view = view[filled_bytes + len(taken) * STORED_HEADER_BYTES :]
        return taken

    def give_back(self, data: bytes) -> None:
        """Put back what was taken."""
        self._held[:0] = data

    def is_at_end(self) -> bool:
        """Tell whether all blocks were taken."""
        return len(self.peek(_END + 1)) <= _END

    def find_flush(self, offset: int) -> int | None:
        """Find the end of the next mark of a flush from `offset` on."""
        self._hold(offset)
        while True:
            found = self._held.find(_FLUSHED, offset)
            if found >= 0:
                return found + len(_FLUSHED)
            held_bytes = len(self._held)
            offset = max(offset, held_bytes - len(_FLUSHED) + 1)
            self._hold(held_bytes + _PIECE_SIZE_BYTES)
            if len(self._held) == held_bytes:
                return None

    def _skip(self, size_bytes: int) -> None:
        held_bytes = min(size_bytes, len(self._held))
        del self._held[:held_bytes]
        self._view = self._view[size_bytes - held_bytes :]

    def _hold(self, size_bytes: int) -> None:
        while len(self._held) < size_bytes and (self._view or self._read()):
            count = size_bytes - len(self._held)
            self._held += self._view[:count]
            self._view = self._view[count:]

    def _read(self) -> bool:
        self._view = memoryview(self._file.read(_READ_SIZE_BYTES))
        return bool(self._view)


def _read_stored(window: _Window, room: memoryview) -> ReadBlock | None:
    """Read a block that is stored as `codec.store` writes it; None if the next one is not.

    Args:
        window: The archive.
        room: Memory for a block's content.
    """
    pieces: list[int] = []
    size_bytes = 0
    while size_bytes < BLOCK_SIZE_BYTES:
        taken = window.take_stored(room[size_bytes:])
        pieces += taken
        size_bytes += sum(taken)
        if taken:
            continue
        header = window.peek(STORED_HEADER_BYTES)
        if len(header) < STORED_HEADER_BYTES or header == LAST_BLOCK:
            break
        mark, piece_bytes, complement = _STORED_HEADER.unpack(header)
        is_stored = not mark and piece_bytes and piece_bytes ^ complement == 0xFFFF
        if not is_stored or size_bytes + piece_bytes > BLOCK_SIZE_BYTES:
            # A deflater may store within its blocks.
            window.give_back(b"".join(_as_stored(pieces, room)))
            return None
        window.take(STORED_HEADER_BYTES)
        window.take_into(room[size_bytes : size_bytes + piece_bytes])
        pieces.append(piece_bytes)
        size_bytes += piece_bytes
    return ReadBlock(room[:size_bytes], size_bytes + len(pieces) * STORED_HEADER_BYTES) if pieces else None


def _as_stored(pieces: list[int], content: memoryview) -> Iterator[bytes | memoryview]:
    at = 0
    for piece_bytes in pieces:
        yield _STORED_HEADER.pack(0, piece_bytes, piece_bytes ^ 0xFFFF)
        yield content[at : at + piece_bytes]
        at += piece_bytes


def _read_deflated(window: _Window, room: memoryview) -> ReadBlock:
    """Read a deflated block: it ends at the mark of a flush by which a whole block has come out.

    Args:
        window: The archive.
        room: Memory for a block's content.
    """
    inflating = _Inflating(room)
    length = 0
    while True:
        following = window.find_flush(length)
        if following is None:
            raise damaged("it is cut off")
        inflating.take(window.peek(following - length, length))
        length = following
        content = inflating.content()
        is_last = len(window.peek(_END + 1, length)) == _END
        if len(content) == BLOCK_SIZE_BYTES or is_last:
            window.take(length)
            return ReadBlock(content, length)


def damaged(why: str) -> IntegrityError:
    """Say that an archive's bytes are not what was packed."""
    return IntegrityError(f"The archive is damaged: {why}.", code="archive-damaged")
