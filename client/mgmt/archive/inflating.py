"""The tar stream in any `.tar.gz`, whoever made it, piece by piece, and never much more than was asked for."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any, Final

from mgmt.archive.blocks import Readable, damaged
from mgmt.archive.codec import QUICKEST
from mgmt.archive.rules import over_limit
from mgmt.errors import INTERRUPTED, CancelledError, IntegrityError
from mgmt_contract.parts import GIB, MIB

_READ_SIZE_BYTES: Final = 256 * 1024
_PIECE_MAX_BYTES: Final = MIB
_GZIP: Final = 31
"""Window of gzip data, as zlib takes it."""
_MAGIC: Final = b"\x1f\x8b"
_RATIO_FROM_BYTES: Final = GIB
"""From this size of the tar stream on its ratio counts: less fills no disk."""


def inflate(
    archive: Readable, *, ratio_max: int | None, recorded_bytes: int | None = None, stop: threading.Event | None = None
) -> Generator[bytes]:
    """Yield the tar stream; its checksum and length are proven when all was taken.

    Args:
        archive: Read from its beginning to its end.
        ratio_max: Bytes that may come out of one byte, from the first GiB on; None for any number.
        recorded_bytes: Those of its files that its record states, which may come whatever the ratio is: files of
            nothing but zeros, such as disk images, are uploaded too.
        stop: Ends the reading soon after it was set.

    Raises:
        IntegrityError: archive-damaged, other-format where it is no gzip, or over-limit for a bomb.
        CancelledError: If `stop` was set.
    """
    inflating: Any = None
    read_bytes = inflated_bytes = 0
    while data := bytes(archive.read(_READ_SIZE_BYTES)):
        read_bytes += len(data)
        while data:
            if stop is not None and stop.is_set():
                raise CancelledError(INTERRUPTED)
            if inflating is None or inflating.eof:
                data = _begin_member(archive, data, is_first=inflating is None)
                if not data:
                    return
                inflating = QUICKEST.library.decompressobj(_GZIP)
            try:
                piece = inflating.decompress(data, _PIECE_MAX_BYTES)
            except QUICKEST.library.error as error:
                raise damaged(str(error)) from error
            data = inflating.unused_data if inflating.eof else inflating.unconsumed_tail
            inflated_bytes += len(piece)
            unstated_bytes = inflated_bytes - (recorded_bytes or 0)
            if ratio_max is not None and unstated_bytes > max(_RATIO_FROM_BYTES, ratio_max * read_bytes):
                raise over_limit(f"it grows to more than {ratio_max} times its size")
            if piece:
                yield piece
    if inflating is None or not inflating.eof:
        raise damaged("it is cut off")


def _begin_member(archive: Readable, data: bytes, *, is_first: bool) -> bytes:
    """Return the data from the next gzip member's beginning on; nothing where only padding follows."""
    while len(data) < len(_MAGIC) and (more := archive.read(_READ_SIZE_BYTES)):
        data += more
    if data.startswith(_MAGIC):
        return data
    if is_first:
        raise IntegrityError("The archive is no gzip file.", code="other-format")
    while data:
        if data.strip(b"\0"):
            raise damaged("something follows its end")
        data = bytes(archive.read(_READ_SIZE_BYTES))
    return b""
