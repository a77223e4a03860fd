"""The gzip member around the tar stream, with the comment that identifies our archives."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path
from typing import Final

from mgmt.layout import GZIP_COMMENT
from mgmt.machine.removal import open_regular

_HAS_COMMENT: Final = 0x10
_SYSTEM_UNKNOWN: Final = 255
_FIXED: Final = struct.Struct("<2sBBIBB")
"""Magic, method (8: deflate), flags, time, extra flags, system (RFC 1952)."""

GZIP_HEADER: Final = _FIXED.pack(b"\x1f\x8b", 8, _HAS_COMMENT, 0, 0, _SYSTEM_UNKNOWN) + GZIP_COMMENT + b"\0"
"""Neither time nor name nor system: the bytes depend on the content only."""
_OURS: Final = GZIP_HEADER[: _FIXED.size] + GZIP_COMMENT.split()[0] + b" "
"""The beginning of an archive of any version of mgmt."""


def gzip_trailer(crc32: int, size_bytes: int) -> bytes:
    """Write the trailer; gzip keeps the size modulo 4 GiB."""
    return struct.pack("<II", crc32, size_bytes & 0xFFFFFFFF)


def is_ours(path: str | Path) -> bool:
    """Tell whether mgmt made the file at `path`; False also for a missing or unreadable file."""
    try:
        with open_regular(path) as descriptor:
            return descriptor is not None and begins_as_ours(descriptor)
    except OSError:  # such as a disk that fails
        return False


def begins_as_ours(descriptor: int) -> bool:
    """Tell whether an open file begins as mgmt's archives do."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.read(descriptor, len(_OURS)) == _OURS


def is_archive_at(path: str | Path, size_bytes: int, mtime_ns: int | None) -> bool:
    """Tell whether the file at `path` is the archive of this size and time; also where it may not be read."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and (found.st_size, found.st_mtime_ns) == (size_bytes, mtime_ns)


def is_open_archive(descriptor: int, size_bytes: int | None, mtime_ns: int | None) -> bool:
    """Tell whether an open file is the archive of this size, if that is known, and of this time."""
    found = os.fstat(descriptor)
    is_size_known = size_bytes in (None, found.st_size)
    return is_size_known and found.st_mtime_ns == mtime_ns and begins_as_ours(descriptor)
