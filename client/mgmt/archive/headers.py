"""The framing of an archive: the gzip member around the tar stream, and the tar headers.

The gzip member has a comment that identifies our archives. Headers are plain ustar where it can hold the member, else
`tarfile`'s PAX or GNU form, as `mgmt.layout.header_form` decides. Owners are left out (uid and gid 0, no names) and
times are whole seconds, so that a copy of the source elsewhere has the same headers.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mgmt.layout import GZIP_COMMENT, USTAR_NAME_MAX_BYTES, HeaderForm, Member, MemberKind, decode_path, header_form
from mgmt.machine.files import open_regular

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


_PREFIX_MAX_BYTES: Final = 155
_TYPES: Final[Mapping[MemberKind, bytes]] = {
    "file": b"0",
    "directory": b"5",
    "symlink": b"2",
    "hardlink": b"1",
}
USTAR: Final = struct.Struct("100s8s16s12s12s8sc100s88s155s12x")
"""Name; mode; uid and gid; size; time; checksum; type; link target; magic, owners and device; prefix."""
NOBODY: Final = b"0000000\x000000000\x00"
MAGIC: Final = b"ustar\x0000"
_CHECKSUM: Final = slice(148, 155)


def header(member: Member) -> bytes:
    """Write the header of a member: whole tar records."""
    form = header_form(member)
    if form == "ustar":
        name = member.path + b"/" if member.kind == "directory" else member.path
        cut = _split(name)
        if cut is not None:
            return _ustar(member, name, cut)
    return _extended(member, form)


def _split(name: bytes) -> int | None:
    """Say where to cut a name into prefix and rest: 0 for no cut, None if no cut fits."""
    if len(name) <= USTAR_NAME_MAX_BYTES:
        return 0
    cut = name.find(b"/", len(name) - USTAR_NAME_MAX_BYTES - 1, -1)
    return cut if 0 < cut <= _PREFIX_MAX_BYTES else None


def _ustar(member: Member, name: bytes, cut: int) -> bytes:
    prefix, rest = (name[:cut], name[cut + 1 :]) if cut else (b"", name)
    packed = USTAR.pack(
        rest,
        b"%07o" % member.mode,
        NOBODY,
        b"%011o" % member.size_bytes,
        b"%011o" % member.mtime_seconds,
        b"        ",  # the checksum counts itself as spaces
        _TYPES[member.kind],
        member.target,
        MAGIC,
        prefix,
    )
    # Adler-32's low half is 1 and the sum of the bytes modulo 65,521. A record of ASCII in 415 bytes at most
    # stays below, so this is the sum itself, at a tenth of what adding up in Python takes.
    checksum = (zlib.adler32(packed) & 0xFFFF) - 1
    record = bytearray(packed)
    record[_CHECKSUM] = b"%06o\0" % checksum
    return bytes(record)


def _extended(member: Member, form: HeaderForm) -> bytes:
    import tarfile  # loading it takes as long as packing hundreds of small files, and few names need it

    info = tarfile.TarInfo(decode_path(member.path))
    info.type = _TYPES[member.kind]
    info.linkname = decode_path(member.target)
    info.mode = member.mode
    info.size = member.size_bytes
    info.mtime = member.mtime_seconds
    if form == "gnu":
        return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
