"""Writes GZIDX, the index by which `indexed_gzip` and `rapidgzip` read any part of an archive without the rest.

The file lists points at which inflating can begin. Other archives need 32 KiB of what came before with each point;
blocks of this format are independent, so a point is 18 bytes and the index of a 500 GB archive 4 MB.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import accumulate
from typing import IO, Final

from mgmt.archive.index import ArchiveFacts

# The format: zran.h of indexed_gzip 1.10, at `zran_export_index` (read in November 2026). All numbers little-endian.
_HEADER: Final = struct.Struct("<5sBBQQIII")
"""Magic, version, a reserved zero, size of the archive, size of the tar stream, spacing, size of a window, points."""
_POINT: Final = struct.Struct("<QQBB")
"""Offset in the archive, offset in the tar stream, bits before the first whole byte, 1 where a window is kept."""
_MAGIC: Final = b"GZIDX"
_VERSION: Final = 1
"""The first one that knows points without windows."""
_WINDOW_SIZE_BYTES: Final = 32 * 1024
"""The least that readers take, though no window follows."""


def write_gzidx(facts: ArchiveFacts, target: IO[bytes]) -> None:
    """Write an archive's points: the beginning of each block, and the archive's end.

    Args:
        facts: What the archive's index says of it.
        target: Where the bytes go.
    """
    points = len(facts.block_lengths) + 1
    target.write(
        _HEADER.pack(
            _MAGIC,
            _VERSION,
            0,
            facts.archive_size,
            facts.tar_bytes,
            facts.block_size_bytes,
            _WINDOW_SIZE_BYTES,
            points,
        )
    )
    for archive_offset, tar_offset in _list_points(facts):
        target.write(_POINT.pack(archive_offset, tar_offset, 0, 0))


def _list_points(facts: ArchiveFacts) -> Iterator[tuple[int, int]]:
    starts = accumulate(facts.block_lengths[:-1], initial=facts.first_block_offset)
    yield from zip(starts, range(0, facts.tar_bytes, facts.block_size_bytes), strict=True)
    yield facts.archive_size, facts.tar_bytes
