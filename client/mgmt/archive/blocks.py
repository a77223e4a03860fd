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
_PIECE_SIZE_BYTES: Final = 16 * 1024
"""Of what is looked through for a mark, and inflated, at a time. What comes out is copied, and larger pieces of memory
leave gaps: an extraction of 60,000 files took 61 MiB so, and 63 with 64 KiB (November 2026)."""
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


class BlockStart(NamedTuple):
    """Where a block begins, and the gzip checksum up to there."""

    archive_offset: int = len(GZIP_HEADER)
    tar_offset: int = 0
    crc32: int = 0

    def after(self, block: ReadBlock, *, counts_crc32: bool = True) -> BlockStart:
        """Return where the next block begins."""
        crc32 = checksum_crc32(block.content, self.crc32) if counts_crc32 else 0
        return BlockStart(self.archive_offset + block.length, self.tar_offset + len(block.content), crc32)


class _Inflating:
    """The inflating of one block, into memory of its owner's.

    Args:
        room: Memory for a block's content; filled from its beginning on.
        stored: What the block begins with, in the room already. What follows may refer to it.
    """

    def __init__(self, room: memoryview, stored: _StoredPieces) -> None:
        self._inflating = QUICKEST.library.decompressobj(RAW)
        self._room = room
        self._filled_bytes = 0
        for piece_bytes in stored.lengths:
            piece = room[self._filled_bytes : self._filled_bytes + piece_bytes]
            self.take(_STORED_HEADER.pack(0, piece_bytes, piece_bytes ^ 0xFFFF) + piece)

    def take(self, encoded: bytes) -> None:
        """Inflate the next bytes of the block; few of them, as what they inflate to is copied.

        Raises:
            IntegrityError: archive-damaged.
        """
        left_bytes = len(self._room) - self._filled_bytes
        try:
            content = self._inflating.decompress(encoded, left_bytes + 1)
        except QUICKEST.library.error as error:
            raise damaged(str(error)) from error
        if len(content) > left_bytes or self._inflating.unconsumed_tail or self._inflating.eof:
            raise damaged("one of its blocks is too long")
        self._room[self._filled_bytes : self._filled_bytes + len(content)] = content
        self._filled_bytes += len(content)

    def content(self) -> memoryview:
        """Return what has come out so far."""
        return self._room[: self._filled_bytes]


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
    file: Readable, start: BlockStart | None = None, *, counts_crc32: bool = True
) -> Iterator[tuple[BlockStart, ReadBlock]]:
    """Read the blocks as `read_blocks` does, each with its start.

    Args:
        file: The archive, from its beginning on, or from `start` on.
        start: Of the first block, where an earlier reading has ended.
        counts_crc32: As above.
    """
    window = _Window(file)
    if start is None:
        if window.take(len(GZIP_HEADER)) != GZIP_HEADER:
            raise IntegrityError("The archive does not have this mgmt's format.", code="other-format")
        start = BlockStart()
    place, room = start, memoryview(bytearray(BLOCK_SIZE_BYTES))
    while not window.is_at_end():
        stored = _read_stored(window, room)
        block = stored.block(room) if stored.is_whole_block else _read_deflated(window, room, stored)
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

    def read(self, length: int, size_bytes: int) -> memoryview:
        """Return the content of the next block, good until the next call.

        Args:
            length: Bytes that it takes in the archive.
            size_bytes: Of its content. Where a block that lay before the archive's last one follows that, and both are
                stored, nothing else tells them apart.

        Raises:
            IntegrityError: archive-damaged.
        """
        room = self._room[:size_bytes]
        stored = _read_stored(self._window, room)
        if not stored.is_whole_block:
            return self._inflate(room, stored, length - stored.length)
        if stored.length != length:
            raise damaged("one of its blocks is not as long as the index says")
        return stored.block(room).content

    def _inflate(self, room: memoryview, stored: _StoredPieces, length: int) -> memoryview:
        inflating = _Inflating(room, stored)
        for start in range(0, length, _PIECE_SIZE_BYTES):
            inflating.take(self._window.take(min(_PIECE_SIZE_BYTES, length - start)))
        return inflating.content()


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

    def peek(self, size_bytes: int) -> bytes:
        """Look at the next bytes; fewer at the end."""
        if not self._held and size_bytes <= len(self._view):
            return bytes(self._view[:size_bytes])
        self._hold(size_bytes)
        return bytes(self._held[:size_bytes])

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

    def is_at_end(self) -> bool:
        """Tell whether all blocks were taken."""
        return len(self.peek(_END + 1)) <= _END

    def take_to_flush(self) -> bytes:
        """Take the next bytes: a piece at most, none behind the next mark of a flush; nothing if there is none."""
        ahead = self.peek(_PIECE_SIZE_BYTES)
        found = ahead.find(_FLUSHED)
        if found >= 0:
            return self.take(found + len(_FLUSHED))
        if len(ahead) < _PIECE_SIZE_BYTES:
            return b""
        return self.take(len(ahead) - len(_FLUSHED) + 1)  # what follows may be a mark's beginning

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


class _StoredPieces(NamedTuple):
    """The stored pieces that a block begins with; their content is in its room."""

    lengths: list[int]
    is_whole_block: bool
    """False if the block goes on, or begins, with something else."""

    @property
    def length(self) -> int:
        """Bytes that they take in the archive."""
        return sum(self.lengths) + len(self.lengths) * STORED_HEADER_BYTES

    def block(self, room: memoryview) -> ReadBlock:
        """Return the block that they are."""
        return ReadBlock(room[: sum(self.lengths)], self.length)


def _read_stored(window: _Window, room: memoryview) -> _StoredPieces:
    """Read a block that is stored as `codec.store` writes it, or what of it is.

    Args:
        window: The archive.
        room: Memory for the block's content, and no more where that is known.
    """
    lengths: list[int] = []
    size_bytes = 0
    while size_bytes < len(room):
        taken = window.take_stored(room[size_bytes:])
        lengths += taken
        size_bytes += sum(taken)
        if taken:
            continue
        header = window.peek(STORED_HEADER_BYTES)
        if len(header) < STORED_HEADER_BYTES or header == LAST_BLOCK:
            break
        mark, piece_bytes, complement = _STORED_HEADER.unpack(header)
        is_stored = not mark and piece_bytes and piece_bytes ^ complement == 0xFFFF
        if not is_stored or size_bytes + piece_bytes > len(room):
            return _StoredPieces(lengths, is_whole_block=False)
        window.take(STORED_HEADER_BYTES)
        window.take_into(room[size_bytes : size_bytes + piece_bytes])
        lengths.append(piece_bytes)
        size_bytes += piece_bytes
    return _StoredPieces(lengths, is_whole_block=bool(lengths))


def _read_deflated(window: _Window, room: memoryview, stored: _StoredPieces) -> ReadBlock:
    """Read a deflated block: it ends at the mark of a flush by which a whole block has come out.

    Args:
        window: The archive, behind the stored pieces.
        room: Memory for a block's content.
        stored: What was read of the block already: a deflater may store within its blocks.
    """
    inflating = _Inflating(room, stored)
    length = stored.length
    while encoded := window.take_to_flush():
        inflating.take(encoded)
        length += len(encoded)
        if encoded.endswith(_FLUSHED):
            content = inflating.content()
            is_last = len(window.peek(_END + 1)) == _END
            if len(content) == BLOCK_SIZE_BYTES or is_last:
                return ReadBlock(content, length)
    raise damaged("it is cut off")


def damaged(why: str) -> IntegrityError:
    """Say that an archive's bytes are not what was packed."""
    return IntegrityError(f"The archive is damaged: {why}.", code="archive-damaged")
